//! The planner: lists pools and nodes, selects, orders, and freezes the result.
//!
//! Accounts are listed side by side, and pools of an account as well. An account that cannot be listed is named in
//! the plan with its reason; the others are planned. Lists may repeat a node across pages (the list moves while it
//! is read), so ids are compared without regard to case and taken once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use fleetlogs_model::plan::{LeftOut, LeftOutReason, NodeEvidence, PlannedAccount, PlannedNode, Priority};
use fleetlogs_model::service::{BatchService, Node, NodeState, Page, PageLink, Pool, Task};
use futures::StreamExt;
use time::OffsetDateTime;

use crate::jobs::{JobFilter, Places, Ran};
use crate::retry::{LONGEST_RETRY_AFTER, backoff};
use crate::select::Selection;
use crate::settings::RetryPolicy;

/// Pools of one account listed side by side. List calls count against the account's unpublished limits, too.
const POOLS_AT_ONCE: usize = 8;

/// More pages than this in one list is taken for a loop that changes its links: 10 million nodes.
const MOST_PAGES: u32 = 10_000;

/// An account as planning found it.
#[derive(Clone, Debug)]
pub struct AccountPlan {
    /// The account, with its counts.
    pub account: PlannedAccount,
    /// Its nodes, in the order in which they will be asked.
    pub nodes: Vec<PlannedNode>,
    /// What was seen and left out.
    pub left_out: Vec<LeftOut>,
}

/// Hears how planning gets on: pools listed and nodes seen so far.
pub trait PlanListener: Sync {
    /// An account got further.
    fn listed(&self, account: &AccountName, pools: u32, nodes: u32);
}

