//! What happened to one node: its events, folded into the record in the manifest.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{Event, NodeIdentity, Recorded};
use crate::evidence::NodeEvidence;
use crate::failure::{Failure, FailureClass};
use crate::fingerprint::Fingerprint;
use crate::ledger::NodeStatus;
use crate::outcome::{Proof, Shortfall};

/// One upload call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// When it was recorded, right before it was sent.
    pub sent_at: OffsetDateTime,
    /// Its `client-request-id`.
    pub client_request_id: Uuid,
    /// The service's `request-id`.
    pub request_id: Option<Box<str>>,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// The service's error code.
    pub code: Option<Box<str>>,
    /// What went wrong, for a person.
    pub message: Option<Box<str>>,
}

impl Attempt {
    fn is_answered(&self) -> bool {
        self.status.is_some() || self.message.is_some()
    }
}

/// The record of one node.
#[derive(Clone, Debug)]
pub struct NodeHistory {
    /// The outcome.
    pub status: NodeStatus,
    /// The reason, unless it simply succeeded.
    pub reason: Option<String>,
    /// The directory that counts, verbatim.
    pub directory: Option<Box<str>>,
    /// Files promised; none if the promise was lost with the answer.
    pub files_promised: Option<u32>,
    /// Files seen in the container; none if nobody looked.
    pub files_arrived: Option<u32>,
    /// Their total size in bytes.
    pub bytes: Option<u64>,
    /// When all of them were there and their sizes had stayed the same.
    pub verified_at: Option<OffsetDateTime>,
    /// What shows that they are all; none unless they were verified.
    pub proof: Option<Proof>,
    /// What is wrong with them, if the node is incomplete. Journals of earlier versions do not say.
    pub shortfall: Option<Shortfall>,
    /// Fingerprint of their names and sizes, if they were verified or adopted.
    pub fingerprint: Option<Fingerprint>,
    /// Other directories of the node that this run created or may have created.
    pub duplicates: Vec<Box<str>>,
    /// A call in doubt was repeated, and afterwards nobody checked whether both calls left a directory.
    pub may_have_duplicates: bool,
    /// Every call that was sent.
    pub attempts: Vec<Attempt>,
    /// It was no longer the planned node at the second look: what it was then, none if it was gone.
    pub identity_changed: Option<Box<Option<NodeIdentity>>>,
    /// What the service reported about it at the second look, if that differs from the plan.
    pub seen_again: Option<Box<NodeEvidence>>,
}

impl Default for NodeHistory {
    fn default() -> Self {
        Self {
            status: NodeStatus::Planned,
            reason: None,
            directory: None,
            files_promised: None,
            files_arrived: None,
            bytes: None,
            verified_at: None,
            proof: None,
            shortfall: None,
            fingerprint: None,
            duplicates: vec![],
            may_have_duplicates: false,
            attempts: vec![],
            identity_changed: None,
            seen_again: None,
        }
    }
}

