//! The store of runs in real Blob storage: Azurite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlogs_azure::{BlobRunStore, SasSource, StoredPartition, http_client, recorded_runs, run_of_key};
use fleetlogs_engine::recorded_run::{RecordedRun, ResumedRun, RunClaim};
use fleetlogs_model::event::Recorded;
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind, RunStore};
use fleetlogs_model::sas::SasUrl;

use crate::azurite::Azurite;
use crate::store_promises::{PLANNED_AT, keeps_its_promises, requested, small_plan};

/// The shortest that storage grants.
const LEASE: Duration = Duration::from_secs(15);

fn source(sas: &str) -> SasSource {
    let sas = SasUrl::parse(sas).unwrap();
    Arc::new(move || {
        let sas = sas.clone();
        Box::pin(async move { Ok(sas) })
    })
}

fn store(azurite: &Azurite, run: &str) -> BlobRunStore {
    let source = source(&azurite.container_sas("rcwl"));
    BlobRunStore::new(http_client(2).unwrap(), source, format!("fleetlogs/{run}"), LEASE)
}

async fn events(store: &BlobRunStore) -> Vec<Recorded> {
    let reader = store.read().await.unwrap();
    let mut events = vec![];
    reader.events_after(0, &mut |recorded| events.push(recorded.clone())).unwrap();
    events
}

fn kind<T>(answer: Result<T, JournalError>) -> JournalErrorKind {
    answer.err().expect("it is refused").kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn a_run_in_real_storage_keeps_the_promises_of_a_store() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    keeps_its_promises(&store(&azurite, "20261122T093000Z-0000")).await;
    keeps_its_promises(&store(&azurite, "20261123T093000Z-0000").rolling_over_at(1)).await;

    let runs =
        recorded_runs(&http_client(1).unwrap(), &source(&azurite.container_sas("rl")), "fleetlogs").await;
    let ids: Vec<_> = runs.unwrap().into_iter().map(|run| run.run_id.to_string()).collect();
    assert_eq!(ids, ["20261123T093000Z-0000", "20261122T093000Z-0000"]);
    let elsewhere =
        recorded_runs(&http_client(1).unwrap(), &source(&azurite.container_sas("rl")), "other").await;
    assert_eq!(elsewhere.unwrap(), []);
}

