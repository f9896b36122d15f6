//! The numbers behind the lines: counts copied from the ledger, and rates from a few seconds of samples.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::ledger::{AccountTally, Ledger, NodeStatus};
use fleetlogs_model::outcome::OutcomeCounts;
use fleetlogs_model::plan::Plan;

use crate::text::{counted, for_terminal};

/// Accounts with a line of their own; all others share one.
const MOST_ACCOUNTS: usize = 8;
/// Between two samples of a line.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// The rate shown is that of this long.
const RATE_OVER: Duration = Duration::from_secs(5);
/// The time left is told from this long: nodes are finished in bursts, as the container is looked at now and then.
const ETA_OVER: Duration = Duration::from_secs(30);
/// An account counts as throttled until nothing of the kind was heard for this long. There is no event for the end
/// of it, as the pace climbs back slowly and without a word.
const THROTTLED_FOR: Duration = Duration::from_secs(30);

/// All lines, and which account belongs to which.
pub(crate) struct Board {
    pub(crate) lines: Vec<Line>,
    pub(crate) total: Line,
    pub(crate) phase: Phase,
    names: Vec<AccountName>,
    /// For each account, its line; none where it has no nodes to show.
    line_of: Vec<Option<usize>>,
    throttled_at: Vec<Option<Instant>>,
    verification: bool,
}

/// What the run as a whole is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Calls are sent.
    Sending,
    /// Every call is answered; files are awaited.
    AwaitingFiles,
    /// The run ends early.
    Draining,
    /// Every node has its outcome.
    Done,
}

/// The numbers of one line: an account, several, or all.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) now: Numbers,
    samples: VecDeque<Sample>,
    throttled_at: Option<Instant>,
}

/// Counts at one moment.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) planned: u64,
    /// Nodes that were called at least once.
    pub(crate) sent: u64,
    /// Nodes whose call the service took, whatever became of the files.
    pub(crate) accepted: u64,
    /// Nodes with their last outcome.
    pub(crate) done: u64,
    /// By outcome, and of nodes that are done only.
    pub(crate) outcomes: OutcomeCounts,
    pub(crate) calls: u64,
    pub(crate) throttled: u64,
    /// The pace after the last throttling, in calls per second; the sum over accounts that were.
    pub(crate) pace: Option<f64>,
}

struct Sample {
    at: Instant,
    calls: u64,
    done: u64,
}

impl Board {
    pub(crate) fn new(plan: &Plan, ledger: &Ledger, verification: bool, now: Instant) -> Self {
        let names: Vec<_> = plan.accounts.iter().map(|account| account.name.clone()).collect();
        let (labels, line_of) = share_out(plan);
        let mut board = Self {
            lines: labels.into_iter().map(Line::new).collect(),
            total: Line::new("total".into()),
            phase: Phase::Sending,
            throttled_at: vec![None; names.len()],
            names,
            line_of,
            verification,
        };
        board.take(ledger);
        board.sample(now);
        board
    }

    /// Copies the ledger's counts. A few additions per account, whatever the number of nodes.
    pub(crate) fn take(&mut self, ledger: &Ledger) {
        self.total.now = Numbers::default();
        self.lines.iter_mut().for_each(|line| line.now = Numbers::default());
        for ((_, tally), line) in ledger.accounts().zip(&self.line_of) {
            self.total.now.add(tally, self.verification);
            if let Some(line) = line {
                self.lines[*line].now.add(tally, self.verification);
            }
        }
        if self.phase != Phase::Draining {
            self.phase = self.phase_now(ledger);
        }
    }

    fn phase_now(&self, ledger: &Ledger) -> Phase {
        use NodeStatus::{InDoubt, Planned, Requested, Waiting};
        if self.total.now.done == self.total.now.planned {
            Phase::Done
        } else if [Planned, Requested, Waiting, InDoubt].iter().all(|&status| ledger.count(status) == 0) {
            Phase::AwaitingFiles
        } else {
            Phase::Sending
        }
    }

    /// Nothing new is sent from here on.
    pub(crate) fn drain(&mut self) {
        self.phase = Phase::Draining;
    }

    /// Remembers the numbers of now, so that rates can be told later.
    pub(crate) fn sample(&mut self, now: Instant) {
        self.lines.iter_mut().chain([&mut self.total]).for_each(|line| line.sample(now));
    }

