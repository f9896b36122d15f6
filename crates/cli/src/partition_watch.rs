//! How the partitions of a run that is shared out stand, and which workers have them.

use fleetlogs_azure::BlobRunStore;
use fleetlogs_engine::scale_out::PartitionStanding;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::ledger::{AccountTally, Ledger};
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::partition_state::PartitionState;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{JournalError, RunHolder, RunStore as _};
use fleetlogs_report::PartitionRow;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Duration, Instant};

use crate::error::CliError;
use crate::shared_run::SharedRun;

/// Between two looks at who has the partitions: each is two requests for every partition that is not over.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Partitions that are looked at side by side.
const AT_ONCE: usize = 16;

/// The partitions of a run, as far as they were looked at.
pub(crate) struct PartitionWatch<'run> {
    shared: &'run SharedRun,
    stores: Vec<BlobRunStore>,
    holders: Vec<Option<RunHolder>>,
    /// Whether the holder was asked for after the partition was over.
    settled: Vec<bool>,
    looked_at: Option<Instant>,
}

impl<'run> PartitionWatch<'run> {
    pub(crate) fn new(shared: &'run SharedRun) -> Self {
        let stores: Vec<_> = shared.partitions().map(|(_, store)| store).collect();
        let (holders, settled) = (vec![None; stores.len()], vec![false; stores.len()]);
        Self { shared, stores, holders, settled, looked_at: None }
    }

    /// Whether no process has to work on any partition any more, as far as the journals were read.
    pub(crate) fn is_over(&self, ledger: &Ledger) -> bool {
        let standings = self.shared.standings();
        standings.iter().all(|standing| standing.is_over(outstanding(&counts_of(ledger, &standing.name))))
    }

    /// Looks at which workers have the partitions, unless it did so a moment ago. Returns whether a partition was planned
    /// since the run was opened; the run then has to be opened again.
    pub(crate) async fn look(&mut self, ledger: &Ledger) -> Result<bool, CliError> {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(false);
        }
        let standings = self.shared.standings();
        let unsettled = standings.iter().zip(&self.stores).enumerate().filter(|(at, _)| !self.settled[*at]);
        let looks: Vec<_> = unsettled.map(|(at, (standing, store))| look_at(at, standing, store)).collect();
        let looks = futures::stream::iter(looks).buffer_unordered(AT_ONCE);
        let looks: Vec<Look> = looks.try_collect().await?;
        let mut is_planned_now = false;
        for Look { at, holder, is_planned } in looks {
            self.holders[at] = holder;
            self.settled[at] = standings[at].is_over(outstanding(&counts_of(ledger, &standings[at].name)));
            is_planned_now |= is_planned && !standings[at].is_planned;
        }
        self.looked_at = Some(Instant::now());
        Ok(is_planned_now)
    }

    /// The partitions as they stand. `rates` are those of the accounts in the order of the plan.
    pub(crate) fn rows(&self, plan: &Plan, ledger: &Ledger, rates: &[Option<f64>]) -> Vec<PartitionRow> {
        let standings = self.shared.standings();
        let parts = self.shared.partitions().map(|(part, _)| part).zip(&standings).zip(&self.holders);
        let row = |((part, standing), holder): (
            (&fleetlogs_azure::StoredPartition, &PartitionStanding),
            &Option<RunHolder>,
        )| {
            let account = plan.account_index(&part.name).map(|index| index.0 as usize);
            let planned = account.filter(|at| plan.accounts[*at].unlisted.is_none());
            let tally = account.and_then(|at| ledger.accounts().nth(at)).map(|(_, tally)| tally);
            let counts = counts_of(ledger, &part.name);
            // A worker could not list it, or gave it up before.
            let unlisted = account.and_then(|at| plan.accounts[at].unlisted.as_ref());
            let unlisted = unlisted.filter(|_| standing.is_planned);
            let outstanding = outstanding(&counts);
            let collected = counts.collected(true);
            PartitionRow {
                name: part.name.clone(),
                site: part.site.clone(),
                state: match (standing.state(outstanding, holder.as_ref()), unlisted) {
                    (PartitionState::Done, Some(_)) => PartitionState::GivenUp,
                    (state, _) => state,
                },
                reason: standing.stopped.as_ref().map(|(reason, _)| reason.to_string()).or(unlisted.cloned()),
                worker: holder.as_ref().map(|holder| holder.who.clone()),
                since: holder.as_ref().and_then(|holder| holder.since),
                planned: planned.and(tally).map(AccountTally::planned),
                collected,
                not_collected: counts.total().saturating_sub(collected + outstanding),
                outstanding,
                counts,
                calls_per_second: account.and_then(|at| rates.get(at).copied().flatten()),
            }
        };
        parts.map(row).collect()
    }
}

/// What was seen of a partition.
struct Look {
    at: usize,
    holder: Option<RunHolder>,
    is_planned: bool,
}

async fn look_at(
    at: usize,
    standing: &PartitionStanding,
    store: &BlobRunStore,
) -> Result<Look, JournalError> {
    if !standing.is_planned {
        let is_planned = store.find_stored_run().await?.is_some();
        return Ok(Look { at, holder: None, is_planned });
    }
    Ok(Look { at, holder: store.holder().await?, is_planned: true })
}

fn counts_of(ledger: &Ledger, account: &AccountName) -> OutcomeCounts {
    let tally = ledger.accounts().find(|(name, _)| *name == account);
    tally.map(|(_, tally)| tally.outcomes()).unwrap_or_default()
}

/// Nodes for which a worker has something left to do.
fn outstanding(counts: &OutcomeCounts) -> u64 {
    [Outcome::NotSent, Outcome::Accepted, Outcome::InDoubt].map(|outcome| counts.get(outcome)).iter().sum()
}
