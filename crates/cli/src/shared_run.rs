//! The record of a run in Blob storage, which may be shared out to several workers.
//!
//! Whether it is, `run.json` says. It is read when it is needed first, so that naming a run sends nothing. A run that is
//! shared out reads like any other; what only its partitions can tell, they are asked.

use std::sync::Arc;
use std::time::SystemTime;

use fleetlogs_azure::{BlobRunStore, StoredPartition, StoredRun};
use fleetlogs_engine::scale_out::{MergedRunStore, PartitionStanding, PartitionStore, RunSeed};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunHolder, RunStore, StoreFuture,
    StoredPlan,
};
use tokio::sync::OnceCell;

/// A run in Blob storage. Clones share what was read.
#[derive(Clone)]
pub(crate) struct RunInBlob(Arc<Inner>);

struct Inner {
    store: BlobRunStore,
    url: String,
    /// Read once.
    shared: OnceCell<Option<SharedRun>>,
}

/// A run that is shared out to several workers.
pub(crate) struct SharedRun {
    /// What is on record of the whole.
    pub(crate) stored: StoredRun,
    whole: BlobRunStore,
    merged: MergedRunStore,
}

impl SharedRun {
    /// Its partitions, in the order of its plan, with their records.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&StoredPartition, BlobRunStore)> {
        self.stored.partitions.iter().map(|part| (part, self.whole.partition(part.name.as_str())))
    }

    /// How its partitions stand, as far as the journal that was opened last was read.
    pub(crate) fn standings(&self) -> Vec<PartitionStanding> {
        self.merged.standings()
    }

    async fn of(whole: BlobRunStore, stored: StoredRun, url: &str) -> Result<Self, JournalError> {
        let plan = whole.plan().await?;
        if plan.digest != stored.plan_sha256 {
            let what = format!("the plan of `{}` in Blob storage is another run's", whole.dir());
            return Err(JournalError::new(JournalErrorKind::OtherPlan, what));
        }
        let seed = RunSeed { plan, config: stored.config.clone(), url: Some(url.to_owned()) };
        let partition = |part: &StoredPartition| PartitionStore {
            name: part.name.clone(),
            site: part.site.clone(),
            store: Box::new(whole.partition(part.name.as_str())),
        };
        let merged = MergedRunStore::new(seed, stored.partitions.iter().map(partition).collect());
        Ok(Self { stored, whole, merged })
    }
}

impl RunInBlob {
    /// The run of a store, whose URL this is. Sends nothing.
    pub(crate) fn new(store: BlobRunStore, url: String) -> Self {
        Self(Arc::new(Inner { store, url, shared: OnceCell::new() }))
    }

    /// Whether it is shared out, as far as that is known.
    pub(crate) fn is_shared_out(&self) -> bool {
        matches!(self.0.shared.get(), Some(Some(_)))
    }

    /// The run if it is shared out, and exists. A run is not shared out later on.
    pub(crate) async fn shared(&self) -> Result<Option<&SharedRun>, JournalError> {
        if let Some(known) = self.0.shared.get() {
            return Ok(known.as_ref());
        }
        let Some(stored) = self.0.store.find_stored_run().await? else { return Ok(None) };
        let read = || async move {
            if stored.partitions.is_empty() {
                return Ok(None);
            }
            SharedRun::of(self.0.store.clone(), stored, &self.0.url).await.map(Some)
        };
        Ok(self.0.shared.get_or_try_init(read).await?.as_ref())
    }

    /// What reads like a run of one process.
    async fn record(&self) -> Result<&dyn RunStore, JournalError> {
        Ok(match self.shared().await? {
            Some(shared) => &shared.merged,
            None => &self.0.store,
        })
    }
}

impl RunStore for RunInBlob {
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        self.0.store.create(plan, config)
    }

    fn append(&self, accept_copy: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        Box::pin(async move { self.record().await?.append(accept_copy).await })
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        Box::pin(async { self.record().await?.plan().await })
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        Box::pin(async { self.record().await?.read().await })
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        Box::pin(async { self.record().await?.hold().await })
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        Box::pin(async { self.record().await?.changed_at().await })
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { self.record().await?.is_held().await })
    }

    fn holder(&self) -> StoreFuture<'_, Option<RunHolder>> {
        Box::pin(async { self.record().await?.holder().await })
    }
}
