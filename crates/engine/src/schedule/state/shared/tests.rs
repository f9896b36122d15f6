use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::home::Answer;
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use parking_lot::Mutex;

use super::super::{JobId, Store, runs};
use super::*;
use crate::testing::NOW;

/// A home that answers as it is told, and then takes everything.
#[derive(Default)]
struct Home {
    answers: Mutex<VecDeque<HomeError>>,
    state: Mutex<Option<Vec<u8>>>,
    calls: Mutex<u32>,
}

impl Home {
    fn answers(&self, answers: impl IntoIterator<Item = HomeError>) {
        self.answers.lock().extend(answers);
    }

    fn state(&self) -> Option<Vec<u8>> {
        self.state.lock().clone()
    }
}

impl StateHome for Home {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        self.read()
    }

    fn renew(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, state: Vec<u8>) -> Answer<'_, ()> {
        *self.calls.lock() += 1;
        let answer = self.answers.lock().pop_front();
        if answer.is_none() {
            *self.state.lock() = Some(state);
        }
        Box::pin(async { answer.map_or(Ok(()), Err) })
    }

    fn release(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(self.state()) })
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(60)
    }
}

fn open(dir: &Path, home: &Arc<Home>) -> Store {
    Store::open(&dir.join("schedule.db"), Some((home.clone(), home.state()))).unwrap()
}

async fn enqueue(store: &Store, name: &str) -> Result<JobId, StateError> {
    let snapshot = SnapshotRef { name: SnapshotName::new(name), trigger: Trigger::Cron, due: NOW };
    store.change(|state| runs::enqueue(state, &snapshot, NOW)).await
}

