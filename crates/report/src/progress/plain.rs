//! Plain lines for output that cannot be redrawn: a pipe, a file, a job log. One per account every ten seconds, if
//! something changed, and immediate lines for important events. Times are UTC.

use std::io::Write;
use std::time::{Duration, Instant};

use fleetlogs_model::outcome::Outcome;

use super::mode::ProgressClock;
use super::notices::Notice;
use super::picture::{throttling, troubles};
use super::tally::{Board, BoardLine, Numbers, Phase};
use crate::text::{counted, number};

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Accounts with a line of their own in each report; all others share one.
const MOST_ACCOUNTS: usize = 8;

/// The lines so far.
pub(crate) struct Plain {
    writer: Box<dyn Write + Send>,
    reported_at: Instant,
    phase: Phase,
    /// What each line showed last; unchanged lines are not repeated. The last entry is for the other accounts.
    said: Vec<Option<Numbers>>,
}

impl Plain {
    pub(crate) fn new(writer: Box<dyn Write + Send>, board: &Board, now: Instant) -> Self {
        Self { writer, reported_at: now, phase: board.phase, said: vec![None; board.lines.len() + 1] }
    }

    /// Reports if it is time.
    pub(crate) fn show(&mut self, board: &mut Board, clock: &ProgressClock, now: Instant) {
        let due = now.saturating_duration_since(self.reported_at) >= REPORT_EVERY;
        if due || board.phase != self.phase {
            self.report(board, clock, now);
        }
        if board.phase != self.phase {
            self.phase = board.phase;
            if board.phase == Phase::AwaitingFiles {
                let left = counted(board.total.now.planned - board.total.now.done, "node");
                self.say(clock, now, &format!("all calls are answered; waiting for the files of {left}"));
            }
        }
    }

    /// Prints a line for each account that has changed.
    pub(crate) fn report(&mut self, board: &mut Board, clock: &ProgressClock, now: Instant) {
        self.reported_at = now;
        let (chosen, rest) = board.choose(MOST_ACCOUNTS, now);
        for at in chosen {
            let line = &board.lines[at];
            if self.said[at] != Some(line.now) {
                self.said[at] = Some(line.now);
                self.say(clock, now, &of_account(line, now));
            }
        }
        let last = board.lines.len();
        if let Some(rest) = rest.filter(|rest| self.said[last] != Some(rest.now)) {
            self.said[last] = Some(rest.now);
            let accounts = counted(rest.accounts, "more account");
            let throttled = match rest.throttled {
                0 => String::new(),
                throttled => format!(", {} throttled", number(throttled)),
            };
            self.say(clock, now, &(counts(&accounts, &rest.now, rest.rate) + &throttled));
        }
    }

    /// Prints immediate lines.
    pub(crate) fn say_all(&mut self, notices: &[Notice], clock: &ProgressClock, now: Instant) {
        for (_, text) in notices {
            self.say(clock, now, text);
        }
    }

    /// Errors are ignored: if nobody reads the output, nothing is lost.
    fn say(&mut self, clock: &ProgressClock, now: Instant, text: &str) {
        let line = format!("{} {text}\n", clock.time_of_day(now));
        let _ = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.flush());
    }
}

/// `contoso 412/700 accepted, 380 verified, 3 failed, 198.2/s, throttled ×12, 75/s at most`
fn of_account(line: &BoardLine, now: Instant) -> String {
    let mut parts = vec![counts(&line.label, &line.now, line.rate(now))];
    parts.extend(throttling(line, now).into_iter().map(|part| part.text));
    parts.join(", ")
}

fn counts(label: &str, numbers: &Numbers, rate: Option<f64>) -> String {
    let accepted = number(numbers.accepted);
    let mut parts = vec![format!("{label} {accepted}/{} accepted", number(numbers.planned))];
    let verified = numbers.outcomes.get(Outcome::Verified);
    if verified > 0 {
        parts.push(format!("{} verified", number(verified)));
    }
    parts.extend(troubles(numbers).map(|part| part.text));
    match numbers.stopped {
        0 => {}
        1 => parts.push("stopped".into()),
        several => parts.push(format!("{} stopped", number(several))),
    }
    parts.extend(rate.map(|rate| format!("{rate:.1}/s")));
    parts.join(", ")
}
