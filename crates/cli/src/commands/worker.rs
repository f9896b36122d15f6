//! `fleetlogs worker`: takes partitions of runs from the queue of its site, and works on them.

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::scale_out::{WorkerEnd, WorkerSettings, work};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::count::counted;
use serde::Serialize;

use crate::args::Output;
use crate::config::{self, Needs, Settings, nearest};
use crate::config_arg::ConfigArg;
use crate::error::{CliError, Refusal};
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::journal_container::JournalContainer;
use crate::output::{as_json, print};
use crate::run_dir::recorded_config;
use crate::scale_out::{Partitions, worker_settings};
use crate::signals;
use crate::work_queues::WorkQueues;

#[derive(Debug, Parser)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Take the partitions of this site [default: those of accounts without a site]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// Wait for more when the queue is empty
    #[arg(long)]
    pub(crate) forever: bool,
}

pub(crate) async fn worker(args: &WorkerArgs, output: &Output) -> Result<Exit, CliError> {
    let config = args.config.path()?;
    let settings = config::load_for(&config, Needs::SCALE_OUT)?;
    let queues = WorkQueues::new(&settings)?;
    let site = args.site.as_deref();
    must_be_site(site, &settings)?;
    let container = JournalContainer::of_settings(&settings, &config)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let fleet = Fleet::connect(&settings).await?;
    let queue = queues.of_site(site).await?;
    let records = container.records(settings.partition_lease())?;
    let how = WorkerSettings { forever: args.forever, ..worker_settings(&settings) };
    let partitions = Partitions {
        fleet: &fleet,
        settings: &settings,
        records: &records,
        config: &recorded_config(&config),
        at_once: how.at_once,
    };
    tracing::info!(queue = queues.name_of(site), partitions_at_once = how.at_once, "waiting for partitions");
    let end = work(&queue, &partitions, &how, Clock::System, &stop).await;
    let end = end.map_err(|failure| queues.unusable(site, &failure))?;
    fleet.end().await;
    let exit = exit_of(&end, stop.level() > Stop::No);
    print_worker_end(&end, exit, output)?;
    Ok(exit)
}

/// A queue that nobody fills is a queue that never has work.
fn must_be_site(site: Option<&str>, settings: &Settings) -> Result<(), CliError> {
    let sites = settings.sites();
    if sites.iter().any(|known| known.as_deref() == site) {
        return Ok(());
    }
    let named: Vec<_> = sites.iter().flatten().map(String::as_str).collect();
    let Some(site) = site else {
        let what = "every account of the config has a site";
        let help = format!("name the site of this worker with `--site`: {}", named.join(", "));
        return Err(CliError::usage(Refusal::new(what, help)));
    };
    let help = match nearest(site, named.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if named.is_empty() => "give accounts a `site` in the config, or leave `--site` out".to_owned(),
        None => format!("the config has: {}", named.join(", ")),
    };
    Err(CliError::usage(Refusal::new(format!("no account of the config has the site `{site}`"), help)))
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    command: EndOfCommand,
    done: u64,
    busy: u64,
    handed_back: u64,
    failed: u64,
    refused: u64,
    poisoned: Vec<Poisoned<'a>>,
}

#[derive(Serialize)]
struct Poisoned<'a> {
    run_id: &'a str,
    partition: &'a str,
    reason: &'a str,
}

fn print_worker_end(end: &WorkerEnd, exit: Exit, output: &Output) -> Result<(), CliError> {
    let WorkerEnd { done, busy, handed_back, failed, refused, buried } = end;
    let partitions = counted(*done, "partition");
    tracing::info!(busy, handed_back, failed, refused, poisoned = buried.len(), "{partitions} done");
    if !output.json {
        return Ok(());
    }
    let (what, help) = match exit {
        Exit::Usage => (
            "the config is not that of a run in the queue",
            "start workers with the config file of `fan-out`",
        ),
        Exit::Interrupted => {
            ("told to stop", "other workers continue with the partitions that were handed back")
        }
        _ => ("some partitions could not be worked on", "see the log, and `fleetlogs status` of the run"),
    };
    let poisoned = buried.iter().map(|(item, reason)| Poisoned {
        run_id: item.run.as_str(),
        partition: item.partition.as_str(),
        reason,
    });
    let document = Document {
        schema: "fleetlogs.worker/v1",
        command: EndOfCommand::with(exit, what, [help.to_owned()]),
        done: *done,
        busy: *busy,
        handed_back: *handed_back,
        failed: *failed,
        refused: *refused,
        poisoned: poisoned.collect(),
    };
    print(&as_json(&document)?)?;
    Ok(())
}

/// A partition that failed here may succeed elsewhere; whoever brings the run together will see.
fn exit_of(end: &WorkerEnd, is_stopped: bool) -> Exit {
    if end.refused > 0 {
        Exit::Usage
    } else if end.failed > 0 || !end.buried.is_empty() {
        Exit::Partial
    } else if is_stopped && end.handed_back > 0 {
        Exit::Interrupted
    } else {
        Exit::Complete
    }
}
