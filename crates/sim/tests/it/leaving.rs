//! Nodes that leave their pool while a client wants them.

use std::time::Duration;

use crate::common::{Caller, entry, one_pool, refusal, simulate};

#[tokio::test]
async fn a_node_that_left_takes_no_upload_and_the_ledger_knows_when_it_left() {
    let pool = r#"
        nodes = 4
        shrinking = 1
        leaves_after = "9s"
        notice = "6s"
        arrival = "1h"
        unknown_state = 0
    "#;
    let simulator = simulate(&one_pool(pool, "")).await;
    let caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;
    let state = async || caller.get_json(&format!("/pools/p/nodes/{}", nodes[3])).await["state"].clone();
    assert_eq!((nodes.len(), state().await), (4, "idle".into()));
    assert!(simulator.ledger().left.is_empty());

    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(state().await, "leavingpool");
    let soon = caller.upload(&simulator, &nodes[3]).await.expect("an answer");
    assert_eq!(soon.status().as_u16(), 200);
    assert_eq!(entry(&simulator.ledger(), &nodes[3]).left_at, None);

    tokio::time::sleep(Duration::from_secs(7)).await;
    let late = caller.upload(&simulator, &nodes[3]).await.expect("an answer");
    caller.upload(&simulator, &nodes[0]).await.expect("an answer");

    assert_eq!(refusal(late).await, (404, "NodeNotFound".to_owned()));
    assert_eq!(caller.node_ids().await, nodes[..3]);
    let ledger = simulator.ledger();
    let left = entry(&ledger, &nodes[3]);
    assert!(left.left_at.as_ref().is_some_and(|at| *at > left.directories[0].received_at));
    assert_eq!(left.directories[0].files_written, 0, "what it had not sent is lost with it");
    assert_eq!(entry(&ledger, &nodes[0]).left_at, None);
    assert_eq!(ledger.left.iter().map(|left| &left.node).collect::<Vec<_>>(), [&nodes[3]]);
}

#[tokio::test]
async fn a_pool_that_shrinks_says_so() {
    let pool = r#"
        nodes = 10
        spot = 2
        shrinking = 9
        leaves_after = "5s"
        notice = "0s"
    "#;
    let simulator = simulate(&one_pool(pool, "")).await;
    let caller = Caller::new(&simulator);
    let sizes = async || {
        let pool = caller.get_json("/pools/p").await;
        assert_eq!(pool["allocationState"], "resizing");
        ["currentDedicatedNodes", "targetDedicatedNodes", "currentLowPriorityNodes", "targetLowPriorityNodes"]
            .map(|name| pool[name].as_u64().expect("a number"))
    };

    let before = sizes().await;
    tokio::time::sleep(Duration::from_millis(5100)).await;

    assert_eq!((before, sizes().await), ([8, 0, 2, 1], [0, 0, 1, 1]));
}

#[tokio::test]
async fn nodes_of_a_pool_that_is_deleted_leave_one_by_one() {
    let pool = "nodes = 200\nstate = \"deleting\"\nleaves_after = { min = \"0s\", max = \"60s\" }";
    let simulator = simulate(&one_pool(pool, "")).await;
    let caller = Caller::new(&simulator);

    tokio::time::sleep(Duration::from_secs(3)).await;

    let there = caller.node_ids().await.len();
    let left = simulator.ledger().left.len();
    assert!((1..200).contains(&there) && left >= 200 - there, "{there} there, {left} left");
    assert_eq!(caller.get_json("/pools/p").await["targetDedicatedNodes"], 0);
}

#[tokio::test]
async fn nodes_leave_with_a_pool_that_vanishes() {
    let simulator = simulate(&one_pool("nodes = 3\nvanishes_at = \"100ms\"", "")).await;

    tokio::time::sleep(Duration::from_millis(200)).await;

    assert_eq!(simulator.ledger().left.len(), 3);
}
