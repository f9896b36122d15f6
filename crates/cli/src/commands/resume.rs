//! `fleetlogs resume`: goes on with exactly what is outstanding in a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::journal::{JournalReader, SqliteJournal};
use fleetlogs_engine::resume::{Outstanding, Replay};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_report::MANIFEST_FILE;

use super::report::{Reported, ended};
use super::run::{Begun, Finished, Prepared, go};
use crate::args::Output;
use crate::config::{self, Needs, Settings};
use crate::error::{CliError, Refusal};
use crate::estimate::estimate_calls;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::logging::Logs;
use crate::output::say;
use crate::preflight::{self, Findings};
use crate::run_dir::{RunDir, config_of};
use crate::signals;

#[derive(Debug, Parser)]
pub(crate) struct ResumeArgs {
    /// The run directory
    pub(crate) run: PathBuf,
    /// The config file; left out: the one that the run was begun with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Take nodes up again that ended so
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OUTCOMES")]
    pub(crate) retry: Vec<Retry>,
    /// Go on although the config has changed since the run was begun, or the run directory is a copy
    #[arg(long)]
    pub(crate) accept_changes: bool,
}

/// An outcome that can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Retry {
    /// No call succeeded.
    Failed,
    /// Files were missing at the deadline.
    Incomplete,
    /// The node was not there.
    Gone,
    /// The node promised no file.
    Empty,
}

impl From<Retry> for Outcome {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Failed => Self::Failed,
            Retry::Incomplete => Self::Incomplete,
            Retry::Gone => Self::Gone,
            Retry::Empty => Self::Empty,
        }
    }
}

pub(crate) async fn resume(args: &ResumeArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let retry: Vec<Outcome> = args.retry.iter().map(|retry| (*retry).into()).collect();
    let taken_up = match TakenUp::open(&args.run, &retry, args.accept_changes)? {
        Opened::Outstanding(taken_up) => taken_up,
        Opened::Ended(ended) => return ended.tell(output),
    };
    let config = config_of(&taken_up.reader, args.config.as_deref())?;
    let settings = load(&config, &taken_up.plan, args.accept_changes)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let finished = Box::pin(taken_up.go(&settings, stop, output, logs)).await?;
    Ok(finished.end.outcome.into())
}

/// A run that was begun by another process.
pub(super) enum Opened {
    /// Something is left to do.
    Outstanding(Box<TakenUp>),
    /// Nothing is.
    Ended(Box<EndedRun>),
}

/// A run with something left to do; no other process can take it up meanwhile.
pub(super) struct TakenUp {
    dir: RunDir,
    journal: SqliteJournal,
    reader: JournalReader,
    plan: Plan,
    ledger: Ledger,
    outstanding: Outstanding,
}

/// A run with nothing left to do, but perhaps its reports.
pub(super) struct EndedRun {
    dir: RunDir,
    reader: JournalReader,
    plan: Plan,
    ledger: Ledger,
    /// Keeps every other process out.
    _journal: SqliteJournal,
}

impl TakenUp {
    /// Opens a run directory. `retry` are outcomes that are taken up again.
    pub(super) fn open(dir: &Path, retry: &[Outcome], accept_changes: bool) -> Result<Opened, CliError> {
        let (dir, plan) = RunDir::open(dir)?;
        // Opened for writing first: that keeps every other process out from here on.
        let journal = SqliteJournal::open(&dir.path, accept_changes)?;
        let reader = JournalReader::open(&dir.path)?;
        reader.check_plan(&dir.plan_digest)?;
        let mut replay = Replay::new(&plan);
        reader.for_each_event(0, |recorded| replay.apply(recorded))?;
        let (ledger, outstanding) = replay.finish(&plan, retry);
        if outstanding.is_empty() && ended(&reader)? {
            return Ok(Opened::Ended(Box::new(EndedRun { dir, reader, plan, ledger, _journal: journal })));
        }
        Ok(Opened::Outstanding(Box::new(Self { dir, journal, reader, plan, ledger, outstanding })))
    }

    /// Goes on with it.
    pub(super) async fn go(
        self: Box<Self>,
        settings: &Settings,
        stop: StopHandle,
        output: &Output,
        logs: &Logs,
    ) -> Result<Finished, CliError> {
        let Self { dir, journal, reader, plan, ledger, outstanding } = *self;
        drop(reader);
        let kept = logs.keep_in(dir.log_file()?);
        tracing::info!(run_id = %plan.run_id, outstanding = outstanding.nodes(), "resumed");
        let prepared = tokio::select! {
            prepared = prepare(settings, plan, outstanding.nodes()) => prepared?,
            () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
        };
        let begun = Begun { dir, journal, ledger, outstanding, stop, kept };
        Box::pin(go(prepared, begun, settings, output, logs)).await
    }
}

impl EndedRun {
    /// Writes the reports, where its process ended between its last record and them, and tells of them.
    fn tell(&self, output: &Output) -> Result<Exit, CliError> {
        let Self { dir, reader, plan, ledger, .. } = self;
        if !dir.path.join(MANIFEST_FILE).exists() {
            return Reported::write(&dir.path, plan, ledger, reader, true, None)?
                .tell(output)
                .map(Exit::from);
        }
        let reported = Reported::earlier(&dir.path, plan, ledger, reader)?;
        if output.json {
            return reported.tell(output).map(Exit::from);
        }
        if !output.quiet {
            say(&format!("nothing is outstanding in run {}; its reports stay as they are\n", plan.run_id));
        }
        Ok(reported.outcome().into())
    }

    /// The same without a word.
    pub(super) fn finish(self) -> Result<Finished, CliError> {
        let Self { dir, reader, plan, ledger, .. } = self;
        let reported = if dir.path.join(MANIFEST_FILE).exists() {
            Reported::earlier(&dir.path, &plan, &ledger, &reader)?
        } else {
            Reported::write(&dir.path, &plan, &ledger, &reader, true, None)?
        };
        let end = reported.end()?;
        Ok(Finished { plan: Arc::new(plan), ledger, end })
    }
}

/// The config, if it is the one that the run was begun with.
fn load(path: &Path, plan: &Plan, accept_changes: bool) -> Result<Settings, CliError> {
    let settings = config::load_for(path, Needs::RUN)?;
    if settings.simulator.is_some() {
        return Err(CliError::simulator_gone());
    }
    if settings.digest != plan.config_digest && !accept_changes {
        let what = format!("the config `{}` has changed since this run was begun", path.display());
        let help =
            "give the config it was begun with as `--config`, or `--accept-changes` to go on with this one";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    Ok(settings)
}

/// The same checks as before a new run, for what is left of this one.
async fn prepare(settings: &Settings, plan: Plan, outstanding: usize) -> Result<Prepared, CliError> {
    let fleet = Fleet::connect(settings).await?;
    let destination = fleet.destination_of(&plan.run_id, settings).await?;
    let config = destination.url();
    if config != plan.destination {
        return Err(CliError::other_container(&plan.destination, &config));
    }
    let mut findings = Findings::default();
    let calls_take = estimate_calls(outstanding, &settings.limits).min(Duration::from_secs(24 * 3600));
    preflight::sas(&destination, settings, Clock::System.now(), calls_take, &mut findings);
    let store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
    findings.settle()?;
    let services = fleet.services(&plan).map_err(|why| CliError::other_plan(Path::new("plan.json"), &why))?;
    Ok(Prepared { fleet, destination, plan: Arc::new(plan), services, store })
}
