//! How one planned node ended: its outcome, and the reason in words.
//!
//! A node's history knows why a call failed or files are missing. It does not know that the run ended before the node
//! was finished; that part of the reason is added here, once for all reports.

use fleetlogs_model::history::{Attempt, NodeHistory};
use fleetlogs_model::ids::AccountIndex;
use fleetlogs_model::ledger::NodeStatus;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::planned::PlannedNode;

use crate::run_facts::RunFacts;

/// A planned node at the end of the run.
pub(crate) struct NodeEnd<'a> {
    pub(crate) node: &'a PlannedNode,
    pub(crate) account: AccountIndex,
    pub(crate) history: &'a NodeHistory,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<String>,
}

impl<'a> NodeEnd<'a> {
    /// `stopped` is the reason why the run stopped calling the node's account, if it did.
    pub(crate) fn new(
        node: &'a PlannedNode,
        account: AccountIndex,
        history: &'a NodeHistory,
        facts: &RunFacts,
        stopped: Option<&str>,
    ) -> Self {
        let reason = reason(history, facts, stopped);
        Self { node, account, history, outcome: history.status.outcome(), reason }
    }

    /// The last call that was sent.
    pub(crate) fn last_attempt(&self) -> Option<&'a Attempt> {
        self.history.attempts.last()
    }
}

fn reason(history: &NodeHistory, facts: &RunFacts, stopped: Option<&str>) -> Option<String> {
    match history.status {
        NodeStatus::Planned => Some(why_not_called(facts, stopped)),
        NodeStatus::Waiting => Some(last_cause(history).map_or_else(
            || why_not_called(facts, stopped),
            |cause| format!("the run ended while the node waited to be called again: {cause}"),
        )),
        NodeStatus::Requested => Some("the run ended before the call was answered".into()),
        NodeStatus::InDoubt => Some(match &history.reason {
            Some(cause) => format!("the call's answer was lost: {cause}"),
            None => "the call's answer was lost".into(),
        }),
        NodeStatus::Accepted if facts.verification => {
            Some("the run ended before its files were verified".into())
        }
        NodeStatus::Accepted
        | NodeStatus::Verified
        | NodeStatus::Adopted
        | NodeStatus::Empty
        | NodeStatus::Incomplete
        | NodeStatus::Failed
        | NodeStatus::Gone => history.reason.clone(),
    }
}

/// If the account was stopped, that explains more than the end of the run.
fn why_not_called(facts: &RunFacts, stopped: Option<&str>) -> String {
    match (stopped, &facts.reason) {
        (Some(cause), _) => format!("nothing more was sent to its account: {cause}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "the run ended before the node was called".into(),
    }
}

/// Why the node waits. A new call clears the reason in the history; if that call was cancelled, the reason is taken
/// from the earlier attempts.
fn last_cause(history: &NodeHistory) -> Option<String> {
    history.reason.clone().or_else(|| {
        let attempt = history.attempts.last()?;
        let message = attempt.message.as_deref()?;
        Some(match (attempt.status, attempt.code.as_deref()) {
            (Some(status), Some(code)) => format!("{status} {code}: {message}"),
            (Some(status), None) => format!("{status}: {message}"),
            (None, _) => message.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::event::Event;
    use fleetlogs_model::failure::FailureClass;

    use super::*;
    use crate::testing::{self, accepted, failure, history_of, requested, retried, verified};

    fn reason_of(events: &[Event], stopped: Option<&str>) -> Option<String> {
        let facts = testing::interrupted("SIGINT");
        reason(&history_of(events), &facts, stopped)
    }

    #[test]
    fn a_node_that_was_not_called_says_why_the_run_ended() {
        assert_eq!(reason_of(&[], None).unwrap(), "SIGINT");
        let stopped = Some("403 AuthenticationFailed: no");
        assert_eq!(
            reason_of(&[], stopped).unwrap(),
            "nothing more was sent to its account: 403 AuthenticationFailed: no"
        );
    }

    #[test]
    fn a_waiting_node_keeps_its_last_cause_even_behind_a_cancelled_call() {
        let busy = failure(FailureClass::Wait, 409, "NodeBeingRebooted", "not now");
        let expected =
            "the run ended while the node waited to be called again: 409 NodeBeingRebooted: not now";
        let mut events = vec![requested(1), retried(1, busy)];
        assert_eq!(reason_of(&events, None).unwrap(), expected);
        events.extend([requested(2), Event::UploadCancelled { attempt: 2 }]);
        assert_eq!(reason_of(&events, None).unwrap(), expected);
    }

    #[test]
    fn an_accepted_node_of_a_verified_run_was_not_finished() {
        let events = [requested(1), accepted(1, "d", 4)];
        assert_eq!(reason_of(&events, None).unwrap(), "the run ended before its files were verified");
    }

    #[test]
    fn a_verified_node_needs_no_reason() {
        assert_eq!(reason_of(&[requested(1), accepted(1, "d", 4), verified(4, 40)], None), None);
    }
}
