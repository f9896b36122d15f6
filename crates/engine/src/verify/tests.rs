use std::time::Duration;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::outcome::{Outcome, Proof};
use fleetlogs_model::window::Window;

use super::*;
use crate::stop::StopReason;
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
async fn a_pool_from_which_anything_arrived_is_not_called_blocked() {
    let account = ScriptedAccount::new("contoso").answers("n1", [Answer::Short { promised: 4, arrive: 0 }]);
    let end = Bench::over([(account, 3)]).collect().await;
    let reason = end.histories[1].reason.as_deref();
    assert_eq!(reason, Some("no file arrived before the verification deadline"));
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

/// The answer that the node gets, those that its peers get, and how the node ends: outcome, proof and reason.
type LostPromise = (Answer, Vec<Answer>, Outcome, Option<Proof>, String);

#[tokio::test(start_paused = true)]
async fn a_lost_promise_is_proved_by_three_peers_or_not_at_all() {
    let lost = "how many files the node promised is not known; ";
    let peers = || [Answer::Accepts(4), Answer::Accepts(4), Answer::Accepts(4)];
    let found = "the call's answer was lost; its directory was found in the container";
    let cases: [LostPromise; 6] = [
        (Answer::AcceptsUnheard, peers().into(), Outcome::Verified, Some(Proof::Peers), found.into()),
        (
            Answer::ShortUnheard(3),
            peers().into(),
            Outcome::Adopted,
            None,
            format!("{lost}another node of the pool promised 4"),
        ),
        (
            Answer::AcceptsUnheard,
            [Answer::Accepts(4), Answer::Accepts(4), Answer::Accepts(5)].into(),
            Outcome::Adopted,
            None,
            format!("{lost}another node of the pool promised 5"),
        ),
        (
            Answer::AcceptsUnheard,
            peers()[1..].into(),
            Outcome::Adopted,
            None,
            format!("{lost}fewer than three nodes of the same pool and time window tell"),
        ),
        (
            Answer::AcceptsUnheard,
            vec![],
            Outcome::Adopted,
            None,
            format!("{lost}fewer than three nodes of the same pool and time window tell"),
        ),
        // What short peers promised counts, whatever arrived from them.
        (
            Answer::AcceptsUnheard,
            vec![Answer::Short { promised: 4, arrive: 0 }; 3],
            Outcome::Verified,
            Some(Proof::Peers),
            found.into(),
        ),
    ];
    for (answer, peers, outcome, proof, reason) in cases {
        let nodes = u32::try_from(peers.len()).unwrap() + 1;
        let mut account = ScriptedAccount::new("contoso").answers("n0", [answer.clone()]);
        for (number, peer) in peers.iter().enumerate() {
            account = account.answers(&format!("n{}", number + 1), [peer.clone()]);
        }
        let end = Bench::over([(account, nodes)]).collect().await;
        let history = &end.histories[0];
        assert_eq!((end.outcome(0), history.proof), (outcome, proof), "{answer:?} beside {peers:?}");
        assert_eq!(history.reason.as_deref(), Some(&*reason), "{answer:?} beside {peers:?}");
        assert_eq!((history.files_promised, end.account(0).calls()), (None, nodes));
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_waits_for_the_promises_of_calls_that_are_still_to_come() {
    let account = ScriptedAccount::new("contoso")
        .answers("n0", [Answer::AcceptsUnheard])
        .answers("n4", [Answer::Accepts(5)]);
    let mut bench = Bench::over([(account, 5)]);
    // Seconds after three peers have promised four files, the last one promises five.
    bench.limits.rate = Some(0.2);
    let end = bench.collect().await;
    assert_eq!((end.outcome(0), end.outcome(4)), (Outcome::Adopted, Outcome::Verified));
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_the_answer_does_not_tell_is_a_lost_one() {
    for (files, outcome) in [(4, Outcome::Verified), (3, Outcome::Adopted)] {
        let account = ScriptedAccount::new("contoso").answers("n0", [Answer::AcceptsUncounted(files)]);
        let end = Bench::over([(account, 4)]).collect().await;
        assert_eq!(end.outcome(0), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_lost_and_every_node_short_collects_nobody() {
    let account = (0..40).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [Answer::ShortUnheard(3)])
    });
    let end = Bench::over([(account, 40)]).collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Adopted), 40);
    assert_eq!(end.account(0).calls(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_window_of_its_own_has_no_peers() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::AcceptsUnheard]);
    let mut bench = Bench::over([(account, 6)]);
    let started = bench.started;
    bench.first_window = Some(Window { start: started - time::Duration::HOUR, end: started });
    assert_eq!(bench.collect().await.outcome(0), Outcome::Adopted);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_not_held_until_the_peers_prove_the_files() {
    let account = (0..3).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [Answer::AcceptsUncounted(4)])
    });
    let mut bench = Bench::over([(account, 10)]);
    bench.limits.max_uploads_in_flight = Some(2);
    let started = Instant::now();
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 10);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_not_the_nodes_own_verifies_nobody() {
    for directory in [
        "contoso-0123456789ABCDEF/pool/n0/00000000-0000-0000-0000-000000000001",
        "contoso-0123456789ABCDEF",
        "contoso-0123456789ABCDEF/pool",
        "contoso-0123456789ABCDEF/pool/n1",
        "contoso-0123456789ABCDEF/other/n1/8a52",
    ] {
        let account = ScriptedAccount::new("contoso").answers("n1", [Answer::Misdirects(directory)]);
        let bench = Bench::over([(account, 3)]);
        bench.store().put("contoso-0123456789ABCDEF/pool/n0/00000000-0000-0000-0000-000000000001", 4);
        let end = bench.collect().await;
        assert_eq!(end.outcome(1), Outcome::Incomplete, "{directory}");
        assert_eq!(end.histories[1].shortfall, Some(Shortfall::ForeignDirectory));
        assert_eq!(end.histories[1].files_arrived, Some(0));
        assert_eq!((end.outcome(0), end.outcome(2)), (Outcome::Verified, Outcome::Verified));
    }
}