/// Lists one account. `account` has the account's names; its counts are filled in. Ages are counted until `now`.
pub async fn plan_account<B: BatchService>(
    mut account: PlannedAccount,
    service: &B,
    selection: &Selection,
    now: OffsetDateTime,
    retry: &RetryPolicy,
    listener: &dyn PlanListener,
) -> Result<AccountPlan, Failure> {
    let reader = Reader { retry, random: Mutex::new(fastrand::Rng::new()), calls: Mutex::new(0) };
    let name = account.name.clone();
    let mut left_out = Vec::new();
    let mut leave_out = |pool: &PoolId, node: Option<&NodeId>, reason| {
        left_out.push(left(&name, pool, node, reason));
    };
    let pools = reader.all(|page| async move { service.list_pools(page.as_ref()).await }).await?;
    let (pools, again) = once_each(pools, |pool| pool.id.as_str());
    for pool in again {
        leave_out(&pool.id, None, LeftOutReason::ListedTwice);
    }
    let jobs = &selection.jobs;
    let mut places = places_of(&reader, service, &name, jobs, now).await?;
    let (wanted, not_wanted) = choose_pools(pools, selection, &places);
    for (pool, reason) in &not_wanted {
        leave_out(pool, None, *reason);
    }
    // Pools whose nodes are not listed, so that nothing can be said of a node that is not in a list.
    let mut unlisted: Vec<_> = not_wanted
        .into_iter()
        .filter(|(_, reason)| *reason == LeftOutReason::PoolNotSelected)
        .map(|(pool, _)| pool)
        .collect();
    listener.listed(&account.name, 0, 0);
    let reader = &reader;
    let mut listed = futures::stream::iter(wanted.into_iter().enumerate())
        .map(|(order, pool)| async move {
            let list = |page: Option<PageLink>| {
                let id = pool.id.clone();
                async move { service.list_nodes(&id, page.as_ref()).await }
            };
            let nodes = reader.all(list).await;
            (order, pool, nodes)
        })
        .buffer_unordered(POOLS_AT_ONCE);
    let mut nodes = Vec::new();
    let mut refused = None;
    let mut unable = Vec::new();
    while let Some((order, pool, found)) = listed.next().await {
        let found = match found {
            Ok(found) => found,
            Err(failure) if failure.class == FailureClass::Gone => {
                leave_out(&pool.id, None, LeftOutReason::PoolGone);
                continue;
            }
            // One bad pool must not cost the others.
            Err(failure) => {
                tracing::warn!(account = %account.name, pool = %pool.id, %failure, "the nodes of a pool cannot be listed");
                leave_out(&pool.id, None, LeftOutReason::PoolNotListed);
                unlisted.push(pool.id.clone());
                refused.get_or_insert(failure);
                continue;
            }
        };
        account.pools += 1;
        let os: Option<Arc<str>> = pool.os.as_deref().map(Into::into);
        let (found, again) = once_each(found, |node| node.id.as_str());
        for node in again {
            leave_out(&pool.id, Some(&node.id), LeftOutReason::ListedTwice);
        }
        let mut wanted = Vec::new();
        for node in found {
            let ran = places.take(&pool.id, &node.id, &node.recent_tasks, jobs, now);
            if !jobs.is_empty() && ran.is_none() {
                leave_out(&pool.id, Some(&node.id), LeftOutReason::NoTaskOfJob);
                continue;
            }
            if let Some(reason) = selection.nodes.unwanted(&node, now) {
                let entry = left(&account.name, &pool.id, Some(&node.id), reason);
                let evidence = reason.is_inability().then(|| Box::new(evidence(node)));
                unable.push(LeftOut { evidence, ..entry });
                continue;
            }
            let node = planned(&account.name, &pool, os.clone(), node);
            wanted.push(PlannedNode { ran: ran.and_then(|Ran(ran)| ran), ..node });
        }
        let (sample, rest) = selection.nodes.sample(wanted);
        for node in rest {
            leave_out(&pool.id, Some(&node.node), LeftOutReason::NotInSample);
        }
        nodes.extend(sample.into_iter().map(|node| (order, node)));
        listener.listed(&account.name, account.pools, u32::try_from(nodes.len()).unwrap_or(u32::MAX));
    }
    drop(listed);
    for place in places.gone() {
        let listed = unlisted.iter().all(|pool| *pool != place.pool);
        if listed && selection.pools.wants_id(&place.pool) {
            leave_out(&place.pool, Some(&place.node), LeftOutReason::JobNodeGone);
        }
    }
    if let (0, Some(failure)) = (account.pools, refused) {
        return Err(failure);
    }
    // Those about to vanish first; within a priority in the order of the lists, whatever arrived first.
    nodes.sort_by(|(a, x), (b, y)| (x.priority, a, &x.node).cmp(&(y.priority, b, &y.node)));
    account.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    account.list_calls = *reader.calls.lock().unwrap_or_else(PoisonError::into_inner);
    left_out.extend(unable);
    left_out.sort_by(|x, y| (&x.pool, &x.node).cmp(&(&y.pool, &y.node)));
    Ok(AccountPlan { account, nodes: nodes.into_iter().map(|(_, node)| node).collect(), left_out })
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
) -> (Vec<Pool>, Vec<(PoolId, LeftOutReason)>) {
    let (mut wanted, mut not_wanted) = (Vec::new(), Vec::new());
    for pool in pools {
        if !selection.pools.wants(&pool) {
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
    LeftOut { account: account.clone(), pool: pool.clone(), node: node.cloned(), reason, evidence: None }
}

fn evidence(node: Node) -> NodeEvidence {
    NodeEvidence {
        state: node.state,
        state_since: node.state_since,
        allocation_time: node.allocation_time,
        last_boot_time: node.last_boot_time,
        errors: node.errors,
        start_task: node.start_task,
    }
}

fn planned(account: &AccountName, pool: &Pool, os: Option<Arc<str>>, node: Node) -> PlannedNode {
    PlannedNode {
        account: account.clone(),
        pool: pool.id.clone(),
        priority: priority(pool, &node),
        node: node.id,
        state: node.state,
        state_since: node.state_since,
        allocation_time: node.allocation_time,
        last_boot_time: node.last_boot_time,
        dedicated: node.dedicated,
        os,
        agent_version: node.agent_version.map(Into::into),
        image: node.image.map(Into::into),
        errors: node.errors,
        start_task: node.start_task,
        window: None,
        ran: None,
    }
}

fn priority(pool: &Pool, node: &Node) -> Priority {
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

/// Parts repetitions from the rest, by id without regard to case. The second list has those that differ from the first
/// of their kind in case: the same id once more is the list's own repetition, as it moves while it is read.
fn once_each<T>(items: Vec<T>, id: impl Fn(&T) -> &str) -> (Vec<T>, Vec<T>) {
    let mut seen: HashMap<String, String> = HashMap::with_capacity(items.len());
    let (mut once, mut again) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match seen.entry(id(&item).to_ascii_lowercase()) {
            Entry::Vacant(first) => {
                first.insert(id(&item).to_owned());
                once.push(item);
            }
            Entry::Occupied(first) if first.get() != id(&item) => again.push(item),
            Entry::Occupied(_) => {}
        }
    }
    (once, again)
}

/// Reads lists to their end, page by page, trying again where that can help.
struct Reader<'plan> {
    retry: &'plan RetryPolicy,
    random: Mutex<fastrand::Rng>,
    calls: Mutex<u32>,
}

impl Reader<'_> {
    async fn all<T, F>(&self, list: impl Fn(Option<PageLink>) -> F) -> Result<Vec<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut items = Vec::new();
        let mut next: Option<PageLink> = None;
        let mut seen: HashSet<PageLink> = HashSet::new();
        loop {
            let page = self.page(&list, next).await?;
            items.extend(page.items);
            let Some(link) = page.next else { return Ok(items) };
            if seen.len() >= MOST_PAGES as usize || !seen.insert(link.clone()) {
                let message = "the service's list goes in a circle: a page links to one already read";
                return Err(Failure::new(FailureClass::Config, message));
            }
            next = Some(link);
        }
    }

    async fn page<T, F>(
        &self,
        list: &impl Fn(Option<PageLink>) -> F,
        page: Option<PageLink>,
    ) -> Result<Page<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut attempt = 0;
        loop {
            *self.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let failure = match list(page.clone()).await {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            attempt += 1;
            let passing = matches!(
                failure.class,
                FailureClass::Throttled | FailureClass::Transient | FailureClass::NotSent
            );
            if !passing || attempt >= self.retry.attempts {
                return Err(failure);
            }
            tracing::warn!(%failure, attempt, "a list could not be read; trying again");
            let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
            let asked = failure.retry_after().unwrap_or(Duration::ZERO).min(LONGEST_RETRY_AFTER);
            tokio::time::sleep(backoff(self.retry, attempt, random).max(asked)).await;
        }
    }
}

#[cfg(test)]
mod tests;
