//! Who runs the jobs of a schedule, and what is put on record when a run begins.

use std::path::Path;

use fleetlogs_model::plan::Plan;

use super::job::{Job, JobEnd, JobId};
use super::state::{StateError, Store, coverage, runs};

/// Runs jobs: plans, executes, verifies, reports.
pub trait Runner: Send + Sync + 'static {
    /// Runs a job to its end, or until it is told to stop. Calls `begun` once, after the plan is frozen and before the
    /// first upload is sent; if that fails, the run must not begin.
    fn run(&self, job: Job, begun: StartRecord) -> impl Future<Output = JobEnd> + Send;
}

/// What is put on record when a run begins.
#[derive(Clone, Debug)]
pub struct StartRecord {
    store: Store,
    job: JobId,
}

impl StartRecord {
    /// A job's.
    #[must_use]
    pub fn new(store: Store, job: JobId) -> Self {
        Self { store, job }
    }

    /// Puts the run of a plan and its directory on record, durably. Its series begins with it, if it has not begun.
    pub async fn record(&self, plan: &Plan, dir: &Path) -> Result<(), StateError> {
        self.store
            .change(|state| {
                coverage::begin_series(state, plan)?;
                runs::record_begin(state, self.job, &plan.run_id, dir)
            })
            .await
    }
}
