//! Which credentials are accepted, and which are refused.

use crate::common::{Caller, http, one_pool, refusal, simulate, token};
use fleetlogs_sim::Simulator;

fn refused(code: u16) -> (u16, String) {
    (code, "AuthenticationFailed".to_owned())
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_counted() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller { key: b"not the key".to_vec(), ..Caller::new(&simulator) };

    assert_eq!(refusal(caller.get("/pools").await).await, refused(403));
    assert_eq!(simulator.ledger().accounts[0].unauthorized, 1);
}

#[tokio::test]
async fn a_clock_may_be_off_by_a_quarter_of_an_hour_and_no_more() {
    let simulator = simulate(&one_pool("", "")).await;
    let at = async |minutes| {
        let caller = Caller { clock: time::Duration::minutes(minutes), ..Caller::new(&simulator) };
        caller.get("/pools").await.status().as_u16()
    };

    assert_eq!([at(14).await, at(-14).await, at(16).await, at(-16).await], [200, 200, 403, 403]);
}

#[tokio::test]
async fn the_clock_of_the_account_itself_may_be_off() {
    for (skew, minutes) in [("-20m", -20), ("20m", 20)] {
        let simulator = simulate(&one_pool("", &format!("clock_skew = \"{skew}\""))).await;

        let refused = Caller::new(&simulator).get("/pools").await;
        let skewed = Caller { clock: time::Duration::minutes(minutes), ..Caller::new(&simulator) };

        assert_eq!((refused.status().as_u16(), skewed.get("/pools").await.status().as_u16()), (403, 200));
        let date = refused.headers()["date"].to_str().expect("text").to_owned();
        assert!([0, 1].map(|late| skewed.date(-late)).contains(&date), "{date} says how far it is off");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_a_little_still_lets_everybody_in() {
    let simulator = simulate(&one_pool("", "clock_skew = \"-2m\"")).await;
    let at = async |minutes| {
        let caller = Caller { clock: time::Duration::minutes(minutes), ..Caller::new(&simulator) };
        caller.get("/pools").await.status().as_u16()
    };

    assert_eq!(
        [at(0).await, at(12).await, at(14).await, at(-16).await, at(-18).await],
        [200, 200, 403, 200, 403]
    );
}

async fn with_token(simulator: &Simulator, token: &str) -> reqwest::Response {
    let url = format!("{}/pools?api-version=2025-06-01", simulator.ready().accounts[0].endpoint);
    http().get(url).bearer_auth(token).send().await.expect("an answer")
}

#[tokio::test]
async fn a_token_opens_the_account_until_it_expires() {
    let lasting = |lifetime| format!("[identity]\ntoken_lifetime = \"{lifetime}\"\n{}", one_pool("", ""));

    let simulator = simulate(&lasting("1h")).await;
    let ours = token(&simulator, "https://batch.core.windows.net/").await;
    assert_eq!(with_token(&simulator, &ours).await.status().as_u16(), 200);

    let simulator = simulate(&lasting("1s")).await;
    let ours = token(&simulator, "https://batch.core.windows.net/").await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(refusal(with_token(&simulator, &ours).await).await, refused(401));
}

#[tokio::test]
async fn a_token_for_the_audience_without_its_slash_is_refused() {
    let simulator = simulate(&one_pool("", "")).await;
    let token = token(&simulator, "https://batch.core.windows.net").await;

    assert_eq!(refusal(with_token(&simulator, &token).await).await, refused(401));
    assert_eq!(refusal(with_token(&simulator, "made up").await).await, refused(401));
}

#[tokio::test]
async fn an_account_may_refuse_one_of_the_two_ways() {
    let simulator = simulate(&one_pool("", "auth = [\"entra\"]")).await;
    let token = token(&simulator, "https://batch.core.windows.net/").await;

    assert_eq!(refusal(Caller::new(&simulator).get("/pools").await).await, refused(403));
    assert_eq!(with_token(&simulator, &token).await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_token_needs_the_identity_header() {
    let simulator = simulate(&one_pool("", "")).await;
    let url = format!("{}/_sim/identity?resource=x&api-version=1", simulator.ready().accounts[0].endpoint);

    assert_eq!(http().get(url).send().await.expect("an answer").status().as_u16(), 400);
}

#[tokio::test]
async fn nobody_but_this_machine_can_reach_it() {
    let scenario = fleetlogs_sim::Scenario::from_toml(&one_pool("", "")).expect("valid");

    let error =
        Simulator::start(scenario, "0.0.0.0:0".parse().expect("an address")).await.expect_err("refused");

    assert!(error.to_string().contains("loopback"), "{error}");
}
