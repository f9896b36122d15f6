//! The store of a run in Blob storage: a directory of blobs with `plan.json`, `run.json`, `owner` and the journal.

use std::fmt;
use std::time::{Duration, SystemTime};

use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunStore, StoreFuture, StoredPlan,
};

use crate::sas_source::{FreshSas, SasSource};

/// A run in Blob storage.
pub struct BlobRunStore {
    #[expect(dead_code, reason = "the store is not finished")]
    http: reqwest::Client,
    #[expect(dead_code, reason = "the store is not finished")]
    sas: FreshSas,
    dir: String,
    #[expect(dead_code, reason = "the store is not finished")]
    lease: Duration,
}

impl BlobRunStore {
    /// The run in the directory `dir` of a container, such as `fleetlogs/20261122T093000Z-4f2a`, which need not be there
    /// yet; sends nothing. `source` is of SAS with read, create, write and list permission. `lease` is 15 to 60 whole
    /// seconds: how long a process that died keeps others from the run.
    #[must_use]
    pub fn new(http: reqwest::Client, source: SasSource, dir: String, lease: Duration) -> Self {
        Self { http, sas: FreshSas::new(source), dir, lease }
    }
}

fn unfinished<'a, T: Send + 'a>() -> StoreFuture<'a, T> {
    let error = JournalError::new(JournalErrorKind::Unsuitable, "runs in Blob storage are not supported yet");
    Box::pin(std::future::ready(Err(error)))
}

impl RunStore for BlobRunStore {
    fn create<'a>(&'a self, _: &'a Plan, _: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        unfinished()
    }

    fn append(&self, _: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        unfinished()
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        unfinished()
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        unfinished()
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        unfinished()
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        unfinished()
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        unfinished()
    }
}

impl fmt::Debug for BlobRunStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobRunStore({}, <redacted>)", self.dir)
    }
}

/// A run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRunName {
    /// Its id.
    pub run_id: RunId,
    /// Its directory in the container.
    pub dir: String,
}

/// The runs whose directories are under a prefix such as `fleetlogs`, newest first.
pub async fn recorded_runs(
    _http: &reqwest::Client,
    _source: &SasSource,
    _prefix: &str,
) -> Result<Vec<RecordedRunName>, Failure> {
    Ok(vec![])
}
