use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::outcome::Outcome::{self, Accepted, Empty, Failed, Gone};
use fleetlogs_model::window::Window;

use super::*;
use crate::clock::SetClock;
use crate::testing::{Answer, Bench, NOW, ScriptedAccount, ScriptedTenure, fails, throttled};

#[tokio::test(start_paused = true)]
async fn throttled_node_waits_as_told_then_succeeds() {
    let account = ScriptedAccount::new("contoso").answers("n0", [throttled(Some(Duration::from_secs(30)))]);
    let bench = Bench::over([(account, 1)]);
    let started = Instant::now();

    let end = bench.execute().await;

    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(end.outcome(0), Accepted);
    assert_eq!(end.histories[0].attempts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_failure_ends_in_its_own_outcome() {
    let account = ScriptedAccount::new("contoso")
        .answers("n0", [fails(FailureClass::Gone)])
        .answers("n1", [fails(FailureClass::Refused)])
        .answers("n2", vec![fails(FailureClass::Transient); 9])
        .answers("n3", [fails(FailureClass::Wait), fails(FailureClass::Wait)])
        .answers("n4", [Answer::Accepts(0)]);
    let bench = Bench::over([(account, 6)]);

    let end = bench.execute().await;

    let outcomes: Vec<_> = (0..6).map(|node| end.outcome(node)).collect();
    assert_eq!(outcomes, [Gone, Failed, Failed, Accepted, Empty, Accepted]);
    assert_eq!(end.histories[2].attempts.len(), 3, "as many as the policy allows");
    assert_eq!(end.histories[2].reason.as_deref(), Some("scripted"));
}

#[tokio::test(start_paused = true)]
async fn a_booting_node_is_read_before_it_is_called_again() {
    let account = ScriptedAccount::new("contoso")
        .answers("n0", [fails(FailureClass::Wait)])
        .answers("n1", [fails(FailureClass::Wait)]);
    account.node_state.lock().insert("n1".into(), NodeState::Preempted);
    let bench = Bench::over([(account, 2)]);

    let end = bench.execute().await;

    assert_eq!(end.outcome(0), Accepted);
    assert_eq!(end.outcome(1), Gone);
    assert_eq!(end.account(0).calls(), 3, "a preempted node is not called again");
}

/// Intents of further calls are on record and wait for a call to end.
#[tokio::test(start_paused = true)]
async fn a_call_begins_when_the_connection_of_the_last_one_is_free() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 50)]);
    (bench.limits.rate, bench.limits.concurrency) = (None, 2);

    let end = bench.execute().await;

    let opened = end.account(0).connections.lock().opened;
    assert_eq!((end.account(0).calls(), opened), (50, 2));
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_waited_for_another_call_to_end_is_put_on_record_anew() {
    let mut account = ScriptedAccount::new("contoso");
    account.latency = Duration::from_secs(8);
    let mut bench = Bench::over([(account, 2)]);
    bench.limits.concurrency = 1;

    let end = bench.execute().await;

    let of_second = end.heard.iter().filter(|recorded| recorded.node == Some(NodeIndex(1)));
    let intents = of_second.filter(|recorded| matches!(recorded.event, Event::UploadRequested { .. }));
    let seconds: Vec<_> = intents.map(|recorded| (recorded.at - NOW).whole_seconds()).collect();
    assert_eq!(seconds, [0, 8], "the call is sent at the last of them");
    assert_eq!(end.histories[1].attempts.len(), 1);
    assert_eq!(end.account(0).calls(), 2);
}

