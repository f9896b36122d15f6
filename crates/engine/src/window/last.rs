//! Windows without gaps: each begins where the node's last verified one ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::planned::PlannedNode;
use fleetlogs_model::timestamp::from_outside;
use fleetlogs_model::window::Window;
use time::OffsetDateTime;

/// Shortest window: an anchor may lie in the future, because clocks differ.
pub(super) const SHORTEST: Duration = Duration::from_secs(60);

/// A window that starts where earlier runs of the series stopped verifying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinceLast {
    /// Starts this long before the end of the last verified window: clocks differ.
    pub margin: Duration,
    /// Longest window; a longer one keeps its end, and the rest is a gap.
    pub longest: Duration,
    /// Length of the windows of the first run of a series.
    pub otherwise: Duration,
    /// What earlier runs verified.
    pub reached: Arc<VerifiedUntil>,
}

impl SinceLast {
    /// The window of a node, with its end at `now`.
    #[must_use]
    pub fn of(&self, node: &PlannedNode, now: OffsetDateTime) -> Window {
        let start = self.start(node).unwrap_or(now - self.otherwise);
        Window { start: start.clamp(now - self.longest.max(SHORTEST), now - SHORTEST), end: now }
    }

    /// None in the first run of a series.
    fn start(&self, node: &PlannedNode) -> Option<OffsetDateTime> {
        let began = self.reached.began?;
        let allocated = node.evidence.allocation_time;
        let new = allocated.map_or(began, |allocated| began.max(allocated - self.margin));
        let reached = self.reached.until(node.account(), node.pool(), node.node.as_str(), allocated);
        Some(reached.map_or(new, |until| until - self.margin))
    }

    /// The window of a plan, before any node widens it. In the first run of a series it says where the series begins.
    pub(super) fn least(&self, now: OffsetDateTime) -> Window {
        let length = match self.reached.began {
            None => self.otherwise.clamp(SHORTEST, self.longest.max(SHORTEST)),
            Some(_) => SHORTEST,
        };
        Window { start: now - length, end: now }
    }
}

/// Up to when the logs of each node of a series are verified. A hundred thousand nodes take some ten megabytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedUntil {
    began: Option<OffsetDateTime>,
    accounts: HashMap<AccountName, HashMap<PoolId, Nodes>>,
}

/// The nodes of a pool by id, with an entry for each allocation.
type Nodes = HashMap<Box<str>, Vec<VerifiedAllocation>>;

/// In milliseconds since 1970, as the state has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VerifiedAllocation {
    /// None if the service does not report it.
    allocated: Option<i64>,
    until: i64,
}

impl VerifiedUntil {
    /// An empty record of a series that began at a time; none before its first run.
    #[must_use]
    pub fn since(began: Option<OffsetDateTime>) -> Self {
        Self { began, ..Self::default() }
    }

    /// Adds a node with its allocation time. An earlier entry for the same allocation is replaced.
    pub fn insert(
        &mut self,
        (account, pool, node): (&str, &str, &str),
        allocated: Option<OffsetDateTime>,
        until: OffsetDateTime,
    ) {
        let (allocated, until) = (allocated.map(milliseconds), milliseconds(until));
        let pools = self.accounts.entry(AccountName::new(account)).or_default();
        let nodes = pools.entry(PoolId::new(pool)).or_default();
        let known = nodes.entry(node.into()).or_default();
        if let Some(known) = known.iter_mut().find(|known| known.allocated == allocated) {
            known.until = until;
        } else {
            // Mostly there is one entry, and the default would reserve four.
            known.reserve_exact(1);
            known.push(VerifiedAllocation { allocated, until });
        }
    }

    /// Up to when the logs of a node are verified; none for one that is new to the series.
    #[must_use]
    pub fn until(
        &self,
        account: &AccountName,
        pool: &PoolId,
        node: &str,
        allocated: Option<OffsetDateTime>,
    ) -> Option<OffsetDateTime> {
        let allocated = allocated.map(milliseconds);
        let known = self.accounts.get(account)?.get(pool)?.get(node)?;
        let VerifiedAllocation { until, .. } = known.iter().find(|known| known.allocated == allocated)?;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(*until) * 1_000_000).ok().and_then(from_outside)
    }
}

/// Cut, not rounded, as in [`fleetlogs_model::timestamp::text`].
fn milliseconds(moment: OffsetDateTime) -> i64 {
    moment.unix_timestamp() * 1000 + i64::from(moment.millisecond())
}

#[cfg(test)]
mod tests;
