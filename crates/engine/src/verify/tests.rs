use std::time::Duration;

use fleetlogs_model::outcome::Outcome;

use super::*;
use crate::testing::{Answer, Bench, ScriptedAccount};

#[tokio::test(start_paused = true)]
async fn files_that_are_all_there_are_verified_soon_after() {
    let end = Bench::over([(ScriptedAccount::new("contoso"), 40)]).collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 40);
    let history = &end.histories[7];
    assert_eq!((history.files_promised, history.files_arrived, history.bytes), (Some(4), Some(4), Some(400)));
    assert!(end.list_calls <= 10, "{} list calls for one page", end.list_calls);
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_incomplete_at_the_deadline_and_not_before() {
    let account = ScriptedAccount::new("contoso").answers("n1", [Answer::Short { promised: 4, arrive: 3 }]);
    let started = Instant::now();
    let end = Bench::over([(account, 3)]).collect().await;
    assert_eq!(end.outcome(1), Outcome::Incomplete);
    assert_eq!(
        end.histories[1].reason.as_deref(),
        Some("3 of 4 files arrived before the verification deadline")
    );
    assert_eq!(end.outcome(0), Outcome::Verified);
    assert!((120..125).contains(&started.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_pool_from_which_nothing_arrives_is_called_blocked() {
    let account = (0..3).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [Answer::Short { promised: 4, arrive: 0 }])
    });
    let end = Bench::over([(account, 3), (ScriptedAccount::new("fabrikam"), 1)]).collect().await;
    let reason = end.histories[2].reason.as_deref().unwrap();
    assert_eq!(reason, "storage blocked from pool `Pool`: none of its nodes' files arrived");
    assert_eq!(end.outcome(3), Outcome::Verified);
}

#[tokio::test(start_paused = true)]
async fn files_that_still_change_are_not_verified() {
    let bench = Bench::over([(ScriptedAccount::new("contoso"), 1)]);
    let store = bench.store();
    let growing = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(50)).await;
            for blob in store.blobs.lock().values_mut() {
                blob.size += 1;
            }
        }
    });
    let end = bench.collect().await;
    growing.abort();
    assert_eq!(end.outcome(0), Outcome::Incomplete);
    let reason = end.histories[0].reason.as_deref().unwrap();
    assert_eq!(reason, "the files were still changing at the verification deadline");
}

#[tokio::test(start_paused = true)]
async fn an_adopted_directory_is_verified_by_what_is_there() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::AcceptsUnheard]);
    let end = Bench::over([(account, 2)]).collect().await;
    assert_eq!(end.outcome(0), Outcome::Verified);
    assert_eq!((end.histories[0].files_promised, end.histories[0].files_arrived), (None, Some(4)));
}

#[tokio::test(start_paused = true)]
async fn foreign_blobs_do_not_count_and_do_not_cost() {
    let bench = Bench::over([(ScriptedAccount::new("contoso"), 2)]);
    for run in 0..100 {
        bench.store().put(&format!("contoso-0123456789ABCDEF/pool/n0/old-{run:03}"), 1000);
    }
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 2);
    assert_eq!(end.histories[0].files_arrived, Some(4));
    assert!(end.list_calls < 40, "{} list calls where a sweep takes 20", end.list_calls);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_listed_is_the_reason_given() {
    let bench = Bench::over([(ScriptedAccount::new("contoso"), 1)]);
    *bench.store().refuses.lock() = Some(Failure::new(FailureClass::Transient, "server busy"));
    let end = bench.collect().await;
    assert_eq!(end.outcome(0), Outcome::Incomplete);
    let reason = end.histories[0].reason.as_deref().unwrap();
    assert_eq!(reason, "the container could not be listed: server busy");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_gone_drains_the_run() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 1000)]);
    bench.limits.rate = Some(10.0);
    *bench.store().refuses.lock() = Some(Failure::new(FailureClass::Gone, "ContainerNotFound"));
    let end = bench.collect().await;
    assert!(matches!(end.stop.reason(), Some(StopReason::ContainerGone(_))));
    assert!(end.account(0).calls() < 20);
}

#[tokio::test(start_paused = true)]
async fn uploads_on_their_way_are_limited_and_a_lost_one_frees_its_slot() {
    let account = ScriptedAccount::new("contoso")
        .answers("n0", [Answer::Short { promised: 4, arrive: 0 }])
        .answers("n1", [Answer::Short { promised: 4, arrive: 0 }]);
    let mut bench = Bench::over([(account, 10)]);
    bench.limits.max_uploads_in_flight = Some(2);
    bench.verify.upload_allowance = Duration::from_secs(60);
    let started = Instant::now();
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 8);
    assert!(started.elapsed() >= Duration::from_secs(60), "the third call waits for a slot");
}

#[tokio::test(start_paused = true)]
async fn many_nodes_cost_few_list_calls() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 20_000)]);
    bench.limits.concurrency = 64;
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 20_000);
    let pages = 20_000 * 4 / 5000;
    assert!(end.list_calls <= 20 * pages, "{} list calls for {pages} pages", end.list_calls);
}
