//! How long files take: from the accepted call until all of them are there.
//!
//! Files are seen only when the container is listed, and count when a second look finds them unchanged. While calls are
//! sent, looks can be half a minute apart, so most of the time from call to `files-verified` is time between looks. What
//! the nodes themselves took is what remains: a node that is verified in one look was not complete two looks before.
//! Looks show as bursts of verified nodes.
//!
//! It needs four bytes a node.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleetlogs_model::ids::NodeIndex;

/// Looks whose arrivals are remembered. What was long ago says little about now.
const LOOKS: usize = 8;
/// Arrivals of one look that are remembered, spread over all of them: a look does not see nodes in order of their calls.
const OF_A_LOOK: usize = 512;
/// Arrivals from which a distribution shows.
const FEWEST: usize = 5;
/// The highest quantile of interest has one arrival of this many above it.
const MOST_OPEN: usize = 100;
/// A node is overdue when it takes this much longer than the slowest one seen, and by this time at least.
const OVERDUE: f64 = 1.5;
const OVERDUE_BY: Duration = Duration::from_secs(2);
/// Verified nodes further apart than this are of two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// A burst that lasts longer is more than one look.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// Time between two looks before it is known.
const FIRST_GAP: Duration = Duration::from_millis(500);
/// Share of its time that a node of the first looks needed itself, about.
const FIRST_SHARE: f64 = 0.8;
/// Files must be unchanged for this share of the time that they took.
const UNCHANGED: f64 = 0.1;
/// Two looks confirm a node, and the time between looks can grow by half from one to the next.
const PATIENCE: u32 = 5;
/// Looks are so many times more frequent when only files are awaited.
const FASTER: u32 = 5;

pub(super) struct Settling {
    /// What the times of the nodes count from.
    epoch: Instant,
    /// For each node, one more than the time since the epoch at which something about it began, in milliseconds; 0 if
    /// nothing is awaited of it.
    since: Vec<u32>,
    /// Nodes whose files are awaited, in the order of their calls. Those at the front are awaited; the others may have
    /// ended.
    awaited: VecDeque<NodeIndex>,
    /// The arrivals of the last looks.
    arrivals: VecDeque<Look>,
    /// When the last looks that verified a node ended, the newest first.
    looks: [Option<Instant>; 4],
    verified: Option<Instant>,
    /// How long it took at most to find out about a lost answer.
    doubt: Option<Duration>,
}

/// What one look verified.
#[derive(Default)]
struct Look {
    nodes: usize,
    sample: Vec<Arrival>,
}

#[derive(Clone, Copy)]
struct Arrival {
    /// From the accepted call until the node was verified.
    took: Duration,
    /// What the node took for its files, at least.
    files: Duration,
}

impl Settling {
    pub(super) fn new(nodes: usize, now: Instant) -> Self {
        Self {
            epoch: now,
            since: vec![0; nodes],
            awaited: VecDeque::new(),
            arrivals: VecDeque::new(),
            looks: [None; 4],
            verified: None,
            doubt: None,
        }
    }

    /// A process started to work on the run: it awaits what earlier ones left from now on.
    pub(super) fn start(&mut self, at: Instant) {
        let awaited: Vec<_> = self.awaited.drain(..).filter(|node| self.since[node.get()] > 0).collect();
        self.epoch = at;
        self.since.fill(0);
        for node in awaited {
            if self.since[node.get()] == 0 {
                self.began(node, at);
            }
        }
        self.looks = [None; 4];
        self.verified = None;
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
        if let Some(since) = self.take(node) {
            self.doubt = self.doubt.max(Some(at.saturating_duration_since(since)));
        }
    }

