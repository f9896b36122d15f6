//! Plans a fleet: lists its accounts side by side and merges what they have into one plan, in the order of the config.

use std::collections::BTreeMap;
use std::io;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::plan::{Plan, PlannedAccount};
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::service::BatchService;
use futures::StreamExt;
use tokio::sync::Semaphore;

use super::account::{AccountPlan, NotPlanned, PlanFailure, PlanListener, Planning, plan_account};
use crate::select::Selection;
use crate::window::NodeWindows;

/// Accounts that are called side by side. One that does not answer stays among them for a while, so there are many.
const ACCOUNTS_AT_ONCE: usize = 64;

/// How many of them list nodes at the same time: each holds some pages of a megabyte in memory.
pub const LISTED_AT_ONCE: usize = 4;

/// An account that is to be planned.
#[derive(Debug)]
pub struct AccountToPlan<'fleet, B> {
    /// Its names; the counts are filled in.
    pub account: PlannedAccount,
    /// Which of its pools and nodes are wanted.
    pub selection: &'fleet Selection,
    /// What its lists are read through.
    pub service: &'fleet B,
}

/// How a fleet is planned.
pub struct PlanRequest<'fleet> {
    /// How a node's own window is made, where nodes have one.
    pub since: Option<&'fleet NodeWindows>,
    /// How list calls are retried.
    pub retry: &'fleet RetryPolicy,
    /// Whether a plan that lacks an account or a pool is refused.
    pub strict: bool,
    /// Accounts that stand in the plan only to say why they are not planned: a run without them is partial.
    pub not_planned: &'fleet [PlannedAccount],
    /// Hears of the progress.
    pub listener: &'fleet dyn PlanListener,
    /// For the jitter of the delays.
    pub random: fastrand::Rng,
}

/// A fleet as it was planned.
#[derive(Debug)]
pub struct PlannedFleet {
    /// The plan. Accounts that could not be listed are in it, with the reason.
    pub plan: Plan,
    /// Accounts that could not be listed.
    pub unlisted: Vec<UnlistedAccount>,
}

/// An account that could not be listed.
#[derive(Debug)]
pub struct UnlistedAccount {
    /// Its position among the accounts that were to be planned.
    pub position: usize,
    /// Why.
    pub failure: Failure,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanningError {
    /// The details of the nodes could not be written to the temporary file.
    Spool(io::Error),
    /// No account could be listed, or with `strict` not all.
    Unlisted(Vec<UnlistedAccount>),
    /// With `strict`: these pools could not be listed, or an account stands in the plan only to say why it is not
    /// planned.
    Incomplete(Vec<(AccountName, PoolId)>),
}

/// Lists every account and fills `plan`, which has none yet. Nodes with windows of their own move the start of the
/// plan's window back to the earliest.
///
/// # Errors
/// See [`PlanningError`].
pub async fn plan_fleet<B: BatchService>(
    plan: Plan,
    accounts: &[AccountToPlan<'_, B>],
    request: PlanRequest<'_>,
) -> Result<PlannedFleet, PlanningError> {
    let PlanRequest { since, retry, strict, not_planned, listener, mut random } = request;
    let slots = &Semaphore::new(LISTED_AT_ONCE);
    let nodes = &plan.nodes.clone();
    let planning = Planning { now: plan.created_at, since, retry, slots, nodes, listener };
    let mut listing =
        futures::stream::iter(accounts.iter().enumerate())
            .map(|(position, AccountToPlan { account, selection, service })| {
                let random = random.fork();
                async move {
                    (position, plan_account(account.clone(), *service, selection, planning, random).await)
                }
            })
            .buffer_unordered(ACCOUNTS_AT_ONCE);
    let mut merged = Merging { plan, unlisted: vec![], early: BTreeMap::new(), next: 0 };
    while let Some((position, listed)) = listing.next().await {
        merged.early.insert(position, listed);
        merged.take_ready(accounts).map_err(PlanningError::Spool)?;
    }
    drop(listing);
    let Merging { mut plan, unlisted, .. } = merged;
    plan.nodes.shrink();
    plan.accounts.extend(not_planned.iter().cloned());
    if !unlisted.is_empty() && (strict || unlisted.len() == accounts.len()) {
        return Err(PlanningError::Unlisted(unlisted));
    }
    if strict && !plan.is_whole() {
        let pools = plan.unlisted_pools().map(|left| (left.account.clone(), left.pool.clone())).collect();
        return Err(PlanningError::Incomplete(pools));
    }
    Ok(PlannedFleet { plan, unlisted })
}

/// A plan in the making.
struct Merging {
    plan: Plan,
    unlisted: Vec<UnlistedAccount>,
    /// Accounts that were listed before one that comes before them in the plan.
    early: BTreeMap<usize, Result<AccountPlan, NotPlanned>>,
    /// Position of the account that the plan takes next.
    next: usize,
}

impl Merging {
    /// Takes accounts into the plan in their order; each goes there as soon as those before it have.
    fn take_ready<B>(&mut self, accounts: &[AccountToPlan<'_, B>]) -> io::Result<()> {
        while let Some(listed) = self.early.remove(&self.next) {
            match listed {
                Ok(account) => self.take(account)?,
                Err(NotPlanned { cause: PlanFailure::Spool(error), .. }) => return Err(error),
                Err(NotPlanned { cause: PlanFailure::Unlisted(failure), list_calls }) => {
                    let account = accounts[self.next].account.clone();
                    let unlisted = Some(failure.to_string());
                    self.plan.accounts.push(PlannedAccount { unlisted, list_calls, ..account });
                    self.unlisted.push(UnlistedAccount { position: self.next, failure });
                }
            }
            self.next += 1;
        }
        Ok(())
    }

    fn take(&mut self, AccountPlan { account, pools, nodes, left_out }: AccountPlan) -> io::Result<()> {
        let plan = &mut self.plan;
        plan.accounts.push(account);
        plan.pools.extend(pools);
        let starts = nodes.iter().filter_map(|node| node.window).map(|window| window.start);
        plan.window.start = starts.fold(plan.window.start, Ord::min);
        plan.nodes.append(&nodes)?;
        plan.left_out.extend(left_out);
        Ok(())
    }
}
