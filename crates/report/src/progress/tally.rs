//! The numbers behind the lines: counts copied from the ledger, and rates from a few seconds of samples.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleetlogs_model::ids::{AccountIndex, AccountName};
use fleetlogs_model::ledger::{AccountTally, Ledger, NodeStatus};
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::plan::Plan;

use crate::outcome_look::is_alarming;
use crate::text::for_terminal;

/// Time between two samples of a line.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Period over which the rate is measured.
pub(crate) const RATE_OVER: Duration = Duration::from_secs(5);
/// An account counts as throttled until it was not throttled for this long. There is no event for the end of
/// throttling, because the pace recovers slowly.
const THROTTLED_FOR: Duration = Duration::from_secs(30);
/// Time between two choices of the accounts that are shown: lines that move all the time cannot be read.
const CHOOSE_EVERY: Duration = Duration::from_secs(5);

/// All lines, a line for each account that has nodes.
pub(crate) struct Board {
    pub(crate) lines: Vec<BoardLine>,
    pub(crate) total: BoardLine,
    pub(crate) phase: Phase,
    /// When the process that works on the run started.
    pub(crate) started_at: Instant,
    chosen_at: Option<Instant>,
    chosen: Vec<usize>,
    /// For each account of the plan, its line.
    line_of: Vec<Option<usize>>,
    names: Vec<AccountName>,
    verification: bool,
}

/// What the run as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Calls are sent.
    Sending,
    /// Every call is answered; files are awaited.
    AwaitingFiles,
    /// The run ends early.
    Draining,
    /// Every node has its outcome.
    Done,
    /// No process works on it.
    Ended,
}

/// The numbers of one line: an account, or all.
pub(crate) struct BoardLine {
    pub(crate) label: String,
    pub(crate) now: Numbers,
    samples: VecDeque<Sample>,
    throttled_at: Option<Instant>,
    paused_until: Option<Instant>,
}

/// Counts at one moment.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) planned: u64,
    /// Nodes whose call the service accepted, whatever happened to the files.
    pub(crate) accepted: u64,
    /// Nodes with their final outcome.
    pub(crate) done: u64,
    /// Nodes that are done, by outcome.
    pub(crate) outcomes: OutcomeCounts,
    /// Nodes that were not called yet.
    pub(crate) not_called: u64,
    /// Nodes with a call in flight.
    pub(crate) in_flight: u64,
    /// Nodes that wait to be called again.
    pub(crate) waiting: u64,
    /// Nodes with a call whose answer was lost.
    pub(crate) in_doubt: u64,
    /// Nodes whose files are awaited.
    pub(crate) awaited: u64,
    pub(crate) calls: u64,
    pub(crate) throttled: u64,
    /// The pace after the last throttling, in calls per second; summed over throttled accounts.
    pub(crate) pace: Option<f64>,
    /// Accounts that were stopped.
    pub(crate) stopped: u64,
}

struct Sample {
    at: Instant,
    calls: u64,
}

/// Accounts that have no line of their own, together.
pub(crate) struct OtherAccounts {
    pub(crate) accounts: u64,
    pub(crate) now: Numbers,
    pub(crate) rate: Option<f64>,
    pub(crate) throttled: u64,
}

impl Board {
    pub(crate) fn new(plan: &Plan, ledger: &Ledger, verification: bool, now: Instant) -> Self {
        let mut lines = vec![];
        let mut line_of = vec![];
        for account in &plan.accounts {
            line_of.push((account.nodes > 0).then_some(lines.len()));
            if account.nodes > 0 {
                lines.push(BoardLine::new(for_terminal(account.name.as_str()).into_owned()));
            }
        }
        let mut board = Self {
            lines,
            total: BoardLine::new("total".into()),
            phase: Phase::Sending,
            started_at: now,
            chosen_at: None,
            chosen: vec![],
            line_of,
            names: plan.accounts.iter().map(|account| account.name.clone()).collect(),
            verification,
        };
        board.take(ledger);
        board.sample(now);
        board
    }

    /// A process began to work on the run.
    pub(crate) fn start(&mut self, verification: bool, now: Instant) {
        self.verification = verification;
        self.started_at = now;
        self.phase = Phase::Sending;
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
        if !matches!(self.phase, Phase::Draining | Phase::Ended) {
            self.phase = self.total.now.phase();
        }
    }

