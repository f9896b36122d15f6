//! `fleetlogs resume`: does exactly what is outstanding in a run.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;

use super::run_told::tell;
use crate::args::Output;
use crate::config::{self, Needs, Settings, config_name};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::logging::Logs;
use crate::output::{print_end, say, watchers};
use crate::run::{EndedRun, OpenedRun};
use crate::run_name::RunArg;
use crate::signals;

#[derive(Debug, Parser)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Use this config file instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Retry nodes that ended with these outcomes
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OUTCOMES")]
    pub(crate) retry: Vec<Retry>,
    /// Resume even if the config has changed since the run was started, or the run directory is a copy
    #[arg(long)]
    pub(crate) accept_changes: bool,
}

/// An outcome that can be retried. The help of the command says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Retry {
    Failed,
    Incomplete,
    Adopted,
    Gone,
    Empty,
}

impl From<Retry> for Outcome {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Failed => Self::Failed,
            Retry::Incomplete => Self::Incomplete,
            Retry::Adopted => Self::Adopted,
            Retry::Gone => Self::Gone,
            Retry::Empty => Self::Empty,
        }
    }
}

pub(crate) async fn resume(args: &ResumeArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let retry: Vec<Outcome> = args.retry.iter().map(|retry| (*retry).into()).collect();
    let dir = args.run.find(args.config.as_deref()).await?;
    let unfinished = match OpenedRun::open(dir, &retry, args.accept_changes).await? {
        OpenedRun::Unfinished(unfinished) => unfinished,
        OpenedRun::Ended(ended) => return print_ended(*ended, output).await,
    };
    let config = unfinished.config(args.config.as_deref())?;
    let settings = load(&config, unfinished.plan(), args.accept_changes)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let finished = Box::pin(unfinished.carry_out(&settings, stop.clone(), &watchers(output, logs))).await?;
    tell(finished, &settings, &stop, output).await
}

/// Writes the reports if they are missing, and prints what they say.
async fn print_ended(ended: EndedRun, output: &Output) -> Result<Exit, CliError> {
    let was_reported = ended.is_reported().await;
    let reported = ended.report().await?;
    if output.json || !was_reported {
        print_end(&reported, output)?;
    } else if !output.quiet {
        let run_id = &reported.plan().run_id;
        say(&format!("nothing is outstanding in run {run_id}; its reports are unchanged\n"));
    }
    Ok(reported.outcome().into())
}

/// Loads the config, which must be the one that the run was started with.
fn load(path: &Path, plan: &Plan, accept_changes: bool) -> Result<Settings, CliError> {
    let settings = config::load_for(path, Needs::RUN)?;
    if settings.simulator.is_some() {
        return Err(CliError::simulator_gone());
    }
    if settings.digest != plan.config_digest && !accept_changes {
        let what =
            format!("the config `{}` has changed since this run was started", config_name(path).display());
        let help = "pass the original config as `--config`, or resume with the changed config with `--accept-changes`";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    Ok(settings)
}
