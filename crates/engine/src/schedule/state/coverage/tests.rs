use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::ids::NodeId;
use fleetlogs_model::interval::{Interval, holes, union};
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use fleetlogs_model::window::Window;
use proptest::prelude::*;

use super::super::tables::TABLES;
use super::*;
use crate::testing::{NOW, plan_of};
use crate::window::{NodeWindows, SinceLast};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn state() -> Connection {
    let state = Connection::open_in_memory().unwrap();
    state.execute_batch(TABLES).unwrap();
    state
}

fn change<T>(state: &mut Connection, make: impl FnOnce(&Transaction<'_>) -> T) -> T {
    let transaction = state.transaction().unwrap();
    let done = make(&transaction);
    transaction.commit().unwrap();
    done
}

fn nightly() -> SnapshotName {
    SnapshotName::new("nightly")
}

/// How a node's part in a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Verified,
    Empty,
    Adopted,
    Failed,
}

impl End {
    fn event(self) -> Event {
        match self {
            Self::Verified => Event::FilesVerified { files: 1, bytes: 1, fingerprint: None, proof: None },
            Self::Empty => {
                Event::UploadAccepted { attempt: 1, directory: "d".into(), files: Some(0), request_id: None }
            }
            Self::Adopted => Event::FilesAdopted {
                files: 1,
                bytes: 1,
                fingerprint: Fingerprint::default(),
                reason: "no peers".into(),
            },
            Self::Failed => {
                Event::UploadFailed { attempt: 1, cause: Failure::new(FailureClass::Refused, "no") }
            }
        }
    }
}

/// A run of the snapshot over nodes as allocated at a time, each with its window and its end.
fn run(window: Window, nodes: &[(u32, Option<OffsetDateTime>, Window, End)]) -> (Plan, Ledger) {
    let mut plan = plan_of(1);
    let bare = plan.nodes.details().next().unwrap().unwrap();
    plan.snapshot = Some(SnapshotRef { name: nightly(), trigger: Trigger::Cron, due: window.end });
    plan.window = window;
    plan.nodes = nodes
        .iter()
        .map(|(id, allocated, window, _)| {
            let mut node = bare.clone();
            node.node = NodeId::new(format!("n{id}"));
            node.evidence.allocation_time = *allocated;
            node.window = Some(Box::new(*window));
            node
        })
        .collect();
    let mut ledger = Ledger::new(&plan);
    for (at, (.., end)) in (0..).zip(nodes) {
        ledger.apply(&Recorded { at: window.end, node: Some(NodeIndex(at)), event: end.event() });
    }
    (plan, ledger)
}

fn ago(from: Duration, to: Duration) -> Window {
    Window { start: NOW - from, end: NOW - to }
}

fn until(state: &Connection, node: &str, allocated: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    let plan = plan_of(1);
    let place = &plan.pools[0];
    read(state, &nightly()).unwrap().until(&place.account, &place.pool, node, allocated)
}

fn folded(state: &Connection) -> Vec<(String, Outcome, Interval)> {
    let mut rows = Vec::new();
    for_each_folded(state, &nightly(), |row| {
        let stretch = Interval::between(row.start, row.until);
        rows.push((row.node.to_owned(), row.outcome, stretch));
    })
    .unwrap();
    rows
}

#[test]
fn only_verified_nodes_get_further_and_none_ever_goes_back() {
    let mut state = state();
    let (early, late) = (ago(HOUR * 3, HOUR * 2), ago(HOUR * 2, HOUR));
    let first = run(
        early,
        &[
            (0, None, early, End::Verified),
            (1, None, early, End::Empty),
            (2, None, early, End::Failed),
            (3, None, early, End::Adopted),
        ],
    );
    let second = run(late, &[(0, None, late, End::Verified)]);
    for (plan, ledger) in [&first, &second, &first, &second, &first] {
        change(&mut state, |state| record(state, plan, ledger).unwrap());
    }
    assert_eq!(until(&state, "n0", None), Some(late.end));
    assert_eq!(until(&state, "n0", Some(NOW)), None, "another node of the same id");
    for node in ["n1", "n2", "n3"] {
        assert_eq!(until(&state, node, None), None, "{node}");
    }
    assert_eq!(series_began(&state, &nightly()).unwrap(), Some(early.start));
}

