//! `fleetlogs run`: turns the config into a plan, executes it, verifies the result and reports.

use std::path::PathBuf;

use clap::Parser;
use fleetlogs_engine::stop::StopHandle;

use super::run_told::tell;
use crate::args::{Output, Pick};
use crate::config::{self, Needs};
use crate::config_arg::ConfigArg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging::Logs;
use crate::output::watchers;
use crate::run::{RunRequest, run_to_end};
use crate::scale_out::{ShardArgs, run_shard};
use crate::signals;
use crate::window_args::WindowArgs;

#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Run exactly this plan (a plan.json) instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accounts", "pools", "nodes", "states", "jobs", "last", "start", "end", "around"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[command(flatten)]
    pub(crate) shard: ShardArgs,
}

pub(crate) async fn run(args: &RunArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let shard = args.shard.wanted()?;
    let config = args.config.path()?;
    let mut settings = config::load_for(&config, Needs::RUN)?;
    settings.narrow(&args.pick)?;
    args.window.apply(&mut settings)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    if let Some(shard) = shard {
        return Box::pin(run_shard(shard, &args.pick, &settings, &config, &stop, output)).await;
    }
    let request = RunRequest { config: &config, plan: args.plan.as_deref(), snapshot: None };
    let finished = Box::pin(run_to_end(request, &settings, stop.clone(), &watchers(output, logs))).await?;
    tell(finished, &settings, &stop, output).await
}