impl NodeHistory {
    /// Applies the node's next event.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.status = self.status.after(&recorded.event);
        match &recorded.event {
            Event::UploadRequested { attempt, client_request_id, .. } => {
                self.reason = None;
                self.attempts.push(Attempt {
                    number: *attempt,
                    sent_at: recorded.at,
                    client_request_id: *client_request_id,
                    request_id: None,
                    status: None,
                    code: None,
                    message: None,
                });
            }
            Event::UploadCancelled { .. } => {
                self.attempts.pop();
            }
            Event::UploadAccepted { directory, files, request_id, .. } => {
                self.take_directory(directory, *files);
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.status = Some(200);
                    attempt.request_id.clone_from(request_id);
                }
                self.reason = None;
            }
            Event::UploadWillRetry { cause, .. } => {
                self.may_have_duplicates |= cause.class == FailureClass::InDoubt;
                self.attempt_failed(cause);
            }
            Event::UploadInDoubt { cause, .. } | Event::UploadFailed { cause, .. } => {
                self.attempt_failed(cause);
            }
            Event::UploadAdopted { directory, others, .. } => {
                self.take_directory(directory, None);
                self.duplicates.extend(others.iter().cloned());
                self.reason =
                    Some("the call's answer was lost; its directory was found in the container".into());
            }
            Event::FilesVerified { files, bytes, fingerprint, proof } => {
                self.files_arrived = Some(*files);
                self.bytes = Some(*bytes);
                self.verified_at = Some(recorded.at);
                self.fingerprint = *fingerprint;
                self.proof = proof.or_else(|| self.files_promised.map(|_| Proof::Promise));
            }
            Event::FilesAdopted { files, bytes, fingerprint, reason } => {
                self.files_arrived = Some(*files);
                self.bytes = Some(*bytes);
                self.verified_at = None;
                self.fingerprint = Some(*fingerprint);
                self.reason = Some(reason.to_string());
            }
            Event::FilesIncomplete { files, bytes, reason, shortfall } => {
                self.files_arrived = Some(*files);
                self.bytes = Some(*bytes);
                self.verified_at = None;
                self.shortfall = *shortfall;
                self.reason = Some(reason.to_string());
            }
            // The settle time is an estimate: a directory that was absent then may appear later.
            Event::UploadAbsent { .. } => self.may_have_duplicates = true,
            Event::DirectoriesFound { directories, unsure } => {
                self.may_have_duplicates &= unsure;
                for found in directories {
                    if self.directory.as_ref() != Some(found) && !self.duplicates.contains(found) {
                        self.duplicates.push(found.clone());
                    }
                }
            }
            Event::IdentityChanged { now } => self.identity_changed = Some(Box::new(now.clone())),
            Event::NodeSeenAgain { now } => self.seen_again = Some(now.clone()),
            Event::RunStarted { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::AccountThrottled { .. }
            | Event::AccountStopped { .. }
            | Event::RunDraining { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    /// A directory that counts from now on; nobody has looked into it yet.
    fn take_directory(&mut self, directory: &str, files: Option<u32>) {
        self.duplicates.extend(self.directory.replace(directory.into()));
        self.files_promised = files;
        self.files_arrived = None;
        self.bytes = None;
        self.verified_at = None;
        self.proof = None;
        self.shortfall = None;
        self.fingerprint = None;
    }

    /// The node failed. An attempt that was already answered keeps its answer: a node may be given up while it waits
    /// for its next attempt.
    fn attempt_failed(&mut self, cause: &Failure) {
        self.reason = Some(cause.to_string());
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| !attempt.is_answered()) {
            attempt.status = cause.status;
            attempt.code.clone_from(&cause.code);
            attempt.request_id.clone_from(&cause.request_id);
            attempt.message = Some(cause.message.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::ids::NodeIndex;
    use crate::outcome::Outcome;

    fn history(events: impl IntoIterator<Item = Event>) -> NodeHistory {
        let mut history = NodeHistory::default();
        for event in events {
            let at = datetime!(2026-11-22 09:30:00 UTC);
            history.apply(&Recorded { at, node: Some(NodeIndex(0)), event });
        }
        history
    }

    fn requested(attempt: u32) -> Event {
        let client_request_id = Uuid::from_u128(attempt.into());
        Event::UploadRequested { attempt, client_request_id, service_ahead_ms: None }
    }

    #[test]
    fn every_attempt_keeps_its_own_answer() {
        let throttled = Failure {
            status: Some(429),
            code: Some("TooManyRequests".into()),
            request_id: Some("r1".into()),
            ..Failure::new(FailureClass::Throttled, "busy")
        };
        let history = history([
            requested(1),
            Event::UploadWillRetry { attempt: 1, cause: throttled, delay_ms: 1 },
            requested(2),
            Event::UploadAccepted {
                attempt: 2,
                directory: "d".into(),
                files: Some(4),
                request_id: Some("r2".into()),
            },
            Event::FilesVerified { files: 4, bytes: 40, fingerprint: None, proof: None },
        ]);
        assert_eq!(history.status.outcome(), Outcome::Verified);
        assert_eq!(history.verified_at, Some(datetime!(2026-11-22 09:30:00 UTC)));
        assert_eq!(history.attempts[0].code.as_deref(), Some("TooManyRequests"));
        assert_eq!(history.attempts[1].status, Some(200));
        assert_eq!(history.attempts[1].request_id.as_deref(), Some("r2"));
        assert_eq!(history.reason, None);
        assert!(!history.may_have_duplicates);
    }

    #[test]
    fn a_blind_repeat_is_marked() {
        let lost = Failure::new(FailureClass::InDoubt, "connection reset");
        let history =
            history([requested(1), Event::UploadWillRetry { attempt: 1, cause: lost, delay_ms: 1 }]);
        assert!(history.may_have_duplicates);
    }

    #[test]
    fn giving_up_later_does_not_rewrite_what_a_call_was_answered() {
        let busy = Failure { status: Some(409), ..Failure::new(FailureClass::Wait, "rebooting") };
        let gone = Failure { status: Some(404), ..Failure::new(FailureClass::Gone, "no such node") };
        let history = history([
            requested(1),
            Event::UploadWillRetry { attempt: 1, cause: busy, delay_ms: 1 },
            Event::UploadFailed { attempt: 1, cause: gone },
        ]);
        assert_eq!(history.attempts[0].status, Some(409));
        assert_eq!(history.reason.as_deref(), Some("404: no such node"));
    }

    #[test]
    fn a_second_directory_makes_the_first_a_duplicate_and_starts_counting_anew() {
        let accepted = |directory: &str| Event::UploadAccepted {
            attempt: 1,
            directory: directory.into(),
            files: Some(4),
            request_id: None,
        };
        let counted = Event::FilesVerified { files: 3, bytes: 9, fingerprint: None, proof: None };
        let adopted = Event::UploadAdopted { attempt: 2, directory: "b".into(), others: vec![] };
        let history = history([requested(1), accepted("a"), counted, requested(2), adopted]);
        assert_eq!(history.duplicates, ["a".into()]);
        assert_eq!((history.files_promised, history.files_arrived, history.bytes), (None, None, None));
        assert_eq!(history.verified_at, None);
    }

    #[test]
    fn a_directory_that_shows_up_after_the_repeat_is_a_duplicate() {
        let accepted = Event::UploadAccepted {
            attempt: 2,
            directory: "second".into(),
            files: Some(4),
            request_id: None,
        };
        let events = [requested(1), Event::UploadAbsent { attempt: 1 }, requested(2), accepted];
        assert!(history(events.clone()).may_have_duplicates, "nobody looked again");
        for unsure in [false, true] {
            let directories = vec!["first".into(), "second".into()];
            let found = Event::DirectoriesFound { directories, unsure };
            let looked = history(events.clone().into_iter().chain([found]));
            assert_eq!(looked.may_have_duplicates, unsure);
            assert_eq!(looked.duplicates, ["first".into()]);
        }
    }

    #[test]
    fn a_call_without_an_answer_is_in_doubt() {
        assert_eq!(history([requested(1)]).status.outcome(), Outcome::InDoubt);
        assert_eq!(history([requested(1), Event::UploadCancelled { attempt: 1 }]).attempts, []);
    }
}
