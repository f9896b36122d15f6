//! Plans one account: lists its pools and their nodes, selects and orders.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::plan::{LeftOut, LeftOutReason, PlannedAccount};
use fleetlogs_model::planned::{FoundNodes, PlannedNodes, PlannedPool};
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::service::{BatchService, Page, PageLink, Pool, Task};
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use super::reader::{Reader, SeenIds, Sight};
use super::sorting::{PoolNodes, Sorting, left};
use crate::jobs::{JobFilter, TaskNodes};
use crate::select::{Selection, WantedNodes};
use crate::window::NodeWindows;

/// Pools of one account listed side by side. List calls count against the account's unpublished limits, too.
const POOLS_AT_ONCE: usize = 4;

/// If the lists of an account take longer, the account is given up: the others wait for the plan. A list of 100,000
/// nodes takes a minute.
const LONGEST_LISTING: Duration = Duration::from_secs(600);

/// An account as planning found it.
#[derive(Debug)]
pub(super) struct AccountPlan {
    /// The account, with its counts.
    pub(super) account: PlannedAccount,
    /// Its pools whose nodes were listed.
    pub(super) pools: Vec<Arc<PlannedPool>>,
    /// Its nodes, in the order in which they will be called.
    pub(super) nodes: FoundNodes,
    /// What was seen and left out.
    pub(super) left_out: Vec<LeftOut>,
}

/// An account that could not be planned.
#[derive(Debug)]
pub(super) struct NotPlanned {
    /// Why it could not be planned.
    pub(super) cause: PlanFailure,
    /// List calls that were sent nevertheless.
    pub(super) list_calls: u32,
}

/// Why an account could not be planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanFailure {
    /// It could not be listed.
    #[error(transparent)]
    Unlisted(#[from] Failure),
    /// The details of its nodes could not be written to the temporary file.
    #[error(transparent)]
    Spool(#[from] io::Error),
}

/// What the planning of all accounts has in common.
#[derive(Clone, Copy)]
pub(super) struct Planning<'plan> {
    /// Ages are counted until this time.
    pub(super) now: OffsetDateTime,
    /// How a node's own window is made, where nodes have one.
    pub(super) since: Option<&'plan NodeWindows>,
    /// How calls are retried.
    pub(super) retry: &'plan RetryPolicy,
    /// Bounds how many of the accounts that are listed side by side hold pages of nodes in memory; an account that does
    /// not answer is none of them.
    pub(super) slots: &'plan Semaphore,
    /// The plan's nodes, of which there are none yet: those found go into the same spool.
    pub(super) nodes: &'plan PlannedNodes,
    /// Hears of the progress.
    pub(super) listener: &'plan dyn PlanListener,
}

/// Hears of the progress of planning.
pub trait PlanListener: Sync {
    /// How many pools of an account are listed so far, and how many nodes are planned.
    fn listed(&self, account: &AccountName, pools: u32, nodes: u32);
}

/// Lists one account. `account` has the account's names; its counts are filled in.
pub(super) async fn plan_account<B: BatchService>(
    account: PlannedAccount,
    service: &B,
    selection: &Selection,
    planning: Planning<'_>,
    random: fastrand::Rng,
) -> Result<AccountPlan, NotPlanned> {
    let name = account.name.clone();
    let reader = Reader::new(&name, planning.retry, random);
    let lister = Lister { account: &name, service, selection, planning, reader: &reader };
    let planned = tokio::time::timeout(LONGEST_LISTING, lister.plan(account)).await.unwrap_or_else(|_| {
        let message = format!("its lists could not be read within {} s", LONGEST_LISTING.as_secs());
        Err(Failure::new(FailureClass::Transient, message).into())
    });
    planned.map_err(|cause| NotPlanned { cause, list_calls: reader.calls() })
}

/// Lists one account.
struct Lister<'plan, B> {
    account: &'plan AccountName,
    service: &'plan B,
    selection: &'plan Selection,
    planning: Planning<'plan>,
    reader: &'plan Reader<'plan>,
}

/// What the lists of an account brought so far.
struct Listed {
    account: PlannedAccount,
    /// Pools whose nodes were listed, each with its position in the list.
    pools: Vec<(usize, Arc<PlannedPool>)>,
    left_out: Vec<LeftOut>,
    /// Pools whose nodes are not listed, so that a node missing from the lists may still exist.
    unlisted: Vec<PoolId>,
    /// The failure of the first pool that could not be listed.
    refused: Option<Failure>,
}

