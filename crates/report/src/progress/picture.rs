//! A run as it stands, in a few lines: a bar for all, one for each of the accounts that matter most, one for the rest
//! and, on request, the problems. The bars of a run and `status` show the same.

use std::time::{Duration, Instant};

use fleetlogs_model::duration;
use fleetlogs_model::outcome::Outcome;

use super::eta::TimeLeft;
use super::tally::{Board, BoardLine, Numbers, OtherAccounts, Phase};
use crate::look::{Look, Style, StyledPart, columns_of};
use crate::outcome_look::{is_shown_in_progress, style_of};
use crate::text::{counted, number};
use crate::trouble::Trouble;
use crate::width::{columns, shortened};

/// Accounts with a line of their own, at most.
const MOST_ACCOUNTS: usize = 8;
/// Longest account name that is shown in full; the service allows 24 characters.
const LONGEST_LABEL: usize = 24;
/// Columns of a bar, at least and at most.
const BAR: std::ops::RangeInclusive<usize> = 8..=30;
/// `1,234.5/s`.
const RATE: usize = 9;
/// `at most 12m 05s`.
const LEFT: usize = 15;
/// Columns for the notes of an account behind its bar; with fewer they get a line of their own.
const NOTES: usize = 40;
/// A bar is not made shorter than this for the sake of notes behind it.
const SHORTEST_BESIDE_NOTES: usize = 20;
/// Troubles that are shown.
const MOST_TROUBLES: usize = 5;
/// Lines of the screen for the total and its counts, and for a line or two of other things.
const TOTAL_LINES: usize = 7;
/// Lines of the screen for title and troubles, where they are shown.
const TROUBLE_LINES: usize = 7;

/// One bar with the text beside it.
struct Row<'a> {
    label: &'a str,
    now: &'a Numbers,
    style: Style,
    rate: Option<f64>,
    left: Option<TimeLeft>,
    notes: Vec<StyledPart>,
}

/// The columns that all rows share.
struct Grid {
    label: usize,
    bar: usize,
    done: usize,
    notes_inline: bool,
}

/// Draws the board. With `troubles`, it leaves room for them. `left` is the time left for the whole run: there is no
/// other estimate, because the run takes as long as its slowest account.
pub(crate) fn draw(
    board: &mut Board,
    left: Option<TimeLeft>,
    look: &Look,
    now: Instant,
    troubles: bool,
) -> Vec<String> {
    let (chosen, rest) = board.choose(most_accounts(look, troubles), now);
    let accounts: Vec<Row<'_>> =
        chosen.iter().map(|&at| of_account(&board.lines[at], board.phase, now)).collect();
    let rest_label = rest.as_ref().map(|rest| counted(rest.accounts, "more account")).unwrap_or_default();
    let rest = rest.as_ref().map(|rest| of_rest(rest, &rest_label));
    let mut total = of_account(&board.total, board.phase, now);
    total.notes = vec![];
    total.left = left;
    if let [line] = &board.lines[..] {
        // With one account, the total would repeat its bar.
        total.label = &line.label;
    }
    let below = if board.lines.len() == 1 { vec![] } else { accounts };
    let rows: Vec<&Row<'_>> = [&total].into_iter().chain(&below).chain(&rest).collect();
    let grid = Grid::new(look, &rows);

    let mut lines = total.draw(&grid, look);
    let mut parts = vec![];
    if let [line] = &board.lines[..] {
        parts.extend(throttling(line, now));
    }
    parts.extend(counts(&board.total.now));
    lines.extend(look.flow(grid.label + 1, &phase(board, now), &parts));
    lines.extend(below.iter().chain(&rest).flat_map(|row| row.draw(&grid, look)));
    lines
}

/// The troubles, each behind its outcome.
pub(crate) fn draw_troubles(troubles: &[Trouble], one_account: bool, look: &Look) -> Vec<String> {
    let mut lines = vec![];
    for trouble in troubles.iter().take(MOST_TROUBLES) {
        let outcome = format!("  {:<10}  ", trouble.outcome);
        let text = outcome.clone() + &trouble.headline(one_account);
        let mut wrapped = look.wrapped(0, outcome.len() + 2, &text).into_iter();
        let first = wrapped.next().unwrap_or_default();
        lines.push(first.replacen(&outcome, &look.paint(style_of(trouble.outcome), &outcome), 1));
        lines.extend(wrapped);
    }
    if troubles.len() > MOST_TROUBLES {
        let more = counted((troubles.len() - MOST_TROUBLES) as u64, "more cause");
        lines.push(look.paint(Style::Dim, &format!("  and {more}")));
    }
    lines
}

