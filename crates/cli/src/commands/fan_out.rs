//! `fleetlogs fan-out`: plans a run, shares it out to workers, waits for them, and reports.

use std::collections::BTreeSet;

use clap::Parser;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::count::counted;
use serde::Serialize;

use super::run_told::tell;
use crate::args::{Output, Pick};
use crate::config::{self, Needs};
use crate::config_arg::ConfigArg;
use crate::error::CliError;
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::journal_container::JournalContainer;
use crate::logging::Logs;
use crate::output::{as_json, print, say, watchers};
use crate::scale_out::{Gathering, LaidOutRun, gather, send, worker_command};
use crate::signals;
use crate::window_args::WindowArgs;
use crate::work_queues::WorkQueues;

#[derive(Debug, Parser)]
pub(crate) struct FanOutArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// End as soon as the run is shared out; `fan-in` waits and reports later
    #[arg(long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) pick: Pick,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
}

pub(crate) async fn fan_out(args: &FanOutArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let config = args.config.path()?;
    let mut settings = config::load_for(&config, Needs::FAN_OUT)?;
    settings.narrow(&args.pick)?;
    args.window.apply(&mut settings)?;
    let queues = WorkQueues::new(&settings)?;
    let container = JournalContainer::of_settings(&settings, &config)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let watchers = watchers(output, logs);
    let laying_out = async {
        // Before anything is listed: a run without queues would wait for ever.
        for site in queues.sites() {
            drop(queues.of_site(site).await?);
        }
        let shared = LaidOutRun::lay_out(&config, &args.pick, &settings, &container, &watchers).await?;
        #[cfg(feature = "failpoints")]
        fail::fail_point!("before-messages", |_| std::process::abort());
        send(&queues, &shared.run, &shared.work).await?;
        Ok::<_, CliError>(shared)
    };
    let shared = tokio::select! {
        shared = laying_out => shared?,
        () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
        () = tokio::time::sleep(settings.deadlines.run) => return Err(CliError::planning_too_long()),
    };
    if args.detach {
        return print_detached(&shared, output);
    }
    let dir = shared.dir;
    let gathering =
        Gathering { dir, queues: Some(&queues), settings: &settings, watchers: &watchers, stop: &stop };
    let Some(finished) = Box::pin(gather(gathering)).await? else {
        return Err(CliError::defect());
    };
    tell(finished, &settings, &stop, output).await
}

/// What `--detach --json` prints.
#[derive(Serialize)]
struct Detached<'a> {
    schema: &'static str,
    #[serde(flatten)]
    end: EndOfCommand,
    run_id: &'a str,
    /// Nodes that are planned; workers of sites plan more.
    nodes: usize,
    partitions: Vec<Partition<'a>>,
    /// Waits for the workers, and reports.
    next: String,
}

#[derive(Serialize)]
struct Partition<'a> {
    name: &'a str,
    site: Option<&'a str>,
}

fn print_detached(shared: &LaidOutRun, output: &Output) -> Result<Exit, CliError> {
    let next = format!("fleetlogs fan-in {}", shared.run);
    if output.json {
        let partitions = shared
            .partitions
            .iter()
            .map(|partition| Partition { name: partition.name.as_str(), site: partition.site.as_deref() });
        let document = Detached {
            schema: "fleetlogs.fan-out/v1",
            end: EndOfCommand::success(),
            run_id: shared.run.as_str(),
            nodes: shared.nodes,
            partitions: partitions.collect(),
            next,
        };
        return print(&as_json(&document)?);
    }
    if !output.quiet {
        let nodes = counted(shared.nodes as u64, "node");
        let (partitions, work) = (
            counted(shared.partitions.len() as u64, "partition"),
            counted(shared.work.len() as u64, "message"),
        );
        let sites: BTreeSet<_> = shared.work.iter().map(|partition| partition.site.as_deref()).collect();
        let workers: Vec<_> = sites.into_iter().map(worker_command).collect();
        say(&format!(
            "{nodes} planned, {partitions}, {work} sent; workers take them: {}\nwait and report: {next}\n",
            workers.join(", ")
        ));
    }
    Ok(Exit::Complete)
}
