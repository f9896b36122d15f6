//! `fleetlogs fan-in`: waits for the workers of a run that was shared out, and reports.

use std::path::PathBuf;

use clap::Parser;
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::run_store::RunMeta;
use url::Url;

use crate::args::Output;
use crate::config::{self, Needs};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::journal_container::{JournalContainer, no_config_for};
use crate::logging::Logs;
use crate::notify::notify_all;
use crate::output::{print_end, watchers};
use crate::run::FinishedRun;
use crate::run_name::RunArg;
use crate::scale_out::{Gathering, gather};
use crate::signals;
use crate::work_queues::WorkQueues;

#[derive(Debug, Parser)]
pub(crate) struct FanInArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Use this config file instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

pub(crate) async fn fan_in(args: &FanInArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let dir = args.run.find(args.config.as_deref()).await?;
    let Some(recorded) = &dir.record else { return Err(not_shared(args)) };
    let opened_by = RunMeta { config: recorded.config.clone(), ..RunMeta::default() };
    let config = dir.config(&opened_by, args.config.as_deref())?;
    let settings = config::load_for(&config, Needs::FAN_OUT)?;
    let container = JournalContainer::of_settings(&settings, &config)?;
    let inside = Url::parse(&recorded.url).ok().and_then(|url| container.dir_of(&url));
    let inside = inside.ok_or_else(|| no_config_for(&recorded.url))?;
    let record = container.records(settings.partition_lease())?.at(inside);
    let stored = record.stored_run().await?;
    if stored.partitions.is_empty() {
        return Err(not_shared(args));
    }
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let queues = settings.scale_out.is_some().then(|| WorkQueues::new(&settings)).transpose()?;
    let watchers = watchers(output, logs);
    let gathering = Gathering {
        run: stored.run_id,
        record,
        partitions: stored.partitions,
        dir,
        queues: queues.as_ref(),
        settings: &settings,
        watchers: &watchers,
        stop: &stop,
    };
    let FinishedRun { reported, log: _log } = Box::pin(gather(gathering)).await?;
    let printed = print_end(&reported, output);
    notify_all(&settings.notify, &reported.end()?, &stop).await;
    printed?;
    Ok(reported.outcome().into())
}

fn not_shared(args: &FanInArgs) -> CliError {
    let help = format!("`fleetlogs resume {}` continues it", args.run.run.display());
    CliError::usage(Refusal::new("this run is not shared out to workers", help))
}
