//! What the counts of a plan do not cover: accounts and pools that could not be listed, and nodes that were skipped.

use std::fmt;

use fleetlogs_model::plan::{LeftOutReason, Plan};
use serde::Serialize;

use crate::text::counted;

/// Beside the planned nodes. How many nodes an account or pool has that could not be listed is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uncounted {
    /// Accounts that could not be listed.
    pub accounts_not_listed: u64,
    /// Pools of other accounts that could not be listed.
    pub pools_not_listed: u64,
    /// Nodes that were seen and are not in the plan.
    pub nodes_skipped: u64,
}

impl Uncounted {
    /// Counts them.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut uncounted = Self {
            accounts_not_listed: plan.accounts.iter().filter(|account| account.unlisted.is_some()).count()
                as u64,
            ..Self::default()
        };
        for left in &plan.left_out {
            if left.reason == LeftOutReason::PoolNotListed {
                uncounted.pools_not_listed += 1;
            } else if left.node.is_some() && left.reason != LeftOutReason::ListedTwice {
                // What was listed twice is in the plan once.
                uncounted.nodes_skipped += 1;
            }
        }
        uncounted
    }
}

/// `; 1 account not listed; 93 nodes skipped`, to stand behind counts; nothing if the counts cover everything.
impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts_not_listed, pools_not_listed, nodes_skipped } = *self;
        let parts = [
            (accounts_not_listed, "account", "not listed"),
            (pools_not_listed, "pool", "not listed"),
            (nodes_skipped, "node", "skipped"),
        ];
        parts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .try_for_each(|(count, noun, how)| write!(f, "; {} {how}", counted(count, noun)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{left_out, small_plan};

    #[test]
    fn the_counts_say_what_they_do_not_cover() {
        let mut plan = small_plan();
        assert_eq!(Uncounted::of(&plan).to_string(), "; 1 account not listed; 1 node skipped");
        plan.left_out.extend([
            left_out("contoso", "a", None, LeftOutReason::PoolNotListed),
            left_out("contoso", "a", Some("twice"), LeftOutReason::ListedTwice),
        ]);
        assert_eq!(
            Uncounted::of(&plan),
            Uncounted { accounts_not_listed: 1, pools_not_listed: 1, nodes_skipped: 1 }
        );
        (plan.accounts, plan.left_out) = (vec![], vec![]);
        assert_eq!(Uncounted::of(&plan).to_string(), "");
    }
}