/// With a time limit of 35 s, a call needs 40 s of the tenure.
#[tokio::test(start_paused = true)]
async fn no_call_is_sent_that_could_outlive_the_tenure_and_each_waits_until_it_is_renewed() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 3)]);
    let tenure = ScriptedTenure::with_left(Duration::from_secs(60), Duration::from_secs(39));
    bench.tenure = Some(tenure.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        *tenure.until.lock() = Instant::now() + Duration::from_secs(60);
    });

    let end = bench.execute().await;

    let intents = end.heard.iter().filter(|heard| matches!(heard.event, Event::UploadRequested { .. }));
    let after: Vec<_> = intents.map(|recorded| (recorded.at - NOW).whole_seconds()).collect();
    assert_eq!(after, [30; 3]);
    assert_eq!((end.account(0).calls(), end.outcome(2)), (3, Accepted));
    assert!(end.stop.reason().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_end_of_the_tenure_stops_after_its_intent_is_cancelled_on_record() {
    let mut account = ScriptedAccount::new("contoso");
    account.latency = Duration::from_secs(8);
    let mut bench = Bench::over([(account, 2)]);
    bench.limits.concurrency = 1;
    // Enough for the first call. The second one has its intent on record, and waits for the first one to end.
    bench.tenure = Some(ScriptedTenure::with_left(Duration::from_secs(60), Duration::from_secs(44)));
    let started = Instant::now();

    let end = bench.execute().await;

    assert_eq!(started.elapsed().as_secs(), 44, "until then it could have been renewed");
    assert_eq!((end.account(0).calls(), end.outcome(0)), (1, Accepted));
    let of_second: Vec<_> = end.heard.iter().filter(|heard| heard.node == Some(NodeIndex(1))).collect();
    assert!(matches!(of_second[0].event, Event::UploadRequested { attempt: 1, .. }), "{of_second:?}");
    assert!(matches!(of_second[1].event, Event::UploadCancelled { attempt: 1 }), "{of_second:?}");
    assert_eq!(of_second.len(), 2);
    assert!(matches!(end.stop.reason(), Some(StopReason::TenureEnded)));
}

/// The journal takes so long to record the intent that too little of the tenure is left. While that is renewed, the intent
/// grows old, and recording it anew takes as long once more.
#[tokio::test(start_paused = true)]
async fn an_intent_that_took_too_long_to_record_is_no_attempt() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 1)]);
    let seconds = Duration::from_secs;
    let tenure = ScriptedTenure::with_left(seconds(60), seconds(60));
    *tenure.after_intents.lock() = vec![seconds(39); 2];
    bench.tenure = Some(tenure.clone());
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::time::sleep(seconds(10)).await;
            *tenure.until.lock() = Instant::now() + seconds(60);
        }
    });

    let end = bench.execute().await;

    let intents = end.heard.iter().filter_map(|heard| match heard.event {
        Event::UploadRequested { attempt, .. } => Some(((heard.at - NOW).whole_seconds(), attempt)),
        _ => None,
    });
    assert_eq!(intents.collect::<Vec<_>>(), [(0, 1), (10, 1), (20, 1)]);
    assert_eq!((end.account(0).calls(), end.outcome(0)), (1, Accepted));
    assert_eq!(end.histories[0].attempts.len(), 1);
}

