use std::path::Path;

use fleetlogs_model::event::{EVENTS_VERSION, Event, Recorded};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::ledger::NodeStatus;
use fleetlogs_model::run_store::JournalErrorKind;
use uuid::Uuid;

use super::database::{APPLICATION_ID, FORMAT, changed_at, checksum, torn_pages};
use super::journal::{SqliteJournal, TABLES};
use super::lock::lock;
use super::reader::EVENTS;
use super::wal::{Tail, tail};
use super::*;
use crate::format_lock::{Additions, assert_locked};
use crate::testing::{NOW, plan_of};

fn recorded(node: u32, event: Event) -> Recorded {
    Recorded { at: NOW, node: Some(NodeIndex(node)), event }
}

fn meta() -> RunMeta {
    RunMeta { plan_digest: "digest".into(), config: "fleetlogs.toml".into(), ..RunMeta::default() }
}

fn requested(node: u32) -> Recorded {
    recorded(
        node,
        Event::UploadRequested { attempt: 1, client_request_id: Uuid::nil(), service_ahead_ms: None },
    )
}

#[test]
fn histories_come_in_plan_order_whatever_the_order_of_events() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(3), &meta()).unwrap();
    let accepted =
        Event::UploadAccepted { attempt: 1, directory: "d".into(), files: Some(2), request_id: None };
    journal.append(&[requested(2), requested(0)]).unwrap();
    journal.append(&[recorded(2, accepted)]).unwrap();

    let reader = SqliteReader::open(dir.path()).unwrap();
    let mut query = reader.histories().unwrap();
    let statuses: Vec<_> = query
        .rows()
        .unwrap()
        .map(|row| row.map(|(node, history)| (node.0, history.status)).unwrap())
        .collect();

    assert_eq!(statuses, [(0, NodeStatus::Requested), (2, NodeStatus::Accepted)]);
}

#[test]
fn a_reader_says_up_to_which_event_it_has_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(3), &meta()).unwrap();
    journal.append(&[requested(0), requested(1), requested(2)]).unwrap();
    let reader = SqliteReader::open(dir.path()).unwrap();
    for (after, most, last, count) in [(0, 9, 3, 3), (2, 9, 3, 1), (3, 9, 3, 0), (1, 1, 2, 1)] {
        let mut heard = 0;
        assert_eq!(reader.some_events_after(after, most, &mut |_| heard += 1).unwrap(), last);
        assert_eq!(heard, count, "at most {most} after {after}");
    }
    for (after, count) in [(0, 3), (2, 1), (3, 0)] {
        let mut heard = 0;
        assert_eq!(reader.events_after(after, &mut |_| heard += 1).unwrap(), 3);
        assert_eq!(heard, count, "after {after}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_or_a_directory_in_the_place_of_the_journal_is_not_opened() {
    let (journal, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    SqliteJournal::create(journal.path(), &plan_of(1), &meta()).unwrap();
    let place = dir.path().join("run.db");
    std::os::unix::fs::symlink(journal.path().join("run.db"), &place).unwrap();
    let error = SqliteReader::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    assert!(matches!(SqliteReader::open(dir.path()), Err(LocalError::Missing(_))));
}

#[test]
fn closing_a_journal_is_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    journal.append(&[requested(0)]).unwrap();
    let recorded = changed_at(dir.path());
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(journal);
    assert_eq!(changed_at(dir.path()), recorded);
}

#[test]
fn a_second_process_is_kept_out_until_the_first_ends() {
    let dir = tempfile::tempdir().unwrap();
    let first = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    assert!(matches!(lock(dir.path()), Err(LocalError::Busy { holder: Some(_), .. })));
    drop(first);
    assert!(lock(dir.path()).is_ok());
}

#[test]
fn the_journal_of_a_run_directory_is_locked() {
    let parts = [
        ("application id", format!("{APPLICATION_ID:#x}")),
        ("events", format!("version {EVENTS_VERSION}")),
        ("tables", TABLES.split_whitespace().collect::<Vec<_>>().join(" ")),
        ("checksum of a row", checksum(Some(NodeIndex(17)), "{}").to_string()),
        ("checksum of a row about no node", checksum(None, "{}").to_string()),
    ];
    let form = parts.map(|(name, part)| (name.to_owned(), part)).into();
    assert_locked("run-db", &format!("format-{FORMAT}"), &form, &Additions::default());
}

#[test]
fn other_formats_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    journal.connection.execute_batch("PRAGMA user_version=9").unwrap();
    assert!(matches!(SqliteReader::open(dir.path()), Err(LocalError::Format { found: 9, .. })));
}

