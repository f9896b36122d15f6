//! What holds for any script of answers, any moment of a crash, any order of events: properties of the engine.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::retry::{LONGEST_RETRY_AFTER, RetryPolicy, backoff};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::pace::Pacer;
use crate::resume::Replay;
use crate::retry::{Next, Tries};
use crate::simulation::{Deed, Kept, Scene, World, histories, no_crash, on_paused_time};
use crate::stop::{Stop, StopHandle, StopReason};
use crate::testing::{NOW, plan_over};

/// What the service does about a call that does not end a node.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Throttled(u64),
    NotSent,
    Booting,
    LostBefore,
    LostAfter,
}

/// What it does about every later call.
#[derive(Clone, Copy, Debug)]
enum End {
    Takes(u32),
    Gone,
    Refused,
    /// No answer is ever a good one.
    Never,
}

/// What happens to a node, call by call.
#[derive(Clone, Debug)]
struct Script(Vec<Fault>, End);

const ANSWER: Duration = Duration::from_millis(30);

impl Script {
    fn deed(&self, number: u32) -> Deed {
        let takes = |files| Deed::takes(files, ANSWER, Duration::from_secs(7));
        match (self.0.get(number as usize), self.1) {
            (Some(Fault::Throttled(seconds)), _) => {
                Deed::refuses(FailureClass::Throttled, "TooManyRequests", ANSWER).asks_to_wait(*seconds)
            }
            (Some(Fault::NotSent), _) | (None, End::Never) => {
                Deed::refuses(FailureClass::NotSent, "no connection", ANSWER)
            }
            (Some(Fault::Booting), _) => Deed::refuses(FailureClass::Wait, "NodeBeingStarted", ANSWER),
            (Some(Fault::LostBefore), _) => Deed::refuses(FailureClass::InDoubt, "connection reset", ANSWER),
            (Some(Fault::LostAfter), _) => takes(2).unheard("connection reset"),
            (None, End::Takes(files)) => takes(files),
            (None, End::Gone) => Deed::refuses(FailureClass::Gone, "NodeNotFound", ANSWER),
            (None, End::Refused) => Deed::refuses(FailureClass::Refused, "OperationNotValidOnNode", ANSWER),
        }
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        (0..20_u64).prop_map(Fault::Throttled),
        Just(Fault::NotSent),
        Just(Fault::Booting),
        Just(Fault::LostBefore),
        Just(Fault::LostAfter),
    ];
    prop::collection::vec(fault, 0..4)
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let end = prop_oneof![
        4 => (0..4_u32).prop_map(End::Takes),
        1 => Just(End::Gone),
        1 => Just(End::Refused),
        1 => Just(End::Never),
    ];
    prop::collection::vec((faults(), end).prop_map(|(faults, end)| Script(faults, end)), 2..7)
}

/// Nodes over two accounts, each with its script.
fn scene(scripts: &[Script]) -> Scene {
    let second = u32::try_from(scripts.len() / 2).unwrap();
    let first = u32::try_from(scripts.len()).unwrap() - second;
    let plan = Arc::new(plan_over(&[("contoso", first), ("fabrikam", second)]));
    let scripts = scripts.to_vec();
    Scene::new(plan, World::new(scripts.len(), move |node, number| scripts[node].deed(number)))
}

/// Where a node may be, by the rules that every other part of the engine relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// This many calls were sent, and none is open.
    Ready(u32),
    Open(u32),
    Doubt(u32),
    Accepted(u32),
    Over,
}

impl Stage {
    /// The stage after an event; none where the event must not come.
    fn after(self, event: &Event) -> Option<Self> {
        use Stage::{Accepted, Doubt, Open, Over, Ready};
        let next = match (self, event) {
            (Ready(sent), Event::UploadRequested { attempt, .. }) if *attempt == sent + 1 => Open(*attempt),
            (Open(now), Event::UploadCancelled { attempt }) if *attempt == now => Ready(now - 1),
            (Open(now) | Doubt(now), Event::UploadWillRetry { attempt, .. }) if *attempt == now => Ready(now),
            (Open(now), Event::UploadInDoubt { attempt, .. }) if *attempt == now => Doubt(now),
            (Doubt(now), Event::UploadAbsent { attempt }) if *attempt == now => Ready(now),
            (Doubt(now), Event::UploadAdopted { attempt, .. }) if *attempt == now => Accepted(now),
            (Open(now), Event::UploadAccepted { attempt, files: Some(0), .. }) if *attempt == now => Over,
            (Open(now), Event::UploadAccepted { attempt, .. }) if *attempt == now => Accepted(now),
            (Ready(now) | Open(now) | Doubt(now), Event::UploadFailed { attempt, .. }) if *attempt == now => {
                Over
            }
            // A second look at the end of the run, which changes nothing.
            (now, Event::DirectoriesFound { .. }) => now,
            (
                Accepted(_),
                Event::FilesVerified { .. } | Event::FilesAdopted { .. } | Event::FilesIncomplete { .. },
            ) => Over,
            _ => return None,
        };
        Some(next)
    }
}

