//! What every store of runs promises, as a test. The tests of the binary take this file as well, for the store in Blob
//! storage.

use std::sync::Arc;

use fleetlogs_engine::recorded_run::{RecordedRun, ResumedRun, RunClaim};
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId, RunId};
use fleetlogs_model::ledger::NodeStatus;
use fleetlogs_model::plan::{PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedPool};
use fleetlogs_model::run_store::{JournalErrorKind, RunStore};
use fleetlogs_model::window::Window;
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

pub(crate) const PLANNED_AT: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

/// A plan of so many nodes in one pool.
pub(crate) fn small_plan(nodes: u32) -> Plan {
    let account = AccountName::new("contoso");
    let pool = Arc::new(PlannedPool::bare(account.clone(), PoolId::new("Pool")));
    Plan {
        schema: PLAN_SCHEMA.into(),
        run_id: RunId::new(PLANNED_AT, 0),
        tool_version: "0.0.0".into(),
        created_at: PLANNED_AT,
        config_digest: String::new(),
        snapshot: None,
        window: Window { start: PLANNED_AT - time::Duration::hours(2), end: PLANNED_AT },
        destination: "https://logs.blob.core.windows.net/logs".into(),
        accounts: vec![PlannedAccount {
            name: account,
            endpoint: String::new(),
            api_version: String::new(),
            pools: 1,
            nodes,
            list_calls: 0,
            unlisted: None,
            missing: None,
        }],
        nodes: (0..nodes)
            .map(|number| PlannedNode::bare(pool.clone(), NodeId::new(format!("n{number}"))))
            .collect(),
        pools: vec![pool],
        left_out: vec![],
    }
}

pub(crate) fn requested(node: u32) -> Recorded {
    let event = Event::UploadRequested { attempt: 1, client_request_id: Uuid::nil(), service_ahead_ms: None };
    Recorded { at: PLANNED_AT, node: Some(NodeIndex(node)), event }
}

/// The promises. The store has no run yet.
pub(crate) async fn keeps_its_promises(store: &dyn RunStore) {
    let missing = store.read().await.err().expect("there is no journal yet");
    assert_eq!(missing.kind, JournalErrorKind::Missing);

    let mut journal = store.create(&small_plan(3), "fleetlogs.toml").await.unwrap();
    journal.append(&[requested(2), requested(0)]).unwrap();
    let busy = [store.hold().await.err(), store.append(true).await.err()];
    assert_eq!(busy.map(|error| error.unwrap().kind), [JournalErrorKind::Busy; 2]);
    assert!(store.is_held().await.unwrap());

    let watched = RecordedRun::open(store, RunClaim::Watch).await.unwrap();
    assert_eq!(watched.meta.config, "fleetlogs.toml");
    assert_eq!(watched.ledger().unwrap().count(NodeStatus::Requested), 2);
    for claim in [RunClaim::Rest, RunClaim::Hold] {
        let busy = RecordedRun::open(store, claim).await.err().expect("a process works on it");
        assert_eq!(busy.kind, JournalErrorKind::Busy);
    }
    let mut query = watched.journal.histories().unwrap();
    let nodes: Vec<_> = query.rows().unwrap().map(|row| row.unwrap().0.0).collect();
    assert_eq!(nodes, [0, 2], "histories come in plan order");
    drop(query);
    drop((journal, watched));

    let held = RecordedRun::open(store, RunClaim::Hold).await.unwrap();
    assert!(store.is_held().await.unwrap());
    drop(held);
    let resumed = ResumedRun::open(store, &[], false).await.unwrap();
    assert_eq!(resumed.outstanding.nodes(), 3);
    assert!(!resumed.is_over().unwrap());
    drop(resumed);
    assert!(!store.is_held().await.unwrap());
    RecordedRun::open(store, RunClaim::Rest).await.unwrap();
}
