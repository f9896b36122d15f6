//! Microsoft Entra ID, through a managed identity that the simulator plays.

use crate::credentials::with_identity;
use crate::stage::{Run, Sim};

fn run(sim: &Sim) -> Run {
    // An account that takes no key already has a config with a token.
    let config = std::fs::read_to_string(sim.config("")).unwrap();
    let key = r#"auth = { shared_key = { file = "ready.json.contoso.key" } }"#;
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
fn the_config_of_the_simulator_fits_accounts_that_take_no_key() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        auth = ["entra"]
        [[account.pool]]
        id = "a"
        arrival = "0s"
        [[account]]
        name = "fabrikam"
        pool_allocation_mode = "UserSubscription"
        [[account.pool]]
        id = "b"
        arrival = "0s"
        [[account]]
        name = "adatum"
        auth = ["shared-key"]
        [[account.pool]]
        id = "c"
        arrival = "0s"
        "#,
    );
    assert_eq!(sim.ready["accounts"][1]["auth"], serde_json::json!(["entra"]));
    let config = sim.ready["config"].as_str().unwrap();

    let check = with_identity(&sim, &["check", config]);
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    let run = with_identity(&sim, &["run", config]);

    assert_eq!((run.code, run.count("verified")), (0, 3), "{}", run.stderr);
    assert_eq!(sim.ledger()["accounts"][0]["unauthorized"], 0);
    let said = std::fs::read_to_string(sim.dir.path().join("sim.log")).unwrap();
    let identity = sim.ready["identity"].as_str().unwrap();
    assert!(said.contains(&format!("IDENTITY_ENDPOINT={identity} ")), "{said}");
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