/// Checks that every node's events come in an order that makes sense: an intent before its result above all.
fn in_order(nodes: usize, events: &[Recorded]) -> Result<(), TestCaseError> {
    let mut stages = vec![Stage::Ready(0); nodes];
    for recorded in events {
        let Some(node) = recorded.node else { continue };
        let stage = &mut stages[node.get()];
        let next = stage.after(&recorded.event);
        prop_assert!(next.is_some(), "{:?} after {stage:?}", recorded.event);
        *stage = next.unwrap();
    }
    Ok(())
}

/// Outcome of every node, and the proof that they add up to the plan.
fn outcomes(scene: &Scene, events: &[Recorded]) -> Result<Vec<Outcome>, TestCaseError> {
    let mut ledger = Ledger::new(&scene.plan);
    for recorded in events {
        ledger.apply(recorded);
    }
    let histories = histories(&scene.plan, events);
    let outcomes: Vec<_> = histories.iter().map(|history| history.status.outcome()).collect();
    let mut counts = OutcomeCounts::default();
    for outcome in &outcomes {
        counts.add(*outcome);
    }
    prop_assert_eq!(counts, ledger.outcomes());
    prop_assert_eq!(counts.total(), scene.plan.nodes.len() as u64);
    Ok(outcomes)
}

/// Checks that whatever the service made a directory for is known to the run, once or as a duplicate.
fn nothing_unseen(scene: &Scene, events: &[Recorded]) -> Result<(), TestCaseError> {
    for (history, taken) in histories(&scene.plan, events).into_iter().zip(scene.world.taken()) {
        let made: Vec<_> =
            taken.iter().filter(|taken| taken.files > 0).map(|taken| &taken.directory).collect();
        let known: Vec<_> = history.directory.iter().chain(&history.duplicates).collect();
        for directory in &made {
            prop_assert!(known.contains(directory), "{directory} is not known to the run, only {known:?}");
        }
        prop_assert!(made.len() <= 1, "asked twice: {made:?}");
    }
    Ok(())
}

/// Events that may follow in a stage.
fn next_events(stage: Stage, cause: FailureClass) -> Vec<Event> {
    let failure = || Failure::new(cause, "generated");
    let fails = |attempt| Event::UploadFailed { attempt, cause: failure() };
    let directory = |attempt: u32| -> Box<str> { format!("contoso-00/pool/n0/{attempt}").into() };
    match stage {
        Stage::Ready(sent) => {
            let attempt = sent + 1;
            let requested =
                Event::UploadRequested { attempt, client_request_id: Uuid::nil(), service_ahead_ms: None };
            vec![requested.clone(), requested, fails(sent)]
        }
        Stage::Open(attempt) => vec![
            Event::UploadCancelled { attempt },
            Event::UploadWillRetry { attempt, cause: failure(), delay_ms: 1 },
            Event::UploadInDoubt { attempt, cause: failure() },
            Event::UploadAccepted {
                attempt,
                directory: directory(attempt),
                files: Some(0),
                request_id: None,
            },
            Event::UploadAccepted {
                attempt,
                directory: directory(attempt),
                files: Some(3),
                request_id: None,
            },
            fails(attempt),
        ],
        Stage::Doubt(attempt) => vec![
            Event::UploadWillRetry { attempt, cause: failure(), delay_ms: 0 },
            Event::UploadAbsent { attempt },
            Event::UploadAdopted { attempt, directory: directory(attempt), others: vec![] },
            fails(attempt),
        ],
        Stage::Accepted(_) => vec![
            Event::FilesVerified { files: 3, bytes: 300, fingerprint: None, proof: None },
            Event::FilesIncomplete { files: 1, bytes: 100, reason: "late".into(), shortfall: None },
        ],
        Stage::Over => vec![],
    }
}

fn classes() -> impl Strategy<Value = FailureClass> {
    use FailureClass::{Gone, InDoubt, NotSent, Refused, Throttled, Wait};
    prop::sample::select(vec![NotSent, Throttled, Wait, Gone, InDoubt, Refused])
}