/// The pool is found to be gone while the intent of another of its nodes waits.
#[tokio::test(start_paused = true)]
async fn an_intent_that_is_cancelled_is_no_attempt_of_a_node_that_is_gone() {
    let gone = Failure { pool_is_gone: true, ..Failure::new(FailureClass::Gone, "scripted") };
    let mut account = ScriptedAccount::new("contoso").answers("n0", [Answer::Fails(gone)]);
    account.latency = Duration::from_secs(2);
    let mut bench = Bench::over([(account, 2)]);
    bench.limits.concurrency = 1;

    let end = bench.execute().await;

    let of_second: Vec<_> = end.heard.iter().filter(|heard| heard.node == Some(NodeIndex(1))).collect();
    let [requested, cancelled, failed] = &of_second[..] else { panic!("{of_second:?}") };
    assert!(matches!(requested.event, Event::UploadRequested { attempt: 1, .. }), "{requested:?}");
    assert!(matches!(cancelled.event, Event::UploadCancelled { attempt: 1 }), "{cancelled:?}");
    assert!(matches!(failed.event, Event::UploadFailed { attempt: 0, .. }), "{failed:?}");
    assert_eq!(end.account(0).calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tenure_that_is_shorter_than_a_call_stops_the_run_at_once() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 2)]);
    bench.tenure = Some(ScriptedTenure::with_left(Duration::from_secs(15), Duration::from_secs(15)));
    let started = Instant::now();

    let end = bench.execute().await;

    assert_eq!((started.elapsed(), end.account(0).calls()), (Duration::ZERO, 0));
    let reason = end.stop.reason().unwrap().to_string();
    assert!(reason.contains("lasts 15 seconds") && reason.contains("a call needs 40"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_which_nobody_can_tell_stays_in_doubt_when_no_attempt_is_left() {
    let account = ScriptedAccount::new("contoso").answers("n0", vec![fails(FailureClass::InDoubt); 9]);
    let bench = Bench::over([(account, 1)]);

    let end = bench.execute().await;

    assert_eq!(end.outcome(0), Outcome::InDoubt, "how the account names directories was never learned");
    assert_eq!(end.account(0).calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_and_never_repeated_blindly() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::AcceptsUnheard]);
    let bench = Bench::over([(account, 1)]);
    let started = Instant::now();

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 1);
    assert_eq!(end.outcome(0), Accepted);
    let directory = end.histories[0].directory.as_deref().unwrap();
    assert!(end.account(0).blobs.blobs.lock().keys().any(|name| name.starts_with(directory)));
    assert!(
        started.elapsed() <= Duration::from_secs(3),
        "its directory shows at once: {:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_shows_up_late_is_adopted_soon_after() {
    for late in [5, 60, 300, 630] {
        let account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::InDoubt)]);
        let bench = Bench::over([(account, 4)]);
        let (store, started) = (bench.store(), Instant::now());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(late)).await;
            store.put("contoso-0123456789ABCDEF/pool/n0/late", 4);
        });

        let end = bench.collect().await;

        assert_eq!((end.account(0).calls(), end.outcome(0)), (4, Outcome::Verified), "{late} s late");
        let adopted = end.heard.iter().find(|heard| matches!(heard.event, Event::UploadAdopted { .. }));
        let after = (adopted.unwrap().at - NOW).whole_seconds() - i64::try_from(late).unwrap();
        assert!((0..=61).contains(&after), "{late} s late, adopted {after} s after that");
        assert!(started.elapsed() < Duration::from_secs(late + 100));
    }
}

/// The clock of this machine is set while a call is in doubt. The container holds directories of half an hour before.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_in_mid_run_neither_repeats_a_call_nor_adopts_what_was_there_before() {
    for seconds in [-3600, -60, -10, 10, 60, 3600, 100_000] {
        for taken in [true, false] {
            let answer = if taken { Answer::AcceptsUnheard } else { fails(FailureClass::InDoubt) };
            let account = (0..20).fold(ScriptedAccount::new("contoso"), |account, node| {
                account.answers(&format!("n{node}"), [answer.clone()])
            });
            let mut bench = Bench::over([(account, 40)]);
            let (store, clock) = (bench.store(), SetClock::start(NOW));
            for node in 0..40 {
                let half_an_hour_before = store.now() - time::Duration::minutes(30);
                store.put_at(half_an_hour_before, &format!("contoso-0123456789ABCDEF/pool/n{node}/old"), 4);
            }
            bench.clock = Some(clock);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                clock.set_ahead(time::Duration::seconds(seconds));
            });

            let end = bench.collect().await;

            let case = format!("set by {seconds} s; calls taken: {taken}");
            assert_eq!(end.ledger_counts().get(Outcome::Verified), 40, "{case}");
            assert_eq!(end.account(0).calls(), if taken { 40 } else { 60 }, "{case}");
            for history in &end.histories {
                let directory = history.directory.as_deref().unwrap();
                assert!(!directory.ends_with("/old"), "{case}: {directory}");
                assert!(history.duplicates.is_empty() && !history.may_have_duplicates, "{case}");
            }
            let settled = bench_deadlines().call + Duration::from_secs(600);
            let repeats = end
                .heard
                .iter()
                .filter(|heard| matches!(heard.event, Event::UploadRequested { attempt: 2, .. }));
            for repeat in repeats {
                let passed = repeat.at - NOW - time::Duration::seconds(seconds);
                assert!(passed >= settled, "{case}: repeated after {passed}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_in_doubt_are_looked_for_together_and_not_as_fast_as_storage_answers() {
    let account = (0..18).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [fails(FailureClass::InDoubt)])
    });
    let bench = Bench::over([(account, 600)]);

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 618);
    // One before the first call; then after 2, 4, 8, 16, 32 and 64 s, once a minute, and at the end of the wait.
    let lists = end.account(0).blobs.lists.load(Ordering::SeqCst);
    assert!(lists <= 20, "{lists} list calls");
}

