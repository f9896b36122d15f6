//! Everything that can happen in a run.
//!
//! Events own their data, so they can be stored and read again: the journal, the live view and the manifest all fold
//! the same events. A stored event never changes its meaning. A new fact is an optional member, which older readers
//! ignore, or a new event, which they refuse: it is of a new version.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::evidence::NodeEvidence;
use crate::failure::Failure;
use crate::fingerprint::Fingerprint;
use crate::ids::{AccountName, NodeId, NodeIndex, PoolId};
use crate::outcome::{Proof, RunOutcome, Shortfall};
use crate::service::NodeState;
use crate::stop_cause::{StopCause, Unverified};

/// Version of the stored form of events. The versions of every store that keeps events change with it. A version gains
/// optional members and nothing else: readers refuse an event that they do not know.
pub const EVENTS_VERSION: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A process started to work on the run.
    RunStarted {
        /// Its version of fleetlogs.
        tool_version: String,
        /// Whether the arrival of the files is verified.
        verification: bool,
        /// How long after the last accepted call files are awaited, in milliseconds. Journals of earlier versions have
        /// none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arrival_deadline_ms: Option<u64>,
        /// Why not, if it is not. Journals of earlier versions do not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unverified: Option<Unverified>,
        /// Whether the fleet is simulated by the process itself, and ends with it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        simulated: bool,
    },
    /// An upload call is about to be sent. It is recorded first, so that a crash in between can be seen.
    UploadRequested {
        /// 1 for a node's first call.
        attempt: u32,
        /// Sent as `client-request-id`.
        client_request_id: Uuid,
        /// How far the service's clock was ahead of this machine's, in milliseconds; none if it was not known. Journals
        /// of earlier versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service_ahead_ms: Option<i64>,
    },
    /// The call was not sent after all; the attempt does not count.
    UploadCancelled {
        /// Which attempt.
        attempt: u32,
    },
    /// The service accepted the call and named the directory of the files.
    UploadAccepted {
        /// Which attempt.
        attempt: u32,
        /// `virtualDirectoryName`, verbatim.
        directory: Box<str>,
        /// How many files the node will upload; none if the service did not say.
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
        /// How long until the next attempt, in milliseconds.
        delay_ms: u64,
    },
    /// The answer to the attempt was lost: it may have been accepted. The container will be searched.
    UploadInDoubt {
        /// Which attempt.
        attempt: u32,
        /// What happened instead of an answer.
        cause: Failure,
    },
    /// Long enough after the attempt in doubt, the container has no directory of it. The call may be sent again.
    UploadAbsent {
        /// Which attempt.
        attempt: u32,
    },
    /// The container has a directory of the attempt in doubt: it had been accepted.
    UploadAdopted {
        /// Which attempt.
        attempt: u32,
        /// The newest directory, as spelled in the names of the blobs.
        directory: Box<str>,
        /// Other directories of this node that may belong to this run, too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<Box<str>>,
    },
    /// At the end of the run, the container was searched once more for directories of a node whose call was repeated.
    DirectoriesFound {
        /// All that were created since the node's first call.
        directories: Vec<Box<str>>,
        /// Whether there may be others all the same, because a clock moved in between.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unsure: bool,
    },
    /// After every call was answered, the node was no longer the planned one: rebooted, re-imaged, replaced, or gone.
    IdentityChanged {
        /// What the node is now; none if it is no longer in its pool.
        now: Option<NodeIdentity>,
    },
    /// After every call was answered, the service reported other facts about the node than at plan time.
    NodeSeenAgain {
        /// The facts reported then.
        now: Box<NodeEvidence>,
    },
    /// After every call was answered, the nodes of a pool were listed once more. A node of the pool that accepted a
    /// call and has no event about this is as it was planned.
    PoolSeenAgain {
        /// The account.
        account: AccountName,
        /// The pool.
        pool: PoolId,
    },
    /// Nodes that did not exist when the plan was made. They are not called, because the plan is frozen. May name a
    /// node again.
    NodesAppeared {
        /// The account.
        account: AccountName,
        /// The pool.
        pool: PoolId,
        /// Their ids.
        nodes: Vec<NodeId>,
    },
    /// The lists of an account were read again, and the nodes not called yet were reordered accordingly.
    OrderFollowed {
        /// The account.
        account: AccountName,
        /// How many nodes are more urgent than in the plan.
        raised: u32,
        /// How many nodes are less urgent.
        lowered: u32,
    },
    /// No attempt is left. Final.
    UploadFailed {
        /// The last attempt; 0 if none was sent.
        attempt: u32,
        /// Why it failed.
        cause: Failure,
    },
    /// All promised files are there, and their sizes were the same in two listings. Final.
    FilesVerified {
        /// Number of files.
        files: u32,
        /// Their total size in bytes.
        bytes: u64,
        /// Fingerprint of their names and sizes. Journals of earlier versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Fingerprint>,
        /// What shows that they are all. Journals of earlier versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
    /// Files are there, and their sizes were the same in two listings, but how many were promised is not known, and the
    /// promises of the node's peers do not prove that they are all. Final.
    FilesAdopted {
        /// Number of files.
        files: u32,
        /// Their total size in bytes.
        bytes: u64,
        /// Fingerprint of their names and sizes.
        fingerprint: Fingerprint,
        /// Why nothing proves that they are all.
        reason: Box<str>,
    },
    /// The deadline passed before the promised files arrived. Final.
    FilesIncomplete {
        /// Number of files.
        files: u32,
        /// Their total size in bytes.
        bytes: u64,
        /// Why, as far as it is known.
        reason: Box<str>,
        /// The kind of the reason. Journals of earlier versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shortfall: Option<Shortfall>,
    },
    /// The service asked an account to slow down.
    AccountThrottled {
        /// The account.
        account: AccountName,
        /// The new pace, in thousandths of a call per second.
        millirate: u64,
        /// How long the whole account pauses, in milliseconds, if the service asked for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
    },
    /// Nothing more is sent to an account.
    AccountStopped {
        /// The account.
        account: AccountName,
        /// Why.
        cause: Failure,
    },
    /// No new call is sent; the calls in flight are still awaited.
    RunDraining {
        /// Why.
        reason: Box<str>,
        /// How a run that ends here has ended; none if its nodes alone decide.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<RunOutcome>,
        /// The kind of the reason. Journals of earlier versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<StopCause>,
    },
    /// The run is over.
    RunEnded {
        /// List calls that verification made in this process. Those of a resumed run add up.
        list_calls: u64,
    },
}

