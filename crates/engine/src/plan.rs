//! The planner: lists pools and nodes, selects, orders, and freezes the result.
//!
//! Accounts are listed side by side, and pools of an account as well. An account that cannot be listed is named in
//! the plan with its reason; the others are planned. Lists may repeat a node across pages (the list moves while it
//! is read), so ids are compared without regard to case and taken once.

pub(crate) mod reader;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetlogs_model::evidence::{NodeEvidence, SharedFacts};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use fleetlogs_model::plan::{LeftOut, LeftOutReason, PlannedAccount};
use fleetlogs_model::planned::FoundNodes;
use fleetlogs_model::planned::{PlannedNode, PlannedPool, Priority};
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::service::{BatchService, Node, NodeState, Page, PageLink, Pool, Task};
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use self::reader::{Reader, Seen, Sight};
use crate::jobs::{JobFilter, Places, Ran};
use crate::select::{Awaited, Selection, inability};
use crate::window::NodeWindows;

/// Pools of one account listed side by side. List calls count against the account's unpublished limits, too.
const POOLS_AT_ONCE: usize = 4;

/// An account whose lists take longer is given up: the others wait for the plan. A list of 100,000 nodes takes a minute.
const LONGEST_LISTING: Duration = Duration::from_secs(600);

/// Nodes of one pool that are held with all that is known of them; of those before, what must be is in memory.
const HELD_AT_ONCE: usize = 2000;

/// An account as planning found it.
#[derive(Debug)]
pub struct AccountPlan {
    /// The account, with its counts.
    pub account: PlannedAccount,
    /// Its pools whose nodes were listed.
    pub pools: Vec<Arc<PlannedPool>>,
    /// Its nodes, in the order in which they will be asked.
    pub nodes: FoundNodes,
    /// What was seen and left out.
    pub left_out: Vec<LeftOut>,
}

/// An account that could not be planned.
#[derive(Debug)]
pub struct NotPlanned {
    /// Why.
    pub cause: Cause,
    /// List calls that were sent all the same.
    pub list_calls: u32,
}

/// Why an account could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It could not be listed.
    #[error(transparent)]
    Unlisted(#[from] Failure),
    /// What is known of its nodes could not be kept.
    #[error(transparent)]
    Spool(#[from] io::Error),
}

/// What the planning of all accounts has in common.
#[derive(Clone, Copy)]
pub struct Planning<'plan> {
    /// Ages are counted until then.
    pub now: OffsetDateTime,
    /// How a node's own window is made, where nodes have one.
    pub since: Option<&'plan NodeWindows>,
    /// How calls are tried again.
    pub retry: &'plan RetryPolicy,
    /// Of all accounts that are listed side by side, so many hold pages of nodes in memory; an account that does not
    /// answer is none of them.
    pub slots: &'plan Semaphore,
    /// Hears how it gets on.
    pub listener: &'plan dyn PlanListener,
}

/// Hears how planning gets on: pools listed and nodes seen so far.
pub trait PlanListener: Sync {
    /// An account got further.
    fn listed(&self, account: &AccountName, pools: u32, nodes: u32);
}

/// Lists one account. `account` has the account's names; its counts are filled in.
pub async fn plan_account<B: BatchService>(
    account: PlannedAccount,
    service: &B,
    selection: &Selection,
    planning: Planning<'_>,
) -> Result<AccountPlan, NotPlanned> {
    let name = account.name.clone();
    let reader = Reader::new(&name, planning.retry, fastrand::Rng::new());
    let planned = plan_with(account, service, selection, planning, &reader);
    let planned = tokio::time::timeout(LONGEST_LISTING, planned).await.unwrap_or_else(|_| {
        let message = format!("its lists could not be read within {} s", LONGEST_LISTING.as_secs());
        Err(Failure::new(FailureClass::Transient, message).into())
    });
    planned.map_err(|cause| NotPlanned { cause, list_calls: reader.calls() })
}