#[tokio::test(start_paused = true)]
async fn the_service_is_asked_for_its_time_before_the_container_is_searched() {
    let mut account = ScriptedAccount::new("contoso").answers("n0", [Answer::AcceptsUnheard]);
    // The container stamps the directory with a time at which, by our clock, nothing had been sent yet.
    account.clock_ahead = time::Duration::minutes(-5);
    let bench = Bench::over([(account, 1)]);

    let end = bench.execute().await;

    assert_eq!((end.account(0).calls(), end.outcome(0)), (1, Accepted));
}

/// Something else made a directory for the node in the second before the call.
#[tokio::test(start_paused = true)]
async fn the_container_is_listed_before_the_first_call_and_what_is_there_is_never_taken_for_its_work() {
    let account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::InDoubt)]);
    let bench = Bench::over([(account, 2)]);
    let store = bench.store();
    store.put("contoso-0123456789ABCDEF/pool/n0/before", 4);
    *store.latency.lock() = Duration::from_secs(1);

    let end = bench.execute().await;

    let first = end.heard.iter().find(|heard| matches!(heard.event, Event::UploadRequested { .. })).unwrap();
    assert_eq!((first.at - NOW).whole_seconds(), 1, "a list call takes a second");
    assert_eq!(end.account(0).calls(), 3);
    let directory = end.histories[0].directory.as_deref().unwrap();
    assert!(!directory.ends_with("/before"), "{directory}");
}

