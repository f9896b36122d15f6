//! Everything that can happen in a run.
//!
//! Events own their data, so they can be stored and read again: the journal, the live view and the manifest all
//! fold the same events. A stored event is never changed in meaning; a new fact is a new event or an optional
//! member, which older readers pass over.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::evidence::NodeEvidence;
use crate::failure::Failure;
use crate::fingerprint::Fingerprint;
use crate::ids::{AccountName, NodeId, NodeIndex, PoolId};
use crate::outcome::RunOutcome;
use crate::service::NodeState;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A process began to work on the run.
    RunStarted {
        /// Version of that fleetlogs.
        tool_version: String,
        /// Whether arrival of the files will be looked at.
        verification: bool,
    },
    /// An upload call is about to be sent. On record first, so that a crash in between can be seen.
    UploadRequested {
        /// 1 for a node's first call.
        attempt: u32,
        /// Sent along as `client-request-id`.
        client_request_id: Uuid,
    },
    /// The call was not sent after all; the attempt does not count.
    UploadCancelled {
        /// Which attempt.
        attempt: u32,
    },
    /// The service took the call and named the directory its files go to.
    UploadAccepted {
        /// Which attempt.
        attempt: u32,
        /// `virtualDirectoryName`, verbatim.
        directory: Box<str>,
        /// How many files the node will send; none if the service did not say.
        #[serde(default)]
        files: Option<u32>,
        /// The service's id of the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Box<str>>,
    },
    /// The attempt failed; another follows after the delay.
    UploadWillRetry {
        /// Which attempt.
        attempt: u32,
        /// Why it failed.
        cause: Failure,
        /// How long the next one waits, in milliseconds.
        delay_ms: u64,
    },
    /// The attempt's answer was lost: it may have been accepted. The container will be asked.
    UploadInDoubt {
        /// Which attempt.
        attempt: u32,
        /// What was seen instead of an answer.
        cause: Failure,
    },
    /// The container holds no directory of the attempt in doubt, long enough after it. It may be sent again.
    UploadAbsent {
        /// Which attempt.
        attempt: u32,
    },
    /// The container holds a directory of the attempt in doubt: it had been accepted.
    UploadAdopted {
        /// Which attempt.
        attempt: u32,
        /// The newest directory, as the blobs' names spell it.
        directory: Box<str>,
        /// Other directories of this node that may be of this run, too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<Box<str>>,
    },
    /// At the end of the run the container was searched once more for directories of a node whose call was repeated.
    DirectoriesFound {
        /// All that were made since the node's first call.
        directories: Vec<Box<str>>,
    },
    /// When every call was answered, the node was no longer the one that was planned: rebooted, re-imaged, replaced, or
    /// gone.
    IdentityChanged {
        /// What it is now; none if it is no longer in its pool.
        now: Option<NodeIdentity>,
    },
    /// When every call was answered, the service said other things of the node than when it was planned.
    NodeSeenAgain {
        /// What it said then.
        now: Box<NodeEvidence>,
    },
    /// When every call was answered, the nodes of a pool were listed once more: what no event says of a node of it that
    /// took a call is as it was planned.
    PoolSeenAgain {
        /// Of which account.
        account: AccountName,
        /// Which pool.
        pool: PoolId,
    },
    /// Nodes that were not there when the plan was made. They are not called: the plan is frozen. May name a node again.
    NodesAppeared {
        /// In which account.
        account: AccountName,
        /// In which pool.
        pool: PoolId,
        /// Their ids.
        nodes: Vec<NodeId>,
    },
    /// The lists of an account were read again, and the order of the nodes not called yet follows them.
    OrderFollowed {
        /// Which account.
        account: AccountName,
        /// How many of them are more urgent than the plan says.
        raised: u32,
        /// How many are less urgent.
        lowered: u32,
    },
    /// No attempt is left. Final.
    UploadFailed {
        /// Which attempt was the last; 0 if none was sent.
        attempt: u32,
        /// Why it failed.
        cause: Failure,
    },
    /// All promised files are there and their sizes stayed the same over two listings. Final.
    FilesVerified {
        /// How many files are there.
        files: u32,
        /// Their sizes together.
        bytes: u64,
        /// Of their names and sizes. Journals of earlier versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Fingerprint>,
    },
    /// The deadline came before the promised files did. Final.
    FilesIncomplete {
        /// How many files are there.
        files: u32,
        /// Their sizes together.
        bytes: u64,
        /// Why, as far as it can be told.
        reason: Box<str>,
    },
    /// The service asked an account to slow down.
    AccountThrottled {
        /// Which account.
        account: AccountName,
        /// The new pace, in thousandths of a call per second.
        millirate: u64,
        /// How long the whole account pauses, in milliseconds, if the service asked for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
    },
    /// Nothing more is sent to an account.
    AccountStopped {
        /// Which account.
        account: AccountName,
        /// Why.
        cause: Failure,
    },
    /// No new call is sent any more; what is in flight is still awaited.
    RunDraining {
        /// Why.
        reason: Box<str>,
        /// How a run that ends here has ended; none where its nodes alone decide.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<RunOutcome>,
    },
    /// The run is over.
    RunEnded {
        /// List calls that verification took in this process. Those of a resumed run add up.
        list_calls: u64,
    },
}

/// What tells one node from another of the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
    /// When it was allocated.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub allocation_time: Option<OffsetDateTime>,
    /// When it last booted.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_boot_time: Option<OffsetDateTime>,
}

/// An event with its time and, where it is about one, its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When, to the millisecond.
    #[serde(with = "crate::timestamp")]
    pub at: OffsetDateTime,
    /// The node it is about, as its position in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeIndex>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::failure::FailureClass;

    #[test]
    fn the_stored_form_is_flat_and_survives_a_round_trip() {
        let recorded = Recorded {
            at: datetime!(2026-11-22 09:30:00.125 UTC),
            node: Some(NodeIndex(17)),
            event: Event::UploadWillRetry {
                attempt: 2,
                cause: Failure {
                    status: Some(429),
                    code: Some("TooManyRequests".into()),
                    retry_after_ms: Some(1000),
                    ..Failure::new(FailureClass::Throttled, "slow down")
                },
                delay_ms: 1000,
            },
        };
        let text = serde_json::to_string(&recorded).unwrap();
        assert_eq!(
            text,
            r#"{"at":"2026-11-22T09:30:00.125Z","node":17,"event":"upload-will-retry","attempt":2,"cause":{"class":"throttled","status":429,"code":"TooManyRequests","message":"slow down","retry_after_ms":1000},"delay_ms":1000}"#
        );
        assert_eq!(serde_json::from_str::<Recorded>(&text).unwrap(), recorded);
    }
    #[test]
    fn verified_files_of_earlier_versions_have_no_fingerprint() {
        let read = |text| serde_json::from_str::<Event>(text).unwrap();
        let old = r#"{"event":"files-verified","files":4,"bytes":40}"#;
        assert_eq!(read(old), Event::FilesVerified { files: 4, bytes: 40, fingerprint: None });
        let mut fingerprint = Fingerprint::default();
        fingerprint.add("d/a", 40);
        let new = Event::FilesVerified { files: 1, bytes: 40, fingerprint: Some(fingerprint) };
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.contains(&format!(r#""fingerprint":"{fingerprint}""#)), "{text}");
        assert_eq!(read(&text), new);
    }
}