    /// An account was asked to slow down. Says whether that is news.
    pub(crate) fn throttled(&mut self, account: &AccountName, now: Instant) -> bool {
        let Some(at) = self.names.iter().position(|name| name == account) else { return false };
        let before = self.throttled_at[at].replace(now);
        if let Some(line) = self.line_of[at] {
            self.lines[line].throttled_at = Some(now);
        }
        before.is_none_or(|before| now.saturating_duration_since(before) > THROTTLED_FOR)
    }

    /// The line an account is shown in.
    pub(crate) fn line(&self, account: &AccountName) -> Option<&Line> {
        let at = self.names.iter().position(|name| name == account)?;
        self.lines.get(self.line_of[at]?)
    }
}

/// The largest accounts get lines of their own, in plan order; the rest share the last.
fn share_out(plan: &Plan) -> (Vec<String>, Vec<Option<usize>>) {
    let mut by_size: Vec<usize> =
        (0..plan.accounts.len()).filter(|&at| plan.accounts[at].nodes > 0).collect();
    by_size.sort_by_key(|&at| (std::cmp::Reverse(plan.accounts[at].nodes), at));
    let shared = by_size.split_off(by_size.len().min(MOST_ACCOUNTS));
    by_size.sort_unstable();

    let mut line_of = vec![None; plan.accounts.len()];
    let mut labels = vec![];
    for at in by_size {
        line_of[at] = Some(labels.len());
        labels.push(for_terminal(plan.accounts[at].name.as_str()).into_owned());
    }
    if !shared.is_empty() {
        for &at in &shared {
            line_of[at] = Some(labels.len());
        }
        labels.push(counted(shared.len() as u64, "more account"));
    }
    (labels, line_of)
}

impl Line {
    fn new(label: String) -> Self {
        Self { label, now: Numbers::default(), samples: VecDeque::new(), throttled_at: None }
    }

    fn sample(&mut self, now: Instant) {
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        if self.samples.back().is_some_and(|last| age(last) < SAMPLE_EVERY) {
            return;
        }
        // One sample older than the longest span is kept, to measure from.
        while self.samples.get(1).is_some_and(|second| age(second) >= ETA_OVER) {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at: now, calls: self.now.calls, done: self.now.done });
    }

    /// Calls per second over the last few seconds; none while nothing is sent, or too early to say.
    pub(crate) fn rate(&self, now: Instant) -> Option<f64> {
        self.per_second(now, RATE_OVER, self.now.calls, |sample| sample.calls)
    }

    /// How long until every node is done, if it goes on like this.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        let rate = self.per_second(now, ETA_OVER, self.now.done, |sample| sample.done)?;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = (self.now.planned - self.now.done) as f64;
        (left > 0.0).then(|| Duration::try_from_secs_f64((left / rate).ceil()).ok()).flatten()
    }

    /// Whether the service asked to slow down a short while ago.
    pub(crate) fn is_throttled(&self, now: Instant) -> bool {
        self.throttled_at.is_some_and(|at| now.saturating_duration_since(at) <= THROTTLED_FOR)
    }

    fn per_second(
        &self,
        now: Instant,
        over: Duration,
        count: u64,
        of: impl Fn(&Sample) -> u64,
    ) -> Option<f64> {
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        // The youngest that is old enough, or the oldest there is.
        let from = self.samples.iter().rev().find(|sample| age(sample) >= over).or(self.samples.front())?;
        let seconds = age(from).as_secs_f64();
        // A cancelled call is taken out of the count again.
        #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
        let counted = count.saturating_sub(of(from)) as f64;
        (seconds >= SAMPLE_EVERY.as_secs_f64() && counted > 0.0).then(|| counted / seconds)
    }
}

impl Numbers {
    fn add(&mut self, tally: &AccountTally, verification: bool) {
        use NodeStatus::{Accepted, Empty, Failed, Gone, Incomplete, Planned, Verified};
        let planned = tally.planned();
        self.planned += planned;
        self.sent += planned - tally.count(Planned);
        let taken = [Accepted, Verified, Empty, Incomplete];
        self.accepted += taken.iter().map(|&status| tally.count(status)).sum::<u64>();
        let last = [Verified, Empty, Incomplete, Failed, Gone];
        let accepted = (!verification).then_some(Accepted);
        for status in last.into_iter().chain(accepted) {
            self.done += tally.count(status);
            self.outcomes.add_many(status.outcome(), tally.count(status));
        }
        self.calls += tally.calls;
        self.throttled += tally.throttled;
        if let Some(rate) = tally.rate {
            self.pace = Some(self.pace.unwrap_or(0.0) + rate);
        }
    }
}
