//! A run that several workers share, for whoever looks at it: a store that only reads.

use std::time::SystemTime;

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::{Plan, PlannedAccount};
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunMeta, RunStore, StoreFuture,
    StoredPlan,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::join::{Joining, PlanDigests, UNPLANNED};
use super::reader::{AT_ONCE, MergedReader, NoJournal, PartitionJournal, Standings};
use super::standing::PartitionStanding;

/// The stores of all partitions of a run, in the order of its plan. Nobody works on the run as a whole, so it cannot be
/// created or resumed here.
///
/// A partition may have no plan yet. In the plan of the run, it is an account that could not be listed, with the reason.
/// What is read of the journal belongs to the plan that was read last; a partition that was planned since is in the next.
pub struct MergedRunStore {
    seed: RunSeed,
    partitions: Vec<PartitionStore>,
    /// What was read of the partitions' plans; none for one that has no plan yet.
    planned: Mutex<Option<Vec<Option<PlannedPart>>>>,
    standings: Standings,
}

/// What is stored of the run as a whole.
#[derive(Debug)]
pub struct RunSeed {
    /// What the plans of all partitions have in common. Its accounts do not count.
    pub plan: StoredPlan,
    /// Path of the config that the run was started with.
    pub config: String,
    /// The URL of the run, if it has one.
    pub url: Option<String>,
}

/// A partition, and where it is stored.
pub struct PartitionStore {
    /// Its account.
    pub name: AccountName,
    /// The site whose workers plan it. None if it is planned with the run.
    pub site: Option<String>,
    /// Its record.
    pub store: Box<dyn RunStore>,
}

/// What the journal of a partition needs to know of its plan.
#[derive(Clone)]
struct PlannedPart {
    nodes: u32,
    digest: String,
}

impl MergedRunStore {
    /// A run with these partitions.
    #[must_use]
    pub fn new(seed: RunSeed, partitions: Vec<PartitionStore>) -> Self {
        Self { seed, partitions, planned: Mutex::default(), standings: Standings::default() }
    }

    /// How the partitions stand, as far as the reader that was opened last has read their journals. Empty before there
    /// was one.
    pub fn standings(&self) -> Vec<PartitionStanding> {
        self.standings.lock().clone()
    }

    /// Asks every partition, several at a time, and keeps the order.
    async fn each<'a, T: Send>(
        &'a self,
        ask: impl Fn(&'a dyn RunStore) -> StoreFuture<'a, T> + Send + Sync,
    ) -> Result<Vec<T>, JournalError> {
        let asking = self.partitions.iter().map(|part| {
            let answer = ask(&*part.store);
            async move { answer.await.map_err(|error| of_partition(&part.name, error)) }
        });
        // Collected first: the compiler cannot tell that a stream over a borrowing closure may be sent.
        let asking: Vec<_> = asking.collect();
        futures::stream::iter(asking).buffered(AT_ONCE).try_collect().await
    }

    /// The same of those partitions that have a record.
    async fn each_recorded<'a, T: Send + 'a>(
        &'a self,
        ask: impl Fn(&'a dyn RunStore) -> StoreFuture<'a, T> + Send + Sync,
    ) -> Result<Vec<Option<T>>, JournalError> {
        self.each(|store| {
            let answer = ask(store);
            Box::pin(async move {
                match answer.await {
                    Err(error) if error.kind == JournalErrorKind::Missing => Ok(None),
                    answer => answer.map(Some),
                }
            })
        })
        .await
    }

    async fn join(&self) -> Result<StoredPlan, JournalError> {
        let (mut joining, mut planned) =
            (Joining::new(&self.seed.plan), Vec::with_capacity(self.partitions.len()));
        // One at a time: a plan of a large account is large.
        for part in &self.partitions {
            let Some(stored) = part.plan().await.map_err(|error| of_partition(&part.name, error))? else {
                joining.add_unplanned(part.unplanned())?;
                planned.push(None);
                continue;
            };
            let nodes = u32::try_from(stored.plan.nodes.len()).unwrap_or(u32::MAX);
            planned.push(Some(PlannedPart { nodes, digest: stored.digest.clone() }));
            joining.add(stored)?;
        }
        let joined = joining.finish()?;
        *self.planned.lock() = Some(planned);
        Ok(joined)
    }

    async fn open(&self) -> Result<MergedReader, JournalError> {
        if self.planned.lock().is_none() {
            self.join().await?;
        }
        let planned = self.planned.lock().clone().unwrap_or_default();
        let journals = self.each_recorded(|store| store.read()).await?;
        let (mut partitions, mut first) = (Vec::with_capacity(self.partitions.len()), 0_u32);
        let mut digests = PlanDigests::default();
        digests.add(&self.seed.plan.digest);
        for ((part, planned), reader) in self.partitions.iter().zip(planned).zip(journals) {
            let name = part.name.clone();
            let Some(PlannedPart { nodes, digest }) = planned else {
                digests.add(UNPLANNED);
                let reader = Box::new(NoJournal);
                partitions.push(PartitionJournal { name, first, nodes: 0, awaits_plan: true, reader });
                continue;
            };
            // A plan without a journal: whoever laid the partition out died halfway, and nobody has begun it.
            let reader = reader.unwrap_or_else(|| Box::new(NoJournal));
            let meta = reader.meta().map_err(|error| of_partition(&name, error))?;
            digests.add(if meta.plan_digest.is_empty() { &digest } else { &meta.plan_digest });
            partitions.push(PartitionJournal { name, first, nodes, awaits_plan: false, reader });
            first = first.saturating_add(nodes);
        }
        let RunSeed { config, url, .. } = &self.seed;
        let meta =
            RunMeta { plan_digest: digests.finish(), config: config.clone(), shared_out_at: url.clone() };
        Ok(MergedReader::new(partitions, meta, self.standings.clone()))
    }

    fn refuse<T>(what: &str) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
    {
        let error = JournalError::new(JournalErrorKind::Unsuitable, what);
        Box::pin(std::future::ready(Err(error)))
    }
}

impl PartitionStore {
    /// Its plan; none if nothing is laid out there.
    async fn plan(&self) -> Result<Option<StoredPlan>, JournalError> {
        match self.store.plan().await {
            // A plan that cannot be read is another matter.
            Err(error) if matches!(error.kind, JournalErrorKind::NoPlan | JournalErrorKind::Missing) => {
                match self.store.read().await {
                    Err(missing) if missing.kind == JournalErrorKind::Missing => Ok(None),
                    Err(_) | Ok(_) => Err(error),
                }
            }
            answer => answer.map(Some),
        }
    }

    /// What the plan of the run says of it as long as it has none.
    fn unplanned(&self) -> PlannedAccount {
        let why = match &self.site {
            Some(site) => format!("not planned yet: no worker of site `{site}` has begun it"),
            None => "not planned yet: no worker has begun it".to_owned(),
        };
        PlannedAccount {
            name: self.name.clone(),
            endpoint: String::new(),
            api_version: String::new(),
            pools: 0,
            nodes: 0,
            list_calls: 0,
            unlisted: Some(why),
            missing: None,
        }
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
        Box::pin(async { Ok(Box::new(self.each_recorded(|store| store.hold()).await?) as RunHold) })
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        Box::pin(async {
            let changed = self.each_recorded(|store| store.changed_at()).await?;
            Ok(changed.into_iter().flatten().flatten().max())
        })
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { Ok(self.each_recorded(|store| store.is_held()).await?.contains(&Some(true))) })
    }
}

#[cfg(test)]
mod tests;
