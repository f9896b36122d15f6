//! The watcher asks the simulated service over HTTP, through the client that the program uses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleetlogs_azure::{
    AccountSettings, AzureBatch, BatchAuth, Clients, SharedKey, http_client, list_client, unkept_client,
};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::state::{JobId, Store, occurrences, runs};
use fleetlogs_engine::schedule::watch::{Watch, WatchCounters, WatchRule, watch};
use fleetlogs_engine::select::{NodeFilter, PoolFilter, Selection};
use fleetlogs_model::ids::{AccountName, SnapshotName};
use fleetlogs_model::secret::Secret;
use fleetlogs_model::service::NodeState;
use fleetlogs_sim::{Scenario, Simulator};
use globset::{Glob, GlobSet, GlobSetBuilder};

/// A share of a pool goes bad and stays so, and a node of another flaps.
const SCENARIO: &str = r#"
[[account]]
name = "contoso"
page_size = 5

[[account.pool]]
id = "Render"
nodes = 40
unknown_state = 0
allocation_state = "resizing"
[[account.pool.life]]
share = 0.5
at = "1s"
becomes = "unusable"

[[account.pool]]
id = "encode"
nodes = 7
unknown_state = 0
[[account.pool.life]]
nodes = 1
at = "500ms"
becomes = "starttaskfailed"
recovers_after = "900ms"
every = "1500ms"
times = 3
"#;

async fn simulate() -> Simulator {
    let scenario = Scenario::from_toml(SCENARIO).unwrap();
    Simulator::start(scenario, std::net::SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

fn account(simulator: &Simulator) -> AzureBatch {
    let ready = &simulator.ready().accounts[0];
    let clients = Clients {
        uploads: http_client(1).unwrap(),
        lists: list_client(1).unwrap(),
        unkept: unkept_client().unwrap(),
    };
    let settings = AccountSettings {
        endpoint: ready.endpoint.parse().unwrap(),
        api_version: "2024-07-01.20.0".into(),
        auth: BatchAuth::SharedKey(SharedKey::new(&ready.name, &Secret::new(ready.key.clone())).unwrap()),
        read_timeout: Duration::from_secs(10),
    };
    AzureBatch::new(clients, settings).unwrap()
}

#[tokio::test]
async fn every_node_that_goes_bad_is_claimed_once_for_each_time() {
    let simulator = simulate().await;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("schedule.db"), None).unwrap();
    let everything = GlobSetBuilder::new().add(Glob::new("*").unwrap()).build().unwrap();
    let selection = Selection {
        pools: PoolFilter::by_id(everything, GlobSet::empty()),
        nodes: NodeFilter::default(),
        jobs: vec![],
        exact: None,
    };
    let name = AccountName::new("contoso");
    let rule = WatchRule {
        snapshot: SnapshotName::new("bad"),
        states: vec![NodeState::Unusable, NodeState::StartTaskFailed],
        every: Duration::from_millis(200),
        gather: Duration::from_millis(100),
        quiet: Duration::ZERO,
        max_age: Duration::from_secs(3600),
        selections: vec![(name.clone(), selection)],
    };
    let counters = Arc::new(WatchCounters::default());
    let watching = tokio::spawn(watch(Watch {
        accounts: vec![(name, Arc::new(account(&simulator)))],
        rules: vec![rule],
        store: store.clone(),
        clock: Clock::System,
        poll_rate: 100.0,
        counters: counters.clone(),
        random: fastrand::Rng::new(),
    }));
    let all_claimed = async {
        while counters.claimed.load(Ordering::Relaxed) < 23 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Nothing more comes of a few further looks.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };

    tokio::select! {
        ended = watching => panic!("{ended:?}"),
        () = all_claimed => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{counters:?}"),
    }

    // All wait in the queue for one run, as nothing begins any.
    let captured = store.read(|state| occurrences::of_run(state, JobId(1))).await.unwrap();
    let waiting = store.read(runs::queued_rows).await.unwrap();
    assert_eq!((captured.len(), waiting.len()), (23, 1), "{captured:?}");
    assert_eq!(counters.failures.load(Ordering::Relaxed), 0, "the service took every filter");
    let nodes: BTreeSet<_> = captured.iter().map(|occurrence| &occurrence.node).collect();
    assert_eq!(nodes.len(), 21);
    let unusable = captured.iter().filter(|occurrence| occurrence.state == NodeState::Unusable);
    assert_eq!(unusable.filter(|occurrence| occurrence.node.pool.as_str() == "Render").count(), 20);
}
