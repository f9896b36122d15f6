//! What a summary says, independent of its form.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::Path;

use fleetlogs_model::ids::PoolId;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::whole_file::WholeFile;

use super::terminal::Examples;
use crate::advice::{Advice, Commands};
use crate::cause::{Cause, Findings};
use crate::files::{MANIFEST_FILE, NODES_FILE, PAGE_FILE, SUMMARY_FILE, TICKET_FILE};
use crate::look::Look;
use crate::phrase::Phrase;
use crate::run_facts::RunFacts;
use crate::text::{counted, for_terminal, number, size};
use crate::uncounted::Uncounted;

/// The reports of a run, the most useful first. Those that exist are listed.
const REPORTS: [&str; 5] = [PAGE_FILE, SUMMARY_FILE, TICKET_FILE, NODES_FILE, MANIFEST_FILE];

/// Causes that are shown; `nodes.csv` has all of them.
pub(super) const MOST_CAUSES: usize = 8;
/// Pools named with a cause.
const MOST_POOLS: usize = 3;

/// All that a summary is made of.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// How the run went.
    pub facts: &'a RunFacts,
    /// The counts.
    pub ledger: &'a Ledger,
    /// What [`write_reports`](crate::write_reports) found.
    pub findings: &'a Findings,
    /// The run directory.
    pub dir: &'a Path,
    /// What commands have to name.
    pub commands: Commands<'a>,
}

impl Summary<'_> {
    /// Writes `summary.md` into the run directory, whole or not at all.
    pub fn write(&self) -> io::Result<()> {
        let mut file = WholeFile::create(self.dir, SUMMARY_FILE)?;
        file.write_all(self.to_markdown().as_bytes())?;
        file.commit()
    }

    /// The text of `summary.md`.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.markdown(&mut text);
        text
    }

    /// The last lines on the terminal, each ended by a newline.
    #[must_use]
    pub fn to_terminal(&self, look: &Look, examples: Examples) -> String {
        let there = |file: &&str| self.dir.join(file).is_file();
        let files: Vec<&str> = REPORTS.into_iter().filter(there).collect();
        self.terminal(look, &files, examples)
    }

    /// `687 of 700 nodes collected, 13 not; 1 account not listed`.
    pub(crate) fn verdict(&self) -> String {
        verdict(self.plan, &self.ledger.outcomes(), self.facts.verification)
    }

    /// ` The run ended early: SIGINT.`, or nothing.
    pub(crate) fn reason_sentence(&self, safe: impl Fn(&str) -> String) -> String {
        reason_sentence(self.facts, safe)
    }

    pub(crate) fn collected(&self, safe: impl Fn(&str) -> String) -> String {
        let destination = safe(&self.plan.destination);
        if self.facts.verification {
            let (files, bytes) = (counted(self.findings.files, "file"), size(self.findings.bytes));
            format!("{files}, {bytes}, in {destination}")
        } else {
            format!("not counted, because verification is off; the nodes upload to {destination}")
        }
    }

    pub(crate) fn duplicates(&self) -> Option<String> {
        let Findings { duplicated, may_have_duplicates, .. } = *self.findings;
        match (duplicated, may_have_duplicates) {
            (0, 0) => None,
            (seen, 0) => Some(format!("{} with more than one directory", counted(seen, "node"))),
            (seen, maybe) => Some(format!(
                "{} with more than one directory, {} that may have another",
                counted(seen, "node"),
                number(maybe)
            )),
        }
    }

    /// What changed in the fleet during the run.
    pub(crate) fn changes(&self) -> Vec<Phrase> {
        let mut changes = Vec::new();
        if self.findings.changed > 0 {
            let nodes = counted(self.findings.changed, "node");
            let text = Phrase::new(format!("{nodes} rebooted, replaced or gone since the plan was made; "));
            changes.push(text.code(MANIFEST_FILE).text(" tells which (").code("identity_changed").text(")"));
        }
        if !self.facts.appeared.is_empty() {
            let nodes = counted(self.facts.appeared.len() as u64, "node");
            let text = Phrase::new(format!("{nodes} appeared after the plan was made and not called; "));
            changes.push(text.code(MANIFEST_FILE).text(" lists them (").code("appeared").text(")"));
        }
        changes
    }

    /// What to do next, and about each cause.
    pub(crate) fn advice(&self) -> Advice {
        let Self { plan, facts, ledger, findings, commands, .. } = *self;
        Advice::after(plan, facts, ledger, findings, commands)
    }
}

/// How many nodes were collected and, if the run ended early, why; for a message.
#[must_use]
pub fn verdict_sentence(plan: &Plan, facts: &RunFacts, ledger: &Ledger) -> String {
    let early = reason_sentence(facts, |reason| for_terminal(reason).into_owned());
    format!("{}.{early}", verdict(plan, &ledger.outcomes(), facts.verification))
}

/// ` The run ended early: SIGINT.`, or nothing.
fn reason_sentence(facts: &RunFacts, safe: impl Fn(&str) -> String) -> String {
    facts.reason.as_deref().map_or_else(String::new, |reason| {
        let reason = safe(reason);
        format!(" The run ended early: {}.", reason.trim_end_matches('.'))
    })
}

/// `687 of 700 nodes collected, 13 not; 1 account not listed; 93 nodes skipped`.
pub(crate) fn verdict(plan: &Plan, counts: &OutcomeCounts, verification: bool) -> String {
    format!("{}{}", collected_of(counts, verification), Uncounted::of(plan))
}

/// `687 of 700 nodes collected, 13 not`.
pub(super) fn collected_of(counts: &OutcomeCounts, verification: bool) -> String {
    let (planned, collected) = (counts.total(), counts.collected(verification));
    let verb = if verification { "collected" } else { "accepted, not verified" };
    let of_planned = format!("{} of {} {verb}", number(collected), counted(planned, "node"));
    match planned - collected {
        0 => of_planned,
        missing => format!("{of_planned}, {} not", number(missing)),
    }
}

/// `, pool a`, `, pools a, b` or `, 40 pools`; nothing if none is known.
pub(super) fn pools<'a>(pools: &'a [PoolId], safe: impl Fn(&'a str) -> Cow<'a, str>) -> String {
    match pools {
        [] => String::new(),
        [pool] => format!(", pool {}", safe(pool.as_str())),
        few if few.len() <= MOST_POOLS => {
            let names: Vec<_> = few.iter().map(|pool| safe(pool.as_str())).collect();
            format!(", pools {}", names.join(", "))
        }
        many => format!(", {}", counted(many.len() as u64, "pool")),
    }
}

/// What is not shown, so that the numbers still add up.
pub(super) fn more(causes: &[Cause]) -> Option<String> {
    let hidden = causes.get(MOST_CAUSES..).filter(|hidden| !hidden.is_empty())?;
    let nodes: u64 = hidden.iter().map(|cause| cause.nodes).sum();
    let (causes, nodes) = (counted(hidden.len() as u64, "more cause"), counted(nodes, "node"));
    Some(format!("and {causes} ({nodes}) in {NODES_FILE}"))
}

/// What to do if nothing is missing.
pub(crate) const NOTHING_TO_DO: &str = "Nothing: every planned node was collected.";

/// `680 verified, 13 failed`: every outcome that occurs.
pub(crate) fn counts_line(counts: &OutcomeCounts) -> String {
    let parts: Vec<String> = Outcome::ALL
        .into_iter()
        .filter(|&outcome| counts.get(outcome) > 0)
        .map(|outcome| format!("{} {outcome}", number(counts.get(outcome))))
        .collect();
    if parts.is_empty() { "none planned".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests;