/// Five seconds more than a call of this process: an intent of another may be older than its call.
#[tokio::test(start_paused = true)]
async fn a_lost_call_of_an_earlier_process_is_repeated_later_than_one_of_this_process() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 2)]);
    let client_request_id = Uuid::nil();
    let event = Event::UploadRequested { attempt: 1, client_request_id, service_ahead_ms: Some(0) };
    bench.past = vec![Recorded { at: NOW, node: Some(NodeIndex(0)), event }];

    let end = bench.collect().await;

    let repeated = end.heard.iter().find(|heard| {
        heard.node == Some(NodeIndex(0)) && matches!(heard.event, Event::UploadRequested { attempt: 2, .. })
    });
    let after = (repeated.unwrap().at - NOW).whole_seconds();
    let ours = (bench_deadlines().call + Duration::from_secs(600)).as_secs().cast_signed();
    assert!((ours + 5..ours + 9).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_an_answer_is_told_how_often_it_was_called() {
    for (attempts, told) in [(1, "the call was not answered, and"), (2, "none of 2 calls was answered, and")]
    {
        let answers = vec![fails(FailureClass::InDoubt); 9];
        let account = ScriptedAccount::new("contoso").answers("n0", answers);
        let mut bench = Bench::over([(account, 2)]);
        bench.retry.attempts = attempts;

        let end = bench.execute().await;

        assert_eq!(end.outcome(0), Failed);
        let reason = end.histories[0].reason.as_deref().unwrap();
        assert!(reason.starts_with(told), "{reason}");
    }
}

/// The service's clock is set while the call is in doubt, and set right again after the call was repeated: only the search
/// before the repeat knows that it could not be sure. How the account names directories is learned by the repeat.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_repeated_while_the_clock_was_wrong_may_have_left_a_directory() {
    let mut account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::InDoubt)]);
    account.latency = Duration::from_secs(30);
    let bench = Bench::over([(account, 1)]);
    let store = bench.store();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        *store.clock_ahead.lock() = time::Duration::HOUR;
        tokio::time::sleep(Duration::from_secs(650)).await;
        *store.clock_ahead.lock() = time::Duration::ZERO;
    });

    let end = bench.collect().await;

    assert_eq!((end.account(0).calls(), end.outcome(0)), (2, Outcome::Verified));
    let found = end.heard.iter().filter_map(|heard| match &heard.event {
        Event::DirectoriesFound { unsure, .. } => Some(*unsure),
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), [true]);
    assert!(end.histories[0].may_have_duplicates);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_window_of_its_own_is_asked_for_that_one() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 2)]);
    let own = Window { start: NOW - time::Duration::hours(7), end: NOW };
    bench.first_window = Some(own);
    bench.limits.concurrency = 1;

    let end = bench.execute().await;

    let common = crate::testing::plan_of(0).window;
    assert_eq!(*end.account(0).windows.lock(), [own, common]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_that_left_no_trace_is_sent_again() {
    for nodes in [2, 1] {
        let account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::InDoubt)]);
        let bench = Bench::over([(account, nodes)]);

        let settled = bench_deadlines().call + Duration::from_secs(600);
        let started = Instant::now();

        let end = bench.collect().await;

        assert!(started.elapsed() >= settled, "not before the call's deadline and the settle time");
        assert_eq!(end.account(0).calls(), nodes + 1);
        assert_eq!(end.outcome(0), Outcome::Verified);
        // Once files were verified, somebody looked whether the first call had left a directory after all.
        assert!(!end.histories[0].may_have_duplicates);
        assert_eq!(end.histories[0].duplicates, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_is_not_repeated_while_the_container_cannot_be_listed() {
    let account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::InDoubt)]);
    let bench = Bench::over([(account, 2)]);
    let (store, stop) = (bench.store(), bench.stop.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        *store.refuses.lock() = Some(Failure::new(FailureClass::Transient, "no route"));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        stop.stop(Stop::Drain, StopReason::Signal);
    });
    let started = Instant::now();

    let end = bench.execute().await;

    assert_eq!((end.account(0).calls(), end.outcome(0)), (2, Outcome::InDoubt));
    assert_eq!(started.elapsed().as_secs(), 3601);
}

#[tokio::test(start_paused = true)]
async fn how_far_a_throttled_account_slows_down_is_on_record() {
    let account = ScriptedAccount::new("contoso").answers("n0", [throttled(Some(Duration::from_secs(30)))]);
    let mut bench = Bench::over([(account, 40)]);
    bench.limits.rate = Some(100.0);

    let end = bench.execute().await;

    let slower = end.heard.iter().filter_map(|heard| match &heard.event {
        Event::AccountThrottled { millirate, pause_ms, .. } => Some((*millirate, *pause_ms)),
        _ => None,
    });
    let [(millirate, pause_ms)] = slower.collect::<Vec<_>>()[..] else { panic!("one refusal, one cut") };
    assert!((10_000..100_000).contains(&millirate), "{millirate} calls in a thousand seconds");
    assert_eq!(pause_ms, Some(30_000));
}