    /// No new call is sent from now on.
    pub(crate) fn drain(&mut self) {
        self.phase = Phase::Draining;
    }

    /// No process works on the run.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    /// Records the current numbers, so that rates can be computed later.
    pub(crate) fn sample(&mut self, now: Instant) {
        self.lines.iter_mut().chain([&mut self.total]).for_each(|line| line.sample(now));
    }

    /// Rates use only samples from now on.
    pub(crate) fn forget_samples(&mut self) {
        self.lines.iter_mut().chain([&mut self.total]).for_each(|line| line.samples.clear());
    }

    /// An account was asked to slow down, and maybe to pause. Returns whether to report it: the first time or,
    /// unless `once`, the first time for a while.
    pub(crate) fn throttled(
        &mut self,
        account: &AccountName,
        pause: Option<Duration>,
        once: bool,
        now: Instant,
    ) -> bool {
        let Some(line) = self.line_mut(account) else { return false };
        let before = line.throttled_at.replace(now);
        line.paused_until = line.paused_until.max(pause.and_then(|pause| now.checked_add(pause)));
        before.is_none_or(|before| !once && now.saturating_duration_since(before) > THROTTLED_FOR)
    }

    /// The numbers of each account that has nodes.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (AccountIndex, &Numbers)> {
        let lines = (0..).map(AccountIndex).zip(&self.line_of);
        lines.filter_map(|(account, line)| Some((account, &self.lines[(*line)?].now)))
    }

    /// Calls per second of each account, in the order of the plan.
    pub(crate) fn rates(&self, now: Instant) -> impl Iterator<Item = Option<f64>> {
        self.line_of.iter().map(move |line| self.lines[(*line)?].rate(now))
    }

    /// The position of an account in the plan.
    pub(crate) fn index(&self, account: &AccountName) -> Option<AccountIndex> {
        (0..).map(AccountIndex).zip(&self.names).find(|(_, name)| *name == account).map(|(index, _)| index)
    }

    /// The line an account is shown in.
    pub(crate) fn line(&self, account: &AccountName) -> Option<&BoardLine> {
        self.line_at(account).map(|at| &self.lines[at])
    }

    fn line_mut(&mut self, account: &AccountName) -> Option<&mut BoardLine> {
        self.line_at(account).map(|at| &mut self.lines[at])
    }

    fn line_at(&self, account: &AccountName) -> Option<usize> {
        self.line_of[self.names.iter().position(|name| name == account)?]
    }

    /// Chooses at most `most` lines to show: accounts with problems first, then those with the most nodes left. They
    /// are in plan order; the other accounts share one line.
    pub(crate) fn choose(&mut self, most: usize, now: Instant) -> (Vec<usize>, Option<OtherAccounts>) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= CHOOSE_EVERY;
        let fitting = self.chosen.len() == most.min(self.lines.len());
        if !fitting || self.chosen_at.is_none_or(is_old) {
            let mut order: Vec<usize> = (0..self.lines.len()).collect();
            order.sort_by_key(|&at| Reverse(self.lines[at].urgency(now)));
            order.truncate(most);
            order.sort_unstable();
            self.chosen = order;
            self.chosen_at = Some(now);
        }
        let rest = self.lines.iter().enumerate().filter(|(at, _)| self.chosen.binary_search(at).is_err());
        let rest =
            rest.fold(OtherAccounts { accounts: 0, now: Numbers::default(), rate: None, throttled: 0 }, {
                |mut rest, (_, line)| {
                    rest.accounts += 1;
                    rest.now.add_all(&line.now);
                    rest.throttled += u64::from(line.is_throttled(now));
                    rest.rate = line.rate(now).map(|rate| rate + rest.rate.unwrap_or(0.0)).or(rest.rate);
                    rest
                }
            });
        (self.chosen.clone(), Some(rest).filter(|rest| rest.accounts > 0))
    }
}

impl BoardLine {
    fn new(label: String) -> Self {
        Self {
            label,
            now: Numbers::default(),
            samples: VecDeque::new(),
            throttled_at: None,
            paused_until: None,
        }
    }

