//! `fleetlogs fan-in`: waits for the workers of a run that was shared out, and reports.

use std::path::PathBuf;

use clap::Parser;
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::run_store::RunMeta;

use super::run_told::tell;
use crate::args::Output;
use crate::config::{self, Needs};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::logging::Logs;
use crate::output::watchers;
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
    let Some(shared) = dir.shared().await? else { return Err(not_shared(args)) };
    let started_with = RunMeta { config: shared.stored.config.clone(), ..RunMeta::default() };
    let config = dir.config(&started_with, args.config.as_deref())?;
    let settings = config::load_for(&config, Needs::FAN_OUT)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let queues = settings.scale_out.is_some().then(|| WorkQueues::new(&settings)).transpose()?;
    let watchers = watchers(output, logs);
    let gathering =
        Gathering { dir, queues: queues.as_ref(), settings: &settings, watchers: &watchers, stop: &stop };
    let Some(finished) = Box::pin(gather(gathering)).await? else {
        return Err(not_shared(args));
    };
    tell(finished, &settings, &stop, output).await
}

fn not_shared(args: &FanInArgs) -> CliError {
    let help = format!("`fleetlogs resume {}` continues it", args.run.run.display());
    CliError::usage(Refusal::new("this run is not shared out to workers", help))
}