async fn plan_with<B: BatchService>(
    mut account: PlannedAccount,
    service: &B,
    selection: &Selection,
    Planning { now, since, slots, listener, .. }: Planning<'_>,
    reader: &Reader<'_>,
) -> Result<AccountPlan, Cause> {
    let name = account.name.clone();
    let mut left_out = Vec::new();
    let mut leave_out = |pool: &PoolId, reason| left_out.push(left(&name, pool, None, reason));
    let mut seen = Seen::default();
    let mut pools = Vec::new();
    reader
        .each(
            |page| async move { service.list_pools(page.as_ref()).await },
            |pool: Pool| {
                let sight = seen.see(pool.id.as_str());
                match sight {
                    Sight::First => pools.push(pool),
                    Sight::Again => {}
                    Sight::InOtherCase => leave_out(&pool.id, LeftOutReason::ListedTwice),
                }
                sight == Sight::First
            },
        )
        .await?;
    let places = places_of(reader, service, &name, &selection.jobs, now).await?;
    let awaited = selection.exact.as_ref().map(|exact| exact.of(&name));
    let (wanted, not_wanted) = choose_pools(pools, selection, &places, awaited.as_ref());
    for (pool, reason) in &not_wanted {
        leave_out(pool, *reason);
    }
    // Pools whose nodes are not listed, so that nothing can be said of a node that is not in a list.
    let mut unlisted: Vec<_> = not_wanted
        .into_iter()
        .filter(|(_, reason)| *reason == LeftOutReason::PoolNotSelected)
        .map(|(pool, _)| pool)
        .collect();
    listener.listed(&account.name, 0, 0);
    let _slot = slots.acquire().await;
    let shared = Shared { places, awaited, facts: SharedFacts::default(), nodes: FoundNodes::default() };
    let sorting = Sorting { selection, now, since, shared: Mutex::new(shared) };
    let (sorter, account_name) = (&sorting, &name);
    let mut listed = futures::stream::iter(wanted.into_iter().enumerate())
        .map(|(order, pool)| async move {
            let mut found = Sorted::of(planned_pool(account_name, &pool));
            let id = &pool.id;
            let list = |page: Option<PageLink>| async move { service.list_nodes(id, page.as_ref()).await };
            let read = reader.each(list, |node| sorter.sort(node, &pool, &mut found)).await;
            (order, pool.id, read.map(|()| found))
        })
        .buffer_unordered(POOLS_AT_ONCE);
    let mut pools = Vec::new();
    let mut count = 0;
    let mut refused = None;
    let mut left_of_pools = Vec::new();
    while let Some((order, pool, found)) = listed.next().await {
        let mut found = match found {
            Ok(found) => found,
            Err(failure) if failure.class == FailureClass::Gone => {
                leave_out(&pool, LeftOutReason::PoolGone);
                continue;
            }
            // One bad pool must not cost the others.
            Err(failure) => {
                tracing::warn!(account = %account.name, %pool, %failure, "the nodes of a pool cannot be listed");
                let cause = Some(failure.to_string().into());
                let entry = left(&name, &pool, None, LeftOutReason::PoolNotListed);
                left_of_pools.push(LeftOut { cause, ..entry });
                unlisted.push(pool);
                refused.get_or_insert(failure);
                continue;
            }
        };
        account.pools += 1;
        sorting.end(&mut found)?;
        left_of_pools.extend(found.left_out);
        pools.push((order, found.pool));
        count += found.count;
        listener.listed(&account.name, account.pools, count);
    }
    drop(listed);
    left_out.extend(left_of_pools);
    let Shared { places, awaited, mut nodes, .. } = sorting.into_shared();
    for (pool, node, reason) in gone(places, awaited, selection) {
        // Pools whose nodes were not listed say nothing.
        if unlisted.iter().all(|other| !other.as_str().eq_ignore_ascii_case(pool.as_str())) {
            left_out.push(left(&name, &pool, Some(&node), reason));
        }
    }
    if let (0, Some(failure)) = (account.pools, refused) {
        return Err(failure.into());
    }
    // Those about to vanish first; within a priority in the order of the lists, whatever arrived first.
    pools.sort_by_key(|(order, _)| *order);
    let order: HashMap<*const PlannedPool, usize> =
        pools.iter().map(|(order, pool)| (Arc::as_ptr(pool), *order)).collect();
    nodes.sort(|pool| order.get(&Arc::as_ptr(pool)).copied());
    account.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    account.list_calls = reader.calls();
    left_out.sort_by(|x, y| (&x.pool, &x.node).cmp(&(&y.pool, &y.node)));
    account.missing = missing(&left_out);
    let pools = pools.into_iter().map(|(_, pool)| pool).collect();
    Ok(AccountPlan { account, pools, nodes, left_out })
}

/// Nodes that are wanted for themselves, or that tasks of wanted jobs ran on, and that no list had.
fn gone(
    places: Places,
    awaited: Option<Awaited>,
    selection: &Selection,
) -> Vec<(PoolId, NodeId, LeftOutReason)> {
    match awaited {
        Some(awaited) => {
            awaited.gone().map(|(pool, node)| (pool, node, LeftOutReason::WatchedNodeGone)).collect()
        }
        None => (places.gone().into_iter())
            .filter(|place| selection.pools.wants_id(&place.pool))
            .map(|place| (place.pool, place.node, LeftOutReason::JobNodeGone))
            .collect(),
    }
}

