//! When the run will end: from what is left to call, the pace as it is, and how long files take in this run.
//!
//! Pure: it hears events with their times, and is asked with a time. See `docs/design/eta.md` for the rule and its
//! measured errors.

mod pace;
mod settling;

use std::time::{Duration, Instant};

use fleetlogs_model::event::Event;
use fleetlogs_model::ids::{AccountIndex, NodeIndex};
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::plan::Plan;

use self::pace::Pace;
use self::settling::Settling;
use super::tally::{Numbers, Phase};

/// Nothing is estimated before a process has worked on the run for this long.
const KNOWN_AFTER: Duration = Duration::from_secs(5);
/// An account of which nothing is known does not silence the estimate if less than this share of the work is its own.
const NEGLIGIBLE: f64 = 0.05;

/// How long a run will still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// The time left.
    pub left: Duration,
    /// Whether it is a bound: files are awaited, and nothing says that they come before their deadline.
    pub at_most: bool,
}

/// What is known of a run's speed.
pub(crate) struct Estimator {
    /// For each node, its account.
    account_of: Vec<AccountIndex>,
    /// For each account, its calls.
    paces: Vec<Pace>,
    settling: Settling,
    /// When the process that works on the run started.
    started: Instant,
    last_accepted: Option<Instant>,
    /// How long after the last accepted call files are awaited.
    deadline: Option<Duration>,
    verification: bool,
}

impl Estimator {
    /// Nodes that the ledger counts as accepted are awaited from now on.
    pub(crate) fn new(plan: &Plan, ledger: &Ledger, verification: bool, now: Instant) -> Self {
        let account_of = plan.accounts_of_nodes();
        let mut settling = Settling::new(account_of.len(), now);
        for (at, _) in (0..).zip(&account_of) {
            if ledger.status(NodeIndex(at)) == NodeStatus::Accepted {
                settling.began(NodeIndex(at), now);
            }
        }
        Self {
            paces: plan.accounts.iter().map(|_| Pace::default()).collect(),
            settling,
            account_of,
            started: now,
            last_accepted: None,
            deadline: None,
            verification,
        }
    }

    /// A process started to work on the run. What an earlier one measured says little about now.
    fn start(&mut self, verification: bool, deadline: Option<Duration>, at: Instant) {
        self.paces.iter_mut().for_each(|pace| *pace = Pace::default());
        self.settling.start(at);
        self.started = at;
        self.last_accepted = None;
        self.deadline = deadline;
        self.verification = verification;
    }

