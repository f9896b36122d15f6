//! The closed lists of results: of a node and of a run.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// How a planned node ended. Every planned node has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The promised number of files is in the container, and their sizes were the same in two listings.
    Verified,
    /// Files are in the container and did not change, but how many were promised is not known: the promise was lost
    /// with the call's answer, and the promises of the node's peers do not prove that all files are there.
    Adopted,
    /// The service accepted the call; whether files arrived was not checked (verification off or not permitted).
    Accepted,
    /// Fewer files than promised at the deadline.
    Incomplete,
    /// The node promised no file: nothing was logged in the window.
    Empty,
    /// The answer to a call was lost, and the container did not settle the question.
    InDoubt,
    /// No call succeeded.
    Failed,
    /// The node or its pool no longer exists.
    Gone,
    /// The run ended before a call was sent.
    NotSent,
}

impl Outcome {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Verified,
        Self::Adopted,
        Self::Accepted,
        Self::Incomplete,
        Self::Empty,
        Self::InDoubt,
        Self::Failed,
        Self::Gone,
        Self::NotSent,
    ];

    /// Whether the node counts as collected: `accepted` does only in a run without verification.
    #[must_use]
    pub fn is_collected(self, verification: bool) -> bool {
        match self {
            Self::Verified | Self::Empty => true,
            Self::Accepted => !verification,
            Self::Adopted | Self::Incomplete | Self::InDoubt | Self::Failed | Self::Gone | Self::NotSent => {
                false
            }
        }
    }

    /// What it means, for a reader who does not know fleetlogs.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Verified => {
                "the promised files are in the container, and their sizes stayed the same over two listings"
            }
            Self::Adopted => {
                "files are in the container and stayed the same, but how many the node promised is not known: the \
                 answer to its call was lost"
            }
            Self::Accepted => "the service accepted the call; whether the files arrived was not checked",
            Self::Incomplete => {
                "the service accepted the call, but some files were missing or still changing at the deadline"
            }
            Self::Empty => "the node promised no files: nothing was logged in the time window",
            Self::InDoubt => {
                "the answer to a call was lost, and the container does not show whether the call was accepted"
            }
            Self::Failed => "no call succeeded",
            Self::Gone => "the node, its VM or its pool no longer exists",
            Self::NotSent => "the run ended before the node could be called",
        }
    }

    /// The name used in every file and table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Adopted => "adopted",
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

/// What shows that all files of a verified node are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The node promised a number of files, and as many are there.
    Promise,
    /// The promise was lost with the call's answer. As many files are there as the most that was promised to any node of
    /// the same pool with the same time window and operating system in this run, known from three nodes or more.
    Peers,
}

/// What is wrong with the files of an incomplete node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortfall {
    /// No file arrived.
    NothingArrived,
    /// Fewer files arrived than were promised.
    FilesMissing,
    /// All files were there and changed between two looks.
    StillChanging,
    /// All files were there, but no second look confirmed that they stayed the same.
    SeenOnce,
    /// The container could not be listed, so nobody knows what arrived.
    NotListed,
    /// The service named a directory that is not this node's.
    ForeignDirectory,
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

    /// How many ended with this outcome.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many nodes count as collected; see [`Outcome::is_collected`].
    #[must_use]
    pub fn collected(&self, verification: bool) -> u64 {
        Outcome::ALL
            .iter()
            .filter(|outcome| outcome.is_collected(verification))
            .map(|outcome| self.get(*outcome))
            .sum()
    }

    /// All counted nodes: the plan's size, once every node is counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for OutcomeCounts {
    /// A map with every outcome, in the order of [`Outcome::ALL`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Outcome::ALL.iter().map(|outcome| (outcome.as_str(), self.get(*outcome))))
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every planned node is `verified` or `empty` (`accepted`, if verification is off).
    Complete,
    /// Some planned nodes were not collected, or an account could not be listed.
    Partial,
    /// No planned node was collected.
    NothingCollected,
    /// Stopped early by a signal, a deadline or a credential; can be resumed.
    Interrupted,
    /// More nodes failed than the error budget allows, or an account refuses everything; can be resumed.
    BudgetSpent,
}

impl RunOutcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Complete, Self::Partial, Self::NothingCollected, Self::Interrupted, Self::BudgetSpent];

    /// The verdict over the outcomes of the nodes. `whole` says whether every account could be listed, `verification`
    /// whether arrival was verified.
    #[must_use]
    pub fn of(counts: &OutcomeCounts, whole: bool, verification: bool) -> Self {
        let collected = counts.collected(verification);
        if collected == counts.total() && whole {
            Self::Complete
        } else if collected == 0 && counts.get(Outcome::Accepted) == 0 && counts.get(Outcome::Adopted) == 0 {
            Self::NothingCollected
        } else {
            Self::Partial
        }
    }

    /// Whether the run stopped early, so that `resume` has something to do.
    #[must_use]
    pub fn is_resumable(self) -> bool {
        match self {
            Self::Interrupted | Self::BudgetSpent => true,
            Self::Complete | Self::Partial | Self::NothingCollected => false,
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
    fn adopted_everywhere_is_partial() {
        let all = counts(&[Outcome::Adopted]);
        assert_eq!(RunOutcome::of(&all, true, true), RunOutcome::Partial);
        assert_eq!(
            RunOutcome::of(&counts(&[Outcome::Adopted, Outcome::Verified]), true, true),
            RunOutcome::Partial
        );
    }

    #[test]
    fn counts_are_written_by_outcome() {
        let text = serde_json::to_string(&counts(&[Outcome::Verified, Outcome::Gone])).unwrap();
        assert_eq!(
            text,
            r#"{"verified":1,"adopted":0,"accepted":0,"incomplete":0,"empty":0,"in-doubt":0,"failed":0,"gone":1,"not-sent":0}"#
        );
    }

    #[test]
    fn incomplete_everywhere_is_nothing_collected() {
        let none = counts(&[Outcome::Incomplete, Outcome::Failed]);
        assert_eq!(RunOutcome::of(&none, true, true), RunOutcome::NothingCollected);
    }
}
