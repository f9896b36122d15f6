//! Bars that are redrawn in place: one per account, and a line for all of them.

use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::outcome::Outcome;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Instant;

use super::plain::{throttled, troubles};
use super::tally::{Board, Line, Phase};
use crate::summary::counts_line;
use crate::text::{duration, for_terminal, number};

/// Longest account name that is shown whole; the service's own have 24 characters at most.
const LONGEST_LABEL: usize = 24;

/// The bars on the terminal.
pub(crate) struct Bars {
    multi: MultiProgress,
    lines: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Bars {
    pub(crate) fn new(target: ProgressDrawTarget, board: &Board) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let longest = board.lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
        let label = longest.min(LONGEST_LABEL);
        let digits = board.lines.iter().map(|line| number(line.now.planned).len()).max().unwrap_or(1);
        let count = 2 * digits + 1;
        // Whatever does not fit into the terminal's width is cut off at the end of `wide_msg`, so no line wraps.
        let template = format!("{{prefix:{label}!}} {{bar:20.cyan/blue}} {{count:>{count}}} {{wide_msg}}");
        let style = template_style(&template).progress_chars("━╸─");
        let lines = board
            .lines
            .iter()
            .map(|line| {
                let planned = number(line.now.planned);
                let style = style.clone().with_key(
                    "count",
                    move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                        let _ = write!(out, "{}/{planned}", number(state.pos()));
                    },
                );
                let bar = multi.add(ProgressBar::new(line.now.planned));
                bar.set_style(style);
                bar.set_prefix(line.label.clone());
                bar
            })
            .collect();
        let total = multi.add(ProgressBar::no_length());
        total.set_style(template_style("{wide_msg}"));
        Self { multi, lines, total }
    }

    pub(crate) fn draw(&self, board: &Board, now: Instant) {
        for (bar, line) in self.lines.iter().zip(&board.lines) {
            // The message last: a change of the position alone may be left for a later drawing.
            bar.set_position(line.now.done);
            bar.set_message(message(line, board.phase, now));
        }
        self.total.set_message(total(board, now));
    }

    pub(crate) fn stopped(&self, account: &AccountName, cause: &Failure) {
        let (account, cause) = (account.to_string(), cause.to_string());
        self.say(&format!("{} stopped: {}", for_terminal(&account), for_terminal(&cause)));
    }

    pub(crate) fn draining(&self, reason: &str) {
        self.say(&format!(
            "draining, no new call is sent: {}; once more Ctrl-C aborts",
            for_terminal(reason)
        ));
    }

    /// A line above the bars, which stays.
    fn say(&self, text: &str) {
        let _ = self.multi.println(text);
    }

    pub(crate) fn handle(&self) -> MultiProgress {
        self.multi.clone()
    }

    pub(crate) fn clear(self) {
        for bar in self.lines.iter().chain([&self.total]) {
            bar.finish_and_clear();
        }
        let _ = self.multi.clear();
    }
}

/// The templates are ours; a mistake in one costs the layout, not the run.
fn template_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// ` 198.2/s  ETA 1m 20s  throttled ×12, 75/s  412 sent, 400 accepted, 380 verified, 3 failed`
///
/// What people look at most comes first, in columns: a narrow terminal cuts the rest off.
fn message(line: &Line, phase: Phase, now: Instant) -> String {
    let numbers = &line.now;
    let rate = line.rate(now).map_or_else(String::new, |rate| format!("{rate:.1}/s"));
    let left = time_left(line, phase, now).unwrap_or_default();
    let throttled = throttled(line, now).map_or_else(String::new, |throttled| format!("{throttled}  "));
    let mut counts = vec![
        format!("{} sent", number(numbers.sent)),
        format!("{} accepted", number(numbers.accepted)),
        format!("{} verified", number(numbers.outcomes.get(Outcome::Verified))),
    ];
    counts.extend(troubles(numbers));
    format!("{rate:>8}  {left:<10}  {throttled}{}", counts.join(", "))
}

fn total(board: &Board, now: Instant) -> String {
    let numbers = &board.total.now;
    let done = format!("total {} of {} done", number(numbers.done), number(numbers.planned));
    let mut parts = vec![match numbers.done {
        0 => done,
        _ => format!("{done}: {}", counts_line(&numbers.outcomes)),
    }];
    match board.phase {
        Phase::Draining => parts.push("draining".into()),
        Phase::AwaitingFiles => parts.push("awaiting files".into()),
        Phase::Sending | Phase::Done => {}
    }
    parts.extend(time_left(&board.total, board.phase, now));
    parts.join("; ")
}

/// `ETA 1m 20s`; not while draining, as the rest will not be done.
fn time_left(line: &Line, phase: Phase, now: Instant) -> Option<String> {
    let left = line.time_left(now).filter(|_| phase != Phase::Draining)?;
    Some(format!("ETA {}", duration(left)))
}