async fn queue(store: &Store) -> Vec<String> {
    let names = store.read(|database| {
        let mut rows = database.prepare("SELECT snapshot FROM run ORDER BY id")?;
        Ok(rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    });
    names.await.unwrap()
}

fn failure(class: FailureClass) -> HomeError {
    Failure::new(class, "no answer").into()
}

#[tokio::test]
async fn one_machine_goes_on_where_another_was() {
    let (home, first, second) = (Arc::default(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(first.path(), &home);
    enqueue(&store, "nightly").await.unwrap();
    drop(store);
    let store = open(second.path(), &home);
    enqueue(&store, "hourly").await.unwrap();
    assert_eq!(queue(&store).await, ["nightly", "hourly"]);
    drop(store);
    // The first has an older state, with a log beside it, which counts no more.
    let store = open(first.path(), &home);
    assert_eq!(queue(&store).await, ["nightly", "hourly"]);
    enqueue(&store, "weekly").await.unwrap();
    assert_eq!(
        queue(&Store::look_at(&home.state().unwrap()).unwrap()).await,
        ["nightly", "hourly", "weekly"]
    );
}

#[tokio::test]
async fn what_is_published_needs_no_log() {
    let (home, dir) = (Arc::default(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), &home);
    enqueue(&store, "nightly").await.unwrap();
    let mut state = home.state().unwrap();
    assert_eq!(state[VERSIONS], [1, 1]);
    // Nor does one that says it did, such as a copy of the file.
    state[VERSIONS].fill(2);
    assert_eq!(queue(&Store::look_at(&state).unwrap()).await, ["nightly"]);
    assert!(Store::look_at(b"no database").is_err());
    assert!(Store::look_at(&[]).is_err());
}

#[tokio::test]
async fn a_change_that_is_refused_is_no_change() {
    let (home, dir) = (Arc::<Home>::default(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), &home);
    enqueue(&store, "nightly").await.unwrap();
    home.answers([HomeError::Lost]);
    let refused = enqueue(&store, "hourly").await.unwrap_err();
    assert!(matches!(refused, StateError::Home(HomeError::Lost)), "{refused}");
    assert_eq!(*home.calls.lock(), 2, "nothing is sent twice by who has lost it");
    drop(store);
    assert_eq!(queue(&open(dir.path(), &home)).await, ["nightly"]);
}

#[tokio::test(start_paused = true)]
async fn a_home_that_fails_for_a_moment_is_asked_again() {
    let (home, dir) = (Arc::<Home>::default(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), &home);
    home.answers([failure(FailureClass::Transient), failure(FailureClass::Throttled)]);
    enqueue(&store, "nightly").await.unwrap();
    assert_eq!(*home.calls.lock(), 3);
    home.answers([failure(FailureClass::Auth)]);
    assert!(enqueue(&store, "hourly").await.is_err());
    assert_eq!(*home.calls.lock(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_published_goes_with_the_next_change() {
    let (home, dir) = (Arc::<Home>::default(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), &home);
    home.answers(std::iter::repeat_with(|| failure(FailureClass::NotSent)).take(RETRY.attempts as usize));
    let failed = enqueue(&store, "nightly").await.unwrap_err();
    assert!(matches!(failed, StateError::Home(HomeError::Failed(_))), "{failed}");
    assert_eq!(home.state(), None);
    enqueue(&store, "hourly").await.unwrap();
    assert_eq!(queue(&Store::look_at(&home.state().unwrap()).unwrap()).await, ["nightly", "hourly"]);
}

/// A published state, as somebody else left it.
fn changed(state: &[u8], by: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, without_log(state.to_vec())).unwrap();
    Connection::open(&path).unwrap().execute_batch(by).unwrap();
    std::fs::read(&path).unwrap()
}

#[tokio::test]
async fn a_broken_or_foreign_state_is_refused_and_the_local_one_stays() {
    let (home, dir) = (Arc::<Home>::default(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), &home);
    for number in 0..200 {
        enqueue(&store, &format!("nightly-{number}")).await.unwrap();
    }
    drop(store);
    let good = home.state().unwrap();
    let mut flipped = good.clone();
    flipped.iter_mut().skip(5000).step_by(97).for_each(|byte| *byte ^= 1);
    for (bad, why) in [
        (flipped, "is damaged"),
        (good[..good.len() - 5000].to_vec(), "is damaged"),
        (
            changed(&good, "CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM reached; END"),
            "its trigger `t`",
        ),
        (changed(&good, "CREATE VIEW v AS SELECT 1"), "its view `v`"),
        (changed(&good, "CREATE TABLE more (x)"), "its table `more`"),
        (changed(&good, "ALTER TABLE alert ADD COLUMN more TEXT"), "its table `alert`"),
        (changed(&good, "DROP INDEX run_by_status"), "its index `run_by_status`"),
        (changed(&good, "PRAGMA user_version = 7"), "has format 7"),
    ] {
        *home.state.lock() = Some(bad);
        let opened = Store::open(&dir.path().join("schedule.db"), Some((home.clone(), home.state())));
        let error = opened.err().unwrap_or_else(|| panic!("taken: {why}"));
        assert!(matches!(error, StateError::Shared(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    *home.state.lock() = Some(changed(&good, "ANALYZE"));
    assert_eq!(queue(&open(dir.path(), &home)).await.len(), 200);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_in_the_place_of_the_state_is_not_followed() {
    let (home, dir) = (Arc::<Home>::default(), tempfile::tempdir().unwrap());
    enqueue(&open(dir.path(), &home), "nightly").await.unwrap();
    let victim = dir.path().join("victim");
    for name in ["schedule.db", "schedule.db.new", ".schedule.db.new.tmp"] {
        std::fs::write(&victim, "precious").unwrap();
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&victim, place.path().join(name)).unwrap();
        assert_eq!(queue(&open(place.path(), &home)).await, ["nightly"], "{name}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
    // Without a home nothing replaces the link.
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&victim, place.path().join("schedule.db")).unwrap();
    let refused = Store::open(&place.path().join("schedule.db"), None).unwrap_err();
    assert!(refused.to_string().contains("it is a symbolic link"), "{refused}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}