/// As many as fit on the screen; each may take two lines.
fn most_accounts(look: &Look, troubles: bool) -> usize {
    let taken = TOTAL_LINES + if troubles { TROUBLE_LINES } else { 0 };
    look.height.map_or(MOST_ACCOUNTS, |height| (height.saturating_sub(taken) / 2).clamp(1, MOST_ACCOUNTS))
}

fn of_account(line: &BoardLine, phase: Phase, now: Instant) -> Row<'_> {
    let goes_on = phase != Phase::Ended;
    let mut notes: Vec<StyledPart> = vec![];
    if line.now.stopped > 0 {
        notes.push(StyledPart::new(Style::Bad, "stopped"));
    }
    notes.extend(throttling(line, now));
    notes.extend(troubles(&line.now));
    Row {
        label: &line.label,
        now: &line.now,
        style: if line.now.done == line.now.planned { Style::Good } else { Style::Active },
        rate: line.rate(now).filter(|_| goes_on),
        left: None,
        notes,
    }
}

fn of_rest<'a>(rest: &'a OtherAccounts, label: &'a str) -> Row<'a> {
    let mut notes = vec![];
    if rest.now.stopped > 0 {
        notes.push(StyledPart::new(Style::Bad, format!("{} stopped", number(rest.now.stopped))));
    }
    if rest.throttled > 0 {
        notes.push(StyledPart::new(Style::Warning, format!("{} throttled", number(rest.throttled))));
    }
    notes.extend(troubles(&rest.now));
    Row { label, now: &rest.now, style: Style::Active, rate: rest.rate, left: None, notes }
}

