//! Lays out a run that workers share: its partitions first, then the run itself, then the messages.
//!
//! A process that dies in between leaves partitions that belong to no run, or a run whose messages `fan-in` sends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::time::Duration;

use fleetlogs_azure::{AzureWorkQueue, BlobRunStore, StoredPartition};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::scale_out::split_plan;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::retry::persistently;
use fleetlogs_model::work_queue::{QueueError, WorkItem, WorkQueue};
use futures::{StreamExt, TryStreamExt};
use tokio::time::sleep;

use super::stored_pick::StoredPick;
use crate::args::Pick;
use crate::config::Settings;
use crate::error::{CliError, Refusal};
use crate::fleet::Fleet;
use crate::journal_container::{JournalContainer, JournalUse};
use crate::run::{BegunRun, Watchers};
use crate::run_dir::{RunDir, recorded_config};
use crate::work_queues::WorkQueues;

/// Partitions that are laid out at the same time.
const AT_ONCE: usize = 8;

/// How often a message is sent before that counts as failed, and the pause in between.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);

/// A run that is laid out for workers.
pub(crate) struct LaidOutRun {
    pub(crate) run: RunId,
    /// Where its reports will be.
    pub(crate) dir: RunDir,
    /// Nodes that are planned; workers of sites plan more.
    pub(crate) nodes: usize,
    pub(crate) partitions: Vec<StoredPartition>,
    /// Those for which a worker has to come.
    pub(crate) work: Vec<StoredPartition>,
}

impl LaidOutRun {
    /// Plans a run, except for the accounts of sites, and lays it out.
    pub(crate) async fn lay_out(
        config: &Path,
        pick: &Pick,
        settings: &Settings,
        container: &JournalContainer,
        watchers: &Watchers,
    ) -> Result<Self, CliError> {
        let run = RunId::new(Clock::System.now(), fastrand::u16(..));
        let mut begun = BegunRun::connect(run.clone(), settings, config).await?;
        let of_sites = begun.fleet.retain(|account| account.site.is_none());
        watchers.name_run(&run, &settings.output_dir.join(run.as_str()));
        let BegunRun { fleet, destination, .. } = &begun;
        let head = (&run, &*destination.url());
        let plan = if fleet.accounts().is_empty() && fleet.unlisted_accounts().is_empty() {
            Fleet::empty_plan(settings, head)
        } else {
            fleet.plan(settings, head, watchers.planning()).await?.warned()
        };
        let unmatched = fleet.unmatched(&plan);
        if plan.nodes.is_empty() && of_sites.is_empty() {
            return Err(CliError::no_node(&plan.left_out, &unmatched));
        }
        begun.check(settings, &plan, Some(&settings.window), &unmatched).await?;

        let record = container.records(settings.partition_lease())?.of(&run);
        let config = recorded_config(config);
        lay_out_partitions(&record, &plan, &config).await?;
        let here = plan.accounts.iter().map(|account| partition(account.name.clone(), None));
        let there = of_sites.into_iter().map(|account| partition(account.planned.name, account.site));
        let partitions: Vec<_> = here.chain(there).collect();
        let pick = StoredPick::of(pick).to_json()?;
        record.lay_out_whole(&plan.head(), &config, &partitions, Some(pick)).await?;

        let dir = container.run(settings.output_dir.join(run.as_str()), &run, JournalUse::Write)?;
        dir.keep_here(&plan)?;
        let has_work = |partition: &&StoredPartition| {
            let planned = plan.accounts.iter().find(|account| account.name == partition.name);
            planned.is_none_or(|account| account.nodes > 0)
        };
        let work = partitions.iter().filter(has_work).cloned().collect();
        Ok(Self { run, dir, nodes: plan.nodes.len(), partitions, work })
    }
}

pub(super) fn partition(name: AccountName, site: Option<String>) -> StoredPartition {
    StoredPartition { name, site }
}

async fn lay_out_partitions(record: &BlobRunStore, plan: &Plan, config: &str) -> Result<(), CliError> {
    let laying = split_plan(plan).map(|part| async move {
        let part = part.map_err(|error| CliError::spool(&error))?;
        let name = &part.accounts[0].name;
        record.partition(name.as_str()).lay_out(&part, config).await?;
        Ok::<_, CliError>(())
    });
    futures::stream::iter(laying).buffer_unordered(AT_ONCE).try_collect().await
}

/// Puts a message for each partition into the queue of its site.
pub(crate) async fn send(
    queues: &WorkQueues,
    run: &RunId,
    partitions: &[StoredPartition],
) -> Result<(), CliError> {
    let mut of_site: HashMap<Option<&str>, AzureWorkQueue> = HashMap::new();
    for partition in partitions {
        let queue = match of_site.entry(partition.site.as_deref()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => {
                let queue = queues.of_site(partition.site.as_deref()).await?;
                none.insert(queue)
            }
        };
        let item = WorkItem { run: run.clone(), partition: partition.name.clone() };
        send_one(queue, &item).await.map_err(|error| {
            let what = format!("the message for partition {} cannot be sent: {error}", partition.name);
            let help = format!("`fleetlogs fan-in {run}` sends the messages that are missing, and waits");
            CliError::not_done(Refusal::new(what, help))
        })?;
    }
    Ok(())
}

/// One that was sent twice is harmless: the second worker finds the partition held, or done.
async fn send_one(queue: &AzureWorkQueue, item: &WorkItem) -> Result<(), QueueError> {
    let pause = |attempt, _: &Failure| (attempt < ATTEMPTS).then_some(PAUSE);
    persistently(|| queue.send(item), pause, sleep).await
}
