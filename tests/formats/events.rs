//! Every event of the journal as it is stored, with all its members and with as few as possible; and the messages of
//! scale-out. Examples name every member, so a new one does not compile without one.

use fleetlogs_model::event::{EVENTS_VERSION, Event, NodeIdentity, Recorded};
use fleetlogs_model::evidence::{NodeEvidence, NodeFacts};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId, RunId};
use fleetlogs_model::outcome::{Proof, RunOutcome, Shortfall};
use fleetlogs_model::service::{NodeError, NodeState, RecentTask, StartTaskResult};
use fleetlogs_model::stop_cause::{StopCause, Unverified};
use fleetlogs_model::work_queue::{WORK_SCHEMA, WorkItem, WorkText};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::lock::{Additions, Form, assert_locked, form_of, is_within, locks};

const AT: OffsetDateTime = datetime!(2026-11-22 09:30:00.125 UTC);
const ID: Uuid = Uuid::from_u128(7);

/// The name of an event, as it is stored. Every variant is here, and has examples below.
macro_rules! named_events {
    ($($variant:ident),+ $(,)?) => {
        const VARIANTS: &[&str] = &[$(stringify!($variant)),+];

        fn variant_of(event: &Event) -> &'static str {
            match event { $(Event::$variant { .. } => stringify!($variant)),+ }
        }
    };
}

named_events!(
    RunStarted,
    UploadRequested,
    UploadCancelled,
    UploadAccepted,
    UploadWillRetry,
    UploadInDoubt,
    UploadAbsent,
    UploadAdopted,
    DirectoriesFound,
    IdentityChanged,
    NodeSeenAgain,
    PoolSeenAgain,
    NodesAppeared,
    OrderFollowed,
    UploadFailed,
    FilesVerified,
    FilesAdopted,
    FilesIncomplete,
    AccountThrottled,
    AccountStopped,
    RunDraining,
    RunEnded,
);

fn fingerprint() -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add("agent-debug.log", 40);
    fingerprint
}

fn whole_failure() -> Failure {
    Failure {
        class: FailureClass::Throttled,
        status: Some(429),
        code: Some("TooManyRequests".into()),
        message: "slow down".into(),
        request_id: Some("r-1".into()),
        retry_after_ms: Some(1000),
        pool_is_gone: false,
    }
}

fn bare_failure() -> Failure {
    Failure::new(FailureClass::NotSent, "no connection")
}

fn whole_evidence() -> NodeEvidence {
    let facts = NodeFacts {
        state: Some(NodeState::Idle),
        dedicated: Some(true),
        scheduling_enabled: Some(false),
        agent_version: Some("1.12.15".into()),
        image: Some("canonical:ubuntu:22.04:latest".into()),
        errors: vec![NodeError { code: "DiskFull".into(), message: "the disk is full".into() }],
        start_task: Some(StartTaskResult {
            state: Some("completed".into()),
            result: Some("failure".into()),
            exit_code: Some(3),
        }),
    };
    let task = RecentTask {
        job: "job-1".into(),
        task: "task-1".into(),
        started: Some(AT),
        ended: Some(AT),
        exit_code: Some(0),
    };
    NodeEvidence {
        state_since: Some(AT),
        allocation_time: Some(AT),
        last_boot_time: Some(AT),
        recent_tasks: [task].into(),
        facts: facts.into(),
    }
}