    /// All files are there.
    pub(super) fn arrived(&mut self, node: NodeIndex, at: Instant) {
        if let Some(since) = self.take(node) {
            self.look(at);
            let took = at.saturating_duration_since(since);
            let files = match self.began_look(2) {
                Some(look) => look.saturating_duration_since(since),
                None => took.mul_f64(FIRST_SHARE),
            };
            if let Some(look) = self.arrivals.back_mut() {
                look.add(Arrival { took, files });
            }
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

    /// The longest time from an accepted call until the node was verified.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.sample().map(|arrival| arrival.took).max().filter(|_| self.is_known())
    }

    /// How long it takes from the last accepted call, which is still to come, until every node is verified.
    pub(super) fn after_calls(&self, open: usize) -> Option<Duration> {
        let files = self.files(open)?;
        let gap = self.gap();
        let next = gap / FASTER;
        // The look that is due when the last call is accepted is up to a gap away, and gaps become shorter at the end.
        Some((files + next / 2).max(gap / 3) + next)
    }

    /// When every node will be verified, if the last call was accepted at this time.
    pub(super) fn end(&self, open: usize, last_accepted: Instant) -> Option<Instant> {
        let files = self.files(open)?;
        // A look that began before sets the old pace once more.
        let is_after = |look: usize| self.began_look(look).is_some_and(|began| began > last_accepted);
        let gap = self.gap();
        let next = if is_after(1) { gap } else { gap / FASTER }.max(files / 20);
        let due = match self.looks[0] {
            Some(look) if is_after(0) => look + next,
            Some(look) => look + gap,
            None => last_accepted,
        };
        Some((last_accepted + files + next / 2).max(due) + next)
    }

    /// How long the oldest node has been waiting.
    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.oldest_since()?))
    }

    /// Whether a node has been waiting for far longer than any other took for its files.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let (Some(since), true) = (self.oldest_since(), self.is_known()) else { return false };
        let longest = self.sample().map(|arrival| arrival.files).max().unwrap_or_default();
        let bearable = longest.mul_f64(OVERDUE).max(longest + OVERDUE_BY) + self.gap() / 2;
        // It was not complete in the look before the last one; or two looks should have seen it meanwhile.
        let so_far = self.began_look(1).map(|look| look.saturating_duration_since(since));
        // Files that came late must be unchanged for longer.
        let was_incomplete = so_far.is_some_and(|so_far| so_far.mul_f64(1.0 - UNCHANGED) > bearable);
        was_incomplete || now.saturating_duration_since(since) > bearable + self.gap() * PATIENCE
    }

    /// What the slowest of so many nodes takes for its files; not less than the oldest one took so far.
    fn files(&self, open: usize) -> Option<Duration> {
        if !self.is_known() {
            return None;
        }
        let mut files: Vec<Duration> = self.sample().map(|arrival| arrival.files).collect();
        let above = files.len() / (open.min(MOST_OPEN) + 1);
        let at = files.len() - 1 - above.min(files.len() - 1);
        let (_, quantile, _) = files.select_nth_unstable(at);
        let so_far = self
            .oldest_since()
            .zip(self.began_look(1))
            .map(|(since, look)| look.saturating_duration_since(since));
        Some((*quantile).max(so_far.unwrap_or_default()))
    }

    fn is_known(&self) -> bool {
        self.sample().nth(FEWEST - 1).is_some()
    }

    fn sample(&self) -> impl Iterator<Item = &Arrival> {
        self.arrivals.iter().flat_map(|look| &look.sample)
    }

    /// Time between the last two looks.
    fn gap(&self) -> Duration {
        match self.looks {
            [Some(last), Some(before), ..] => last.saturating_duration_since(before),
            _ => FIRST_GAP,
        }
    }

    /// When one of the last looks began, about. While calls are sent, four times as long as a look takes is between two.
    fn began_look(&self, at: usize) -> Option<Instant> {
        let (ended, before) = self.looks[at].zip(*self.looks.get(at + 1)?)?;
        ended.checked_sub(ended.saturating_duration_since(before) / FASTER)
    }

    /// A node was verified: in the last look, or in a new one.
    fn look(&mut self, at: Instant) {
        let of_last = |since: Option<Instant>, longest| {
            since.is_some_and(|since| at.saturating_duration_since(since) <= longest)
        };
        if !of_last(self.verified, BETWEEN_LOOKS) || !of_last(self.looks[0], LONGEST_LOOK) {
            self.looks = [Some(at), self.looks[0], self.looks[1], self.looks[2]];
            if self.arrivals.len() == LOOKS {
                self.arrivals.pop_front();
            }
            self.arrivals.push_back(Look::default());
        }
        self.verified = Some(at);
    }

    fn mark(&mut self, node: NodeIndex, at: Instant) {
        let since = at.saturating_duration_since(self.epoch).as_millis();
        self.since[node.get()] = u32::try_from(since).unwrap_or(u32::MAX - 1).saturating_add(1);
    }

    fn take(&mut self, node: NodeIndex) -> Option<Instant> {
        let since = self.since_of(node)?;
        self.since[node.get()] = 0;
        Some(since)
    }

    fn since_of(&self, node: NodeIndex) -> Option<Instant> {
        let millis = self.since[node.get()].checked_sub(1)?;
        Some(self.epoch + Duration::from_millis(millis.into()))
    }

    fn oldest_since(&self) -> Option<Instant> {
        self.since_of(*self.awaited.front()?)
    }

    fn forget_ended(&mut self) {
        while self.awaited.front().is_some_and(|node| self.since[node.get()] == 0) {
            self.awaited.pop_front();
        }
    }
}

impl Look {
    /// Keeps each arrival with the same chance. It is drawn from the count, so that a run is estimated alike every time.
    fn add(&mut self, arrival: Arrival) {
        self.nodes += 1;
        if self.sample.len() < OF_A_LOOK {
            self.sample.push(arrival);
            return;
        }
        let drawn = self.nodes.wrapping_mul(0x9e37_79b1) % self.nodes;
        if let Some(kept) = self.sample.get_mut(drawn) {
            *kept = arrival;
        }
    }
}
