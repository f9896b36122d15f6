//! Lines for where nothing can be redrawn: a pipe, a file, a job's log. One per account every ten seconds, if
//! something changed, and one at once for what is worth it. Times are UTC.

use std::io::Write;
use std::time::{Duration, Instant};

use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::outcome::Outcome;

use super::ProgressClock;
use super::tally::{Board, Line, Numbers, Phase};
use crate::text::{counted, duration, for_terminal, number};

/// Between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The lines so far.
pub(crate) struct Plain {
    writer: Box<dyn Write + Send>,
    reported_at: Instant,
    phase: Phase,
    /// What each line said last: what did not change is not said again.
    said: Vec<Option<Numbers>>,
}

impl Plain {
    pub(crate) fn new(writer: Box<dyn Write + Send>, board: &Board, now: Instant) -> Self {
        Self { writer, reported_at: now, phase: board.phase, said: vec![None; board.lines.len()] }
    }

    /// Reports if it is time to.
    pub(crate) fn show(&mut self, board: &Board, clock: &ProgressClock, now: Instant) {
        let due = now.saturating_duration_since(self.reported_at) >= REPORT_EVERY;
        if due || board.phase != self.phase {
            self.report(board, clock, now);
        }
        if board.phase != self.phase {
            self.phase = board.phase;
            if board.phase == Phase::AwaitingFiles {
                let left = counted(board.total.now.planned - board.total.now.done, "node");
                self.say(clock, now, &format!("every call is answered; awaiting the files of {left}"));
            }
        }
    }

    /// A line for each account of which there is news.
    pub(crate) fn report(&mut self, board: &Board, clock: &ProgressClock, now: Instant) {
        self.reported_at = now;
        for (at, line) in board.lines.iter().enumerate() {
            if self.said[at] != Some(line.now) {
                self.said[at] = Some(line.now);
                self.say(clock, now, &text(line, now));
            }
        }
    }

    pub(crate) fn throttled(
        &mut self,
        board: &Board,
        account: &AccountName,
        pause: Option<Duration>,
        clock: &ProgressClock,
        now: Instant,
    ) {
        let mut parts = vec![format!("{} throttled", for_terminal(account.as_str()))];
        let pace = board.line(account).and_then(|line| line.now.pace);
        parts.extend(pace.map(|pace| format!("down to {pace:.1}/s")));
        parts.extend(pause.map(|pause| format!("pauses for {}", duration(pause))));
        self.say(clock, now, &parts.join(", "));
    }

    pub(crate) fn stopped(
        &mut self,
        account: &AccountName,
        cause: &Failure,
        clock: &ProgressClock,
        now: Instant,
    ) {
        let cause = cause.to_string();
        self.say(
            clock,
            now,
            &format!("{} stopped: {}", for_terminal(account.as_str()), for_terminal(&cause)),
        );
    }

    pub(crate) fn draining(&mut self, reason: &str, clock: &ProgressClock, now: Instant) {
        self.say(clock, now, &format!("draining, no new call is sent: {}", for_terminal(reason)));
    }

    /// A courtesy: where nobody reads any more, nothing is lost.
    fn say(&mut self, clock: &ProgressClock, now: Instant, text: &str) {
        let line = format!("{} {text}\n", clock.time_of_day(now));
        let _ = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.flush());
    }
}

/// `contoso 412/700 accepted, 380 verified, 3 failed, 198.2/s`
fn text(line: &Line, now: Instant) -> String {
    let numbers = &line.now;
    let accepted = number(numbers.accepted);
    let mut parts = vec![format!("{} {accepted}/{} accepted", line.label, number(numbers.planned))];
    let verified = numbers.outcomes.get(Outcome::Verified);
    if verified > 0 {
        parts.push(format!("{} verified", number(verified)));
    }
    parts.extend(troubles(numbers));
    parts.extend(line.rate(now).map(|rate| format!("{rate:.1}/s")));
    parts.extend(throttled(line, now));
    parts.join(", ")
}

/// `throttled ×12, 75/s` while it lasts, with the pace; afterwards how often it was.
pub(crate) fn throttled(line: &Line, now: Instant) -> Option<String> {
    let lasts = line.is_throttled(now);
    let times = match line.now.throttled {
        0 if !lasts => return None,
        0 => String::new(),
        times => format!(" ×{}", number(times)),
    };
    let pace = line.now.pace.filter(|_| lasts).map(|pace| format!(", {pace:.0}/s")).unwrap_or_default();
    Some(format!("throttled{times}{pace}"))
}

/// `3 failed`, `1 gone`: the outcomes of finished nodes that a watcher should see, as far as they occur.
pub(crate) fn troubles(numbers: &Numbers) -> impl Iterator<Item = String> {
    [Outcome::Empty, Outcome::Incomplete, Outcome::Failed, Outcome::Gone]
        .into_iter()
        .filter(|&outcome| numbers.outcomes.get(outcome) > 0)
        .map(|outcome| format!("{} {outcome}", number(numbers.outcomes.get(outcome))))
}
