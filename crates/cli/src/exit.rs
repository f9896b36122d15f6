//! Exit codes: documented in docs/reference/exit-codes.md, never reused.

use std::process::ExitCode;

use fleetlogs_model::outcome::RunOutcome;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every planned node is `verified` or `empty` (`accepted` if verification is off); or the command succeeded.
    Complete = 0,
    /// A defect in fleetlogs.
    Defect = 1,
    /// A mistake in the arguments or the config.
    Usage = 2,
    /// Some planned nodes were not collected.
    Partial = 3,
    /// Nothing was collected.
    NothingCollected = 4,
    /// Refused before any upload was sent.
    Refused = 5,
    /// Stopped early; resumable.
    Interrupted = 6,
    /// The error budget is spent, or an account refuses every call; resumable.
    BudgetSpent = 7,
    /// The selection matched no node.
    NoNode = 8,
}

impl Exit {
    /// The exit code with this number; an unknown number is a defect.
    pub(crate) fn of_code(code: u8) -> Self {
        let all = [
            Self::Complete,
            Self::Usage,
            Self::Partial,
            Self::NothingCollected,
            Self::Refused,
            Self::Interrupted,
            Self::BudgetSpent,
            Self::NoNode,
        ];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Defect)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<RunOutcome> for Exit {
    fn from(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Complete => Self::Complete,
            RunOutcome::Partial => Self::Partial,
            RunOutcome::NothingCollected => Self::NothingCollected,
            RunOutcome::Interrupted => Self::Interrupted,
            RunOutcome::BudgetSpent => Self::BudgetSpent,
        }
    }
}