#[tokio::test(start_paused = true)]
async fn once_a_run_is_stopped_files_are_awaited_for_half_a_minute() {
    let directory = "contoso-0123456789ABCDEF/pool/n0/8a52";
    for (second, outcome) in [(20, Outcome::Verified), (50, Outcome::Accepted)] {
        let account = ScriptedAccount::new("contoso").answers("n0", [Answer::Misdirects(directory)]);
        let bench = Bench::over([(account, 1)]);
        let (stop, store) = (bench.stop.clone(), bench.store());
        tokio::spawn(async move {
            sleep(Duration::from_secs(2)).await;
            stop.stop(Stop::Drain, StopReason::Signal);
            sleep(Duration::from_secs(second)).await;
            store.put(directory, 4);
        });
        assert_eq!(bench.collect().await.outcome(0), outcome, "after {second} s");
    }
    let seconds = Duration::from_secs;
    assert_eq!(patience_once_stopped(seconds(10)), seconds(10), "no longer than a run that goes on");
}

#[tokio::test(start_paused = true)]
async fn a_directory_given_to_two_nodes_is_that_of_the_first() {
    // Both accounts have a pool `Pool` with a node `n0`.
    let twice = "contoso-0123456789ABCDEF/pool/n0/8a52";
    let contoso = ScriptedAccount::new("contoso").answers("n0", [Answer::Misdirects(twice)]);
    let mut fabrikam = ScriptedAccount::new("fabrikam").answers("n0", [Answer::Misdirects(twice)]);
    fabrikam.latency = Duration::from_secs(10);
    let bench = Bench::over([(contoso, 1), (fabrikam, 1)]);
    bench.store().put(twice, 4);
    let end = bench.collect().await;
    assert_eq!((end.outcome(0), end.outcome(1)), (Outcome::Verified, Outcome::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_listed_twice_counts_once() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::Short { promised: 4, arrive: 2 }]);
    let bench = Bench::over([(account, 2)]);
    *bench.store().doubles.lock() = true;
    let end = bench.collect().await;
    assert_eq!((end.outcome(0), end.outcome(1)), (Outcome::Incomplete, Outcome::Verified));
    assert_eq!((end.histories[0].files_arrived, end.histories[0].bytes), (Some(2), Some(200)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_is_not_the_reason_when_a_later_one_was_whole() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::Short { promised: 4, arrive: 0 }]);
    let bench = Bench::over([(account, 1)]);
    let busy = Failure::new(FailureClass::Transient, "server busy");
    *bench.store().refuses_call.lock() = Some((2, busy));
    let end = bench.collect().await;
    assert!(end.list_calls > 5);
    assert_eq!(end.histories[0].shortfall, Some(Shortfall::NothingArrived));
    let reason = end.histories[0].reason.as_deref().unwrap();
    assert_eq!(reason, "storage blocked from pool `Pool`: none of its nodes' files arrived");
}

#[tokio::test(start_paused = true)]
async fn files_that_were_seen_once_get_a_second_look_before_the_end() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 4)]);
    bench.verify.deadline = Duration::from_secs(3);
    // A look takes almost as long as there is time.
    *bench.store().latency.lock() = Duration::from_millis(2_500);
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 4, "{:?}", end.histories[0].reason);
}