#[test]
fn an_event_that_only_a_newer_version_knows_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    let text = r#"{"at":"2026-11-22T09:30:00.125Z","node":0,"event":"node-teleported"}"#;
    let row = rusqlite::params![checksum(Some(NodeIndex(0)), text), text];
    journal.connection.execute("INSERT INTO event (node, crc, json) VALUES (0, ?1, ?2)", row).unwrap();
    drop(journal);
    let error = JournalError::from(nodes(dir.path()).unwrap_err());
    assert_eq!(error.kind, JournalErrorKind::OtherFormat);
    assert!(error.what.contains("newer fleetlogs") && error.what.contains("event 1"), "{error}");
    assert!(error.what.contains("node-teleported"), "{error}");
}

#[test]
fn commits_are_synchronous() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    let full: i64 = journal.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
    assert_eq!(full, 2);
}

/// A journal of 20 commits as a killed process leaves it: nothing moved into the database, the log still there.
fn killed_after_20_commits() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(40), &meta()).unwrap();
    for node in 0..20 {
        journal.append(&[requested(node), requested(node + 20)]).unwrap();
    }
    let killed = tempfile::tempdir().unwrap();
    copy_journal(dir.path(), killed.path());
    killed
}

#[test]
fn the_end_of_a_log_is_told_apart_frame_by_frame() {
    let dir = killed_after_20_commits();
    let path = dir.path().join("run.db-wal");
    let log = std::fs::read(&path).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frame = |number: usize| 32 + (number - 1) * (24 + page);
    let tail_of = |log: &[u8]| {
        std::fs::write(&path, log).unwrap();
        tail(&path).unwrap()
    };
    let flipped = |at: usize| {
        let mut log = log.clone();
        log[at] ^= 1;
        log
    };
    assert_eq!(tail_of(&log), Tail::Whole);
    for at in 0..32 {
        assert_eq!(tail_of(&flipped(at)), Tail::Damaged(0), "byte {at} of the header");
    }
    for number in [1, 2, 5] {
        assert_eq!(tail_of(&flipped(frame(number) + 100)), Tail::Damaged(number as u64));
    }
    // The first frame of a commit that has more.
    let ends_commit = |number: usize| log[frame(number) + 4..frame(number) + 8] != [0; 4];
    let first = (2..20).find(|number| ends_commit(number - 1) && !ends_commit(*number)).unwrap();
    assert_eq!(tail_of(&log[..frame(first + 1)]), Tail::Torn(1));
    assert_eq!(tail_of(&log[..frame(first)]), Tail::Whole);
    // Of a commit that was never finished, one frame never reached the disk, and the next one did in part.
    let mut torn = log[..frame(first + 2)].to_vec();
    torn[frame(first)..frame(first + 1)].fill(0);
    torn[frame(first + 1) + 100] ^= 1;
    assert_eq!(tail_of(&torn), Tail::Torn(1));
}

