//! Scripted runs on a virtual clock: what was estimated at each second, against when the run really ended.

use std::sync::Arc;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::ledger::Ledger;
use time::OffsetDateTime;

use super::super::tally::Board;
use super::*;
use crate::testing::{START, accepted, incomplete, plan_of, planned, requested, verified};

/// How long the service takes for an answer, in milliseconds.
const ANSWER: u64 = 50;
/// Time between two looks at the container.
const LOOK: u64 = 1_000;
const DEADLINE: u64 = 600_000;

/// A run whose speed is written down.
struct Script {
    /// Nodes of each account.
    nodes: Vec<u32>,
    /// Calls per second of an account at a time in milliseconds; 0 while it pauses.
    rate: Box<dyn Fn(usize, u64) -> f64>,
    /// Pauses of the first account: from when, for how long.
    pauses: Vec<(u64, u64)>,
    /// Nodes of the first account whose files never come.
    blocked: std::ops::Range<u32>,
    /// The first nodes of the first account that an earlier process called, and whose files never come.
    earlier: u32,
    /// How long files take, at least and at most.
    settle: (u64, u64),
}

impl Script {
    fn of(nodes: &[u32], rate: impl Fn(usize, u64) -> f64 + 'static) -> Self {
        Self {
            nodes: nodes.to_vec(),
            rate: Box::new(rate),
            pauses: vec![],
            blocked: 0..0,
            earlier: 0,
            settle: (2_000, 4_000),
        }
    }

    /// What happens, in order.
    fn events(&self) -> Vec<Recorded> {
        let mut events = vec![];
        let mut add = |at: u64, node: Option<u32>, event: Event| events.push((at, node, event));
        let started = Event::RunStarted {
            tool_version: "0.1.0".into(),
            verification: true,
            arrival_deadline_ms: Some(DEADLINE),
            unverified: None,
            simulated: false,
        };
        add(0, None, started);
        for (from, pause) in &self.pauses {
            let account = AccountName::new("account-0");
            add(*from, None, Event::AccountThrottled { account, millirate: 100_000, pause_ms: Some(*pause) });
        }
        let pauses = |at: u64| self.pauses.iter().any(|(from, pause)| (*from..from + pause).contains(&at));
        let (mut first, mut last_accepted) = (0, 0);
        let mut waiting: Vec<u32> = (0..self.earlier).collect();
        for (account, nodes) in self.nodes.iter().enumerate() {
            let (mut credit, mut at) = (0.0, 0);
            let mut called = if account == 0 { self.earlier } else { 0 };
            while called < *nodes {
                if account > 0 || !pauses(at) {
                    credit += (self.rate)(account, at) / 100.0;
                }
                while credit >= 1.0 && called < *nodes {
                    let node = first + called;
                    add(at, Some(node), requested(1));
                    add(at + ANSWER, Some(node), accepted(1, "d", 4));
                    last_accepted = last_accepted.max(at + ANSWER);
                    if self.blocked.contains(&node) {
                        waiting.push(node);
                    } else {
                        // Spread evenly, and the same in every run of the test.
                        let spread = self.settle.1 - self.settle.0;
                        let arrived =
                            at + ANSWER + self.settle.0 + u64::from(node * 7919 % 1000) * spread / 1000;
                        add(arrived.next_multiple_of(LOOK), Some(node), verified(4, 40));
                    }
                    called += 1;
                    credit -= 1.0;
                }
                at += 10;
            }
            first += nodes;
        }
        for node in waiting {
            add(last_accepted + DEADLINE, Some(node), incomplete(0, 4));
        }
        events.sort_by_key(|(at, ..)| *at);
        let recorded = |(at, node, event): (u64, Option<u32>, Event)| Recorded {
            at: moment(at),
            node: node.map(NodeIndex),
            event,
        };
        events.into_iter().map(recorded).collect()
    }

    /// For each second: what was estimated, and what was really left.
    fn play(&self) -> Vec<Estimate> {
        let nodes = self.nodes.iter().enumerate().flat_map(|(account, nodes)| {
            (0..*nodes)
                .map(move |node| planned(&format!("account-{account}"), "pool", &format!("tvm-{node}")))
        });
        let plan = Arc::new(plan_of(nodes.collect()));
        let start = Instant::now();
        let mut ledger = Ledger::new(&plan);
        for node in (0..self.earlier).map(NodeIndex) {
            for event in [requested(1), accepted(1, "d", 4)] {
                ledger.apply(&Recorded { at: START, node: Some(node), event });
            }
        }
        let mut board = Board::new(&plan, &ledger, true, start);
        let mut estimator = Estimator::new(&plan, &ledger, true, start);
        let events = self.events();
        let end = millis(events.last().unwrap());
        let (mut estimates, mut second) = (vec![], 0);
        for recorded in &events {
            while millis(recorded) > second * 1_000 {
                board.take(&ledger);
                let now = start + Duration::from_secs(second);
                let told = estimator.time_left(board.phase, &board.total.now, board.accounts(), now);
                let left = Duration::from_millis(end - second * 1_000);
                estimates.push(Estimate { second, told, left, of: end });
                second += 1;
            }
            ledger.apply(recorded);
            let at = start + Duration::from_millis(millis(recorded));
            estimator.hear(&recorded.event, recorded.node, at);
            if let Event::AccountThrottled { account, pause_ms: Some(pause), .. } = &recorded.event {
                estimator.paused(board.index(account).unwrap(), Duration::from_millis(*pause), at);
            }
        }
        estimates
    }
}

fn moment(millis: u64) -> OffsetDateTime {
    START + Duration::from_millis(millis)
}

fn millis(recorded: &Recorded) -> u64 {
    u64::try_from((recorded.at - START).whole_milliseconds()).unwrap()
}

