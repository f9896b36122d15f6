//! `fleetlogs run`: turns the config into a plan, executes it, verifies the result and reports.

use std::path::PathBuf;

use clap::Parser;
use fleetlogs_engine::stop::StopHandle;

use crate::args::{Output, Pick};
use crate::config::{self, Needs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging::Logs;
use crate::notify::notify_all;
use crate::output::{print_end, watchers};
use crate::run::{FinishedRun, RunRequest, run_to_end};
use crate::signals;

#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// The config file
    pub(crate) config: PathBuf,
    /// Run exactly this plan (a plan.json) instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accounts", "pools", "nodes", "states", "jobs"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pick: Pick,
}

pub(crate) async fn run(args: &RunArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let mut settings = config::load_for(&args.config, Needs::RUN)?;
    settings.narrow(&args.pick)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let request = RunRequest { config: &args.config, plan: args.plan.as_deref(), snapshot: None };
    let FinishedRun { reported, log: _log } =
        Box::pin(run_to_end(request, &settings, stop.clone(), &watchers(output, logs))).await?;
    let printed = print_end(&reported, output);
    notify_all(&settings.notify, &reported.end()?, &stop).await;
    printed?;
    Ok(reported.outcome().into())
}
