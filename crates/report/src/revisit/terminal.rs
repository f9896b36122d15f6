//! The last lines of `fleetlogs verify` on the terminal.

use std::path::Path;

use fleetlogs_model::duration;
use fleetlogs_model::inventory::{Covers, Standing};
use fleetlogs_model::outcome::{Outcome, RunOutcome};
use fleetlogs_model::stop_cause::Unverified;

use super::report::RevisitResult;
use super::spelling::spelled;
use super::tally::{PoolGaps, PoolPlace};
use crate::advice::{Step, after_outcome};
use crate::files::{COVERAGE_FILE, FILES_FILE, VERIFY_FILE};
use crate::look::{Look, Style};
use crate::phrase::Phrase;
use crate::text::{counted, for_terminal, moment, number, size};
use crate::uncounted::Uncounted;
use crate::width::shortened;

/// Pools with problems, and pools with gaps, that are shown.
const MOST_POOLS: usize = 8;
/// Columns of the labels on the left.
const LABEL: usize = 16;
/// Characters of a name.
const NAME_WIDTH: usize = 40;

/// The lines while they are written.
struct Lines<'a> {
    look: &'a Look,
    lines: Vec<String>,
}

impl Lines<'_> {
    /// Text behind a head in a style of its own, and wrapped.
    fn headed(&mut self, (style, head): (Style, &str), hang: usize, text: &str) {
        let mut lines = self.look.wrapped(0, hang, &format!("{head}{text}"));
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix(head)
        {
            *first = format!("{}{rest}", self.look.paint(style, head));
        }
        self.lines.extend(lines);
    }

    fn labelled(&mut self, label: &str, text: &str) {
        self.headed((Style::Dim, &head(label)), LABEL, text);
    }

    /// A path under a label; it is never split, so that it can be copied.
    fn path(&mut self, label: &str, path: &Path) {
        let label = self.look.paint(Style::Dim, &head(label));
        self.lines.push(format!("{label}{}", for_terminal(&path.to_string_lossy())));
    }

    /// A command that can be copied, on lines of its own.
    fn command(&mut self, command: &str) {
        // A line must not break inside quotes.
        let whole = Look { width: None, ..*self.look };
        let look = if command.contains('\'') { &whole } else { self.look };
        let lines = look.command(LABEL + 2, &for_terminal(command));
        self.lines.extend(lines.into_iter().map(|line| self.look.paint(Style::Bold, &line)));
    }

    fn and_more(&mut self, all: usize, noun: &str, file: &str) {
        if let Some(more @ 1..) = all.checked_sub(MOST_POOLS) {
            self.labelled("", &format!("and {} in {file}", counted(more as u64, &format!("more {noun}"))));
        }
    }
}

fn head(label: &str) -> String {
    format!("  {label:<width$}", width = LABEL - 2)
}

