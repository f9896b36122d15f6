//! Which events can happen to a node with which status: the state machine of a node, for those who read a journal and for
//! those who count what the tests have seen. Which status an event leads to is in [`crate::ledger`].

use crate::event::Event;
use crate::failure::FailureClass;
use crate::ledger::NodeStatus;

/// The events of a node, told apart as far as they lead to different statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeEvent {
    /// An upload call is about to be sent.
    Requested,
    /// It was not sent after all.
    Cancelled,
    /// The service accepted it, and files are awaited.
    Accepted,
    /// The service accepted it, and there are no files.
    AcceptedEmpty,
    /// It failed, and another follows.
    WillRetry,
    /// Its answer was lost.
    InDoubt,
    /// The container has no directory of it.
    Absent,
    /// The container has a directory of it.
    Adopted,
    /// No attempt is left, because the node is gone.
    FailedGone,
    /// No attempt is left, for another reason.
    Failed,
    /// All promised files are there.
    FilesVerified,
    /// Files are there, and nothing proves that they are all.
    FilesAdopted,
    /// Files are missing.
    FilesIncomplete,
    /// The container was searched for directories of repeated calls.
    DirectoriesFound,
    /// The second look found another node, or none.
    IdentityChanged,
    /// The second look found other facts.
    SeenAgain,
}

impl NodeEvent {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Requested,
        Self::Cancelled,
        Self::Accepted,
        Self::AcceptedEmpty,
        Self::WillRetry,
        Self::InDoubt,
        Self::Absent,
        Self::Adopted,
        Self::FailedGone,
        Self::Failed,
        Self::FilesVerified,
        Self::FilesAdopted,
        Self::FilesIncomplete,
        Self::DirectoriesFound,
        Self::IdentityChanged,
        Self::SeenAgain,
    ];

    /// What an event is for its node; none if it is about something else.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::UploadRequested { .. } => Self::Requested,
            Event::UploadCancelled { .. } => Self::Cancelled,
            Event::UploadAccepted { files: Some(0), .. } => Self::AcceptedEmpty,
            Event::UploadAccepted { .. } => Self::Accepted,
            Event::UploadWillRetry { .. } => Self::WillRetry,
            Event::UploadInDoubt { .. } => Self::InDoubt,
            Event::UploadAbsent { .. } => Self::Absent,
            Event::UploadAdopted { .. } => Self::Adopted,
            Event::UploadFailed { cause, .. } if cause.class == FailureClass::Gone => Self::FailedGone,
            Event::UploadFailed { .. } => Self::Failed,
            Event::FilesVerified { .. } => Self::FilesVerified,
            Event::FilesAdopted { .. } => Self::FilesAdopted,
            Event::FilesIncomplete { .. } => Self::FilesIncomplete,
            Event::DirectoriesFound { .. } => Self::DirectoriesFound,
            Event::IdentityChanged { .. } => Self::IdentityChanged,
            Event::NodeSeenAgain { .. } => Self::SeenAgain,
            Event::RunStarted { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::AccountThrottled { .. }
            | Event::AccountStopped { .. }
            | Event::RunDraining { .. }
            | Event::RunEnded { .. } => return None,
        })
    }
}

const NO_CALL: &str = "no call is in flight";
const NO_DOUBT: &str = "no answer of a call is lost";
const NOT_AWAITED: &str = "no files are awaited";
const NEVER_ACCEPTED: &str = "the service has accepted no call, so nobody looks again";
const CALLS_OPEN: &str = "the run looks again after every call was answered";