#[derive(Debug)]
struct Estimate {
    second: u64,
    told: Option<TimeLeft>,
    left: Duration,
    /// How long the run took, in milliseconds.
    of: u64,
}

/// The median error after the first tenth of the run, and how far off an estimate was at worst, as a factor. Below three
/// seconds a factor says nothing.
fn errors(estimates: &[Estimate]) -> (f64, f64) {
    let mut errors = vec![];
    let mut worst: f64 = 1.0;
    for Estimate { second, told, left, of } in estimates {
        let Some(told) = told.filter(|_| second * 10_000 >= *of) else { continue };
        let (told, left) = (told.left.as_secs_f64(), left.as_secs_f64());
        errors.push((told - left).abs() / left);
        worst = worst.max(told.max(3.0) / left.max(3.0)).max(left.max(3.0) / told.max(3.0));
    }
    errors.sort_by(f64::total_cmp);
    (errors[errors.len() / 2], worst)
}

fn slow_start(at: u64, full: f64) -> f64 {
    match at {
        0..500 => full / 4.0,
        500..1_000 => full / 2.0,
        _ => full,
    }
}

#[test]
fn a_steady_run_is_foreseen_and_nothing_is_said_before_it_is_known() {
    let estimates = Script::of(&[10_000], |_, at| slow_start(at, 200.0)).play();
    assert!(estimates[..5].iter().all(|estimate| estimate.told.is_none()), "{estimates:?}");
    assert!(estimates[6..].iter().all(|estimate| estimate.told.is_some()), "{estimates:?}");
    let (median, worst) = errors(&estimates);
    assert!(median < 0.1 && worst < 1.5, "{median} {worst}");
}

#[test]
fn the_slowest_account_decides() {
    let rates = [100.0, 10.0, 50.0];
    let estimates = Script::of(&[4_000, 900, 500], move |account, _| rates[account]).play();
    let (median, worst) = errors(&estimates);
    assert!(median < 0.05 && worst < 1.5, "{median} {worst}");
}

#[test]
fn a_capacity_that_halves_shows_within_seconds() {
    let rate = |_, at| if at < 30_000 { 180.0 } else { 90.0 };
    let estimates = Script::of(&[10_000], rate).play();
    let (median, worst) = errors(&estimates);
    assert!(median < 0.25 && worst < 3.0, "{median} {worst}");
    let later: Vec<f64> = estimates[42..70]
        .iter()
        .map(|estimate| estimate.told.unwrap().left.as_secs_f64() / estimate.left.as_secs_f64())
        .collect();
    assert!(later.iter().all(|ratio| (0.8..1.2).contains(ratio)), "{later:?}");
}

#[test]
fn pauses_that_the_service_asks_for_neither_stop_the_estimate_nor_blow_it_up() {
    let often = Script {
        pauses: (0..6).map(|number| (8_000 + number * 20_000, 5_000)).collect(),
        ..Script::of(&[10_000], |_, _| 100.0)
    };
    let (median, worst) = errors(&often.play());
    assert!(median < 0.1 && worst < 2.0, "{median} {worst}");

    let once = Script { pauses: vec![(10_000, 60_000)], ..Script::of(&[10_000], |_, _| 100.0) };
    let (median, worst) = errors(&once.play());
    assert!(median < 0.25 && worst < 5.0, "{median} {worst}");
}

#[test]
fn nodes_that_are_overdue_are_awaited_until_the_deadline_and_it_is_called_a_bound() {
    let script = Script { blocked: 1_000..1_300, ..Script::of(&[5_000], |_, _| 200.0) };
    let estimates = script.play();
    let (median, worst) = errors(&estimates);
    assert!(median < 0.01 && worst < 1.2, "{median} {worst}");
    let waiting: Vec<_> = estimates.iter().filter(|estimate| estimate.second > 26).collect();
    assert!(waiting.len() > 590);
    for Estimate { told, left, .. } in waiting {
        let told = told.unwrap();
        assert!(told.at_most && told.left.abs_diff(*left) < Duration::from_secs(1), "{told:?} {left:?}");
    }
}

#[test]
fn nodes_that_an_earlier_process_called_are_awaited_as_well() {
    let script = Script { earlier: 30, ..Script::of(&[1_000], |_, _| 100.0) };
    let estimates = script.play();
    let waiting: Vec<_> = estimates.iter().filter(|estimate| estimate.second > 20).collect();
    assert!(waiting.len() > 580);
    for Estimate { told, left, .. } in waiting {
        let told = told.unwrap();
        assert!(told.at_most && told.left.abs_diff(*left) < Duration::from_secs(1), "{told:?} {left:?}");
    }
}

#[test]
fn files_that_come_late_are_expected_when_their_like_came() {
    // Nobody knows how long files take before the first ones came, and then all know.
    let script = Script { settle: (40_000, 60_000), ..Script::of(&[3_000], |_, _| 100.0) };
    let estimates = script.play();
    for Estimate { second, told, left, .. } in &estimates[5..] {
        let Some(told) = told else { continue };
        match second {
            0..31 => {
                assert!(!told.at_most && told.left < *left, "calls, and the wait so far: {told:?} {left:?}");
            }
            // Then some have come, and the slowest have not.
            42..46 => assert!(told.left < *left * 2, "{second}: {told:?} {left:?}"),
            31..42 => assert!(told.at_most && told.left > *left, "only the deadline is known: {told:?}"),
            _ => {
                let ratio = told.left.as_secs_f64().max(3.0) / left.as_secs_f64().max(3.0);
                assert!(!told.at_most && (0.6..2.0).contains(&ratio), "{second}: {told:?} {left:?}");
            }
        }
    }
    assert_eq!(estimates.len(), 90);
}