    /// Accounts with problems come first, then those with the most nodes left.
    fn urgency(&self, now: Instant) -> (u8, u64) {
        let trouble = if self.now.stopped > 0 || self.is_throttled(now) {
            2
        } else {
            u8::from(
                Outcome::ALL
                    .iter()
                    .any(|&outcome| is_alarming(outcome) && self.now.outcomes.get(outcome) > 0),
            )
        };
        (trouble, self.now.planned - self.now.done)
    }

    fn sample(&mut self, now: Instant) {
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        if self.samples.back().is_some_and(|last| age(last) < SAMPLE_EVERY) {
            return;
        }
        // One sample older than the period is kept, to measure from.
        while self.samples.get(1).is_some_and(|second| age(second) >= RATE_OVER) {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at: now, calls: self.now.calls });
    }

    /// Calls per second over the last few seconds; none if nothing is sent, or it is too early.
    pub(crate) fn rate(&self, now: Instant) -> Option<f64> {
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        // The youngest sample that is old enough, or else the oldest.
        let old = self.samples.iter().rev().find(|sample| age(sample) >= RATE_OVER);
        let from = old.or(self.samples.front())?;
        let seconds = age(from).as_secs_f64();
        // The count can go down: a cancelled call is subtracted.
        #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
        let counted = self.now.calls.saturating_sub(from.calls) as f64;
        (seconds >= SAMPLE_EVERY.as_secs_f64() && counted > 0.0).then(|| counted / seconds)
    }

    /// Whether the service throttled the account recently.
    pub(crate) fn is_throttled(&self, now: Instant) -> bool {
        self.throttled_at.is_some_and(|at| now.saturating_duration_since(at) <= THROTTLED_FOR)
    }

    /// How long the account still pauses, as the service asked.
    pub(crate) fn pauses(&self, now: Instant) -> Option<Duration> {
        let left = self.paused_until?.saturating_duration_since(now);
        (left > Duration::ZERO).then_some(left)
    }
}

impl Numbers {
    fn add(&mut self, tally: &AccountTally, verification: bool) {
        self.planned += tally.planned();
        for status in NodeStatus::ALL {
            let nodes = tally.count(status);
            let is_done = match status {
                NodeStatus::Planned => {
                    self.not_called += nodes;
                    false
                }
                NodeStatus::Requested => {
                    self.in_flight += nodes;
                    false
                }
                NodeStatus::Waiting => {
                    self.waiting += nodes;
                    false
                }
                NodeStatus::InDoubt => {
                    self.in_doubt += nodes;
                    false
                }
                NodeStatus::Accepted => {
                    self.accepted += nodes;
                    self.awaited += if verification { nodes } else { 0 };
                    !verification
                }
                NodeStatus::Verified | NodeStatus::Adopted | NodeStatus::Empty | NodeStatus::Incomplete => {
                    self.accepted += nodes;
                    true
                }
                NodeStatus::Failed | NodeStatus::Gone => true,
            };
            if is_done {
                self.done += nodes;
                self.outcomes.add_many(status.outcome(), nodes);
            }
        }
        self.calls += tally.calls;
        self.throttled += tally.throttled;
        self.stopped += u64::from(tally.stopped.is_some());
        if let Some(rate) = tally.rate {
            self.pace = Some(self.pace.unwrap_or(0.0) + rate);
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.planned += other.planned;
        self.accepted += other.accepted;
        self.done += other.done;
        for outcome in Outcome::ALL {
            self.outcomes.add_many(outcome, other.outcomes.get(outcome));
        }
        self.not_called += other.not_called;
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        self.in_doubt += other.in_doubt;
        self.awaited += other.awaited;
        self.calls += other.calls;
        self.throttled += other.throttled;
        self.stopped += other.stopped;
        self.pace = other.pace.map(|pace| pace + self.pace.unwrap_or(0.0)).or(self.pace);
    }

    fn phase(&self) -> Phase {
        if self.done == self.planned {
            Phase::Done
        } else if self.not_called + self.in_flight + self.waiting + self.in_doubt == 0 {
            Phase::AwaitingFiles
        } else {
            Phase::Sending
        }
    }
}