/// Any sequence of events that is in order, over four nodes of two accounts.
fn events() -> impl Strategy<Value = Vec<Recorded>> {
    let steps = prop::collection::vec((0..4_u32, any::<Index>(), classes()), 0..60);
    steps.prop_map(|steps| {
        let mut stages = [Stage::Ready(0); 4];
        let step = |(node, choice, cause): (u32, Index, FailureClass)| {
            let node = NodeIndex(node);
            let mut possible = next_events(stages[node.get()], cause);
            if possible.is_empty() {
                return None;
            }
            let event = possible.swap_remove(choice.index(possible.len()));
            stages[node.get()] = stages[node.get()].after(&event)?;
            Some(Recorded { at: NOW, node: Some(node), event })
        };
        steps.into_iter().filter_map(step).collect()
    })
}

/// How the service answers a call to a paced account, and after how long.
#[derive(Clone, Copy, Debug)]
struct Reply {
    after: Duration,
    throttled: bool,
    retry_after: Option<Duration>,
}

fn replies() -> impl Strategy<Value = Vec<Reply>> {
    let retry_after = prop::option::weighted(0.2, (1..5_u64).prop_map(Duration::from_secs));
    let reply = (1..600_u64, any::<bool>(), retry_after).prop_map(|(after, throttled, retry_after)| Reply {
        after: Duration::from_millis(after),
        throttled,
        retry_after,
    });
    prop::collection::vec(reply, 1..150)
}