/// The plan has more text than one request brings to storage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn real_storage_keeps_a_large_plan_and_a_journal_of_many_blobs() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    let store = store(&azurite, "20261122T093000Z-0000").rolling_over_at(3);
    let plan = small_plan(150_000);
    assert!(serde_json::to_vec(&plan).unwrap().len() > 5 << 20);
    let mut journal = store.create(&plan, "fleetlogs.toml").await.unwrap();
    for group in 0..10 {
        let events: Vec<_> = (group * 100..group * 100 + 100).map(requested).collect();
        journal.append(&events).unwrap();
    }
    drop(journal);
    let run = RecordedRun::open(&store, RunClaim::Hold).await.unwrap();
    assert_eq!(run.plan.nodes.len(), 150_000);
    assert_eq!(serde_json::to_vec(&*run.plan).unwrap(), serde_json::to_vec(&plan).unwrap());
    assert_eq!(events(&store).await, (0..1000).map(requested).collect::<Vec<_>>());
    // The same plan may be written again; another one may not take its place.
    store.lay_out(&plan, "fleetlogs.toml").await.unwrap();
    assert_eq!(
        kind(store.lay_out(&small_plan(149_999), "fleetlogs.toml").await),
        JournalErrorKind::Unsuitable
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn real_storage_keeps_the_first_of_two_plans_and_runs_that_are_shared_out_by_a_key() {
    let azurite = tokio::task::spawn_blocking(Azurite::start).await.unwrap();
    let asked = |random| {
        let source = source(&azurite.container_sas("rcwl"));
        let new = RunId::new(PLANNED_AT, random);
        async move { run_of_key(http_client(1).unwrap(), source, "fleetlogs", "nightly", &new).await.unwrap() }
    };
    let run = asked(1).await;
    assert_eq!((asked(2).await, &run), (run.clone(), &RunId::new(PLANNED_AT, 1)));

    let whole = store(&azurite, run.as_str());
    let partitions = [StoredPartition { name: AccountName::new("contoso"), site: Some("west".into()) }];
    let seed = Plan { accounts: vec![], pools: vec![], ..small_plan(0) };
    let pick = serde_json::json!({"pools": ["render*"]});
    for _ in 0..2 {
        let laid_out = whole.lay_out_whole(&seed, "fleetlogs.toml", &partitions, Some(pick.clone())).await;
        laid_out.unwrap();
    }
    assert_eq!(kind(whole.append(false).await), JournalErrorKind::Unsuitable);

    // Both plans come in several blocks, at the same time.
    let part = whole.partition("contoso");
    assert_eq!(kind(part.read().await), JournalErrorKind::Missing);
    let (one, other) = (small_plan(110_000), small_plan(120_000));
    let laid_out = tokio::join!(
        part.lay_out_unless_planned(&one, "fleetlogs.toml"),
        part.lay_out_unless_planned(&other, "fleetlogs.toml"),
    );
    laid_out.0.unwrap();
    laid_out.1.unwrap();
    let resumed = ResumedRun::open(&part, &[], false).await.unwrap();
    assert!([110_000, 120_000].contains(&resumed.plan.nodes.len()));
    assert_eq!(resumed.outstanding.nodes(), resumed.plan.nodes.len());
    drop(resumed);

    let runs =
        recorded_runs(&http_client(1).unwrap(), &source(&azurite.container_sas("rl")), "fleetlogs").await;
    let runs: Vec<_> = runs.unwrap().into_iter().map(|found| found.run_id).collect();
    assert_eq!(runs, [run], "neither keys nor partitions are runs of the container");
}

/// A process that has gone, and one that only seemed to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn in_real_storage_the_next_process_waits_for_the_lease_and_the_last_one_is_refused() {
    let azurite = Arc::new(tokio::task::spawn_blocking(Azurite::start).await.unwrap());
    let run = "20261122T093000Z-0000";
    // Its runtime stands still: nothing is renewed, and nothing is given up.
    let (frozen, begun) = std::sync::mpsc::channel();
    let (thaw, thawed) = std::sync::mpsc::channel::<()>();
    let shared = azurite.clone();
    let silent = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = store(&shared, run);
        let mut journal =
            runtime.block_on(async { store.create(&small_plan(3), "fleetlogs.toml").await.unwrap() });
        // Driven by this thread for as long as it has something to record.
        let appended = |runtime: &tokio::runtime::Runtime,
                        journal: &mut Box<dyn fleetlogs_model::run_store::Journal>,
                        event| {
            std::thread::scope(|scope| {
                let (done, is_done) = tokio::sync::oneshot::channel();
                let appending = scope.spawn(move || {
                    let appended = journal.append(&[event]);
                    let _ = done.send(());
                    appended
                });
                let _ = runtime.block_on(is_done);
                appending.join().unwrap()
            })
        };
        appended(&runtime, &mut journal, requested(0)).unwrap();
        let tenure = journal.tenure().unwrap();
        frozen.send(()).unwrap();
        thawed.recv().unwrap();
        assert_eq!(tenure.left(), Duration::ZERO, "it knows without asking");
        let late = appended(&runtime, &mut journal, requested(2));
        runtime.shutdown_background();
        late
    });
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();

    let (store, since) = (store(&azurite, run), Instant::now());
    let mut next = loop {
        match store.append(false).await {
            Ok(journal) => break journal,
            Err(error) => assert_eq!(error.kind, JournalErrorKind::Busy, "{error}"),
        }
        assert!(since.elapsed() < LEASE + Duration::from_secs(300));
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(since.elapsed() > LEASE * 8 / 10, "{:?}", since.elapsed());
    next.append(&[requested(1)]).unwrap();
    thaw.send(()).unwrap();
    let late = tokio::task::spawn_blocking(move || silent.join().unwrap()).await.unwrap();
    assert_eq!(kind(late), JournalErrorKind::TakenOver);
    // The leases of the next process are renewed meanwhile.
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    next.append(&[requested(2)]).unwrap();
    assert_eq!(kind(store.append(false).await), JournalErrorKind::Busy);
    assert_eq!(events(&store).await, [requested(0), requested(1), requested(2)]);
}
