//! Clocks that are wrong, and clocks that jump.

use crate::common::{Caller, http, one_pool, simulate, wait_for};
use fleetlogs_sim::Simulator;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

fn seconds_off(date: &str) -> i64 {
    let date = OffsetDateTime::parse(&date.replace("GMT", "+0000"), &Rfc2822).expect("a date");
    (date - OffsetDateTime::now_utc()).whole_seconds()
}

/// How far the Date headers of the account and of storage are off, in hours, and the time of the newest blob.
async fn hours_off(simulator: &Simulator, caller: &Caller) -> (i64, i64, Option<i64>) {
    let hours = |seconds: i64| (seconds + seconds.signum() * 60) / 3600;
    let date =
        |answer: &reqwest::Response| hours(seconds_off(answer.headers()["date"].to_str().expect("text")));
    let batch = date(&caller.get("/pools").await);
    let url = format!("{}&restype=container&comp=list", simulator.ready().verify_url);
    let answer = http().get(url).send().await.expect("an answer");
    let storage = date(&answer);
    let xml = answer.text().await.expect("text");
    let made =
        xml.split("<Creation-Time>").skip(1).filter_map(|text| text.split('<').next()).map(seconds_off);
    (batch, storage, made.map(hours).max())
}

#[tokio::test]
async fn clocks_of_account_and_storage_are_wrong_alone_or_together() {
    for (all, account, storage, expected) in [
        ("", "clock_skew = \"-2h\"", "", (-2, 0)),
        ("", "", "[storage]\nclock_skew = \"3h\"", (0, 3)),
        ("clock_skew = \"-1h\"", "", "", (-1, -1)),
        ("clock_skew = \"-1h\"", "clock_skew = \"5h\"", "[storage]\nclock_skew = \"-1h\"", (4, -2)),
        ("", "[[account.clock_shift]]\nat = \"0s\"\nby = \"2h\"", "", (2, 0)),
        ("", "[[account.clock_shift]]\nat = \"1h\"\nby = \"2h\"", "", (0, 0)),
        ("", "", "[[storage.clock_shift]]\nat = \"0s\"\nby = \"-2h\"", (0, -2)),
    ] {
        // Tables of the account come after its keys, so they stand behind the pool.
        let (keys, tables) = if account.starts_with('[') { ("", account) } else { (account, "") };
        let text = format!("{all}\n{storage}\n{}\n{tables}", one_pool("", keys));
        let simulator = simulate(&text).await;
        let mut caller = Caller::new(&simulator);
        caller.clock = time::Duration::hours(expected.0);

        let (batch, of_storage, _) = hours_off(&simulator, &caller).await;

        assert_eq!((batch, of_storage), expected, "{text}");
    }
}

#[tokio::test]
async fn all_clocks_jump_with_an_upload_call_and_blobs_have_the_new_time() {
    let shift = "[[clock_shift]]\nafter_uploads = 2\nby = \"1h\"";
    let simulator =
        simulate(&format!("{shift}\n{}", one_pool("nodes = 2\nfiles = 1\narrival = \"0s\"", ""))).await;
    let mut caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;

    caller.upload(&simulator, &nodes[0]).await.expect("an answer");
    wait_for(&simulator, |ledger| ledger.storage.blobs == 1).await;
    assert_eq!(hours_off(&simulator, &caller).await, (0, 0, Some(0)));

    // The clock jumps when the call arrives, so a signature with the date of before is too old.
    let refused = caller.upload(&simulator, &nodes[1]).await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 403);
    caller.clock = time::Duration::hours(1);
    caller.upload(&simulator, &nodes[1]).await.expect("an answer");
    wait_for(&simulator, |ledger| ledger.storage.blobs == 2).await;
    assert_eq!(hours_off(&simulator, &caller).await, (1, 1, Some(1)));
}

#[tokio::test]
async fn clocks_are_shifted_from_outside() {
    let simulator = simulate(&format!("clock_skew = \"-2h\"\n{}", one_pool("", ""))).await;
    let mut caller = Caller::new(&simulator);
    let shift = async |by: &str| {
        let url = format!("{}/_sim/clock?by={by}", simulator.ready().accounts[0].endpoint);
        let answer = http().post(url).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };

    assert_eq!(shift("2h").await, (200, "7200.0".to_owned()));
    assert_eq!(shift("soon").await.0, 400);
    assert_eq!(hours_off(&simulator, &caller).await, (0, 0, None));
    assert_eq!(shift("-3h").await, (200, "-3600.0".to_owned()));
    caller.clock = time::Duration::hours(-3);
    assert_eq!(hours_off(&simulator, &caller).await, (-3, -3, None));
}