fn copy_journal(from: &Path, to: &Path) {
    for name in ["run.db", "run.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn nodes(dir: &Path) -> Result<Vec<Option<NodeIndex>>, LocalError> {
    let mut nodes = Vec::new();
    let mut hear = |recorded: &Recorded| nodes.push(recorded.node);
    SqliteReader::open(dir)?.for_each_event(EVENTS, 0, &mut hear)?;
    Ok(nodes)
}

#[test]
fn a_tail_torn_anywhere_is_dropped_and_everything_before_it_kept() {
    let killed = killed_after_20_commits();
    let log = std::fs::read(killed.path().join("run.db-wal")).unwrap();
    let before = nodes(killed.path()).unwrap();
    assert_eq!(before.len(), 40);
    // The last commit is at least one page with its header.
    for cut in (1..4120).step_by(103).chain([4119]) {
        let torn = tempfile::tempdir().unwrap();
        copy_journal(killed.path(), torn.path());
        std::fs::write(torn.path().join("run.db-wal"), &log[..log.len() - cut]).unwrap();
        let reported = torn_pages(torn.path()).unwrap();
        assert_eq!(reported, u64::from(cut < 4120 - 24), "{cut} bytes are missing");

        let mut reopened = SqliteJournal::open(torn.path(), true).unwrap();
        assert_eq!(nodes(torn.path()).unwrap(), before[..38], "{cut} bytes are missing");
        reopened.append(&[requested(39)]).unwrap();
        assert_eq!(nodes(torn.path()).unwrap().len(), 39);
    }
}

#[test]
fn no_flipped_bit_is_taken_for_a_record_or_hides_one() {
    let killed = killed_after_20_commits();
    let whole = nodes(killed.path()).unwrap();
    let checkpointed = tempfile::tempdir().unwrap();
    copy_journal(killed.path(), checkpointed.path());
    drop(SqliteJournal::open(checkpointed.path(), true).unwrap());
    assert!(!checkpointed.path().join("run.db-wal").exists());
    let mut random = fastrand::Rng::with_seed(11);
    let mut refused = [0, 0];
    for flip in 0..600 {
        let dir = tempfile::tempdir().unwrap();
        let (name, from) = [("run.db-wal", &killed), ("run.db", &checkpointed)][flip % 2];
        for entry in std::fs::read_dir(from.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        let mut bytes = std::fs::read(dir.path().join(name)).unwrap();
        let at = random.usize(0..bytes.len());
        bytes[at] ^= 1 << random.u8(0..8);
        std::fs::write(dir.path().join(name), &bytes).unwrap();
        match SqliteJournal::open(dir.path(), true).and_then(|_journal| nodes(dir.path())) {
            // A damaged last commit cannot be told from one that was never finished; damaged free space holds nothing.
            Ok(read) => {
                let is_last_commit = name == "run.db-wal" && at > bytes.len() - 2 * 4120;
                assert!(
                    read == whole || is_last_commit && read == whole[..38],
                    "byte {at} of {name} hides or changes records: {} of {} are left",
                    read.len(),
                    whole.len()
                );
            }
            Err(_) => refused[flip % 2] += 1,
        }
    }
    assert!(refused[0] > 100 && refused[1] > 20, "{refused:?} of 300 each were noticed");
}

#[test]
fn looking_at_a_damaged_log_neither_hides_nor_mends_the_damage() {
    let killed = killed_after_20_commits();
    let path = killed.path().join("run.db-wal");
    let mut log = std::fs::read(&path).unwrap();
    let middle = log.len() / 2;
    log[middle] ^= 1;
    std::fs::write(&path, &log).unwrap();
    for _ in 0..2 {
        assert!(matches!(SqliteReader::open(killed.path()), Err(LocalError::Damaged { .. })));
        assert!(matches!(SqliteJournal::open(killed.path(), true), Err(LocalError::Damaged { .. })));
    }
    assert_eq!(std::fs::read(&path).unwrap(), log);
}

#[test]
fn damage_in_the_middle_is_refused_and_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    for _ in 0..2000 {
        journal.append(&[requested(0)]).unwrap();
    }
    drop(journal);
    let path = dir.path().join("run.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let refused =
        SqliteJournal::open(dir.path(), true).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn an_event_that_cannot_be_read_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    journal.append(&[requested(0), requested(0)]).unwrap();
    journal.connection.execute("UPDATE event SET json = '{}' WHERE seq = 2", []).unwrap();
    let refused = nodes(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("event 2"), "{refused}");
}

/// The journal of a run that has ended, with a reader from before its end.
fn ended_while_followed(dir: &Path) -> SqliteReader {
    let mut journal = SqliteJournal::create(dir, &plan_of(40), &meta()).unwrap();
    let follower = SqliteReader::open(dir).unwrap();
    for node in 0..20 {
        journal.append(&[requested(node), requested(node + 20)]).unwrap();
        // SQLite holds nothing for a reader that is between two looks.
        follower.events_after(0, &mut |_| {}).unwrap();
    }
    journal.append(&[Recorded { at: NOW, node: None, event: Event::RunEnded { list_calls: 1 } }]).unwrap();
    follower
}

fn files_of(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_last_follower_of_a_run_that_has_ended_leaves_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let follower = ended_while_followed(dir.path());
    let other = SqliteReader::open(dir.path()).unwrap();
    let log = dir.path().join("run.db-wal");
    assert!(log.metadata().unwrap().len() > 20 * 4096, "its writer could not move it");
    drop(other);
    // What is left of it is empty: the database has everything.
    assert_eq!(log.metadata().unwrap().len(), 0);
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("run.db"), copy.path().join("run.db")).unwrap();
    assert_eq!(nodes(copy.path()).unwrap().len(), 41);
    let recorded = changed_at(dir.path());
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(follower);
    assert_eq!(files_of(dir.path()), ["run.db", "run.lock"]);
    assert_eq!(nodes(dir.path()).unwrap().len(), 41);
    assert_eq!(changed_at(dir.path()), recorded, "nothing was recorded");
}

#[test]
fn a_log_that_an_earlier_follower_left_is_moved_by_the_next_reader() {
    let ended = tempfile::tempdir().unwrap();
    let follower = ended_while_followed(ended.path());
    let left = tempfile::tempdir().unwrap();
    copy_journal(ended.path(), left.path());
    drop(follower);
    assert_eq!(nodes(left.path()).unwrap().len(), 41);
    assert_eq!(files_of(left.path()), ["run.db", "run.lock"]);
}

#[test]
fn a_reader_moves_nothing_of_a_run_that_goes_on_or_was_killed_or_of_a_torn_log() {
    let log_of = |dir: &Path| std::fs::read(dir.join("run.db-wal")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    journal.append(&[requested(0)]).unwrap();
    let log = log_of(dir.path());
    nodes(dir.path()).unwrap();
    assert_eq!(log_of(dir.path()), log);
    // Its end is on record, and its process is still at work: it writes the reports.
    journal.append(&[Recorded { at: NOW, node: None, event: Event::RunEnded { list_calls: 1 } }]).unwrap();
    let log = log_of(dir.path());
    nodes(dir.path()).unwrap();
    assert_eq!(log_of(dir.path()), log);

    let killed = killed_after_20_commits();
    let log = log_of(killed.path());
    nodes(killed.path()).unwrap();
    assert_eq!(log_of(killed.path()), log);

    let torn = tempfile::tempdir().unwrap();
    copy_journal(dir.path(), torn.path());
    let mut log = log_of(torn.path());
    log.extend_from_slice(&log.clone()[32..32 + 4120]);
    std::fs::write(torn.path().join("run.db-wal"), &log).unwrap();
    assert!(torn_pages(torn.path()).unwrap() > 0);
    nodes(torn.path()).unwrap();
    assert_eq!(log_of(torn.path()), log);
}

#[cfg(unix)]
#[test]
fn a_reader_writes_nothing_where_it_may_not() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let follower = ended_while_followed(dir.path());
    let mode = |mode| std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
    // A directory that everyone may write to is one in which the lock is not taken, also for root.
    mode(0o777);
    let log = std::fs::read(dir.path().join("run.db-wal")).unwrap();
    drop(follower);
    assert_eq!(std::fs::read(dir.path().join("run.db-wal")).unwrap(), log);
    mode(0o700);
    nodes(dir.path()).unwrap();
    assert_eq!(files_of(dir.path()), ["run.db", "run.lock"]);
}

#[test]
fn a_directory_without_a_journal_is_told() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(SqliteJournal::open(dir.path(), true), Err(LocalError::Missing(_))));
    std::fs::write(dir.path().join("run.db"), "this is not a database, but long enough to look at").unwrap();
    assert!(matches!(SqliteJournal::open(dir.path(), true), Err(LocalError::Damaged { .. })));
}