#[tokio::test(start_paused = true)]
async fn files_that_arrive_just_before_the_deadline_are_seen_at_the_deadline() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::Short { promised: 4, arrive: 1 }]);
    let bench = Bench::over([(account, 1)]);
    let store = bench.store();
    tokio::spawn(async move {
        sleep(Duration::from_secs(120)).await;
        let name = store.blobs.lock().keys().next().unwrap().clone();
        store.put(name.rsplit_once('/').unwrap().0, 4);
    });
    let end = bench.collect().await;
    assert_eq!(end.outcome(0), Outcome::Verified, "{:?}", end.histories[0].reason);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_stays_empty_is_incomplete_whether_its_promise_is_known_or_not() {
    let account = ScriptedAccount::new("contoso")
        .answers("n0", [Answer::AcceptsUncounted(0)])
        .answers("n1", [Answer::Short { promised: 4, arrive: 0 }]);
    let end = Bench::over([(account, 5)]).collect().await;
    assert_eq!([end.outcome(0), end.outcome(1)], [Outcome::Incomplete; 2]);
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
async fn a_listing_that_does_not_end_by_the_deadline_is_the_reason_given() {
    let bench = Bench::over([(ScriptedAccount::new("contoso"), 2)]);
    *bench.store().latency.lock() = Duration::from_secs(3600);
    let end = bench.collect().await;
    assert_eq!(end.outcome(0), Outcome::Incomplete);
    assert_eq!(end.histories[0].shortfall, Some(Shortfall::NotListed));
    let reason = end.histories[0].reason.as_deref().unwrap();
    assert!(reason.contains("the listing did not end before the verification deadline"), "{reason}");
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

/// The most calls within any second.
fn busiest_second(listed: &[Instant]) -> usize {
    let within = |from: Instant| {
        let second = from..from + Duration::from_secs(1);
        listed.iter().filter(|at| second.contains(at)).count()
    };
    listed.iter().map(|from| within(*from)).max().unwrap_or_default()
}

fn accounts(number: u32, nodes: u32) -> impl Iterator<Item = (ScriptedAccount, u32)> {
    (0..number).map(move |account| (ScriptedAccount::new(&format!("account{account:03}")), nodes))
}

#[tokio::test(start_paused = true)]
async fn many_accounts_of_one_container_share_their_looks() {
    let end = Bench::over(accounts(60, 20)).collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 1200);
    assert!(end.list_calls <= 20, "{} list calls for one page", end.list_calls);
}

#[tokio::test(start_paused = true)]
async fn a_long_run_of_many_accounts_costs_few_list_calls() {
    let mut bench = Bench::over(accounts(40, 500));
    bench.limits.rate = Some(5.0);
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 20_000);
    // 16 pages, and 120 calls in a hundred seconds.
    assert!(end.list_calls <= 5 * 16 + 120, "{} list calls", end.list_calls);
}

#[tokio::test(start_paused = true)]
async fn older_runs_in_the_container_do_not_make_every_look_a_sweep() {
    let bench = Bench::over(accounts(12, 10));
    let store = bench.store();
    *store.page.lock() = Some(50);
    for account in 0..12 {
        for run in 0..20 {
            store.put(&format!("account{account:03}-0123456789ABCDEF/pool/n0/old-{run}"), 50);
        }
    }
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 120);
    // A sweep over all of it takes 250 calls. To learn what each prefix holds takes 504, a listing per directory 120.
    assert!(end.list_calls <= 750, "{} list calls", end.list_calls);
}

#[tokio::test(start_paused = true)]
async fn long_listings_have_a_rate() {
    let bench = Bench::over([(ScriptedAccount::new("contoso"), 400)]);
    let store = bench.store();
    *store.page.lock() = Some(5);
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 400);
    let listed = store.listed.lock();
    assert!(end.list_calls >= 640, "{} calls for 320 pages", end.list_calls);
    assert!(busiest_second(&listed) <= 71, "{} calls in a second", busiest_second(&listed));
}

#[tokio::test(start_paused = true)]
async fn late_files_are_looked_for_less_and_less_often() {
    let late = |account: ScriptedAccount| account.answers("n0", [Answer::Short { promised: 4, arrive: 0 }]);
    let bench = Bench::over(accounts(3, 5).map(|(account, nodes)| (late(account), nodes)));
    let started = Instant::now();
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Incomplete), 3);
    assert!(started.elapsed() < Duration::from_secs(125));
    // Two minutes, three directories.
    assert!(end.list_calls <= 3 * 125, "{} list calls", end.list_calls);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_began_while_calls_were_sent_ends_with_them() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 30)]);
    // Most of an hour: looks are half a minute apart.
    bench.limits.rate = Some(0.01);
    let end = bench.collect().await;
    assert_eq!(end.ledger_counts().get(Outcome::Verified), 30);
    let accepted = |recorded: &&Recorded| matches!(recorded.event, Event::UploadAccepted { .. });
    let last_accepted = end.heard.iter().rfind(accepted).unwrap().at;
    let took = end.heard.last().unwrap().at - last_accepted;
    assert!(took <= time::Duration::milliseconds(250), "the result came {took} after the last call");
}