/// Two examples of an event: with all members, and with the fewest.
#[expect(clippy::too_many_lines, reason = "a table")]
fn examples() -> Vec<[Event; 2]> {
    let (account, pool) = (AccountName::new("contoso"), PoolId::new("Render"));
    let same = |event: Event| [event.clone(), event];
    vec![
        [
            Event::RunStarted {
                tool_version: "0.1.0".into(),
                verification: false,
                arrival_deadline_ms: Some(900_000),
                unverified: Some(Unverified::NotPermitted),
                simulated: true,
            },
            Event::RunStarted {
                tool_version: "0.1.0".into(),
                verification: true,
                arrival_deadline_ms: None,
                unverified: None,
                simulated: false,
            },
        ],
        [
            Event::UploadRequested { attempt: 1, client_request_id: ID, service_ahead_ms: Some(-20) },
            Event::UploadRequested { attempt: 1, client_request_id: ID, service_ahead_ms: None },
        ],
        same(Event::UploadCancelled { attempt: 2 }),
        [
            Event::UploadAccepted {
                attempt: 1,
                directory: "contoso/Render/tvm-1/run".into(),
                files: Some(4),
                request_id: Some("r-1".into()),
            },
            Event::UploadAccepted { attempt: 1, directory: "d".into(), files: None, request_id: None },
        ],
        [
            Event::UploadWillRetry { attempt: 1, cause: whole_failure(), delay_ms: 1000 },
            Event::UploadWillRetry { attempt: 1, cause: bare_failure(), delay_ms: 1000 },
        ],
        [
            Event::UploadInDoubt { attempt: 1, cause: whole_failure() },
            Event::UploadInDoubt { attempt: 1, cause: bare_failure() },
        ],
        same(Event::UploadAbsent { attempt: 1 }),
        [
            Event::UploadAdopted { attempt: 1, directory: "d".into(), others: vec!["e".into()] },
            Event::UploadAdopted { attempt: 1, directory: "d".into(), others: vec![] },
        ],
        [
            Event::DirectoriesFound { directories: vec!["d".into(), "e".into()], unsure: true },
            Event::DirectoriesFound { directories: vec![], unsure: false },
        ],
        [
            Event::IdentityChanged {
                now: Some(NodeIdentity {
                    state: Some(NodeState::Idle),
                    allocation_time: Some(AT),
                    last_boot_time: Some(AT),
                }),
            },
            Event::IdentityChanged { now: None },
        ],
        [
            Event::NodeSeenAgain { now: whole_evidence().into() },
            Event::NodeSeenAgain { now: NodeEvidence::default().into() },
        ],
        same(Event::PoolSeenAgain { account: account.clone(), pool: pool.clone() }),
        same(Event::NodesAppeared { account: account.clone(), pool, nodes: vec![NodeId::new("tvm-9")] }),
        same(Event::OrderFollowed { account: account.clone(), raised: 2, lowered: 1 }),
        [
            Event::UploadFailed { attempt: 3, cause: whole_failure() },
            Event::UploadFailed { attempt: 0, cause: bare_failure() },
        ],
        [
            Event::FilesVerified {
                files: 4,
                bytes: 40,
                fingerprint: Some(fingerprint()),
                proof: Some(Proof::Peers),
            },
            Event::FilesVerified { files: 4, bytes: 40, fingerprint: None, proof: None },
        ],
        same(Event::FilesAdopted {
            files: 4,
            bytes: 40,
            fingerprint: fingerprint(),
            reason: "no peers".into(),
        }),
        [
            Event::FilesIncomplete {
                files: 1,
                bytes: 10,
                reason: "1 of 4 files".into(),
                shortfall: Some(Shortfall::FilesMissing),
            },
            Event::FilesIncomplete { files: 1, bytes: 10, reason: "1 of 4 files".into(), shortfall: None },
        ],
        [
            Event::AccountThrottled { account: account.clone(), millirate: 2500, pause_ms: Some(1000) },
            Event::AccountThrottled { account: account.clone(), millirate: 2500, pause_ms: None },
        ],
        [
            Event::AccountStopped { account: account.clone(), cause: whole_failure() },
            Event::AccountStopped { account, cause: bare_failure() },
        ],
        [
            Event::RunDraining {
                reason: "stopped".into(),
                outcome: Some(RunOutcome::Interrupted),
                cause: Some(StopCause::Signal),
            },
            Event::RunDraining { reason: "stopped".into(), outcome: None, cause: None },
        ],
        same(Event::RunEnded { list_calls: 12 }),
    ]
}

#[test]
fn every_event_of_the_journal_is_locked() {
    let mut form = Form::new();
    let (mut variants, examples) = (Vec::new(), examples());
    for [all, fewest] in examples {
        variants.push(variant_of(&all));
        assert_eq!(variant_of(&all), variant_of(&fewest));
        for (what, node, event) in [(" with all", Some(NodeIndex(17)), all), ("", None, fewest)] {
            let recorded = Recorded { at: AT, node, event };
            let text = serde_json::to_string(&recorded).unwrap();
            assert_eq!(Recorded::from_json(text.as_bytes()).unwrap(), recorded, "{text}");
            form.insert(format!("{}{what}", variant_of(&recorded.event)), text);
        }
    }
    assert_eq!(variants, VARIANTS, "an event without an example");
    assert_locked("events", &format!("v{EVENTS_VERSION}"), &form, &Additions::default());
}

/// Journals of every version that had a lock are read.
#[test]
fn events_of_all_versions_are_read() {
    let mut seen = 0;
    for version in 1..=EVENTS_VERSION {
        let lock = std::fs::read_to_string(locks().join(format!("events.v{version}.txt"))).unwrap();
        for (name, text) in form_of(&lock) {
            let read = Recorded::from_json(text.as_bytes());
            let read = read.unwrap_or_else(|error| panic!("version {version}: {name}: {error}: {text}"));
            assert!(name.starts_with(variant_of(&read.event)), "{name} is read as {read:?}");
            let again: Value = serde_json::to_value(&read).unwrap();
            assert!(is_within(&serde_json::from_str(&text).unwrap(), &again), "{text} is lost in {again}");
            seen += 1;
        }
    }
    assert!(seen >= 2 * VARIANTS.len(), "{seen} examples");
}

#[test]
fn messages_of_scale_out_are_locked() {
    let item = WorkItem { run: RunId::new(AT, 7), partition: AccountName::new("contoso") };
    let mut delivery = WorkText::parse(&item.text()).unwrap().delivered("id".into(), "r".into(), 3);
    delivery.fail("no connection");
    delivery.excuse_one();
    let form = [("a message with all".to_owned(), delivery.text()), ("a message".to_owned(), item.text())];
    let version = WORK_SCHEMA.rsplit('/').next().unwrap();
    assert_locked("work", version, &form.into(), &Additions::default());
}