/// Which pools could not be listed, in words.
fn missing(left_out: &[LeftOut]) -> Option<String> {
    let mut unlisted = left_out.iter().filter(|left| left.reason == LeftOutReason::PoolNotListed);
    let first = unlisted.next()?;
    let cause = first.cause.as_deref().unwrap_or_default();
    let more = match unlisted.count() {
        0 => String::new(),
        more => format!(", and {more} more of its pools"),
    };
    Some(format!("not all of it could be listed: pool `{}`: {cause}{more}", first.pool))
}

/// Sorts nodes as their pages come in, so that no list is ever held as a whole.
struct Sorting<'plan> {
    selection: &'plan Selection,
    now: OffsetDateTime,
    since: Option<&'plan NodeWindows>,
    /// Pools are listed side by side.
    shared: Mutex<Shared>,
}

struct Shared {
    places: Places,
    /// Of a plan for exact nodes, those that no list had yet.
    awaited: Option<Awaited>,
    facts: SharedFacts,
    nodes: FoundNodes,
}

/// The nodes of one pool.
struct Sorted {
    pool: Arc<PlannedPool>,
    seen: Seen,
    wanted: Vec<PlannedNode>,
    left_out: Vec<LeftOut>,
    /// How many were wanted and are kept, if that worked.
    count: u32,
    kept: io::Result<()>,
}

impl Sorted {
    fn of(pool: PlannedPool) -> Self {
        let (wanted, left_out) = (vec![], vec![]);
        Self { pool: pool.into(), seen: Seen::default(), wanted, left_out, count: 0, kept: Ok(()) }
    }
}

