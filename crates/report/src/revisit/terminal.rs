//! The last lines on the terminal after a later look.

use std::fmt::{self, Write as _};
use std::path::Path;

use fleetlogs_model::inventory::{Covers, Standing};
use fleetlogs_model::outcome::RunOutcome;

use super::tally::{Holes, Place};
use super::{COVERAGE_FILE, FILES_FILE, LookReported, VERIFY_FILE};
use crate::text::{counted, duration, for_terminal, moment, number, shortened, size};

/// Pools with trouble, and pools with holes, that are shown.
const MOST_POOLS: usize = 8;
/// Characters of a name.
const NAME_WIDTH: usize = 40;

impl LookReported<'_> {
    /// Whether all is as it was.
    #[must_use]
    pub fn outcome(&self) -> RunOutcome {
        self.tally.outcome()
    }

    /// The last lines on the terminal, each ended by a newline; with colours if `styled`. `dir` is the run directory.
    #[must_use]
    pub fn to_terminal(&self, dir: &Path, styled: bool) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, dir, styled);
        text
    }

    fn write(&self, out: &mut String, dir: &Path, styled: bool) -> fmt::Result {
        let tally = &self.tally;
        let (verdict, colour) = match self.outcome() {
            RunOutcome::Complete => ("INTACT", "1;32"),
            RunOutcome::NothingCollected => ("NOTHING THERE", "1;31"),
            _ => ("NOT ALL INTACT", "1;33"),
        };
        let paint = |code: &str, text: &str| {
            if styled { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        let label = |label: &str| paint("2", &format!("  {label:<14}"));
        let (intact, planned) = (tally.nodes(Standing::Intact), tally.planned());
        writeln!(
            out,
            "{}  the files of {} of {} are as they were verified.",
            paint(colour, verdict),
            number(intact),
            counted(planned, "node")
        )?;
        let counts = Standing::ALL.iter().rev().map(|standing| (standing.as_str(), tally.nodes(*standing)));
        writeln!(out, "{}{}", label("nodes"), counts_of(counts))?;
        // The worst first.
        let not_intact = Standing::ALL.into_iter().filter(|standing| *standing != Standing::Intact);
        let of = |standing| tally.by_pool.iter().filter(move |((of, _), _)| *of == standing);
        let trouble: Vec<_> = not_intact.flat_map(of).collect();
        for ((standing, place), (nodes, missing)) in trouble.iter().take(MOST_POOLS) {
            let fewer = match missing {
                0 => String::new(),
                missing => format!(": {} missing", counted(*missing, "file")),
            };
            writeln!(
                out,
                "{}{}, {}{fewer}",
                label(standing.as_str()),
                counted(*nodes, "node"),
                on_terminal(place)
            )?;
        }
        and_more(out, &label(""), trouble.len(), "pool", VERIFY_FILE)?;
        for (node, file, status) in &tally.named {
            let (node, file) = (for_terminal(node), for_terminal(file));
            writeln!(out, "{}{} {node}: {file}", label("file"), status.as_str())?;
        }
        let unnamed = tally.not_as_they_were - tally.named.len() as u64;
        if unnamed > 0 {
            writeln!(out, "{}and {} more in {FILES_FILE}", label(""), counted(unnamed, "file"))?;
        }
        let destination = for_terminal(&self.plan.destination);
        let found = format!("{}, {}, in {destination}", counted(tally.files, "file"), size(tally.bytes));
        writeln!(out, "{}{found}", label("files"))?;
        if self.facts.tolerance.is_some() {
            self.coverage(out, label)?;
        }
        let reads = self.facts.tolerance.map(|_| format!(", {}", counted(tally.reads, "read")));
        let cost = counted(self.list_calls, "list call");
        writeln!(out, "{}{cost}{}", label("cost"), reads.unwrap_or_default())?;
        let inventory = dir.join(FILES_FILE);
        writeln!(out, "{}{}", label("inventory"), for_terminal(&inventory.to_string_lossy()))?;
        self.next(out, dir, label)
    }

    fn coverage(&self, out: &mut String, label: impl Fn(&str) -> String) -> fmt::Result {
        let tally = &self.tally;
        let counts = Covers::ALL.map(|covers| (covers.as_str(), tally.covers(covers)));
        writeln!(out, "{}{} of the window, by node", label("coverage"), counts_of(counts))?;
        let mut holes: Vec<(&Place, &Holes)> = tally.holes.iter().collect();
        holes.sort_by_key(|(_, holes)| std::cmp::Reverse(holes.longest.length()));
        for (place, Holes { nodes, longest, node }) in holes.iter().take(MOST_POOLS) {
            writeln!(
                out,
                "{}{}, {}: up to {} without a line, from {} to {} UTC on {}",
                label("hole"),
                counted(*nodes, "node"),
                on_terminal(place),
                duration(longest.length().try_into().unwrap_or_default()),
                moment(longest.from),
                moment(longest.to),
                shortened(&for_terminal(node), NAME_WIDTH)
            )?;
        }
        and_more(out, &label(""), holes.len(), "pool", COVERAGE_FILE)
    }

    fn next(&self, out: &mut String, dir: &Path, label: impl Fn(&str) -> String) -> fmt::Result {
        let tally = &self.tally;
        let lost = [Standing::Missing, Standing::Truncated, Standing::Changed];
        if lost.iter().any(|standing| tally.nodes(*standing) > 0) {
            writeln!(
                out,
                "{}missing, truncated, changed: restore them (soft delete or versions of the storage account), or collect \
                 these nodes anew while they have their logs: fleetlogs run CONFIG --node ID. See who may delete in the \
                 container, and whether a lifecycle rule does",
                label("next")
            )?;
        }
        if tally.nodes(Standing::Grown) > 0 {
            writeln!(
                out,
                "{}grown: what was verified is there, and more; somebody else may write into these directories",
                label("next")
            )?;
        }
        if tally.nodes(Standing::NotCollected) > 0 {
            let dir = for_terminal(&dir.to_string_lossy()).into_owned();
            let some = match tally.uncollected_with_files {
                0 => String::new(),
                nodes => format!(" ({} with files in the container)", counted(nodes, "node")),
            };
            writeln!(
                out,
                "{}not-collected{some}: fleetlogs resume {dir} --retry failed,incomplete,gone",
                label("next")
            )?;
        }
        Ok(())
    }
}

fn and_more(out: &mut String, label: &str, all: usize, noun: &str, file: &str) -> fmt::Result {
    match all.saturating_sub(MOST_POOLS) {
        0 => Ok(()),
        more => writeln!(out, "{label}and {} more in {file}", counted(more as u64, noun)),
    }
}

/// `36 intact, 4 missing`, without those that there are none of.
fn counts_of<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let shown = counts.into_iter().filter(|(_, count)| *count > 0);
    shown.map(|(name, count)| format!("{} {name}", number(count))).collect::<Vec<_>>().join(", ")
}

fn on_terminal((account, pool): &Place) -> String {
    let name = |name| shortened(&for_terminal(name), NAME_WIDTH).into_owned();
    format!("{}, pool {}", name(account.as_str()), name(pool.as_str()))
}
