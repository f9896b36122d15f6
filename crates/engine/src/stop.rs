//! How a run is stopped early: [`Stop::Drain`] sends nothing new and waits for what is in flight, [`Stop::Abort`] waits
//! for nothing. The journal is intact in both cases.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::count::counted;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::stop_cause::StopCause;
use fleetlogs_model::timestamp;
use time::OffsetDateTime;
use tokio::sync::watch;

use fleetlogs_model::run_store::{JournalError, LittleRoom};

/// How a run stops. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It does not stop.
    No,
    /// Send nothing new; wait for what is in flight.
    Drain,
    /// Wait for nothing.
    Abort,
}

/// Why a run stops before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StopReason {
    /// A person or the system asked for it.
    #[error("stopped by a signal")]
    Signal,
    /// This machine no longer owns the schedule, or cannot tell whether it does.
    #[error("another machine owns the schedule, or may own it already")]
    OwnershipLost,
    /// The right of this process to work on the run has ended, and could not be renewed in time.
    #[error("another process took the run over, or may do so: the lease of the run has ended")]
    TenureEnded,
    /// The right to work on the run ends before a call would.
    #[error(
        "the lease of the run lasts {} seconds, but with `deadlines.call` a call needs {}",
        length.as_secs(), needed.as_secs()
    )]
    ShortTenure {
        /// How long it lasts.
        length: Duration,
        /// How long it must last.
        needed: Duration,
    },
    /// `deadlines.run` has passed.
    #[error("the run's deadline has passed")]
    RunDeadline,
    /// The container SAS would not outlive another upload.
    #[error("the container SAS expires at {}, and no upload is sent that could outlive it", timestamp::text(*.0))]
    SasEnds(OffsetDateTime),
    /// More nodes failed than the error budget allows.
    #[error("{} failed, and the run's error budget allows {allowed}", counted(*.failed, "node"))]
    BudgetSpent {
        /// How many failed.
        failed: u64,
        /// How many may.
        allowed: u64,
    },
    /// The container does not exist, or no longer does.
    #[error("the container is gone: {0}")]
    ContainerGone(Failure),
    /// Nothing more can be recorded, so nothing may be sent.
    #[error("the journal cannot be written: {error}{}", help.as_deref().map(|help| format!("; {help}")).unwrap_or_default())]
    Journal {
        /// What failed.
        error: String,
        /// What a person can do about it.
        help: Option<Box<str>>,
    },
    /// The schedule that started the run cannot continue: its state cannot be changed, or another machine owns it.
    #[error("the schedule cannot continue: {0}")]
    Schedule(String),
    /// The disk is nearly full. What is in flight can still be recorded, and the reports can be written.
    #[error(
        "only {} KiB are free on the disk of the run directory, and {} KiB are reserved for calls in flight and for the reports; free space, then resume",
        .0.free / 1024, .0.needed.div_ceil(1024)
    )]
    LittleRoom(LittleRoom),
}

impl StopReason {
    /// That the journal failed.
    #[must_use]
    pub fn journal(error: &JournalError) -> Self {
        Self::Journal { error: error.what.to_string(), help: error.help.clone() }
    }

    /// The kind, as the journal records it.
    #[must_use]
    pub fn cause(&self) -> StopCause {
        match self {
            Self::Signal => StopCause::Signal,
            Self::OwnershipLost => StopCause::OwnershipLost,
            Self::TenureEnded | Self::ShortTenure { .. } => StopCause::TenureEnded,
            Self::RunDeadline => StopCause::RunDeadline,
            Self::SasEnds(_) => StopCause::SasEnds,
            Self::BudgetSpent { .. } => StopCause::BudgetSpent,
            Self::ContainerGone(_) => StopCause::ContainerGone,
            Self::Journal { .. } => StopCause::Journal,
            Self::Schedule(_) => StopCause::Schedule,
            Self::LittleRoom(_) => StopCause::LittleRoom,
        }
    }

    /// How a run that stops for this reason has ended.
    #[must_use]
    pub fn outcome(&self) -> RunOutcome {
        match self {
            Self::BudgetSpent { .. } => RunOutcome::BudgetSpent,
            Self::Signal
            | Self::OwnershipLost
            | Self::TenureEnded
            | Self::ShortTenure { .. }
            | Self::RunDeadline
            | Self::SasEnds(_)
            | Self::ContainerGone(_)
            | Self::LittleRoom(_)
            | Self::Schedule(_)
            | Self::Journal { .. } => RunOutcome::Interrupted,
        }
    }
}

#[derive(Clone, Debug)]
struct State {
    level: Stop,
    reason: Option<StopReason>,
}

/// Stops a run, and tells whether it is stopped. Clones share their state.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<watch::Sender<State>>);

impl Default for StopHandle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State { level: Stop::No, reason: None })))
    }
}

impl StopHandle {
    /// Asks for at least this level. The first reason is kept.
    pub fn stop(&self, level: Stop, reason: StopReason) {
        self.0.send_if_modified(|state| {
            let raised = level > state.level;
            if raised {
                state.level = level;
                state.reason.get_or_insert(reason);
            }
            raised
        });
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> Stop {
        self.0.borrow().level
    }

    /// Why it stops; none while it is not stopped.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.0.borrow().reason.clone()
    }

    /// Waits until the level is reached.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn reached(&self, level: Stop) {
        let mut receiver = self.0.subscribe();
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = receiver.wait_for(|state| state.level >= level).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays_and_the_level_only_rises() {
        let stop = StopHandle::default();
        assert!(stop.reason().is_none());
        stop.stop(Stop::Abort, StopReason::RunDeadline);
        stop.stop(Stop::Drain, StopReason::Signal);
        stop.reached(Stop::Drain).await;
        assert_eq!(stop.level(), Stop::Abort);
        assert!(matches!(stop.reason(), Some(StopReason::RunDeadline)));
    }
}
