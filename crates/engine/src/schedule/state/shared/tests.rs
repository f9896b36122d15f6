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