#[tokio::test(start_paused = true)]
async fn without_a_container_to_ask_a_repeat_is_marked() {
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::AcceptsUnheard]);
    let mut bench = Bench::over([(account, 1)]);
    bench.can_list = false;
    let (started, latency) = (Instant::now(), Duration::from_millis(20));

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 2);
    assert!(started.elapsed() > 2 * latency, "not at once");
    assert!(end.histories[0].may_have_duplicates);
}

#[tokio::test(start_paused = true)]
async fn a_refused_account_stops_and_leaves_the_other_alone() {
    let refused = (0..50).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [fails(FailureClass::Auth)])
    });
    let mut bench = Bench::over([(refused, 50), (ScriptedAccount::new("fabrikam"), 50)]);
    bench.limits.concurrency = 4;

    let end = bench.execute().await;

    assert!(end.account(0).calls() <= 4, "no call after the first refusal but those in flight");
    assert_eq!(end.account(1).calls(), 50);
    assert_eq!(end.ledger_counts().get(Accepted), 50);
    assert_eq!(end.ledger_counts().total(), 100);
    let stops = end.heard.iter().filter(|heard| matches!(heard.event, Event::AccountStopped { .. }));
    assert_eq!(stops.count(), 1, "however many of those in flight were refused");
}

#[tokio::test(start_paused = true)]
async fn a_slow_account_does_not_slow_the_other() {
    let mut slow = ScriptedAccount::new("contoso");
    slow.latency = Duration::from_secs(20);
    let mut bench = Bench::over([(slow, 8), (ScriptedAccount::new("fabrikam"), 200)]);
    bench.limits.concurrency = 4;
    let started = bench.started;

    let end = bench.execute().await;

    let last_of = |account: usize| {
        let nodes = if account == 0 { 0..8 } else { 8..208 };
        let of_account = |recorded: &&Recorded| {
            recorded.node.is_some_and(|node| nodes.contains(&node.get()))
                && matches!(recorded.event, Event::UploadAccepted { .. })
        };
        end.heard.iter().filter(of_account).map(|recorded| recorded.at).max().unwrap() - started
    };
    assert!(last_of(0) >= time::Duration::seconds(40));
    assert!(last_of(1) <= time::Duration::seconds(3), "{}", last_of(1));
}

#[tokio::test(start_paused = true)]
async fn lists_that_keep_the_order_take_turns_of_the_pace() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 200)]);
    bench.limits.rate = Some(5.0);
    bench.limits.relist = Some(Duration::from_millis(3370));
    let account = bench.account(0);
    account.list_planned_nodes(&bench.plan());
    let began = Instant::now();

    let end = bench.execute().await;

    let requested = |recorded: &&Recorded| matches!(recorded.event, Event::UploadRequested { .. });
    let uploads = end.heard.iter().filter(requested).map(|recorded| recorded.at - NOW);
    let mut calls: Vec<_> = uploads.map(|after| Duration::try_from(after).unwrap()).collect();
    let lists: Vec<_> = account.listed.lock().iter().map(|at| *at - began).collect();
    assert!(calls.len() == 200 && lists.len() >= 8, "{} calls and {lists:?}", calls.len());
    calls.extend(lists);
    calls.sort();
    let closest = calls.windows(2).map(|two| two[1].abs_diff(two[0])).min().unwrap();
    assert!(closest >= Duration::from_millis(199), "two calls are {closest:?} apart");
}

