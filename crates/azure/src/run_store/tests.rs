//! Faults of the store, against a storage account in memory. What real storage answers: `tests/e2e/run_store.rs`.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId, RunId};
use fleetlogs_model::plan::{PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedPool};
use fleetlogs_model::run_store::{HolderState, Journal, JournalError, JournalErrorKind, RunHolder, RunStore};
use fleetlogs_model::window::Window;
use time::OffsetDateTime;
use time::macros::datetime;

use super::fake_storage::{DIR, FakeStorage, Fault};
use super::{StoredPartition, line, run_of_key};

const AT: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

fn plan(nodes: u32) -> Plan {
    let pool = Arc::new(PlannedPool::bare(AccountName::new("contoso"), PoolId::new("Pool")));
    Plan {
        schema: PLAN_SCHEMA.into(),
        run_id: RunId::new(AT, 0),
        tool_version: "0.0.0".into(),
        created_at: AT,
        config_digest: String::new(),
        snapshot: None,
        window: Window { start: AT - time::Duration::hours(2), end: AT },
        destination: "https://logs.blob.core.windows.net/logs".into(),
        accounts: vec![PlannedAccount {
            name: AccountName::new("contoso"),
            endpoint: String::new(),
            api_version: String::new(),
            pools: 1,
            nodes,
            list_calls: 0,
            unlisted: None,
            missing: None,
        }],
        nodes: (0..nodes).map(|n| PlannedNode::bare(pool.clone(), NodeId::new(format!("n{n}")))).collect(),
        pools: vec![pool],
        left_out: vec![],
    }
}

/// An event about a node; none for one about the run.
fn event(node: Option<u32>, attempt: u32) -> Recorded {
    let event = match node {
        Some(_) => Event::UploadCancelled { attempt },
        None => Event::RunEnded { list_calls: attempt.into() },
    };
    Recorded { at: AT, node: node.map(NodeIndex), event }
}

/// As many events as asked for, each of another attempt.
fn events(attempts: std::ops::Range<u32>) -> Vec<Recorded> {
    attempts.map(|attempt| event(Some(attempt % 3), attempt)).collect()
}

async fn read(storage: &FakeStorage) -> Result<Vec<Recorded>, JournalError> {
    let reader = storage.store().read().await?;
    let mut events = vec![];
    let last = reader.events_after(0, &mut |recorded| events.push(recorded.clone()))?;
    assert_eq!(last, events.len() as u64);
    Ok(events)
}

async fn begun(storage: &FakeStorage) -> Box<dyn Journal> {
    storage.store().create(&plan(3), "fleetlogs.toml").await.unwrap()
}