#[test]
fn a_log_that_was_lost_or_lost_its_head_is_no_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::create(dir.path(), &plan_of(40), &meta()).unwrap();
    for node in 0..20 {
        journal.append(&[requested(node), requested(node + 20)]).unwrap();
    }
    let killed = || {
        let killed = tempfile::tempdir().unwrap();
        copy_journal(dir.path(), killed.path());
        std::fs::copy(dir.path().join("run.lock"), killed.path().join("run.lock")).unwrap();
        killed
    };
    let log = std::fs::read(dir.path().join("run.db-wal")).unwrap();
    for at in 0..HEADER_OF_LOG {
        let damaged = killed();
        let mut bytes = log.clone();
        bytes[at] ^= 1;
        std::fs::write(damaged.path().join("run.db-wal"), bytes).unwrap();
        assert!(
            matches!(SqliteJournal::open(damaged.path(), true), Err(LocalError::Damaged { .. })),
            "byte {at}"
        );
    }
    for length in [0, 20, log.len() / 2] {
        let cut = killed();
        std::fs::write(cut.path().join("run.db-wal"), &log[..length]).unwrap();
        assert!(
            matches!(SqliteJournal::open(cut.path(), true), Err(LocalError::Damaged { .. })),
            "{length} bytes"
        );
    }
    let lost = killed();
    std::fs::remove_file(lost.path().join("run.db-wal")).unwrap();
    assert!(matches!(SqliteJournal::open(lost.path(), true), Err(LocalError::Damaged { .. })));
    assert!(SqliteJournal::open(killed().path(), true).is_ok());
}

const HEADER_OF_LOG: usize = 32;

#[cfg(unix)]
#[test]
fn a_copy_is_told_from_the_original() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap());
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("run.db"), copy.path().join("run.db")).unwrap();
    assert!(matches!(SqliteJournal::open(copy.path(), false), Err(LocalError::Copied(_))));
    drop(SqliteJournal::open(copy.path(), true).unwrap());
    assert!(SqliteJournal::open(copy.path(), false).is_ok(), "it was accepted once");
    assert!(SqliteJournal::open(dir.path(), false).is_ok());
}

#[cfg(unix)]
#[test]
fn removing_the_lock_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let _journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
    std::fs::remove_file(dir.path().join("run.lock")).unwrap();
    assert!(matches!(lock(dir.path()), Err(LocalError::Busy { .. })));
}