proptest! {
    // A failing case is printed whole; no file is left behind.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the service answers, and whenever the run is told to end.
    #[test]
    fn outcomes_add_up_and_an_intent_comes_before_its_result(
        scripts in scripts(),
        can_list: bool,
        concurrency in 1..4_usize,
        stop in prop::option::of((0..200_000_u64, any::<bool>())),
    ) {
        let journal = Kept::new();
        let scene = on_paused_time(async {
            let mut scene = scene(&scripts);
            scene.limits.concurrency = concurrency;
            scene.can_list = can_list;
            let stopping = async {
                let Some((after, abort)) = stop else { return };
                sleep(Duration::from_millis(after)).await;
                scene.stop.stop(if abort { Stop::Abort } else { Stop::Drain }, StopReason::Signal);
            };
            assert!(tokio::join!(scene.process(&journal, no_crash()), stopping).0, "the run ends");
            scene
        });
        let events = journal.events();
        in_order(scripts.len(), &events)?;
        let outcomes = outcomes(&scene, &events)?;
        if can_list && stop.is_none() {
            nothing_unseen(&scene, &events)?;
            let unfinished = |outcome: &&Outcome| matches!(outcome, Outcome::NotSent | Outcome::Accepted);
            prop_assert_eq!(outcomes.iter().find(unfinished), None);
        }
    }

    /// The process is killed as it puts an event on record, any event, and again, and again.
    #[test]
    fn a_resumed_run_ends_as_if_nothing_had_happened(
        scripts in scripts(),
        concurrency in 1..4_usize,
        cuts in prop::collection::vec(any::<Index>(), 1..4),
    ) {
        let set_up = || {
            let mut scene = scene(&scripts);
            scene.limits.concurrency = concurrency;
            // A call that was lost with its process counts as one, and a run without crashes has none of them.
            scene.attempts = 20;
            scene
        };
        let whole = Kept::new();
        let uninterrupted = on_paused_time(async {
            let scene = set_up();
            scene.process(&whole, no_crash()).await;
            scene
        });
        let kept = Kept::new();
        let resumed = on_paused_time(async {
            let mut scene = set_up();
            for cut in &cuts {
                let most = kept.events().len() + cut.index(whole.events().len() + 1);
                let journal = kept.full_at(most);
                scene.process(&journal, journal.full()).await;
                scene.stop = StopHandle::default();
            }
            scene.process(&kept, no_crash()).await;
            scene
        });
        let events = kept.events();
        in_order(scripts.len(), &events)?;
        nothing_unseen(&resumed, &events)?;
        let expected = outcomes(&uninterrupted, &whole.events())?;
        for ((got, expected), script) in outcomes(&resumed, &events)?.into_iter().zip(expected).zip(&scripts) {
            // The last call that a node has may be lost with its process, in an account that never took any.
            let doubtful = got == Outcome::InDoubt && matches!(script.1, End::Never);
            // A promise that was lost with its process may have no peers to prove it.
            let unproved = got == Outcome::Adopted && expected == Outcome::Verified
                || got == Outcome::Verified && expected == Outcome::Adopted;
            prop_assert!(got == expected || doubtful || unproved, "{got}, and {expected} without a crash: {script:?}");
        }
    }

    /// Two folds of the same events, and what resume makes of them.
    #[test]
    fn ledger_history_and_replay_agree(events in events()) {
        let plan = plan_over(&[("contoso", 2), ("fabrikam", 2)]);
        in_order(4, &events)?;
        let mut replay = Replay::new(&plan);
        for recorded in &events {
            replay.apply(recorded);
        }
        let (ledger, outstanding) = replay.finish(&plan, &[]);
        let histories = histories(&plan, &events);
        for (node, history) in (0..).map(NodeIndex).zip(&histories) {
            prop_assert_eq!(ledger.status(node), history.status);
        }
        let calls: u64 = ledger.accounts().map(|(_, tally)| tally.calls).sum();
        prop_assert_eq!(calls, histories.iter().map(|history| history.attempts.len() as u64).sum::<u64>());
        prop_assert_eq!(ledger.outcomes().total(), 4);
        for node in &outstanding.fresh {
            prop_assert!(histories[node.get()].attempts.is_empty());
        }
        for work in &outstanding.work {
            prop_assert_eq!(work.attempt as usize, histories[work.node.get()].attempts.len());
        }
        let open = [Outcome::NotSent, Outcome::InDoubt, Outcome::Accepted];
        let unfinished = histories.iter().filter(|history| open.contains(&history.status.outcome())).count();
        prop_assert_eq!(outstanding.nodes(), unfinished, "what has no end is outstanding, and nothing else");
    }

    /// Whatever the account answers, it is called no faster than its ceiling, and not at all while it pauses.
    #[test]
    fn no_second_sees_more_calls_than_the_ceiling_and_the_burst(
        replies in replies(),
        ceiling in prop_oneof![0.2..5.0_f64, 5.0..300.0_f64],
        concurrency in 1..12_usize,
        seed in any::<u64>(),
    ) {
        let sent = on_paused_time(async {
            let pacer = Pacer::new(Some(ceiling), fastrand::Rng::with_seed(seed));
            let replies = RefCell::new(VecDeque::from(replies));
            let (sent, pause) = (RefCell::new(Vec::new()), Cell::new(None));
            let worker = async || loop {
                pacer.turn().await;
                let sent_at = Instant::now();
                assert!(pause.get().is_none_or(|until| sent_at >= until), "called within a pause");
                let Some(reply) = replies.borrow_mut().pop_front() else { return };
                sent.borrow_mut().push(sent_at);
                sleep(reply.after).await;
                if reply.throttled {
                    pacer.throttled(sent_at, reply.retry_after);
                    assert!(pacer.rate().is_some_and(|rate| rate <= ceiling), "{:?}", pacer.rate());
                    pause.set(pause.get().max(pacer.pauses_until()));
                } else {
                    pacer.answered_well(sent_at);
                }
            };
            futures::future::join_all((0..concurrency).map(|_| worker())).await;
            sent.into_inner()
        });
        for seconds in [1_u32, 20] {
            let burst = (ceiling * 0.02).ceil();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
            let most = ((ceiling * f64::from(seconds)).ceil() + burst) as usize;
            for (from, first) in sent.iter().enumerate() {
                let end = *first + Duration::from_secs(seconds.into());
                let within = sent[from..].iter().take_while(|at| **at < end).count();
                prop_assert!(within <= most, "{within} calls in {seconds} s at {ceiling}/s");
            }
        }
    }

    /// A delay is never longer than the policy says, but for what the service asked; and never shorter than that.
    #[test]
    fn a_delay_keeps_its_bounds(
        attempts in 1..60_u32,
        base in 1..10_000_u64,
        longest in 1..100_000_u64,
        asked in prop::option::of(0..1_000_000_u64),
        random in 0.0..1.0_f64,
    ) {
        let policy = RetryPolicy {
            attempts: 3,
            base_delay: Duration::from_millis(base),
            max_delay: Duration::from_millis(longest),
        };
        let mut tries = Tries::default();
        let busy = Failure { retry_after_ms: asked, ..Failure::new(FailureClass::Throttled, "busy") };
        let obeyed = busy.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
        for number in 1..=attempts {
            prop_assert!(backoff(&policy, number, random) <= policy.max_delay);
            let Next::Retry(delay) = tries.next(&policy, &busy, random) else { panic!("throttling is no end") };
            prop_assert!(delay >= obeyed && delay <= policy.max_delay.max(obeyed), "{delay:?}");
        }
    }
}