fn kind<T>(answer: Result<T, JournalError>) -> JournalErrorKind {
    answer.err().expect("it is refused").kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_there_once_whatever_becomes_of_request_and_answer() {
    for fault in [Fault::AnswerLost, Fault::RequestLost, Fault::Late] {
        let storage = FakeStorage::start().await;
        let mut journal = begun(&storage).await;
        journal.append(&events(0..2)).unwrap();
        storage.fail("append", [fault]);
        journal.append(&events(2..5)).unwrap();
        journal.append(&events(5..6)).unwrap();
        assert_eq!(read(&storage).await.unwrap(), events(0..6), "{fault:?}");
        let text = storage.text("journal-0001.jsonl");
        assert_eq!(text.lines().count(), 6, "{fault:?}");
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unclear_answer_the_blob_is_read_before_the_block_is_sent_again() {
    let storage = FakeStorage::start().await;
    let mut journal = begun(&storage).await;
    storage.fail("append", [Fault::AnswerLost]);
    journal.append(&events(0..1)).unwrap();
    assert_eq!((storage.count("append"), storage.count("range")), (1, 1));

    // The look fails as well.
    storage.fail("append", [Fault::RequestLost]);
    storage.fail("range", [Fault::RequestLost]);
    journal.append(&events(1..2)).unwrap();
    assert_eq!((storage.count("append"), storage.count("range")), (3, 3));
    assert_eq!(read(&storage).await.unwrap(), events(0..2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_something_else_appended_to_is_another_processs() {
    let storage = FakeStorage::start().await;
    let mut journal = begun(&storage).await;
    journal.append(&events(0..1)).unwrap();
    storage.change("journal-0001.jsonl", |blob| blob.content.extend_from_slice(b"{}\n"));
    assert_eq!(kind(journal.append(&events(1..2))), JournalErrorKind::TakenOver);

    let sent = storage.count("append");
    assert_eq!(kind(journal.append(&events(2..3))), JournalErrorKind::Failed);
    assert_eq!(storage.count("append"), sent, "nothing more is sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_silent_for_too_long_can_record_nothing_more() {
    let storage = FakeStorage::start().await;
    let mut silent = begun(&storage).await;
    silent.append(&events(0..2)).unwrap();
    assert!(silent.tenure().unwrap().left() > Duration::from_secs(50));
    assert_eq!(kind(storage.store().append(false).await), JournalErrorKind::Busy);

    storage.change("owner", |owner| owner.lease = None);
    let mut next = storage.store().append(false).await.unwrap();
    assert_eq!(kind(silent.append(&events(5..6))), JournalErrorKind::TakenOver);
    assert_eq!(silent.tenure().unwrap().left(), Duration::ZERO);
    next.append(&events(2..4)).unwrap();
    // Its end does not touch the lease of the next.
    drop(silent);
    assert!(storage.store().is_held().await.unwrap());
    next.append(&events(4..5)).unwrap();
    assert_eq!(read(&storage).await.unwrap(), events(0..5));
    drop(next);
    assert!(!storage.store().is_held().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_process_does_not_get_past_the_blob_of_the_next_one() {
    let storage = FakeStorage::start().await;
    let store = storage.store().rolling_over_at(1);
    let mut silent = store.create(&plan(3), "fleetlogs.toml").await.unwrap();
    silent.append(&events(0..1)).unwrap();
    storage.end_leases();
    let mut next = storage.store().append(false).await.unwrap();
    // It would begin the blob that the next one has begun.
    assert_eq!(kind(silent.append(&events(7..8))), JournalErrorKind::TakenOver);
    next.append(&events(1..2)).unwrap();
    assert_eq!(read(&storage).await.unwrap(), events(0..2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ended_while_storage_could_not_be_reached_is_renewed_if_nobody_took_it() {
    let storage = FakeStorage::start().await;
    let mut journal = begun(&storage).await;
    storage.end_leases();
    journal.append(&events(0..2)).unwrap();
    assert_eq!(read(&storage).await.unwrap(), events(0..2));
    assert!(storage.store().is_held().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_blob_is_followed_by_the_next_one() {
    let storage = FakeStorage::start().await;
    let store = storage.store().rolling_over_at(2);
    let mut journal = store.create(&plan(3), "fleetlogs.toml").await.unwrap();
    let mut reader = None;
    for attempt in 0..7 {
        if attempt == 2 {
            // The answer to the creation of the next blob.
            storage.fail("put", [Fault::AnswerLost]);
        }
        journal.append(&events(attempt..attempt + 1)).unwrap();
        if attempt == 2 {
            reader = Some(storage.store().read().await.unwrap());
        }
    }
    assert_eq!(storage.text("journal-0004.jsonl").lines().count(), 1);
    assert_eq!(read(&storage).await.unwrap(), events(0..7));

    // A reader that was there before looks again.
    let mut reader = reader.unwrap();
    assert_eq!(reader.events_after(0, &mut |_| {}).unwrap(), 3);
    reader.refresh().await.unwrap();
    let mut heard = vec![];
    assert_eq!(reader.events_after(3, &mut |recorded| heard.push(recorded.clone())).unwrap(), 7);
    assert_eq!(heard, events(3..7));

    // Storage has the last word on how much a blob takes.
    drop(journal);
    storage.state().block_limit = Some(3);
    let mut journal = storage.store().append(false).await.unwrap();
    for attempt in 7..12 {
        journal.append(&events(attempt..attempt + 1)).unwrap();
    }
    assert_eq!(read(&storage).await.unwrap(), events(0..12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_come_in_plan_order_and_run_events_alone() {
    let storage = FakeStorage::start().await;
    let mut journal = begun(&storage).await;
    journal.append(&[event(Some(2), 1), event(None, 5), event(Some(0), 1), event(Some(2), 2)]).unwrap();
    let reader = storage.store().read().await.unwrap();
    assert_eq!(reader.run_events().unwrap(), [event(None, 5)]);
    let mut query = reader.histories().unwrap();
    let nodes: Vec<_> = query.rows().unwrap().map(|row| row.unwrap().0.0).collect();
    assert_eq!(nodes, [0, 2]);
    drop(query);
    assert_eq!(reader.meta().unwrap().config, "fleetlogs.toml");

    let mut heard = vec![];
    assert_eq!(reader.some_events_after(1, 2, &mut |recorded| heard.push(recorded.clone())).unwrap(), 3);
    assert_eq!(heard, [event(None, 5), event(Some(0), 1)]);
    for (after, last) in [(2, 4), (4, 4), (9, 9)] {
        assert_eq!(reader.events_after(after, &mut |_| {}).unwrap(), last);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_refused_with_its_place_and_an_unfinished_line_is_dropped() {
    let storage = FakeStorage::start().await;
    let mut journal = begun(&storage).await;
    journal.append(&events(0..5)).unwrap();
    drop(journal);
    let whole = storage.text("journal-0001.jsonl");
    let put = |text: &str| storage.change("journal-0001.jsonl", |blob| blob.content = text.into());

    put(&whole.replacen("\"attempt\":2", "\"attempt\":9", 1));
    let error = read(&storage).await.unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Damaged);
    assert!(
        error.what.contains("journal-0001.jsonl") && error.what.contains("line 3: its checksum"),
        "{error}"
    );

    let without_second: Vec<_> =
        whole.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| format!("{line}\n")).collect();
    put(&without_second.concat());
    let error = read(&storage).await.unwrap_err();
    assert!(error.what.contains("line 2: event 2 is missing"), "{error}");

    put(&whole.replacen("\"attempt\":4", "\"attempt\":9", 1));
    assert_eq!(kind(storage.store().append(false).await), JournalErrorKind::Damaged, "the last line");
    assert!(!storage.store().is_held().await.unwrap());

    // Cut anywhere within its last line.
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    for cut in [last + 1, last + 9, whole.len() - 1] {
        put(&whole[..cut]);
        assert_eq!(read(&storage).await.unwrap(), events(0..4), "{cut}");
        let mut journal = storage.store().append(false).await.unwrap();
        journal.append(&events(4..6)).unwrap();
        drop(journal);
        assert_eq!(read(&storage).await.unwrap(), events(0..6), "{cut}");
        let begun = |name: &String| name.contains("journal-") && !name.ends_with("0001.jsonl");
        storage.state().blobs.retain(|name, _| !begun(name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_written_once_and_an_attempt_that_broke_off_is_completed() {
    let storage = FakeStorage::start().await;
    // The answers were lost.
    storage.fail("put", [Fault::AnswerLost, Fault::RequestLost, Fault::AnswerLost]);
    storage.store().lay_out(&plan(3), "fleetlogs.toml").await.unwrap();

    for refused in [
        storage.store().create(&plan(2), "fleetlogs.toml").await.err(),
        storage.store().lay_out(&plan(2), "fleetlogs.toml").await.err(),
    ] {
        assert_eq!(refused.unwrap().kind, JournalErrorKind::Unsuitable);
    }
    let mut journal = begun(&storage).await;
    journal.append(&events(0..1)).unwrap();
    drop(journal);
    assert_eq!(kind(storage.store().create(&plan(3), "fleetlogs.toml").await), JournalErrorKind::Unsuitable);
    let stored = storage.store().plan().await.unwrap();
    assert_eq!(stored.plan.nodes.len(), 3);
    assert_eq!(stored.digest, storage.store().stored_run().await.unwrap().plan_sha256);
    assert_eq!(read(&storage).await.unwrap(), events(0..1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_laid_out_for_others_is_empty_until_a_process_takes_it() {
    let storage = FakeStorage::start().await;
    let store = storage.store();
    for absent in [store.read().await.err(), store.append(false).await.err(), store.hold().await.err()] {
        assert_eq!(absent.unwrap().kind, JournalErrorKind::Missing);
    }
    store.lay_out(&plan(3), "fleetlogs.toml").await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert_eq!(reader.events_after(0, &mut |_| {}), Ok(0));
    assert!(!store.is_held().await.unwrap());
    assert_eq!(store.changed_at().await.unwrap(), None);

    assert_eq!(store.holder().await.unwrap(), None);
    // One looks at it meanwhile, and one dies before it has a journal.
    drop(store.hold().await.unwrap());
    assert_eq!(store.holder().await.unwrap(), None);
    storage.fail("put", [Fault::Refused("409 Conflict", "BlobAlreadyExists"); 3]);
    assert!(store.append(false).await.is_err());
    assert!(!storage.state().blobs.keys().any(|name| name.contains("journal-")));
    let mut journal = store.append(false).await.unwrap();
    assert_eq!(kind(store.append(false).await), JournalErrorKind::Busy);
    journal.append(&events(0..2)).unwrap();
    reader.refresh().await.unwrap();
    assert_eq!(reader.events_after(0, &mut |_| {}), Ok(2), "whoever looked before sees it");
    drop(journal);
    store.append(false).await.unwrap().append(&events(2..3)).unwrap();
    assert_eq!(read(&storage).await.unwrap(), events(0..3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_begun_and_has_no_journal_has_lost_it() {
    let storage = FakeStorage::start().await;
    drop(begun(&storage).await);
    storage.state().blobs.retain(|name, _| !name.contains("journal-"));
    for refused in [storage.store().read().await.err(), storage.store().append(false).await.err()] {
        assert_eq!(refused.unwrap().kind, JournalErrorKind::Missing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_plans_the_first_counts_also_if_its_process_died_halfway() {
    let storage = FakeStorage::start().await;
    // It dies after plan.json.
    storage.store().lay_out(&plan(3), "fleetlogs.toml").await.unwrap();
    storage.state().blobs.retain(|name, _| !name.ends_with("run.json"));
    assert_eq!(kind(storage.store().read().await), JournalErrorKind::Missing);

    for nodes in [2, 1] {
        storage.store().lay_out_unless_planned(&plan(nodes), "fleetlogs.toml").await.unwrap();
        assert_eq!(storage.store().plan().await.unwrap().plan.nodes.len(), 3);
    }
    let digest = storage.store().read().await.unwrap().meta().unwrap().plan_digest;
    assert_eq!(digest, storage.store().plan().await.unwrap().digest, "plan and journal belong together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_shared_out_is_resumed_in_its_partitions_only() {
    let storage = FakeStorage::start().await;
    let store = storage.store();
    let partition = |name: &str, site: Option<&str>| StoredPartition {
        name: AccountName::new(name),
        site: site.map(str::to_owned),
    };
    let partitions = [partition("contoso", None), partition("fabrikam", Some("west"))];
    let pick = Some(serde_json::json!({"pools": ["render*"]}));
    let seed = Plan { accounts: vec![], pools: vec![], ..plan(0) };
    for _ in 0..2 {
        store.lay_out_whole(&seed, "fleetlogs.toml", &partitions, pick.clone()).await.unwrap();
    }
    let run = store.stored_run().await.unwrap();
    assert_eq!((&run.partitions[..], &run.pick), (&partitions[..], &pick));
    let other = store.lay_out_whole(&seed, "fleetlogs.toml", &partitions[..1], pick).await;
    assert_eq!(kind(other), JournalErrorKind::OtherPlan);
    let refused = store.append(false).await.err().unwrap();
    assert_eq!(refused.kind, JournalErrorKind::Unsuitable);
    assert!(refused.what.contains("shared out"), "{refused}");

    let part = store.partition("contoso");
    part.lay_out(&plan(3), "fleetlogs.toml").await.unwrap();
    drop(part.append(false).await.unwrap());
    assert!(storage.text("p/contoso/journal-0001.jsonl").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_with_the_same_key_have_the_same_run() {
    let storage = FakeStorage::start().await;
    let ask = |key: &'static str, random| {
        let (http, source) = storage.access();
        async move { run_of_key(http, source, "fleetlogs", key, &RunId::new(AT, random)).await }
    };
    storage.fail("put", [Fault::AnswerLost]);
    for random in [7, 8] {
        assert_eq!(ask("nightly-2026.11.22_a", random).await.unwrap(), RunId::new(AT, 7));
    }
    assert_eq!(ask("another", 9).await.unwrap(), RunId::new(AT, 9));
    let long = "k".repeat(101).leak();
    for no_key in ["", "..", ".a", "a.", "a/b", "a b", "ä", long] {
        assert_eq!(kind(ask(no_key, 1).await), JournalErrorKind::Unsuitable, "{no_key}");
    }
    storage.state().blobs.get_mut("fleetlogs/keys/another").unwrap().content = b"no run".into();
    assert_eq!(kind(ask("another", 9).await), JournalErrorKind::Damaged);
    let newer = br#"{"schema":"fleetlogs.key/v2","run":"#.into();
    storage.state().blobs.get_mut("fleetlogs/keys/another").unwrap().content = newer;
    assert_eq!(kind(ask("another", 9).await), JournalErrorKind::OtherFormat);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_only_a_newer_version_knows_is_no_damage() {
    let storage = FakeStorage::start().await;
    drop(begun(&storage).await);
    let text = r#"{"at":"2026-11-22T09:30:00.125Z","node":0,"event":"node-teleported"}"#;
    let crc = line::checksum(1, text.as_bytes());
    let newer = format!("{{\"seq\":1,\"crc\":{crc},{}\n", &text[1..]);
    storage.change("journal-0001.jsonl", |blob| blob.content = newer.into());
    let error = read(&storage).await.unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::OtherFormat);
    assert!(error.what.contains("newer fleetlogs") && error.what.contains("node-teleported"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_another_version_and_a_copy_are_refused() {
    let storage = FakeStorage::start().await;
    drop(begun(&storage).await);
    let whole = storage.text("run.json");
    storage.change("run.json", |blob| blob.content = whole.replace("stored-run/v1", "stored-run/v9").into());
    let error = storage.store().read().await.err().unwrap();
    assert_eq!(error.kind, JournalErrorKind::OtherFormat);
    assert!(error.what.contains("v9") && error.what.contains("v1"), "{error}");

    storage.change("run.json", |blob| blob.content = whole.replace(DIR, "fleetlogs/another").into());
    assert_eq!(kind(storage.store().append(false).await), JournalErrorKind::Copied);
    drop(storage.store().append(true).await.unwrap());
    drop(storage.store().append(false).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_busy_says_who_works_on_it_and_no_secret() {
    let storage = FakeStorage::start().await;
    let journal = begun(&storage).await;
    let error = storage.store().hold().await.err().unwrap();
    assert_eq!(error.kind, JournalErrorKind::Busy);
    assert!(error.what.contains(&format!("process {}", std::process::id())), "{error}");
    let at_work = storage.store().holder().await.unwrap().unwrap();
    assert_eq!((at_work.who.starts_with("process "), at_work.state), (true, HolderState::AtWork));
    storage.end_leases();
    let silent = storage.store().holder().await.unwrap().unwrap();
    assert_eq!(silent, RunHolder { state: HolderState::Silent, ..at_work.clone() });
    drop(journal);

    // Whoever looks then does not pass for it, as long as it looks and after that.
    let noted = storage.text("owner").replace("process ", "worker ");
    storage.change("owner", |owner| owner.content = noted.into_bytes());
    let hold = storage.store().hold().await.unwrap();
    assert!(storage.text("owner").starts_with("process "), "for the message that refuses others");
    for hold in [Some(hold), None] {
        let dead = storage.store().holder().await.unwrap().unwrap();
        assert_eq!((dead.who, dead.state), (at_work.who.replace("process ", "worker "), HolderState::Left));
        assert!(dead.since.is_some() && dead.since == at_work.since);
        drop(hold);
    }

    drop(storage.store().append(false).await.unwrap());
    assert_eq!(storage.store().holder().await.unwrap().unwrap().state, HolderState::Left);

    storage.fail("facts", [Fault::Refused("403 Forbidden", "AuthorizationPermissionMismatch")]);
    let error = storage.store().is_held().await.unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Unsuitable);
    assert!(error.help.as_deref().unwrap().contains("sp=rcwl"), "{error:?}");
    assert!(!format!("{error:?} {:?}", storage.store()).contains("TOPSECRET"));
}
