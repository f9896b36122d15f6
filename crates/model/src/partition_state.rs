//! Where a partition of a run stands that is shared out to several workers.

use serde::Serialize;

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionState {
    /// It was given up, or stopped for a reason that holds for every worker.
    GivenUp,
    /// A worker has it that is not heard of any more. When its message shows again, another one takes it.
    Silent,
    /// A worker is at work on it.
    AtWork,
    /// It waits for a worker.
    Waiting,
    /// It waits for a worker of its site, which plans it first.
    NotPlanned,
    /// Nothing is left to do.
    Done,
}

impl PartitionState {
    /// All of them; those that a person should look at first.
    pub const ALL: [Self; 6] =
        [Self::GivenUp, Self::Silent, Self::AtWork, Self::Waiting, Self::NotPlanned, Self::Done];

    /// Its name for a person.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GivenUp => "given up",
            Self::Silent => "silent",
            Self::AtWork => "at work",
            Self::Waiting => "waiting",
            Self::NotPlanned => "not planned",
            Self::Done => "done",
        }
    }
}
