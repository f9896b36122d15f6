//! A run that another process began: opened, and carried out as far as something is left to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetlogs_engine::recorded_run::ResumedRun;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::JournalErrorKind;
use fleetlogs_report::MANIFEST_FILE;
use tokio::time::{Instant, sleep};

use super::carry_out::{FinishedRun, OpenRun, carry_out};
use super::prepare::prepare_rest;
use super::reported::Reported;
use super::watchers::Watchers;
use crate::config::Settings;
use crate::error::{CliError, Refusal};
use crate::run_dir::RunDir;
use crate::text::counted;

/// Between two attempts to open a run that another process works on.
const PAUSE: Duration = Duration::from_secs(5);

/// How long storage may fail before a run that is to be resumed is given up.
const LONGEST_FAILURE: Duration = Duration::from_secs(600);

/// A run that another process began. No other process can open it meanwhile.
pub(crate) enum OpenedRun {
    /// Something is left to do.
    Unfinished(Box<UnfinishedRun>),
    /// Nothing is.
    Ended(Box<EndedRun>),
}

/// A run with something left to do.
pub(crate) struct UnfinishedRun {
    dir: RunDir,
    run: ResumedRun,
}

/// A run with nothing left to do, except perhaps its reports.
pub(crate) struct EndedRun {
    dir: RunDir,
    run: ResumedRun,
}

impl OpenedRun {
    /// Opens a run. Nodes that ended in one of `retry` are outstanding again.
    pub(crate) async fn open(dir: RunDir, retry: &[Outcome], accept_copy: bool) -> Result<Self, CliError> {
        if let Some(shared) = dir.shared().await? {
            return Err(shared_out(&dir, shared.stored.partitions.len()));
        }
        let run = ResumedRun::open(&*dir.store, retry, accept_copy).await?;
        Self::of(dir, run)
    }

    /// Opens a run whose record several machines reach: the process that worked on it may still be ending, and storage may
    /// fail for a while.
    pub(crate) async fn open_when_free(dir: RunDir, stop: &StopHandle) -> Result<Self, CliError> {
        let mut failing_since = None;
        let mut is_told = false;
        loop {
            let error = match ResumedRun::open(&*dir.store, &[], true).await {
                Ok(run) => return Self::of(dir, run),
                Err(error) => error,
            };
            match error.kind {
                JournalErrorKind::Busy => failing_since = None,
                JournalErrorKind::Failed
                    if failing_since.get_or_insert_with(Instant::now).elapsed() < LONGEST_FAILURE => {}
                // The container may be there again, and the SAS be renewed, at another time.
                JournalErrorKind::Failed | JournalErrorKind::Unsuitable => {
                    return Err(CliError::from(error).refusing_run());
                }
                _ => return Err(error.into()),
            }
            if !is_told {
                tracing::info!("the run cannot be resumed yet: {error}; waiting");
                is_told = true;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
            }
        }
    }

    fn of(dir: RunDir, run: ResumedRun) -> Result<Self, CliError> {
        dir.keep_here(&run.plan)?;
        Ok(if run.is_over()? {
            Self::Ended(Box::new(EndedRun { dir, run }))
        } else {
            Self::Unfinished(Box::new(UnfinishedRun { dir, run }))
        })
    }
}

/// No single process resumes a run that is shared out.
fn shared_out(dir: &RunDir, partitions: usize) -> CliError {
    let what =
        format!("this run is shared out: workers continue its {}", counted(partitions as u64, "partition"));
    let url = dir.record.as_ref().map(|record| format!("{}/p/ACCOUNT", record.url)).unwrap_or_default();
    let help = format!(
        "`{}` waits for them and reports; `fleetlogs resume {url}` resumes one partition here",
        dir.continued_by(true)
    );
    CliError::not_done(Refusal::new(what, help))
}

impl OpenedRun {
    /// Whether it is a run of a snapshot.
    pub(crate) fn is_of(&self, snapshot: &SnapshotName) -> bool {
        let plan = match self {
            Self::Unfinished(run) => run.plan(),
            Self::Ended(run) => &run.run.plan,
        };
        plan.snapshot.as_ref().is_some_and(|of| of.name == *snapshot)
    }
}

impl UnfinishedRun {
    pub(crate) fn plan(&self) -> &Plan {
        &self.run.plan
    }

    /// The config that was named, or else the one that the run was started with.
    pub(crate) fn config(&self, named: Option<&Path>) -> Result<PathBuf, CliError> {
        self.dir.config(&self.run.meta, named)
    }

    /// Carries out what is outstanding.
    pub(crate) async fn carry_out(
        self: Box<Self>,
        settings: &Settings,
        stop: StopHandle,
        watchers: &Watchers,
    ) -> Result<FinishedRun, CliError> {
        let Self { dir, run } = *self;
        let ResumedRun { plan, ledger, outstanding, journal, .. } = run;
        let log = watchers.logs.keep_in(dir.log_file()?);
        watchers.name_run(&plan.run_id, &dir.path);
        tracing::info!(run_id = %plan.run_id, outstanding = outstanding.nodes(), "resumed");
        let prepared = tokio::select! {
            prepared = prepare_rest(settings, plan, outstanding.nodes()) => prepared?,
            () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
        };
        let events = watchers.open_events(&prepared.plan)?;
        let open = OpenRun { dir, journal, ledger, outstanding, stop, log, events };
        Box::pin(carry_out(prepared, open, settings, watchers)).await
    }
}

impl EndedRun {
    /// Whether its reports are there; its process may have ended between its last record and them. Those that a machine
    /// wrote before another one resumed the run are not its reports.
    pub(crate) async fn is_reported(&self) -> bool {
        let manifest = self.dir.path.join(MANIFEST_FILE);
        let Ok(written) = manifest.metadata().and_then(|file| file.modified()) else { return false };
        if self.dir.record.is_none() {
            return true;
        }
        let recorded = self.dir.store.changed_at().await.ok().flatten();
        recorded.is_none_or(|recorded| recorded <= written)
    }

    /// What its reports say. They are written if they are missing.
    pub(crate) async fn report(self) -> Result<Reported, CliError> {
        let is_reported = self.is_reported().await;
        let Self { dir, run } = self;
        let ResumedRun { plan, ledger, reader, journal: _held, .. } = run;
        if is_reported {
            Reported::earlier(dir.path, plan, ledger, &*reader)
        } else {
            Reported::write(dir.path, plan, ledger, &*reader, None)
        }
    }
}
