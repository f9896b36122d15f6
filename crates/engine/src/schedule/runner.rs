//! What runs the jobs of a schedule, and what is recorded when a run starts.

use std::path::Path;

use fleetlogs_model::plan::Plan;

use super::job::{Job, JobEnd, JobId};
use super::state::{StateError, Store, coverage, runs};

/// Runs jobs: plans, executes, verifies, reports.
pub trait Runner: Send + Sync + 'static {
    /// Runs a job to its end, or until it is told to stop. Records the start by `begun` once, after the plan is frozen
    /// and before the first upload is sent; if that fails, the run must not start.
    fn run(&self, job: Job, begun: StartRecord) -> impl Future<Output = JobEnd> + Send;
}

/// Records that a run starts.
#[derive(Clone, Debug)]
pub struct StartRecord {
    store: Store,
    job: JobId,
}

impl StartRecord {
    /// For a job.
    #[must_use]
    pub fn new(store: Store, job: JobId) -> Self {
        Self { store, job }
    }

    /// Records the run of a plan and where it is, durably: its directory, or the URL of its record in Blob storage. If its
    /// series has not begun, it begins with this run.
    pub async fn record(&self, plan: &Plan, dir: &Path) -> Result<(), StateError> {
        self.store
            .change(|state| {
                coverage::begin_series(state, plan)?;
                runs::record_begin(state, self.job, &plan.run_id, dir)
            })
            .await
    }
}