/// What distinguishes a node from others with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
    /// When it was allocated.
    #[serde(default, with = "crate::timestamp::exact::option", skip_serializing_if = "Option::is_none")]
    pub allocation_time: Option<OffsetDateTime>,
    /// When it last booted.
    #[serde(default, with = "crate::timestamp::exact::option", skip_serializing_if = "Option::is_none")]
    pub last_boot_time: Option<OffsetDateTime>,
}

/// An event with its time and, if it is about one, its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When it happened, to the millisecond.
    #[serde(with = "crate::timestamp")]
    pub at: OffsetDateTime,
    /// The node, as its position in the plan.
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
    fn an_intent_of_earlier_versions_does_not_tell_the_services_clock() {
        let read = |text| serde_json::from_str::<Event>(text).unwrap();
        let old = r#"{"event":"upload-requested","attempt":1,"client_request_id":"00000000-0000-0000-0000-000000000000"}"#;
        let intent = |service_ahead_ms| Event::UploadRequested {
            attempt: 1,
            client_request_id: Uuid::nil(),
            service_ahead_ms,
        };
        assert_eq!(read(old), intent(None));
        assert_eq!(serde_json::to_string(&intent(None)).unwrap(), old);
        let new = serde_json::to_string(&intent(Some(-60_000))).unwrap();
        assert!(new.ends_with(r#","service_ahead_ms":-60000}"#), "{new}");
        assert_eq!(read(&new), intent(Some(-60_000)));
    }

    #[test]
    fn a_run_of_an_earlier_version_does_not_tell_the_kind_of_its_end() {
        let read = |text| serde_json::from_str::<Event>(text).unwrap();
        let draining = |cause| Event::RunDraining { reason: "no".into(), outcome: None, cause };
        let old = r#"{"event":"run-draining","reason":"no"}"#;
        assert_eq!(read(old), draining(None));
        assert_eq!(serde_json::to_string(&draining(None)).unwrap(), old);
        let new = r#"{"event":"run-draining","reason":"no","cause":"sas-ends"}"#;
        assert_eq!(read(new), draining(Some(StopCause::SasEnds)));
        let later = r#"{"event":"run-draining","reason":"no","cause":"moonlight"}"#;
        assert_eq!(read(later), draining(Some(StopCause::Other)));
        let old = r#"{"event":"run-started","tool_version":"0.1.0","verification":true}"#;
        assert_eq!(serde_json::to_string(&read(old)).unwrap(), old);
    }

    #[test]
    fn verified_files_of_earlier_versions_have_no_fingerprint() {
        let read = |text| serde_json::from_str::<Event>(text).unwrap();
        let old = r#"{"event":"files-verified","files":4,"bytes":40}"#;
        assert_eq!(read(old), Event::FilesVerified { files: 4, bytes: 40, fingerprint: None, proof: None });
        let mut fingerprint = Fingerprint::default();
        fingerprint.add("d/a", 40);
        let fingerprint_of = Some(fingerprint);
        let new = Event::FilesVerified {
            files: 1,
            bytes: 40,
            fingerprint: fingerprint_of,
            proof: Some(Proof::Peers),
        };
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.contains(&format!(r#""fingerprint":"{fingerprint}""#)), "{text}");
        assert_eq!(read(&text), new);
    }
}