    /// Hears what happened to an account or a node.
    pub(crate) fn hear(&mut self, event: &Event, node: Option<NodeIndex>, at: Instant) {
        if let Event::RunStarted { verification, arrival_deadline_ms, .. } = event {
            self.start(*verification, arrival_deadline_ms.map(Duration::from_millis), at);
        }
        let Some(node) = node else { return };
        let pace = &mut self.paces[self.account_of[node.get()].get()];
        match event {
            Event::UploadRequested { .. } => pace.called(at),
            Event::UploadAccepted { files, .. } => {
                pace.answered(at);
                self.last_accepted = Some(at);
                // If the promise is not known, the node is verified by its peers, and that is after the last call.
                if files.is_some_and(|files| files > 0) {
                    self.settling.began(node, at);
                }
            }
            Event::UploadWillRetry { delay_ms, .. } => {
                pace.due(at.checked_add(Duration::from_millis(*delay_ms)));
            }
            Event::UploadInDoubt { .. } => {
                self.settling.doubted(node, at);
                pace.doubted(at);
            }
            Event::UploadAbsent { .. } => self.settling.cleared(node, at),
            Event::UploadAdopted { .. } => {
                self.settling.cleared(node, at);
                pace.answered(at);
                self.last_accepted = Some(at);
            }
            Event::UploadFailed { .. } => {
                self.settling.ended(node);
                pace.answered(at);
            }
            Event::FilesVerified { .. } => self.settling.arrived(node, at),
            Event::FilesAdopted { .. } | Event::FilesIncomplete { .. } => self.settling.ended(node),
            Event::UploadCancelled { .. }
            | Event::RunStarted { .. }
            | Event::DirectoriesFound { .. }
            | Event::IdentityChanged { .. }
            | Event::NodeSeenAgain { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::AccountThrottled { .. }
            | Event::AccountStopped { .. }
            | Event::RunDraining { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    /// An account pauses, as the service asked.
    pub(crate) fn paused(&mut self, account: AccountIndex, pause: Duration, at: Instant) {
        if let Some(pace) = self.paces.get_mut(account.get()) {
            pace.paused(pause, at);
        }
    }

    /// The run ends early: files are awaited for this long after the last accepted call.
    pub(crate) fn stopped(&mut self, patience: Option<Duration>) {
        self.deadline = patience;
    }

    /// The longest time that files took in this run, from the accepted call until they were seen to be all there; none
    /// as long as too few arrived.
    pub(crate) fn settle_seen(&self) -> Option<Duration> {
        self.settling.longest()
    }

    /// How long the run will still take; none if that is not known. `accounts` has the numbers of each account that has
    /// nodes.
    pub(crate) fn time_left<'a>(
        &self,
        phase: Phase,
        total: &Numbers,
        accounts: impl Iterator<Item = (AccountIndex, &'a Numbers)>,
        now: Instant,
    ) -> Option<TimeLeft> {
        match phase {
            Phase::Sending => {
                let calls = self.calls_left(total, accounts, now)?;
                if !self.verification {
                    return Some(TimeLeft { left: calls, at_most: false });
                }
                let files = self.files_after_calls(total, now)?;
                Some(TimeLeft { left: calls + files.left, ..files })
            }
            Phase::AwaitingFiles => self.files_left(total, now),
            // Calls in flight may be accepted, and their files be awaited after that.
            Phase::Draining if total.in_flight > 0 || total.awaited == 0 => None,
            Phase::Draining => {
                let since = now.saturating_duration_since(self.last_accepted.unwrap_or(self.started));
                let left = self.deadline?.saturating_sub(since);
                Some(TimeLeft { left, at_most: true }).filter(|_| left > Duration::ZERO)
            }
            Phase::Done | Phase::Ended => None,
        }
    }

    /// How long until every call is answered: the slowest account decides.
    fn calls_left<'a>(
        &self,
        total: &Numbers,
        accounts: impl Iterator<Item = (AccountIndex, &'a Numbers)>,
        now: Instant,
    ) -> Option<Duration> {
        if now.saturating_duration_since(self.started) < KNOWN_AFTER {
            return None;
        }
        let mut longest = None;
        for (account, numbers) in accounts {
            let left = unanswered(numbers);
            if left == 0 {
                continue;
            }
            let time = self.paces[account.get()].time_left(numbers, self.settling.doubt(), now);
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let is_negligible = left as f64 <= unanswered(total) as f64 * NEGLIGIBLE;
            match time {
                Some(time) => longest = longest.max(Some(time)),
                None if is_negligible => {}
                None => return None,
            }
        }
        longest
    }

    /// How long files will be awaited once the last call is accepted.
    fn files_after_calls(&self, total: &Numbers, now: Instant) -> Option<TimeLeft> {
        if self.settling.is_overdue(now) {
            // Nodes that take far longer than others did are awaited until the deadline.
            return self.deadline.map(|left| TimeLeft { left, at_most: true });
        }
        // Before anything arrived: not less than what the first nodes have been waiting for.
        let left = self.settling.after_calls(open(total)).or(self.settling.oldest(now)).unwrap_or_default();
        let left = self.deadline.map_or(left, |deadline| deadline.min(left));
        Some(TimeLeft { left, at_most: false })
    }

    /// How long files are still awaited, when every call is answered.
    fn files_left(&self, total: &Numbers, now: Instant) -> Option<TimeLeft> {
        let last = self.last_accepted.unwrap_or(self.started);
        let until_deadline = self.deadline.map(|deadline| (last + deadline).saturating_duration_since(now));
        match self.settling.end(open(total), last) {
            Some(end) if !self.settling.is_overdue(now) => {
                // Late, but not late enough to give up on: as long as it is late already.
                let late = now.saturating_duration_since(end).max(Duration::from_secs(1));
                let left = end.saturating_duration_since(now).max(late);
                Some(TimeLeft { left: until_deadline.map_or(left, |most| most.min(left)), at_most: false })
            }
            _ => until_deadline.map(|left| TimeLeft { left, at_most: true }),
        }
    }
}

/// Nodes that will still be verified, at most.
fn open(numbers: &Numbers) -> usize {
    usize::try_from(unanswered(numbers) + numbers.awaited).unwrap_or(usize::MAX)
}

/// Nodes whose call has no answer yet.
fn unanswered(numbers: &Numbers) -> u64 {
    numbers.not_called + numbers.in_flight + numbers.waiting + numbers.in_doubt
}

#[cfg(test)]
mod tests;
