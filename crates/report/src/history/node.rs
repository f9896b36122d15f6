//! One node of a series: what the runs say about it, and which of the time it owes is not covered. Pure.

use std::sync::Arc;

use fleetlogs_model::interval::{Interval, holes, union};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::LeftOutReason;
use time::{Duration, OffsetDateTime};

/// Anything shorter is not a gap: the times of files are exact to a millisecond only.
pub(super) const TOLERANCE: Duration = Duration::SECOND;

/// A node of a series, as allocated at one time.
#[derive(Debug)]
pub(super) struct SeriesNode {
    /// None if the service did not say.
    pub(super) allocated: Option<OffsetDateTime>,
    /// Verified time ranges, merged.
    verified: Vec<Interval>,
    /// Time ranges for which the node answered that it has no logs, merged.
    empty: Vec<Interval>,
    /// Time ranges that were requested but not collected, and are still open.
    misses: Vec<Miss>,
    /// Number of the last run that planned or saw it.
    pub(super) seen: Option<usize>,
    /// Until when it owes logs.
    pub(super) until: Option<OffsetDateTime>,
    /// How it ended, if the last run says so.
    pub(super) ending: Option<Ending>,
}

/// What a run requested from a node and did not get.
#[derive(Clone, Debug)]
pub(super) struct Miss {
    pub(super) stretch: Interval,
    /// The last run that did not get it.
    pub(super) run: Option<usize>,
    pub(super) why: Option<MissReason>,
    pub(super) reason: Option<Arc<str>>,
    /// A later time window had the maximum length and did not reach back this far.
    pub(super) cut: bool,
}

/// Why a run did not get something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissReason {
    Ended(Outcome),
    LeftOut(LeftOutReason),
    NotListed,
}

/// Why a node owes no more logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A call found that it was gone.
    Gone,
    /// Its VM was preempted.
    Preempted,
    /// Another node has its id.
    Replaced,
    /// The config no longer selects it.
    NotSelected(LeftOutReason),
    /// Later runs did not see it.
    NotSeen,
}

/// What a node owes, what is covered, and the gaps.
#[derive(Debug)]
pub(super) struct Balance {
    pub(super) owed: Option<Interval>,
    pub(super) verified: Duration,
    /// Beyond what is verified.
    pub(super) empty: Duration,
    pub(super) holes: Vec<(Interval, Option<Miss>)>,
}

impl SeriesNode {
    pub(super) fn new(allocated: Option<OffsetDateTime>) -> Self {
        let (verified, empty, misses) = (vec![], vec![], vec![]);
        Self { allocated, verified, empty, misses, seen: None, until: None, ending: None }
    }

    /// Since when it owes logs.
    pub(super) fn owes_from(&self, began: OffsetDateTime) -> OffsetDateTime {
        self.allocated.map_or(began, |allocated| allocated.max(began))
    }

    /// A run planned or saw it.
    pub(super) fn sighted(&mut self, run: usize, until: OffsetDateTime) {
        self.seen = Some(run);
        self.until = self.until.max(Some(until));
        self.ending = None;
    }

    /// It answered for a time window. If the window has the maximum length and leaves a gap before it, that limit is
    /// the reason.
    pub(super) fn answered(
        &mut self,
        outcome: Outcome,
        window: Interval,
        began: OffsetDateTime,
        longest: Option<Duration>,
    ) {
        let so_far = self.covered_to().unwrap_or_else(|| self.owes_from(began));
        let is_longest = longest.is_some_and(|longest| window.length() >= longest - TOLERANCE);
        if is_longest && window.from - so_far > TOLERANCE {
            let stretch = Interval { from: so_far, to: window.from };
            self.missed(Miss { stretch, run: None, why: None, reason: None, cut: true });
        }
        let kind = if outcome == Outcome::Empty { &mut self.empty } else { &mut self.verified };
        kind.push(window);
        *kind = union(kind.drain(..));
        kind.shrink_to_fit();
        let covered = self.covered();
        self.misses.retain(|miss| !holes(miss.stretch, &covered, Duration::ZERO).is_empty());
    }

    /// A run requested something and did not get it. Memory does not grow with the number of consecutive failed runs.
    pub(super) fn missed(&mut self, miss: Miss) {
        match self.misses.last_mut() {
            Some(last) if miss.stretch.within(last.stretch).is_some() => {
                last.stretch.from = last.stretch.from.min(miss.stretch.from);
                last.stretch.to = last.stretch.to.max(miss.stretch.to);
                last.cut |= miss.cut;
                if miss.why.is_some() {
                    *last = Miss { stretch: last.stretch, cut: last.cut, ..miss };
                }
            }
            _ => self.misses.push(miss),
        }
    }

    fn covered(&self) -> Vec<Interval> {
        union(self.verified.iter().chain(&self.empty).copied())
    }

    /// Until when its answers reach.
    pub(super) fn covered_to(&self) -> Option<OffsetDateTime> {
        let ends = [self.verified.last(), self.empty.last()];
        ends.into_iter().flatten().map(|last| last.to).max()
    }

    /// The balance over a time range that it owes.
    pub(super) fn balance(&self, owed: Option<Interval>) -> Balance {
        let Some(owed) = owed else {
            return Balance { owed, verified: Duration::ZERO, empty: Duration::ZERO, holes: vec![] };
        };
        let within = |covered: &[Interval]| -> Duration {
            covered.iter().filter_map(|part| part.within(owed)).map(Interval::length).sum()
        };
        let covered = self.covered();
        let open = holes(owed, &covered, TOLERANCE).into_iter().filter(|hole| hole.length() > TOLERANCE);
        let verified = within(&self.verified);
        let why = |hole: Interval| {
            let concerns =
                |miss: &&Miss| miss.stretch.within(hole).is_some_and(|both| both.length() > Duration::ZERO);
            self.misses.iter().rev().find(concerns).cloned()
        };
        let empty = within(&covered) - verified;
        Balance { owed: Some(owed), verified, empty, holes: open.map(|hole| (hole, why(hole))).collect() }
    }
}