impl NodeStatus {
    /// Why an event cannot happen to a node with this status; none if it can. Which of those that can happen the tests
    /// have seen is counted: docs/design/transitions.md.
    #[must_use]
    #[expect(
        clippy::match_same_arms,
        reason = "each arm says of its events when they can happen, or why not"
    )]
    pub fn refuses(self, event: NodeEvent) -> Option<&'static str> {
        use NodeStatus::{
            Accepted, Adopted, Empty, Failed, Gone, InDoubt, Incomplete, Planned, Requested, Verified,
            Waiting,
        };
        match (event, self) {
            // Retried by `resume --retry`: all that ended, except verified nodes.
            (NodeEvent::Requested, Planned | Waiting | Adopted | Empty | Incomplete | Failed | Gone) => None,
            (NodeEvent::Requested, Requested) => Some("the answer to the call before is not known yet"),
            (NodeEvent::Requested, InDoubt) => Some("the container is asked before the call is repeated"),
            (NodeEvent::Requested, Accepted) => Some("its files are awaited"),
            (NodeEvent::Requested, Verified) => Some("a verified node is not called again"),
            (
                NodeEvent::Cancelled | NodeEvent::Accepted | NodeEvent::AcceptedEmpty | NodeEvent::InDoubt,
                Requested,
            ) => None,
            (
                NodeEvent::Cancelled | NodeEvent::Accepted | NodeEvent::AcceptedEmpty | NodeEvent::InDoubt,
                Planned | Waiting | InDoubt | Accepted | Verified | Adopted | Empty | Incomplete | Failed
                | Gone,
            ) => Some(NO_CALL),
            // A doubt that nothing can settle: the call is repeated.
            (NodeEvent::WillRetry, Requested | InDoubt) => None,
            (
                NodeEvent::WillRetry,
                Planned | Waiting | Accepted | Verified | Adopted | Empty | Incomplete | Failed | Gone,
            ) => Some(NO_CALL),
            (NodeEvent::Absent | NodeEvent::Adopted, InDoubt) => None,
            (
                NodeEvent::Absent | NodeEvent::Adopted,
                Planned | Requested | Waiting | Accepted | Verified | Adopted | Empty | Incomplete | Failed
                | Gone,
            ) => Some(NO_DOUBT),
            // Its pool may be known to be gone before it is called, for the first time or again.
            (
                NodeEvent::FailedGone,
                Planned | Requested | Waiting | Adopted | Empty | Incomplete | Failed | Gone,
            ) => None,
            (NodeEvent::FailedGone, InDoubt) => {
                Some("that a node is gone says nothing about a call in doubt")
            }
            (NodeEvent::Failed, Requested | Waiting | InDoubt) => None,
            (NodeEvent::Failed, Planned | Adopted | Empty | Incomplete | Failed | Gone) => {
                Some("without a call, a node fails only because it is gone")
            }
            (NodeEvent::FailedGone | NodeEvent::Failed, Accepted | Verified) => Some(NO_CALL),
            (NodeEvent::FilesVerified | NodeEvent::FilesAdopted | NodeEvent::FilesIncomplete, Accepted) => {
                None
            }
            (
                NodeEvent::FilesVerified | NodeEvent::FilesAdopted | NodeEvent::FilesIncomplete,
                Planned | Requested | Waiting | InDoubt | Verified | Adopted | Empty | Incomplete | Failed
                | Gone,
            ) => Some(NOT_AWAITED),
            // After the files have arrived, about nodes whose call was repeated.
            (
                NodeEvent::DirectoriesFound,
                InDoubt | Verified | Adopted | Empty | Incomplete | Failed | Gone,
            ) => None,
            (NodeEvent::DirectoriesFound, Planned) => Some("the node was never called"),
            (NodeEvent::DirectoriesFound, Requested | Waiting | Accepted) => {
                Some("the container is searched after every node has ended")
            }
            // After every call was answered, about nodes that have accepted one: this time, or before a retry.
            (
                NodeEvent::IdentityChanged | NodeEvent::SeenAgain,
                Accepted | Verified | Adopted | Empty | Incomplete | Failed | Gone | InDoubt,
            ) => None,
            (NodeEvent::IdentityChanged | NodeEvent::SeenAgain, Planned) => Some(NEVER_ACCEPTED),
            (NodeEvent::IdentityChanged | NodeEvent::SeenAgain, Requested | Waiting) => Some(CALLS_OPEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_can_be_left_unless_it_is_final_and_every_event_can_happen() {
        for event in NodeEvent::ALL {
            assert!(NodeStatus::ALL.iter().any(|status| status.refuses(event).is_none()), "{event:?}");
        }
        // What a node needs to be collected, and what must never happen to one that is.
        let ways = [
            (NodeStatus::Planned, NodeEvent::Requested),
            (NodeStatus::Requested, NodeEvent::Accepted),
            (NodeStatus::Accepted, NodeEvent::FilesVerified),
        ];
        assert!(ways.iter().all(|(status, event)| status.refuses(*event).is_none()));
        let changes = NodeEvent::ALL.into_iter().filter(|event| *event < NodeEvent::DirectoriesFound);
        for event in changes {
            assert!(NodeStatus::Verified.refuses(event).is_some(), "{event:?}");
        }
    }
}