#[test]
fn a_node_that_was_another_when_it_was_looked_at_again_gets_no_further() {
    let mut state = state();
    let window = ago(HOUR * 2, HOUR);
    let (plan, mut ledger) =
        run(window, &[(0, None, window, End::Verified), (1, None, window, End::Verified)]);
    let event = Event::IdentityChanged { now: None };
    ledger.apply(&Recorded { at: NOW, node: Some(NodeIndex(1)), event });
    change(&mut state, |state| {
        record(state, &plan, &ledger).unwrap();
        fold(state, &plan, &ledger).unwrap();
    });
    assert_eq!((until(&state, "n0", None), until(&state, "n1", None)), (Some(window.end), None));
    assert_eq!(folded(&state).len(), 1);
}

#[test]
fn a_series_begins_with_its_first_run_whatever_came_of_it() {
    let mut state = state();
    let window = ago(HOUR * 3, HOUR * 2);
    let (plan, _) = run(window, &[]);
    change(&mut state, |state| begin_series(state, &plan).unwrap());
    let later = run(ago(HOUR, Duration::ZERO), &[]);
    change(&mut state, |state| record(state, &later.0, &later.1).unwrap());
    assert_eq!(series_began(&state, &nightly()).unwrap(), Some(window.start));
    assert_eq!(series_began(&state, &SnapshotName::new("weekly")).unwrap(), None);
}

#[test]
fn a_run_by_hand_is_of_no_series() {
    let mut state = state();
    let window = ago(HOUR, Duration::ZERO);
    let (mut plan, ledger) = run(window, &[(0, None, window, End::Verified)]);
    plan.snapshot = None;
    change(&mut state, |state| {
        record(state, &plan, &ledger).unwrap();
        fold(state, &plan, &ledger).unwrap();
    });
    assert_eq!(until(&state, "n0", None), None);
    assert_eq!(folded(&state), []);
}

#[test]
fn what_touches_becomes_one_row_and_folding_twice_changes_nothing() {
    let mut state = state();
    let windows = [
        ago(HOUR * 9, HOUR * 8),
        ago(HOUR * 6, HOUR * 5),
        ago(HOUR * 8, HOUR * 7),
        ago(HOUR * 5 + MINUTE, HOUR * 4),
    ];
    for window in windows.iter().chain(&windows) {
        let (plan, ledger) = run(*window, &[(0, Some(NOW), *window, End::Verified)]);
        change(&mut state, |state| fold(state, &plan, &ledger).unwrap());
    }
    let of = |window| ("n0".to_owned(), Outcome::Verified, Interval::from(window));
    let merged = [of(ago(HOUR * 9, HOUR * 7)), of(ago(HOUR * 6, HOUR * 4))];
    assert_eq!(folded(&state), merged);

    let between = ago(HOUR * 8, HOUR * 5);
    let (plan, ledger) = run(between, &[(0, Some(NOW), between, End::Empty)]);
    change(&mut state, |state| fold(state, &plan, &ledger).unwrap());
    let empty = ("n0".to_owned(), Outcome::Empty, Interval::from(between));
    assert_eq!(folded(&state), [&[empty], &merged[..]].concat(), "an answer without files is kept apart");
}

#[test]
fn nodes_that_were_not_seen_for_long_are_forgotten() {
    let mut state = state();
    let (old, new) = (ago(HOUR * 9, HOUR * 8), ago(HOUR * 2, HOUR));
    let (plan, ledger) = run(old, &[(0, None, old, End::Verified), (1, None, old, End::Verified)]);
    let later = run(new, &[(1, None, new, End::Verified)]);
    change(&mut state, |state| {
        for (plan, ledger) in [(&plan, &ledger), (&later.0, &later.1)] {
            record(state, plan, ledger).unwrap();
            fold(state, plan, ledger).unwrap();
        }
        forget(state, NOW - HOUR * 3).unwrap();
    });
    assert_eq!((until(&state, "n0", None), until(&state, "n1", None)), (None, Some(new.end)));
    assert_eq!(folded(&state).len(), 2, "of a node that is still there all is kept");
}

/// What a node's part in a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Is(End),
    /// It was not there.
    Absent,
    /// It is another one under the same id, which was allocated in between.
    Replaced(End),
}

const NODES: usize = 4;

fn parts() -> impl Strategy<Value = Vec<(u32, [Part; NODES])>> {
    let end = || prop_oneof![Just(End::Verified), Just(End::Empty), Just(End::Adopted), Just(End::Failed)];
    let part = prop_oneof![6 => end().prop_map(Part::Is), 1 => Just(Part::Absent), 1 => end().prop_map(Part::Replaced)];
    let run = (5_u32..600, prop::array::uniform4(part));
    prop::collection::vec(run, 1..12)
}

