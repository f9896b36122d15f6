//! How long files take: from the accepted call until all of them were seen.
//!
//! It needs four bytes a node.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleetlogs_model::ids::NodeIndex;

/// Arrivals that are remembered. What was long ago says little about now.
const REMEMBERED: usize = 512;
/// Arrivals from which a distribution shows.
const FEWEST: usize = 5;
/// The highest quantile of interest has one arrival of this many above it.
const MOST_OPEN: usize = 100;
/// A node is overdue when it takes this much longer than the slowest one seen, and by this time at least.
const OVERDUE: f64 = 1.5;
const OVERDUE_BY: Duration = Duration::from_secs(2);

pub(super) struct Settling {
    /// What the times of the nodes count from.
    epoch: Instant,
    /// For each node, one more than the time since the epoch at which something about it began, in milliseconds; 0 if
    /// nothing is awaited of it.
    since: Vec<u32>,
    /// Nodes whose files are awaited, in the order of their calls. Those at the front are awaited; the others may have
    /// ended.
    awaited: VecDeque<NodeIndex>,
    /// How long the last ones took.
    took: VecDeque<Duration>,
    /// How long it took at most to find out about a lost answer.
    doubt: Option<Duration>,
}

impl Settling {
    pub(super) fn new(nodes: usize, now: Instant) -> Self {
        Self {
            epoch: now,
            since: vec![0; nodes],
            awaited: VecDeque::new(),
            took: VecDeque::new(),
            doubt: None,
        }
    }

    /// A process started to work on the run: it awaits what earlier ones left from now on.
    pub(super) fn start(&mut self, at: Instant) {
        self.epoch = at;
        self.since.fill(0);
        self.awaited.clear();
    }

    /// Files are awaited.
    pub(super) fn began(&mut self, node: NodeIndex, at: Instant) {
        self.mark(node, at);
        self.awaited.push_back(node);
    }

    /// The answer to a call was lost.
    pub(super) fn doubted(&mut self, node: NodeIndex, at: Instant) {
        self.mark(node, at);
    }

    /// What became of a lost answer is known.
    pub(super) fn cleared(&mut self, node: NodeIndex, at: Instant) {
        if let Some(took) = self.take(node, at) {
            self.doubt = self.doubt.max(Some(took));
        }
    }

    /// All files are there.
    pub(super) fn arrived(&mut self, node: NodeIndex, at: Instant) {
        if let Some(took) = self.take(node, at) {
            if self.took.len() == REMEMBERED {
                self.took.pop_front();
            }
            self.took.push_back(took);
        }
        self.forget_ended();
    }

    /// Nothing more is awaited.
    pub(super) fn ended(&mut self, node: NodeIndex) {
        self.since[node.get()] = 0;
        self.forget_ended();
    }

    pub(super) fn doubt(&self) -> Option<Duration> {
        self.doubt
    }

    /// The longest time that was seen.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.took.iter().max().copied().filter(|_| self.took.len() >= FEWEST)
    }

    /// How long the slowest of so many nodes will take; not less than the oldest one has been waiting.
    pub(super) fn expected(&self, open: usize, now: Instant) -> Option<Duration> {
        if self.took.len() < FEWEST {
            return None;
        }
        let mut took: Vec<Duration> = self.took.iter().copied().collect();
        let above = took.len() / (open.min(MOST_OPEN) + 1);
        let at = took.len() - 1 - above.min(took.len() - 1);
        let (_, quantile, _) = took.select_nth_unstable(at);
        Some((*quantile).max(self.oldest(now).unwrap_or_default()))
    }

    /// How long the oldest node has been waiting.
    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        let since = self.epoch + self.since_epoch(*self.awaited.front()?)?;
        Some(now.saturating_duration_since(since))
    }

    /// Whether a node has been waiting for far longer than any other took.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let (Some(oldest), Some(longest)) = (self.oldest(now), self.longest()) else { return false };
        oldest > longest.mul_f64(OVERDUE).max(longest + OVERDUE_BY)
    }

    fn mark(&mut self, node: NodeIndex, at: Instant) {
        let since = at.saturating_duration_since(self.epoch).as_millis();
        self.since[node.get()] = u32::try_from(since).unwrap_or(u32::MAX - 1).saturating_add(1);
    }

    fn take(&mut self, node: NodeIndex, at: Instant) -> Option<Duration> {
        let since = self.epoch + self.since_epoch(node)?;
        self.since[node.get()] = 0;
        Some(at.saturating_duration_since(since))
    }

    fn since_epoch(&self, node: NodeIndex) -> Option<Duration> {
        self.since[node.get()].checked_sub(1).map(|millis| Duration::from_millis(millis.into()))
    }

    fn forget_ended(&mut self) {
        while self.awaited.front().is_some_and(|node| self.since[node.get()] == 0) {
            self.awaited.pop_front();
        }
    }
}
