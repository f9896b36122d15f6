//! The shared state of a schedule in real Blob storage, and the containers that runs make for themselves: Azurite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_azure::{BlobStateHome, Removal, StorageAccount, StorageAuth, http_client};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::ownership::Ownership;
use fleetlogs_engine::schedule::state::{Store, runs};
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::home::{HomeError, StateHome};
use fleetlogs_model::ids::{RunId, SnapshotName};
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::secret::Secret;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use time::OffsetDateTime;

use crate::azurite::{ACCOUNT, Azurite, KEY};
use crate::stage::service_sas_until;

const LEASE: Duration = Duration::from_secs(15);

fn home(sas: &str) -> Arc<BlobStateHome> {
    let sas = SasUrl::parse(sas).unwrap();
    let source = Arc::new(move || {
        let sas = sas.clone();
        Box::pin(async move { Ok::<_, Failure>(sas) }) as std::pin::Pin<Box<_>>
    });
    let blob = "fleetlogs/schedule.db".to_owned();
    Arc::new(BlobStateHome::new(http_client(2).unwrap(), source, blob, LEASE))
}

fn class<T>(answer: Result<T, HomeError>) -> Option<FailureClass> {
    match answer {
        Err(HomeError::Failed(failure)) => Some(failure.class),
        _ => None,
    }
}

#[tokio::test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn real_storage_has_one_owner_at_a_time() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    let sas = azurite.container_sas("rcw");
    let (first, second) = (home(&sas), home(&sas));

    // One owns it, makes it and writes; the other may look.
    assert_eq!(second.read().await.unwrap(), None);
    assert_eq!(first.acquire().await.unwrap(), None);
    assert!(matches!(second.acquire().await, Err(HomeError::Held)));
    assert_eq!(second.read().await.unwrap(), None);
    let large = vec![7; 3 << 20];
    first.publish(large.clone()).await.unwrap();
    first.publish(b"one".to_vec()).await.unwrap();
    first.renew().await.unwrap();
    first.publish(large.clone()).await.unwrap();
    assert_eq!(second.read().await.unwrap().as_deref(), Some(&large[..]));
    assert!(matches!(second.publish(b"not ours".to_vec()).await, Err(HomeError::Lost)));

    // As after an answer that was lost: the lease is known by the id that was proposed.
    assert_eq!(first.acquire().await.unwrap().as_deref(), Some(&large[..]));
    first.publish(b"two".to_vec()).await.unwrap();

    // What is given back can be had at once, and whoever had it is refused.
    first.release().await.unwrap();
    assert_eq!(second.acquire().await.unwrap().as_deref(), Some(&b"two"[..]));
    assert!(matches!(first.publish(b"late".to_vec()).await, Err(HomeError::Lost)));
    assert!(matches!(first.renew().await, Err(HomeError::Lost)));
    assert!(matches!(first.acquire().await, Err(HomeError::Held)));

    // An owner that is gone is followed when its lease ends, and refused when it comes back.
    let gone = Instant::now();
    second.renew().await.unwrap();
    let stop = StopHandle::default();
    let (owner, fetched) =
        Ownership::acquire(first, Clock::System, &stop, fastrand::Rng::new()).await.unwrap().unwrap();
    assert!(gone.elapsed() > LEASE * 9 / 10, "{:?}", gone.elapsed());
    assert!(gone.elapsed() < LEASE + Duration::from_secs(300), "{:?}", gone.elapsed());
    assert_eq!(fetched.as_deref(), Some(&b"two"[..]));
    assert!(owner.is_valid());
    assert!(matches!(second.publish(b"late".to_vec()).await, Err(HomeError::Lost)));
    assert!(matches!(second.renew().await, Err(HomeError::Lost)));
    assert_eq!(home(&sas).read().await.unwrap().as_deref(), Some(&b"two"[..]));
    owner.release().await;
}

#[tokio::test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn the_schedule_of_one_machine_goes_on_at_another_through_real_storage() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    let sas = azurite.container_sas("rw");
    let stop = StopHandle::default();
    for machine in 1..=3_i64 {
        let dir = tempfile::tempdir().unwrap();
        let acquired = Ownership::acquire(home(&sas), Clock::System, &stop, fastrand::Rng::new()).await;
        let (owner, fetched) = acquired.unwrap().unwrap();
        assert_eq!(fetched.is_none(), machine == 1);
        let store = Store::open(&dir.path().join("schedule.db"), Some((owner.home(), fetched))).unwrap();
        let now = OffsetDateTime::now_utc();
        let snapshot = SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::Cron, due: now };
        let job = store.change(|state| runs::enqueue(state, &snapshot, now)).await.unwrap();
        assert_eq!(job.0, machine);
        owner.release().await;
        assert!(store.change(|state| runs::enqueue(state, &snapshot, now)).await.is_err());
    }
}

#[tokio::test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn real_storage_refuses_a_sas_that_has_ended_and_a_container_that_is_not_there() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    let sas = |container: &str, permissions: &str, ends: time::Duration| {
        let url = format!("{}/{container}", azurite.endpoint());
        let resource = format!("/blob/{ACCOUNT}/{container}");
        service_sas_until(KEY, &url, &resource, permissions, OffsetDateTime::now_utc() + ends)
    };
    let (hour, over) = (time::Duration::HOUR, -time::Duration::MINUTE);
    for ended in [sas("logs", "rcw", over), sas("logs", "l", hour)] {
        let home = home(&ended);
        assert_eq!(class(home.acquire().await), Some(FailureClass::Auth));
        assert_eq!(class(home.read().await), Some(FailureClass::Auth));
    }
    let absent = home(&sas("absent", "rcw", hour));
    assert_eq!(class(absent.acquire().await), Some(FailureClass::Gone));
    assert_eq!(class(absent.read().await), Some(FailureClass::Gone));
    // What can be taken but not read is given back, so that others need not wait.
    assert_eq!(class(home(&sas("logs", "cw", hour)).acquire().await), Some(FailureClass::Auth));
    assert_eq!(home(&sas("logs", "rcw", hour)).acquire().await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn real_storage_deletes_a_container_for_the_run_that_made_it() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    let key = StorageAuth::Key(Secret::new(BASE64_STANDARD.encode(KEY)));
    let endpoint = azurite.endpoint().parse().unwrap();
    let storage = StorageAccount::new(http_client(1).unwrap(), endpoint, key).unwrap();
    let run: RunId = "20261122T093000Z-4f2a".parse().unwrap();
    let other: RunId = "20261122T093000Z-4f2b".parse().unwrap();

    assert_eq!(storage.create_container("incident", &run).await, Ok(true));
    assert_eq!(storage.create_container("incident", &other).await, Ok(false));
    assert_eq!(storage.delete_container("incident", &other).await, Ok(Removal::NotOurs));
    // The container of the stage was made by nobody in particular.
    assert_eq!(storage.delete_container("logs", &run).await, Ok(Removal::NotOurs));
    assert_eq!(storage.delete_container("incident", &run).await, Ok(Removal::Removed));
    assert_eq!(storage.delete_container("incident", &run).await, Ok(Removal::Absent));
}
