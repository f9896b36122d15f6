//! Why a run stopped before its end, and why it did not verify: the kinds, as the journal records them.

use serde::{Deserialize, Serialize};

/// Why a run stopped before its end. The reason in words stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// A person or the system asked for it.
    Signal,
    /// Another machine owns the schedule, or may own it.
    OwnershipLost,
    /// The right of the process to work on the run has ended: another process took it over, or may do so.
    TenureEnded,
    /// `deadlines.run` has passed.
    RunDeadline,
    /// The container SAS would not outlive another upload.
    SasEnds,
    /// More nodes failed than the error budget allows.
    BudgetSpent,
    /// The container does not exist.
    ContainerGone,
    /// The journal cannot be written.
    Journal,
    /// The schedule that started the run cannot continue.
    Schedule,
    /// The disk is nearly full.
    LittleRoom,
    /// A later version of fleetlogs knows the cause.
    #[serde(other)]
    Other,
}

/// Why a process does not verify that the files arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unverified {
    /// The config says so.
    SwitchedOff,
    /// The container may not be listed.
    NotPermitted,
    /// A later version of fleetlogs knows the cause.
    #[serde(other)]
    Other,
}
