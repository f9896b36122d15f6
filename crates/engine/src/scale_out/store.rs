//! A run that several workers share, for whoever looks at it: a store that only reads.

use std::sync::OnceLock;
use std::time::SystemTime;

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunMeta, RunStore, StoreFuture,
    StoredPlan,
};
use futures::{StreamExt, TryStreamExt};

use super::join::{Joining, PlanDigests};
use super::reader::{AT_ONCE, MergedReader, PartitionJournal};

/// The stores of all partitions of a run, in the order of its plan. Nobody works on the run as a whole, so it cannot be
/// created or resumed here.
pub struct MergedRunStore {
    partitions: Vec<(AccountName, Box<dyn RunStore>)>,
    /// How many nodes each has, once the plan was read.
    nodes: OnceLock<Vec<u32>>,
}

impl MergedRunStore {
    /// A run with these partitions.
    #[must_use]
    pub fn new(partitions: Vec<(AccountName, Box<dyn RunStore>)>) -> Self {
        Self { partitions, nodes: OnceLock::new() }
    }

    /// Asks every partition, several at a time, and keeps the order.
    async fn each<'a, T: Send>(
        &'a self,
        ask: impl Fn(&'a dyn RunStore) -> StoreFuture<'a, T> + Send,
    ) -> Result<Vec<T>, JournalError> {
        let asking = self.partitions.iter().map(|(name, store)| {
            let answer = ask(&**store);
            async move { answer.await.map_err(|error| of_partition(name, error)) }
        });
        // Collected first: the compiler cannot tell that a stream over a borrowing closure may be sent.
        let asking: Vec<_> = asking.collect();
        futures::stream::iter(asking).buffered(AT_ONCE).try_collect().await
    }

    async fn join(&self) -> Result<StoredPlan, JournalError> {
        let (mut joining, mut nodes) = (Joining::new(), Vec::with_capacity(self.partitions.len()));
        // One at a time: a plan of a large account is large.
        for (name, store) in &self.partitions {
            let stored = store.plan().await.map_err(|error| of_partition(name, error))?;
            nodes.push(u32::try_from(stored.plan.nodes.len()).unwrap_or(u32::MAX));
            joining.add(stored)?;
        }
        // Plans do not change.
        let _ = self.nodes.set(nodes);
        joining.finish()
    }

    async fn open(&self) -> Result<MergedReader, JournalError> {
        let journals = self.each(|store| store.read()).await?;
        if self.nodes.get().is_none() {
            self.join().await?;
        }
        let mut nodes = self.nodes.get().into_iter().flatten();
        let mut partitions = Vec::with_capacity(self.partitions.len());
        let (mut digests, mut config, mut first) = (PlanDigests::default(), None, 0_u32);
        for (reader, (name, _)) in journals.into_iter().zip(&self.partitions) {
            let meta = reader.meta().map_err(|error| of_partition(name, error))?;
            digests.add(&meta.plan_digest);
            config.get_or_insert(meta.config);
            let nodes = nodes.next().copied().unwrap_or_default();
            partitions.push(PartitionJournal { name: name.clone(), first, nodes, reader });
            first = first.saturating_add(nodes);
        }
        let config = config.unwrap_or_default();
        Ok(MergedReader::new(partitions, RunMeta { plan_digest: digests.finish(), config }))
    }

    fn refuse<T>(what: &str) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
    {
        let error = JournalError::new(JournalErrorKind::Unsuitable, what);
        Box::pin(std::future::ready(Err(error)))
    }
}

/// An error with the name of the partition.
fn of_partition(name: &AccountName, error: JournalError) -> JournalError {
    JournalError { what: format!("partition {name}: {}", error.what).into(), ..error }
}

impl RunStore for MergedRunStore {
    fn create<'a>(&'a self, _: &'a Plan, _: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        Self::refuse("the plan of a run with partitions is created partition by partition")
    }

    fn append(&self, _: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        Self::refuse("workers append to the partitions of this run, not to the run as a whole")
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        Box::pin(self.join())
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        Box::pin(async { Ok(Box::new(self.open().await?) as Box<dyn JournalReader>) })
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        Box::pin(async { Ok(Box::new(self.each(|store| store.hold()).await?) as RunHold) })
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        Box::pin(async { Ok(self.each(|store| store.changed_at()).await?.into_iter().flatten().max()) })
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { Ok(self.each(|store| store.is_held()).await?.contains(&true)) })
    }
}

#[cfg(test)]
mod tests;
