//! The closed lists of results: of a node, and of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a planned node ended. Every planned node has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The promised number of files is in the container, with sizes that stayed the same over two listings.
    Verified,
    /// The service took the call; whether files arrived was not looked at (verification off or not permitted).
    Accepted,
    /// Fewer files than promised when the deadline came.
    Incomplete,
    /// The node promised no file: nothing was logged in the window.
    Empty,
    /// A call's answer was lost, and the container did not settle the question.
    InDoubt,
    /// No call succeeded.
    Failed,
    /// The node or its pool is no longer there.
    Gone,
    /// The run ended before a call was sent.
    NotSent,
}

impl Outcome {
    /// All of them, in the order reports list them.
    pub const ALL: [Self; 8] = [
        Self::Verified,
        Self::Accepted,
        Self::Incomplete,
        Self::Empty,
        Self::InDoubt,
        Self::Failed,
        Self::Gone,
        Self::NotSent,
    ];

    /// The name used in every file and table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Accepted => "accepted",
            Self::Incomplete => "incomplete",
            Self::Empty => "empty",
            Self::InDoubt => "in-doubt",
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::NotSent => "not-sent",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many planned nodes ended in each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts([u64; Outcome::ALL.len()]);

impl OutcomeCounts {
    /// Counts one more node.
    pub fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// Counts several more nodes.
    pub fn add_many(&mut self, outcome: Outcome, nodes: u64) {
        self.0[outcome as usize] += nodes;
    }

    /// How many ended so.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// All counted nodes: the plan's size, once every node is counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every planned node is `verified` or `empty` (`accepted`, where verification is off).
    Complete,
    /// Some planned nodes were not collected, or an account could not be listed.
    Partial,
    /// No planned node was collected.
    NothingCollected,
    /// Stopped before its end by a signal, a deadline or a credential; can be resumed.
    Interrupted,
    /// More failed than the budget allows, or an account refuses everything; can be resumed.
    BudgetSpent,
}

impl RunOutcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Complete, Self::Partial, Self::NothingCollected, Self::Interrupted, Self::BudgetSpent];

    /// The verdict over the nodes' outcomes. `whole` says that every account could be listed,
    /// `verification` whether arrival was looked at.
    #[must_use]
    pub fn of(counts: &OutcomeCounts, whole: bool, verification: bool) -> Self {
        let accepted = if verification { 0 } else { counts.get(Outcome::Accepted) };
        let collected = counts.get(Outcome::Verified) + counts.get(Outcome::Empty) + accepted;
        if collected == counts.total() && whole {
            Self::Complete
        } else if collected == 0 && counts.get(Outcome::Accepted) == 0 {
            Self::NothingCollected
        } else {
            Self::Partial
        }
    }

    /// The name used in every file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::NothingCollected => "nothing-collected",
            Self::Interrupted => "interrupted",
            Self::BudgetSpent => "budget-spent",
        }
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[Outcome]) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        for outcome in of {
            counts.add(*outcome);
        }
        counts
    }

    #[test]
    fn accepted_completes_a_run_only_where_verification_is_off() {
        let all = counts(&[Outcome::Accepted, Outcome::Empty]);
        assert_eq!(RunOutcome::of(&all, true, false), RunOutcome::Complete);
        assert_eq!(RunOutcome::of(&all, true, true), RunOutcome::Partial);
    }

    #[test]
    fn an_account_that_was_not_listed_makes_the_run_partial() {
        assert_eq!(RunOutcome::of(&counts(&[Outcome::Verified]), false, true), RunOutcome::Partial);
    }

    #[test]
    fn incomplete_everywhere_is_nothing_collected() {
        let none = counts(&[Outcome::Incomplete, Outcome::Failed]);
        assert_eq!(RunOutcome::of(&none, true, true), RunOutcome::NothingCollected);
    }
}