#[tokio::test(start_paused = true)]
async fn no_call_outlives_its_sas() {
    let mut bench = Bench::over([(ScriptedAccount::new("contoso"), 2000)]);
    // Ends 10 minutes and 5 seconds from now; an upload may take 10 minutes.
    bench.sas_ends = "2026-11-22T09:40:05Z";
    bench.limits.rate = Some(100.0);

    let end = bench.execute().await;

    let sent = end.account(0).calls();
    assert!((400..=510).contains(&sent), "{sent} calls in the 5 s that the SAS leaves");
    assert!(matches!(end.stop.reason(), Some(StopReason::SasEnds(_))));
    assert_eq!(end.ledger_counts().get(Outcome::NotSent), 2000 - u64::from(sent));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_gone_costs_no_more_calls() {
    let mut gone = Failure::new(FailureClass::Gone, "no such pool");
    gone.pool_is_gone = true;
    let account = ScriptedAccount::new("contoso").answers("n0", [Answer::Fails(gone)]);
    let mut bench = Bench::over([(account, 30)]);
    bench.limits.concurrency = 1;

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 1);
    assert_eq!(end.ledger_counts().get(Gone), 30);
    // Its intent was on record while the first call was under way, and no attempt was made.
    let of_second: Vec<_> = end.heard.iter().filter(|heard| heard.node == Some(NodeIndex(1))).collect();
    assert!(matches!(of_second[1].event, Event::UploadCancelled { attempt: 1 }), "{of_second:?}");
    assert!(matches!(of_second[2].event, Event::UploadFailed { attempt: 0, .. }), "{of_second:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_uploads_are_under_way_than_there_are_slots() {
    // Files that never arrive: an upload holds its slot for as long as it may take.
    let late = [Answer::Short { promised: 4, arrive: 1 }];
    let account = (0..6).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), late.clone())
    });
    let mut bench = Bench::over([(account, 6)]);
    bench.limits.max_uploads_in_flight = Some(2);
    bench.verify.upload_allowance = Duration::from_secs(60);

    let end = bench.collect().await;

    let intents = end.heard.iter().filter(|heard| matches!(heard.event, Event::UploadRequested { .. }));
    let minutes: Vec<_> = intents.map(|recorded| (recorded.at - NOW).whole_minutes()).collect();
    assert_eq!(minutes, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_files_holds_no_slot() {
    let account = (0..6).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [Answer::Accepts(0)])
    });
    let mut bench = Bench::over([(account, 6)]);
    bench.limits.max_uploads_in_flight = Some(1);

    // There is no verifier that gives a slot back.
    let end = tokio::time::timeout(Duration::from_secs(60), bench.execute()).await.expect("no call waits");

    assert_eq!(end.account(0).calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_service_forgets_the_time_limit_is_given_up_five_seconds_later() {
    for (seconds, is_answered) in [(39, true), (41, false)] {
        let mut account = ScriptedAccount::new("contoso");
        account.latency = Duration::from_secs(seconds);
        let end = Bench::over([(account, 1)]).execute().await;
        match &end.heard[1].event {
            Event::UploadAccepted { .. } => assert!(is_answered),
            Event::UploadInDoubt { cause, .. } => {
                assert!(!is_answered);
                assert_eq!(&*cause.message, "no answer within 35s");
                assert_eq!((end.heard[1].at - NOW).whole_seconds(), 40);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_given_up_at_its_deadline() {
    let account = ScriptedAccount::new("contoso").answers("n0", vec![fails(FailureClass::Wait); 1000]);
    let bench = Bench::over([(account, 1)]);
    let started = Instant::now();

    let end = bench.execute().await;

    assert_eq!(end.outcome(0), Failed);
    assert!(started.elapsed() <= bench_deadlines().node);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_throttling_longer_than_the_node_deadline_fails_no_node() {
    let storm = vec![throttled(Some(Duration::from_secs(60))); 12];
    let account = ScriptedAccount::new("contoso").answers("n0", storm);
    let bench = Bench::over([(account, 1)]);
    let started = Instant::now();

    let end = bench.execute().await;

    assert!(started.elapsed() > bench_deadlines().node * 2);
    assert_eq!(end.outcome(0), Accepted);
}

#[tokio::test(start_paused = true)]
async fn draining_sends_nothing_new_and_awaits_what_is_in_flight() {
    let mut account = ScriptedAccount::new("contoso");
    account.latency = Duration::from_secs(3);
    let mut bench = Bench::over([(account, 100)]);
    bench.limits.concurrency = 5;
    let stop = bench.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.stop(Stop::Drain, StopReason::Signal);
    });

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 5);
    assert_eq!(end.ledger_counts().get(Accepted), 5);
    assert_eq!(end.ledger_counts().get(Outcome::NotSent), 95);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_of_an_account_stops_that_account() {
    let sick = (0..100).fold(ScriptedAccount::new("contoso"), |account, node| {
        account.answers(&format!("n{node}"), [fails(FailureClass::Refused)])
    });
    let mut bench = Bench::over([(sick, 100), (ScriptedAccount::new("fabrikam"), 100)]);
    bench.limits.concurrency = 1;
    bench.budget.account = Some(Allowed::Percent(5));

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 6, "the one after the last that is allowed");
    assert_eq!(end.ledger_counts().get(Accepted), 100);
    assert_eq!(end.ledger_counts().get(Outcome::NotSent), 94);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_of_the_run_drains_it_and_gone_nodes_cost_nothing() {
    let sick = (0..100).fold(ScriptedAccount::new("contoso"), |account, node| {
        let class = if node < 50 { FailureClass::Gone } else { FailureClass::Refused };
        account.answers(&format!("n{node}"), [fails(class)])
    });
    let mut bench = Bench::over([(sick, 100)]);
    bench.limits.concurrency = 1;
    bench.budget.run = Some(Allowed::Nodes(3));

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 54);
    assert!(matches!(end.stop.reason(), Some(StopReason::BudgetSpent { failed: 4, allowed: 3 })));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_an_account_refuses_from_the_start_stops_that_account_only() {
    let account = ScriptedAccount::new("contoso").answers("n0", [fails(FailureClass::Config)]);
    let mut bench = Bench::over([(account, 50), (ScriptedAccount::new("fabrikam"), 5)]);
    bench.limits.concurrency = 1;

    let end = bench.execute().await;

    assert_eq!(end.account(0).calls(), 1);
    assert_eq!(end.ledger_counts().get(Accepted), 5);
}

#[tokio::test(start_paused = true)]
async fn a_request_refused_by_one_node_after_others_took_it_is_that_nodes_failure() {
    let account = ScriptedAccount::new("contoso").answers("n3", [fails(FailureClass::Config)]);
    let mut bench = Bench::over([(account, 50)]);
    bench.limits.concurrency = 1;

    let end = bench.execute().await;

    assert_eq!(end.outcome(3), Failed);
    assert_eq!(end.ledger_counts().get(Accepted), 49);
}

#[tokio::test(start_paused = true)]
async fn intent_comes_before_every_answer() {
    let account = ScriptedAccount::new("contoso")
        .answers("n1", [throttled(None), throttled(None)])
        .answers("n2", [Answer::AcceptsUnheard])
        .answers("n3", [fails(FailureClass::Gone)]);
    let end = Bench::over([(account, 10)]).execute().await;
    for node in 0..10 {
        let mut open = false;
        for recorded in end.heard.iter().filter(|recorded| recorded.node == Some(NodeIndex(node))) {
            let asks = matches!(recorded.event, Event::UploadRequested { .. });
            let adopts = matches!(recorded.event, Event::UploadAdopted { .. });
            assert!(asks != open || adopts, "node {node}: {:?} out of turn", recorded.event);
            open = asks;
        }
    }
    let recorded_calls: usize = end.histories.iter().map(|history| history.attempts.len()).sum();
    assert_eq!(recorded_calls, end.account(0).calls() as usize);
}

fn bench_deadlines() -> Deadlines {
    Bench::over([]).deadlines
}

/// The size of what an async function of two arguments returns.
fn size_of_future<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_worker_that_waits_is_small_whatever_the_size_of_a_call() {
    // There may be thousands of them.
    let size = size_of_future::<&'static AccountRun<ScriptedAccount, crate::testing::ScriptedStore>, _, _>(
        AccountRun::work,
    );
    assert!(size <= 2048, "{size} bytes");
}