impl Sorting<'_> {
    /// Returns whether the node is new.
    fn sort(&self, node: Node, pool: &Pool, into: &mut Sorted) -> bool {
        let reason = match into.seen.see(node.id.as_str()) {
            Sight::First => None,
            Sight::Again => return false,
            Sight::InOtherCase => Some(LeftOutReason::ListedTwice),
        };
        let mut shared = self.shared();
        let Shared { places, awaited, facts, .. } = &mut *shared;
        let jobs = &self.selection.jobs;
        let ran = if reason.is_none() {
            places.take(&pool.id, &node.id, &node.recent_tasks, jobs, self.now)
        } else {
            None
        };
        let of_no_job = (!jobs.is_empty() && ran.is_none()).then_some(LeftOutReason::NoTaskOfJob);
        let is_awaited = awaited.as_mut().map(|awaited| awaited.take(&pool.id, &node.id));
        let reason = reason.or_else(|| match is_awaited {
            Some(false) => Some(LeftOutReason::IdNotSelected),
            Some(true) => of_no_job.or_else(|| inability(&node)),
            None => of_no_job.or_else(|| self.selection.nodes.unwanted(&node, self.now)),
        });
        if let Some(reason) = reason {
            let entry = left(&into.pool.account, &pool.id, Some(&node.id), reason);
            let evidence = reason.is_inability().then(|| Box::new(NodeEvidence::of(node, facts)));
            into.left_out.push(LeftOut { evidence, ..entry });
            return reason != LeftOutReason::ListedTwice;
        }
        let mut node = PlannedNode {
            place: into.pool.clone(),
            priority: priority(pool, &node),
            node: node.id.clone(),
            evidence: NodeEvidence::of(node, facts),
            window: None,
            ran: ran.and_then(|Ran(ran)| ran).map(Box::new),
        };
        node.window = self.since.map(|since| since.of(&node, self.now).into());
        into.wanted.push(node);
        drop(shared);
        if into.wanted.len() >= HELD_AT_ONCE && self.selection.nodes.limit_per_pool.is_none() {
            self.keep(into);
        }
        true
    }

    /// Puts the nodes that are wanted where they take little room. In order, so that they can be read back with few calls.
    fn keep(&self, from: &mut Sorted) {
        from.wanted.sort_by(|x, y| (x.priority, &x.node).cmp(&(y.priority, &y.node)));
        let nodes = &mut self.shared().nodes;
        for node in from.wanted.drain(..) {
            if from.kept.is_ok() {
                from.kept = nodes.push(&node);
                from.count += 1;
            }
        }
    }

    /// All of a pool is listed: keeps what is wanted of it, or a sample.
    fn end(&self, found: &mut Sorted) -> io::Result<()> {
        let wanted = std::mem::take(&mut found.wanted);
        let (sample, rest) = match self.selection.exact {
            Some(_) => (wanted, vec![]),
            None => self.selection.nodes.sample(wanted),
        };
        found.wanted = sample;
        self.keep(found);
        for node in rest {
            let (account, pool) = (node.account(), node.pool());
            found.left_out.push(left(account, pool, Some(&node.node), LeftOutReason::NotInSample));
        }
        std::mem::replace(&mut found.kept, Ok(()))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_shared(self) -> Shared {
        self.shared.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the tasks of the wanted jobs ran. A job that cannot be read is a failure of the account: without it, nodes would
/// be missing from the plan unnoticed. One that the account does not have may be another account's.
async fn places_of<B: BatchService>(
    reader: &Reader<'_>,
    service: &B,
    account: &AccountName,
    jobs: &[JobFilter],
    now: OffsetDateTime,
) -> Result<Places, Failure> {
    let mut places = Places::default();
    for job in jobs {
        let of_job = |mut failure: Failure| {
            failure.message = format!("job `{}`: {}", job.id, failure.message).into();
            failure
        };
        let list = |page: Option<PageLink>| async move { service.list_tasks(&job.id, page.as_ref()).await };
        let tasks = match reader.all(list).await {
            Ok(tasks) => tasks,
            Err(failure) if failure.class == FailureClass::Gone => {
                tracing::warn!(%account, job = %job.id, "the account has no such job");
                continue;
            }
            Err(failure) => return Err(of_job(failure)),
        };
        let wants = |task: &Task| job.wants(&task.id, task.started, task.ended);
        for task in tasks.into_iter().filter(wants) {
            if task.instances > 1 {
                let subtasks = |_: Option<PageLink>| async {
                    let items = service.list_subtasks(&job.id, &task.id).await?;
                    Ok(Page { items, next: None })
                };
                for subtask in reader.all(subtasks).await.map_err(of_job)?.iter().filter(|task| wants(task)) {
                    places.add(subtask, now);
                }
            }
            places.add(&task, now);
        }
    }
    Ok(places)
}

/// Parts the pools that are wanted from the others, each with why not.
fn choose_pools(
    pools: Vec<Pool>,
    selection: &Selection,
    places: &Places,
    awaited: Option<&Awaited>,
) -> (Vec<Pool>, Vec<(PoolId, LeftOutReason)>) {
    let (mut wanted, mut not_wanted) = (Vec::new(), Vec::new());
    for pool in pools {
        let selected = match awaited {
            Some(awaited) => awaited.in_pool(&pool.id),
            None => selection.pools.wants(&pool),
        };
        if !selected {
            not_wanted.push((pool.id, LeftOutReason::PoolNotSelected));
        } else if !selection.jobs.is_empty() && !places.in_pool(&pool.id) {
            not_wanted.push((pool.id, LeftOutReason::NoTaskOfJob));
        } else {
            wanted.push(pool);
        }
    }
    (wanted, not_wanted)
}

fn left(account: &AccountName, pool: &PoolId, node: Option<&NodeId>, reason: LeftOutReason) -> LeftOut {
    LeftOut {
        account: account.clone(),
        pool: pool.clone(),
        node: node.cloned(),
        reason,
        cause: None,
        evidence: None,
    }
}

fn planned_pool(account: &AccountName, pool: &Pool) -> PlannedPool {
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    PlannedPool {
        account: account.clone(),
        pool: pool.id.clone(),
        os: text(&pool.os),
        vm_size: text(&pool.vm_size),
        allocation_state: text(&pool.allocation_state),
        deleting: pool.deleting,
        shrinking: pool.shrinking,
        current_nodes: pool.current_nodes,
        target_nodes: pool.target_nodes,
        resize_errors: pool.resize_errors.clone(),
    }
}

/// How urgent a node is.
pub(crate) fn priority(pool: &Pool, node: &Node) -> Priority {
    match &node.state {
        Some(NodeState::LeavingPool) => Priority::Leaving,
        Some(
            NodeState::Unknown
            | NodeState::Creating
            | NodeState::Starting
            | NodeState::Rebooting
            | NodeState::Reimaging
            | NodeState::UpgradingOs,
        ) => Priority::OutOfReach,
        _ if pool.deleting || pool.shrinking => Priority::PoolShrinking,
        _ if node.dedicated == Some(false) => Priority::Spot,
        Some(NodeState::Unusable | NodeState::StartTaskFailed) => Priority::HasErrors,
        _ if !node.errors.is_empty() => Priority::HasErrors,
        _ => Priority::Ordinary,
    }
}

#[cfg(test)]
mod tests;
