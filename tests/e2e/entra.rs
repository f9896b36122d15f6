//! Microsoft Entra ID, through a managed identity that the simulator plays.

use crate::credentials::with_identity;
use crate::stage::{Run, Sim};

fn run(sim: &Sim) -> Run {
    let config = std::fs::read_to_string(sim.config("")).unwrap();
    let key = r#"auth = { shared_key = { file = "ready.json.contoso.key" } }"#;
    assert!(config.contains(key));
    let config = sim.write_config(&config.replace(key, r#"auth = "entra""#));
    with_identity(sim, &["run", config.to_str().unwrap()])
}

#[test]
fn a_managed_identity_collects_a_fleet() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        auth = ["entra"]
        [[account.pool]]
        id = "a"
        nodes = 10
        arrival = "100ms"
        "#,
    );
    let run = run(&sim);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("verified"), 10);
    assert_eq!(sim.ledger()["accounts"][0]["unauthorized"], 0);
}

#[test]
fn tokens_that_end_during_the_run_are_renewed() {
    let sim = Sim::start(
        r#"
        [identity]
        token_lifetime = "3s"
        [[account]]
        name = "contoso"
        auth = ["entra"]
        latency = "300ms"
        [[account.pool]]
        id = "a"
        nodes = 150
        arrival = "100ms"
        "#,
    );
    let run = run(&sim);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("verified"), 150);
}

#[test]
fn an_account_that_refuses_tokens_is_named() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        auth = ["shared-key"]
        [[account.pool]]
        id = "a"
        nodes = 3
        "#,
    );
    let run = run(&sim);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("account `contoso`"), "{}", run.stderr);
    assert_eq!(sim.upload_calls(), 0);
}