/// A node's identity in the test: the id, and when it was allocated.
type Which = (usize, OffsetDateTime);

/// Plans, records and folds runs, each twice, and keeps an account of its own.
struct Series {
    state: Connection,
    now: OffsetDateTime,
    longest: Duration,
    margin: Duration,
    /// Whether the service says when nodes were allocated.
    told: bool,
    began: Option<OffsetDateTime>,
    allocated: [OffsetDateTime; NODES],
    covered: BTreeMap<Which, Vec<Interval>>,
    cut: BTreeMap<Which, Vec<Interval>>,
}

impl Series {
    fn which(&self, id: usize) -> Which {
        (id, if self.told { self.allocated[id] } else { NOW - HOUR * 100 })
    }

    fn owes_from(&self, node: Which) -> OffsetDateTime {
        node.1.max(self.began.unwrap_or(self.now))
    }

    fn run(&mut self, minutes: u32, parts: [Part; NODES]) {
        let before = self.now;
        self.now += MINUTE * minutes;
        let now = self.now;
        let reached = Arc::new(read(&self.state, &nightly()).unwrap());
        let since = SinceLast { margin: self.margin, longest: self.longest, otherwise: HOUR * 2, reached };
        let windows = NodeWindows::Last(since);
        let mut nodes = Vec::new();
        for (id, part) in (0_u32..).zip(parts) {
            let end = match part {
                Part::Absent => continue,
                Part::Is(end) => end,
                Part::Replaced(end) => {
                    self.allocated[id as usize] = before + (now - before) / 2;
                    end
                }
            };
            let allocated = self.told.then_some(self.allocated[id as usize]);
            let moment = Window { start: now, end: now };
            let (plan, _) = run(moment, &[(id, allocated, moment, end)]);
            let window = windows.of(&plan.nodes.details().next().unwrap().unwrap(), now);
            let length = window.end - window.start;
            assert!(length >= MINUTE && length <= self.longest, "{length}");
            nodes.push((id, allocated, window, end));
        }
        let starts = nodes.iter().map(|(.., window, _)| window.start);
        let whole = Window { start: starts.fold(windows.least(now).start, Ord::min), end: now };
        self.began.get_or_insert(whole.start);
        for (id, _, window, _) in nodes.iter().filter(|(.., end)| *end == End::Verified) {
            self.verified(self.which(*id as usize), (*window).into());
        }
        let (plan, ledger) = run(whole, &nodes);
        for _ in 0..2 {
            change(&mut self.state, |state| {
                record(state, &plan, &ledger).unwrap();
                fold(state, &plan, &ledger).unwrap();
            });
        }
    }

    fn verified(&mut self, node: Which, window: Interval) {
        let owes_from = self.owes_from(node);
        let so_far = self.covered.entry(node).or_default();
        let from = so_far.last().map_or(owes_from, |last| last.to);
        let to = self.now - self.longest;
        if to > from {
            self.cut.entry(node).or_default().push(Interval { from, to });
        }
        so_far.push(window);
        *so_far = union(so_far.drain(..));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The last run verifies everybody. Then each node is covered from where it owes to the end, but for what `longest`
    /// cut.
    #[test]
    fn once_a_node_verifies_nothing_is_missing_but_what_was_cut(
        runs in parts(),
        longest in prop::sample::select(vec![700_u32, 100_000]),
        margin in 0_u32..30,
        told in any::<bool>(),
    ) {
        let mut series = Series {
            state: state(),
            now: NOW,
            longest: MINUTE * longest,
            margin: MINUTE * margin,
            told,
            began: None,
            allocated: [NOW - HOUR * 100; NODES],
            covered: BTreeMap::new(),
            cut: BTreeMap::new(),
        };
        for (minutes, parts) in runs.into_iter().chain([(30, [Part::Is(End::Verified); NODES])]) {
            series.run(minutes, parts);
        }
        for id in 0..NODES {
            let node = series.which(id);
            let owed = Interval { from: series.owes_from(node), to: series.now };
            let open = holes(owed, &series.covered[&node], time::Duration::ZERO);
            prop_assert_eq!(&open, series.cut.get(&node).map_or(&[][..], Vec::as_slice));
        }
        // What is kept of removed runs says the same.
        let kept = folded(&series.state).into_iter().filter(|(_, outcome, _)| *outcome == Outcome::Verified);
        prop_assert_eq!(kept.count(), series.covered.values().map(Vec::len).sum::<usize>());
    }
}
