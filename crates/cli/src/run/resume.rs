//! A run that another process began: opened, and carried out as far as something is left to do.

use std::path::Path;

use fleetlogs_engine::recorded_run::ResumedRun;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::files::dir_of;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::RunMeta;
use fleetlogs_report::MANIFEST_FILE;

use super::carry_out::{FinishedRun, OpenRun, carry_out};
use super::prepare::prepare_rest;
use super::reported::Reported;
use super::watchers::Watchers;
use crate::config::Settings;
use crate::error::CliError;
use crate::run_dir::RunDir;

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
    pub(crate) async fn open(dir: &Path, retry: &[Outcome], accept_copy: bool) -> Result<Self, CliError> {
        let dir = RunDir::at(dir);
        let run = ResumedRun::open(&*dir.store, retry, accept_copy).await?;
        Ok(if run.is_over()? {
            Self::Ended(Box::new(EndedRun { dir, run }))
        } else {
            Self::Unfinished(Box::new(UnfinishedRun { dir, run }))
        })
    }
}

impl UnfinishedRun {
    pub(crate) fn plan(&self) -> &Plan {
        &self.run.plan
    }

    pub(crate) fn meta(&self) -> &RunMeta {
        &self.run.meta
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
        watchers.name_run(&plan.run_id, dir_of(&dir.path));
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
    /// Whether its reports are there; its process may have ended between its last record and them.
    pub(crate) fn is_reported(&self) -> bool {
        self.dir.path.join(MANIFEST_FILE).exists()
    }

    /// What its reports say. They are written if they are missing.
    pub(crate) fn report(self) -> Result<Reported, CliError> {
        let is_reported = self.is_reported();
        let Self { dir, run } = self;
        let ResumedRun { plan, ledger, reader, journal: _held, .. } = run;
        if is_reported {
            Reported::earlier(dir.path, plan, ledger, &*reader)
        } else {
            Reported::write(dir.path, plan, ledger, &*reader, None)
        }
    }
}
