//! Plain lines for output that cannot be redrawn: a pipe, a file, a job log. One line for the whole run every ten
//! seconds, and immediate lines for important events. Times are UTC.

use std::io::Write;
use std::time::{Duration, Instant};

use fleetlogs_model::ids::RunId;
use fleetlogs_model::outcome::Outcome;

use super::eta::TimeLeft;
use super::mode::ProgressClock;
use super::notices::Notice;
use super::picture::{self, throttling, troubles};
use super::tally::{Board, BoardLine, Numbers, Phase};
use crate::outcome_look::is_shown_in_progress;
use crate::text::{counted, number};

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// The same while nothing changes: a sign of life.
const REPORT_AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// Time after which a phase is a phase. A resumed run retries nodes one by one, and between two of them every call is
/// answered.
const LASTING: Duration = Duration::from_secs(2);
/// Accounts with a line of their own in each report.
const MOST_ACCOUNTS: usize = 8;

/// The lines so far.
pub(crate) struct Plain {
    writer: Box<dyn Write + Send>,
    run: String,
    reported_at: Instant,
    phase: Phase,
    /// Another phase than the one that was told last, and since when.
    next: Option<(Phase, Instant)>,
    /// What the last report showed.
    said: Option<Numbers>,
    /// The kinds of trouble that each account was last shown with.
    troubles: Vec<Kinds>,
}

/// Kinds of trouble that an account can be in: stopped, throttled, and the outcomes that need attention.
#[derive(Clone, Default, PartialEq, Eq)]
struct Kinds {
    stopped: bool,
    throttled: bool,
    outcomes: Vec<Outcome>,
}

impl Plain {
    pub(crate) fn new(writer: Box<dyn Write + Send>, run: &RunId, board: &Board, now: Instant) -> Self {
        Self {
            writer,
            run: run.as_str().into(),
            reported_at: now,
            phase: board.phase,
            next: None,
            said: None,
            troubles: vec![Kinds::default(); board.lines.len()],
        }
    }

    /// Reports if it is time.
    pub(crate) fn show(
        &mut self,
        board: &mut Board,
        left: Option<TimeLeft>,
        clock: &ProgressClock,
        now: Instant,
    ) {
        let since = now.saturating_duration_since(self.reported_at);
        // While a run drains, somebody waits.
        let is_news = self.said != Some(board.total.now) || board.phase == Phase::Draining;
        let due = since >= if is_news { REPORT_EVERY } else { REPORT_AT_LEAST_EVERY };
        let is_new_phase = self.is_new_phase(board.phase, now);
        if due || is_new_phase {
            self.said = None;
            self.report(board, left, clock, now);
        }
        if is_new_phase {
            self.phase = board.phase;
            if board.phase == Phase::AwaitingFiles {
                let nodes = counted(board.total.now.planned - board.total.now.done, "node");
                self.say(clock, now, &format!("all calls are answered; waiting for the files of {nodes}"));
            }
        }
    }

    /// Whether the run is in another phase than the one that was told last, and stays in it.
    fn is_new_phase(&mut self, phase: Phase, now: Instant) -> bool {
        if phase == self.phase {
            self.next = None;
            return false;
        }
        let since = match self.next {
            Some((next, since)) if next == phase => since,
            _ => self.next.insert((phase, now)).1,
        };
        phase == Phase::Draining || now.saturating_duration_since(since) >= LASTING
    }

    /// Prints a line for the run, and one for each account with another kind of trouble than before.
    pub(crate) fn report(
        &mut self,
        board: &mut Board,
        left: Option<TimeLeft>,
        clock: &ProgressClock,
        now: Instant,
    ) {
        self.reported_at = now;
        if self.said.replace(board.total.now) != Some(board.total.now) {
            let line = self.of_run(board, left, now);
            self.say(clock, now, &line);
        }
        if board.lines.len() == 1 {
            // The line of the run shows its troubles.
            return;
        }
        let (chosen, _) = board.choose(MOST_ACCOUNTS, now);
        for at in chosen {
            let line = &board.lines[at];
            let kinds = Kinds::of(line, now);
            if kinds != self.troubles[at] {
                let is_worse = kinds != Kinds::default();
                self.troubles[at] = kinds;
                if is_worse {
                    self.say(clock, now, &of_account(line, now));
                }
            }
        }
    }

    /// `run 20261122T093000Z-1a2b: 350 of 621 nodes done (56%), 346 verified, 4 gone, 169 awaited, 67.2/s, ETA 6s`
    fn of_run(&self, board: &Board, left: Option<TimeLeft>, now: Instant) -> String {
        let line = &board.total;
        let Numbers { planned, done, awaited, .. } = line.now;
        let percent = (done * 100).checked_div(planned).unwrap_or(100);
        let mut parts = vec![format!(
            "run {}: {} of {} done ({percent}%)",
            self.run,
            number(done),
            counted(planned, "node"),
        )];
        parts.extend(outcomes(&line.now));
        match line.now.stopped {
            0 => {}
            _ if board.lines.len() == 1 => parts.push("stopped".into()),
            stopped => parts.push(format!("{} stopped", counted(stopped, "account"))),
        }
        if awaited > 0 {
            parts.push(format!("{} awaited", number(awaited)));
        }
        if let [account] = &board.lines[..] {
            parts.extend(throttling(account, now).into_iter().map(|part| part.text));
        }
        parts.extend(line.rate(now).map(|rate| format!("{rate:.1}/s")));
        parts.extend(left.map(picture::time_left));
        parts.join(", ")
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

impl Kinds {
    fn of(line: &BoardLine, now: Instant) -> Self {
        let shown = |outcome: &Outcome| is_shown_in_progress(*outcome) && line.now.outcomes.get(*outcome) > 0;
        Self {
            stopped: line.now.stopped > 0,
            throttled: line.is_throttled(now),
            outcomes: Outcome::ALL.into_iter().filter(shown).collect(),
        }
    }
}

/// `contoso: 380 of 700 nodes done, 3 failed, throttled ×12, 75/s at most`
fn of_account(line: &BoardLine, now: Instant) -> String {
    let Numbers { planned, done, .. } = line.now;
    let mut parts = vec![format!("{}: {} of {} done", line.label, number(done), counted(planned, "node"))];
    parts.extend(outcomes(&line.now));
    if line.now.stopped > 0 {
        parts.push("stopped".into());
    }
    parts.extend(throttling(line, now).into_iter().map(|part| part.text));
    parts.join(", ")
}

/// Nodes that are done, by outcome.
fn outcomes(numbers: &Numbers) -> Vec<String> {
    let mut parts = vec![];
    let verified = numbers.outcomes.get(Outcome::Verified);
    if verified > 0 {
        parts.push(format!("{} verified", number(verified)));
    }
    parts.extend(troubles(numbers).map(|part| part.text));
    parts
}