impl RevisitResult<'_> {
    /// The result; see [`RevisitReports::outcome`](super::RevisitReports::outcome).
    #[must_use]
    pub fn outcome(&self) -> RunOutcome {
        self.tally.outcome()
    }

    /// The last lines on the terminal, each ended by a newline. `dir` is the run directory, and `run` is the
    /// same directory as a command takes it.
    #[must_use]
    pub fn to_terminal(&self, look: &Look, dir: &Path, run: &str) -> String {
        let mut lines = Lines { look, lines: vec![] };
        self.verdict(&mut lines);
        self.trouble(&mut lines);
        let tally = &self.tally;
        let destination = for_terminal(&self.plan.destination);
        let found = format!("{}, {}, in {destination}", counted(tally.files, "file"), size(tally.bytes));
        lines.labelled("files", &found);
        if self.facts.tolerance.is_some() {
            self.coverage(&mut lines);
        }
        let reads = self.facts.tolerance.map(|_| format!(", {}", counted(tally.reads, "read")));
        let cost = counted(self.list_calls, "list call");
        lines.labelled("cost", &format!("{cost}{}", reads.unwrap_or_default()));
        lines.path("inventory", &dir.join(FILES_FILE));
        self.next(&mut lines, run);
        lines.lines.join("\n") + "\n"
    }

    fn verdict(&self, lines: &mut Lines<'_>) {
        let tally = &self.tally;
        let (verdict, style) = match self.outcome() {
            RunOutcome::Complete => ("INTACT", Style::GoodVerdict),
            RunOutcome::NothingCollected | RunOutcome::Partial if tally.collected() == 0 => {
                ("NOTHING COLLECTED", Style::BadVerdict)
            }
            RunOutcome::NothingCollected => ("NOTHING THERE", Style::BadVerdict),
            RunOutcome::Partial | RunOutcome::Interrupted | RunOutcome::BudgetSpent => {
                ("NOT ALL INTACT", Style::WarningVerdict)
            }
        };
        let (intact, collected) = (tally.nodes(Standing::Intact), tally.collected());
        let text = if collected == 0 {
            "the run verified no files, so that there is nothing to compare with".to_owned()
        } else {
            let collected = counted(collected, "collected node");
            format!("the files of {} of {collected} are as they were verified", number(intact))
        };
        // What was never collected cannot be lost: it is said apart, and is no fault of the container.
        let never = match tally.nodes(Standing::NotCollected) {
            0 => String::new(),
            1 => "; 1 was never collected".to_owned(),
            nodes => format!("; {} were never collected", number(nodes)),
        };
        let uncounted = Uncounted::of(self.plan);
        lines.headed((style, verdict), 2, &format!("  {text}{never}{uncounted}."));
        let counts = Standing::ALL.iter().rev().map(|standing| (standing.as_str(), tally.nodes(*standing)));
        lines.labelled("nodes", &counts_of(counts));
    }

    /// Nodes with changed or missing files, by pool and the worst first, and some of these files.
    fn trouble(&self, lines: &mut Lines<'_>) {
        let tally = &self.tally;
        let not_intact = Standing::ALL.into_iter().filter(|standing| *standing != Standing::Intact);
        let of = |standing| tally.by_pool.iter().filter(move |((of, _), _)| *of == standing);
        let trouble: Vec<_> = not_intact.flat_map(of).collect();
        for ((standing, place), (nodes, missing)) in trouble.iter().take(MOST_POOLS) {
            let fewer = match missing {
                0 => String::new(),
                missing => format!(": {} missing", counted(*missing, "file")),
            };
            let text = format!("{}, {}{fewer}", counted(*nodes, "node"), on_terminal(place));
            lines.labelled(standing.as_str(), &text);
        }
        lines.and_more(trouble.len(), "pool", VERIFY_FILE);
        for (node, file, status) in &tally.named {
            // Spelled as in the inventory: on one line and unambiguous.
            let text = format!("{} {}: {}", status.as_str(), for_terminal(node), spelled(file));
            lines.labelled("file", &text);
        }
        let unnamed = tally.not_as_they_were - tally.named.len() as u64;
        if unnamed > 0 {
            lines.labelled("", &format!("and {} in {FILES_FILE}", counted(unnamed, "more file")));
        }
    }

    fn coverage(&self, lines: &mut Lines<'_>) {
        let tally = &self.tally;
        let counts = Covers::ALL.map(|covers| (covers.as_str(), tally.covers(covers)));
        lines.labelled("coverage", &format!("{} of the window, by node", counts_of(counts)));
        let mut holes: Vec<(&PoolPlace, &PoolGaps)> = tally.holes.iter().collect();
        holes.sort_by_key(|(_, holes)| std::cmp::Reverse(holes.longest.length()));
        for (place, PoolGaps { nodes, longest, node }) in holes.iter().take(MOST_POOLS) {
            let text = format!(
                "{}, {}: up to {} without a line, from {} to {} UTC on {}",
                counted(*nodes, "node"),
                on_terminal(place),
                duration::text(longest.length().try_into().unwrap_or_default()),
                moment(longest.from),
                moment(longest.to),
                shortened(&for_terminal(node), NAME_WIDTH)
            );
            lines.labelled("gap", &text);
        }
        lines.and_more(holes.len(), "pool", COVERAGE_FILE);
    }

    fn next(&self, lines: &mut Lines<'_>, run: &str) {
        let tally = &self.tally;
        let lost = [Standing::Missing, Standing::Truncated, Standing::Changed];
        if lost.iter().any(|standing| tally.nodes(*standing) > 0) {
            lines.labelled(
                "next",
                "missing, truncated, changed: find out who can delete in the container, and whether a lifecycle rule does; \
                 restore the files (soft delete or versions of the storage account), or collect the nodes again while they \
                 have their logs:",
            );
            lines.command("fleetlogs run CONFIG --node ID");
        }
        if tally.nodes(Standing::Grown) > 0 {
            lines.labelled(
                "next",
                "grown: the verified files are there, and more; something else may be writing into these directories",
            );
        }
        for (outcome, (nodes, with_files)) in &tally.uncollected {
            let Some(step) = self.advice(*outcome, run) else { continue };
            let some = match with_files {
                0 => String::new(),
                nodes => format!(" ({} with files in the container)", number(*nodes)),
            };
            let colon = if step.command.is_some() { ":" } else { "" };
            lines.labelled(
                "next",
                &format!("{} {outcome}{some}: {}{colon}", number(*nodes), step.text.plain()),
            );
            if let Some(command) = step.command {
                lines.command(&command);
            }
        }
    }

    /// What to do about nodes of which the run verified nothing.
    fn advice(&self, outcome: Outcome, run: &str) -> Option<Step> {
        let unverified = (!self.facts.verification).then_some(Unverified::SwitchedOff);
        let step = after_outcome(outcome, unverified, run)?;
        match outcome {
            // Resuming checks for their files and does not call them again; `--retry` does not take them.
            Outcome::Accepted => {
                let text = Phrase::new("whether all their files arrived was not checked; ");
                let text = text.append(step.text).text(", which checks it without calling the nodes again");
                Some(Step { text, ..step })
            }
            Outcome::Verified
            | Outcome::Adopted
            | Outcome::Incomplete
            | Outcome::Empty
            | Outcome::InDoubt
            | Outcome::Failed
            | Outcome::Gone
            | Outcome::NotSent => Some(step),
        }
    }
}

/// `36 intact, 4 missing`: every count that is not zero.
fn counts_of<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let shown = counts.into_iter().filter(|(_, count)| *count > 0);
    shown.map(|(name, count)| format!("{} {name}", number(count))).collect::<Vec<_>>().join(", ")
}

fn on_terminal((account, pool): &PoolPlace) -> String {
    let name = |name| shortened(&for_terminal(name), NAME_WIDTH).into_owned();
    format!("{}, pool {}", name(account.as_str()), name(pool.as_str()))
}