impl<B: BatchService> Lister<'_, B> {
    async fn plan(self, account: PlannedAccount) -> Result<AccountPlan, PlanFailure> {
        let Self { account: name, service, selection, planning, reader } = self;
        let mut left_out = Vec::new();
        let pools = self.list_pools(&mut left_out).await?;
        let places = places_of(reader, service, name, &selection.jobs, planning.now).await?;
        let awaited = selection.exact.as_ref().map(|exact| exact.of(name));
        let (wanted, not_wanted) = choose_pools(pools, selection, &places, awaited.as_ref());
        left_out.extend(not_wanted.iter().map(|(pool, reason)| left(name, pool, None, *reason)));
        let unlisted = not_wanted
            .into_iter()
            .filter(|(_, reason)| *reason == LeftOutReason::PoolNotSelected)
            .map(|(pool, _)| pool)
            .collect();
        planning.listener.listed(name, 0, 0);
        let _slot = planning.slots.acquire().await;
        let nodes = FoundNodes::beside(planning.nodes);
        let sorting = Sorting::new(selection, planning.now, planning.since, places, awaited, nodes);
        let mut listed = Listed { account, pools: vec![], left_out, unlisted, refused: None };
        self.list_nodes(wanted, &sorting, &mut listed).await?;
        listed.account.list_calls = reader.calls();
        listed.freeze(sorting)
    }

    /// All pools of the account, each once.
    async fn list_pools(&self, left_out: &mut Vec<LeftOut>) -> Result<Vec<Pool>, Failure> {
        let mut seen = SeenIds::default();
        let mut pools = Vec::new();
        let list = |page: Option<PageLink>| async move { self.service.list_pools(page.as_ref()).await };
        let take = |pool: Pool| {
            let sight = seen.see(pool.id.as_str());
            match sight {
                Sight::First => pools.push(pool),
                Sight::Again => {}
                Sight::InOtherCase => {
                    left_out.push(left(self.account, &pool.id, None, LeftOutReason::ListedTwice));
                }
            }
            sight == Sight::First
        };
        self.reader.each(list, take).await?;
        Ok(pools)
    }

    /// Lists the nodes of these pools and sorts them as they come in. A pool that cannot be listed does not stop the
    /// others.
    async fn list_nodes(
        &self,
        pools: Vec<Pool>,
        sorting: &Sorting<'_>,
        into: &mut Listed,
    ) -> Result<(), PlanFailure> {
        let Self { account, service, planning, reader, .. } = *self;
        let mut listing = futures::stream::iter(pools.into_iter().enumerate())
            .map(|(order, pool)| async move {
                let mut nodes = PoolNodes::of(planned_pool(account, &pool));
                let id = &pool.id;
                let list =
                    |page: Option<PageLink>| async move { service.list_nodes(id, page.as_ref()).await };
                let read = reader.each(list, |node| sorting.sort(node, &pool, &mut nodes)).await;
                (order, pool.id, read.map(|()| nodes))
            })
            .buffer_unordered(POOLS_AT_ONCE);
        let mut count = 0;
        while let Some((order, pool, nodes)) = listing.next().await {
            let nodes = match nodes {
                Ok(nodes) => sorting.complete(nodes)?,
                Err(failure) => {
                    into.not_listed(pool, failure);
                    continue;
                }
            };
            into.account.pools += 1;
            into.left_out.extend(nodes.left_out);
            into.pools.push((order, nodes.pool));
            count += nodes.count;
            planning.listener.listed(account, into.account.pools, count);
        }
        Ok(())
    }
}

impl Listed {
    fn not_listed(&mut self, pool: PoolId, failure: Failure) {
        let account = &self.account.name;
        if failure.class == FailureClass::Gone {
            self.left_out.push(left(account, &pool, None, LeftOutReason::PoolGone));
            return;
        }
        tracing::warn!(%account, %pool, %failure, "the nodes of a pool cannot be listed");
        let cause = Some(failure.to_string().into());
        self.left_out.push(LeftOut { cause, ..left(account, &pool, None, LeftOutReason::PoolNotListed) });
        self.unlisted.push(pool);
        self.refused.get_or_insert(failure);
    }

    /// Sorts the nodes, and reports wanted nodes that no list had. Fails if no pool could be listed.
    fn freeze(self, sorting: Sorting<'_>) -> Result<AccountPlan, PlanFailure> {
        let Self { mut account, mut pools, mut left_out, unlisted, refused } = self;
        let (mut nodes, gone) = sorting.into_nodes();
        for (pool, node, reason) in gone {
            // If a pool's nodes were not listed, nothing is known about them.
            if unlisted.iter().all(|other| !other.as_str().eq_ignore_ascii_case(pool.as_str())) {
                left_out.push(left(&account.name, &pool, Some(&node), reason));
            }
        }
        if let (0, Some(failure)) = (account.pools, refused) {
            return Err(failure.into());
        }
        // Nodes about to vanish come first; within a priority the order is that of the lists, not of arrival.
        pools.sort_by_key(|(order, _)| *order);
        let order: HashMap<*const PlannedPool, usize> =
            pools.iter().map(|(order, pool)| (Arc::as_ptr(pool), *order)).collect();
        nodes.sort(|pool| order.get(&Arc::as_ptr(pool)).copied());
        account.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        left_out.sort_by(|x, y| (&x.pool, &x.node).cmp(&(&y.pool, &y.node)));
        account.missing = missing(&left_out);
        let pools = pools.into_iter().map(|(_, pool)| pool).collect();
        Ok(AccountPlan { account, pools, nodes, left_out })
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
    Some(format!("part of it could not be listed: pool `{}`: {cause}{more}", first.pool))
}

/// Where the tasks of the wanted jobs ran. If a job cannot be read, the account fails: without the job, nodes would
/// be missing from the plan unnoticed. A job that the account does not have may belong to another account.
async fn places_of<B: BatchService>(
    reader: &Reader<'_>,
    service: &B,
    account: &AccountName,
    jobs: &[JobFilter],
    now: OffsetDateTime,
) -> Result<TaskNodes, Failure> {
    let mut places = TaskNodes::default();
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

/// Separates the pools that are wanted from the others, which have a reason each.
fn choose_pools(
    pools: Vec<Pool>,
    selection: &Selection,
    places: &TaskNodes,
    awaited: Option<&WantedNodes>,
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