impl Grid {
    fn new(look: &Look, rows: &[&Row<'_>]) -> Self {
        let widest = |of: fn(&Row<'_>) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
        let width = look.width.unwrap_or(120);
        let label = widest(|row| columns(row.label)).min(LONGEST_LABEL).min(width / 4);
        // The width at the end of the run.
        let done = widest(|row| 2 * number(row.now.planned).len() + 1);
        // With the spaces between them.
        let others = label + 1 + 2 + done + 1 + RATE + 2;
        // Room for the time left and for notes is reserved even if there are none, so that bars do not change their
        // length all the time. Both are never in one row.
        let room = width.saturating_sub(others);
        let notes_inline = rows.len() > 1 && room >= SHORTEST_BESIDE_NOTES + NOTES;
        let behind = if notes_inline { NOTES } else { LEFT };
        let bar = room.saturating_sub(behind).clamp(*BAR.start(), *BAR.end());
        Self { label, bar, done, notes_inline }
    }
}

impl Row<'_> {
    /// `350/700`.
    fn done(&self) -> String {
        format!("{}/{}", number(self.now.done), number(self.now.planned))
    }

    /// A bar, with the notes beside it or, if there is no room, below it.
    fn draw(&self, grid: &Grid, look: &Look) -> Vec<String> {
        let label = shortened(self.label, grid.label);
        let pad = grid.label - columns(&label);
        let rate = self.rate.map_or_else(String::new, |rate| format!("{}/s", one_decimal(rate)));
        let left = self.left.map_or_else(String::new, time_left);
        let bar = bar(self.now, grid.bar, self.style, look);
        let mut line = format!(
            "{label}{:pad$} {bar}  {:>done$} {rate:>RATE$}  {left}",
            "",
            self.done(),
            done = grid.done,
        );
        if grid.notes_inline && columns_of(&self.notes) <= NOTES {
            // There is room for them, so they are one line.
            line.extend(Look { width: None, ..*look }.flow(0, "", &self.notes));
            return vec![line.trim_end().to_owned()];
        }
        let mut lines = vec![line.trim_end().to_owned()];
        lines.extend(look.flow(grid.label + 1, "", &self.notes));
        lines
    }
}

/// `━━━━━╸────`: what is done, in halves of a column; what is accepted has the colour of what is done.
fn bar(now: &Numbers, width: usize, style: Style, look: &Look) -> String {
    let part = |count: u64, of: usize| match now.planned {
        0 => 0,
        planned => usize::try_from(u128::from(count) * of as u128 / u128::from(planned)).unwrap_or(0),
    };
    let halves = part(now.done, 2 * width);
    let (full, half) = (halves / 2, halves % 2);
    let accepted = part(now.done + now.awaited, width).saturating_sub(full + half);
    let done = "━".repeat(full) + if half == 1 { "╸" } else { "" } + &"─".repeat(accepted);
    let rest = "─".repeat(width - full - half - accepted);
    format!("{}{}", look.paint(style, &done), look.paint(Style::Dim, &rest))
}

fn one_decimal(rate: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for the eye")]
    let tenths = (rate * 10.0).round() as u64;
    format!("{}.{}", number(tenths / 10), tenths % 10)
}

/// `ETA 9m 40s`, or `at most 9m 40s` for a bound.
pub(crate) fn time_left(TimeLeft { left, at_most }: TimeLeft) -> String {
    let word = if at_most { "at most" } else { "ETA" };
    format!("{word} {}", duration::text(left + Duration::from_millis(999)))
}

/// `41s calling nodes`: how long the run has taken so far, and what it is doing.
fn phase(board: &Board, now: Instant) -> String {
    let took = duration::text(now.saturating_duration_since(board.started_at));
    let doing = match board.phase {
        Phase::Sending => "calling nodes",
        Phase::AwaitingFiles => "waiting for files",
        Phase::Draining => "draining",
        Phase::Done => "done",
        Phase::Ended => return format!("took {took}"),
    };
    format!("{took} {doing}")
}

/// `throttled ×12, 75/s at most`: how often, and the pace or pause while it lasts.
pub(crate) fn throttling(line: &BoardLine, now: Instant) -> Vec<StyledPart> {
    let lasts = line.is_throttled(now);
    let style = if lasts { Style::Warning } else { Style::Dim };
    let mut parts = vec![];
    match (line.now.throttled, lasts) {
        (0, false) => return parts,
        (0, true) => parts.push(StyledPart::new(style, "throttled")),
        (times, _) => parts.push(StyledPart::new(style, format!("throttled ×{}", number(times)))),
    }
    if let Some(left) = line.pauses(now) {
        parts.push(StyledPart::new(
            style,
            format!("pauses {}", duration::text(left + Duration::from_millis(999))),
        ));
    } else if let Some(pace) = line.now.pace.filter(|_| lasts) {
        parts.push(StyledPart::new(style, format!("{pace:.0}/s at most")));
    }
    parts
}

/// `3 failed`, `1 gone`: the outcomes of finished nodes that need attention, if they occur.
pub(crate) fn troubles(numbers: &Numbers) -> impl Iterator<Item = StyledPart> {
    Outcome::ALL
        .into_iter()
        .filter(|&outcome| is_shown_in_progress(outcome) && numbers.outcomes.get(outcome) > 0)
        .map(|outcome| {
            StyledPart::new(style_of(outcome), format!("{} {outcome}", number(numbers.outcomes.get(outcome))))
        })
}

/// All nodes: finished ones by outcome, then the others by status.
fn counts(numbers: &Numbers) -> Vec<StyledPart> {
    let outcomes = Outcome::ALL
        .into_iter()
        .map(|outcome| (style_of(outcome), numbers.outcomes.get(outcome), outcome.as_str()));
    let open = [
        (Style::None, numbers.awaited, "awaited"),
        (Style::None, numbers.in_flight, "in flight"),
        (style_of(Outcome::InDoubt), numbers.in_doubt, "in doubt"),
        (Style::None, numbers.waiting, "waiting"),
        (Style::Dim, numbers.not_called, "not called"),
    ];
    outcomes
        .chain(open)
        .filter(|(_, count, _)| *count > 0)
        .map(|(style, count, what)| StyledPart::new(style, format!("{} {what}", number(count))))
        .collect()
}
