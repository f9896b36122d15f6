//! A good neighbour: ceilings hold, and a throttled account slows down.

use crate::stage::{Sim, assert_manifest_equals_ledger};

#[test]
fn rate_and_concurrency_never_exceed_their_ceilings() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "100ms"
        [[account.pool]]
        id = "a"
        nodes = 300
        arrival = "100ms"
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 100, concurrency = 8 }"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let account = &sim.ledger()["accounts"][0];
    // Eight calls of 100 ms make 80 a second at most; the rate's own ceiling is looked at below.
    assert!(account["highest_concurrency"].as_u64().unwrap() <= 8, "{account}");
    assert!(account["highest_rate"].as_u64().unwrap() <= 100, "{account}");

    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "10ms"
        [[account.pool]]
        id = "a"
        nodes = 300
        arrival = "100ms"
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 100, concurrency = 32 }"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Two calls, a fiftieth of a second, may be caught up after a late timer.
    let highest = sim.ledger()["accounts"][0]["highest_rate"].as_u64().unwrap();
    assert!((80..=103).contains(&highest), "{highest} calls within a second at a ceiling of 100");
}

#[test]
fn a_throttled_account_slows_down_and_no_node_fails() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "20ms"
        capacity = 40
        [[account.pool]]
        id = "a"
        nodes = 200
        arrival = "100ms"
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 200, concurrency = 16 }"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ledger = sim.ledger();
    assert_manifest_equals_ledger(&run.manifest(), &ledger);
    let throttled = ledger["accounts"][0]["throttled"].as_u64().unwrap();
    assert!((1..=60).contains(&throttled), "{throttled} of 200 calls were throttled");
}
