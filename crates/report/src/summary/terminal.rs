//! The last lines on the terminal: verdict, outcomes with their causes, where the logs are, what to do next, and the
//! reports.

use std::collections::BTreeMap;
use std::path::Path;

use fleetlogs_model::duration;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{Outcome, RunOutcome};
use fleetlogs_model::plan::Plan;

use super::content::{MOST_CAUSES, Summary, collected_of, verdict_sentence};
use crate::files::NODES_FILE;
use crate::look::{Look, Style};
use crate::outcome_look::style_of;
use crate::phrase::Phrase;
use crate::run_facts::RunFacts;
use crate::text::{between, counted, for_terminal, number};
use crate::trouble::{Trouble, names};
use crate::uncounted::Uncounted;
use crate::width::{columns, cut};

/// Longest reason, in characters; `summary.md` has it in full.
const REASON_WIDTH: usize = 160;
/// Columns of the labels on the left.
const LABEL: usize = 10;

/// Whether the summary names some of the nodes of each cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examples {
    /// If the terminal is high enough for them, or there is none.
    WhereThereIsRoom,
    /// In any case.
    Always,
}

/// The summary while it is written.
struct TerminalText<'a> {
    look: &'a Look,
    lines: Vec<String>,
}

impl TerminalText<'_> {
    fn blank(&mut self) {
        self.lines.push(String::new());
    }

    /// Text under a label, wrapped; several texts under one label give it once.
    fn labelled(&mut self, label: &str, text: &str) {
        self.headed((Style::Dim, &format!("  {label:<width$}", width = LABEL - 2)), LABEL, text);
    }

    /// Text behind a head with a style of its own, and wrapped at `hang` columns.
    fn headed(&mut self, (style, head): (Style, &str), hang: usize, text: &str) {
        let mut lines = self.look.wrapped(0, hang, &format!("{head}{text}"));
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix(head)
        {
            *first = format!("{}{rest}", self.look.paint(style, head));
        }
        self.lines.extend(lines);
    }

    /// A whole paragraph in one style.
    fn paragraph(&mut self, style: Style, indent: usize, hang: usize, text: &str) {
        let lines = self.look.wrapped(indent, hang, text);
        self.lines.extend(lines.into_iter().map(|line| self.look.paint(style, &line)));
    }

    fn command(&mut self, command: &str) {
        let lines = self.look.command(LABEL + 2, command);
        self.lines.extend(lines.into_iter().map(|line| self.look.paint(Style::Bold, &line)));
    }

    fn text(self) -> String {
        self.lines.join("\n") + "\n"
    }
}

impl Summary<'_> {
    /// Fits a terminal if it can: the nodes that serve as examples are left out first, and if that is not enough, the
    /// verdict is repeated at the end, where it is seen. `files` are the reports that are there.
    pub(super) fn terminal(&self, look: &Look, files: &[&str], examples: Examples) -> String {
        // The shell's prompt takes a line.
        let fits = |page: &TerminalText<'_>| look.height.is_none_or(|height| page.lines.len() < height);
        let mut page = self.page(look, files, true);
        if fits(&page) {
            return page.text();
        }
        if examples == Examples::WhereThereIsRoom {
            page = self.page(look, files, false);
        }
        if !fits(&page) {
            page.blank();
            page.lines.extend(self.verdict_lines(look));
        }
        page.text()
    }

    fn page<'a>(&self, look: &'a Look, files: &[&str], examples: bool) -> TerminalText<'a> {
        let mut page = TerminalText { look, lines: vec![] };
        page.lines.extend(self.verdict_lines(look));
        page.blank();
        self.outcomes(&mut page, examples);
        page.blank();
        self.logs(&mut page);
        self.next(&mut page);
        self.reports(&mut page, files);
        page
    }

    /// Mark, verdict, counts, how long it took, and why it ended early.
    fn verdict_lines(&self, look: &Look) -> Vec<String> {
        let took = duration::text(between(self.facts.started_at, self.facts.ended_at));
        let early = self.reason_sentence(|reason| for_terminal(reason).into_owned());
        let counts = collected_of(&self.ledger.outcomes(), self.facts.verification);
        let uncounted = Uncounted::of(self.plan);
        lines_of_verdict(look, self.facts.outcome, &format!("{counts}, in {took}{uncounted}.{early}"))
    }

    /// On a terminal the directory and the names of the files, elsewhere each path. None is ever split, so that it can
    /// be copied.
    fn reports(&self, page: &mut TerminalText<'_>, files: &[&str]) {
        let look = page.look;
        let label =
            |at: usize| look.paint(Style::Dim, &format!("  {:<8}", if at == 0 { "reports" } else { "" }));
        let path = |path: &Path| for_terminal(&path.to_string_lossy()).into_owned();
        if files.is_empty() || look.height.is_none() {
            let lines = files.iter().enumerate().map(|(at, file)| {
                let file = self.dir.join(file);
                format!("{}{}", label(at), look.link(&file, &path(&file)))
            });
            page.lines.extend(lines);
            return;
        }
        let dir = format!("{}{}", path(self.dir), std::path::MAIN_SEPARATOR);
        let names = files.iter().map(|file| (self.dir.join(file), for_terminal(file).into_owned()));
        let (mut lines, mut taken): (Vec<String>, usize) = (vec![], 0);
        for (file, text) in std::iter::once((self.dir.to_owned(), dir)).chain(names) {
            let (wide, text) = (columns(&text), look.link(&file, &text));
            match lines.last_mut() {
                Some(line) if look.width.is_none_or(|width| LABEL + taken + 1 + wide <= width) => {
                    line.extend([" ", &text]);
                    taken += 1 + wide;
                }
                _ => (lines, taken) = ([lines, vec![text]].concat(), wide),
            }
        }
        page.lines.extend(lines.into_iter().enumerate().map(|(at, line)| label(at) + &line));
    }

    /// A line for each outcome with its causes, then the accounts with problems of their own.
    fn outcomes(&self, page: &mut TerminalText<'_>, examples: bool) {
        let counts = self.ledger.outcomes();
        let troubles = Trouble::fold(&self.findings.causes());
        let one_account = self.plan.accounts.len() == 1;
        let width = number(counts.total()).len() + 2;
        let head = |count: u64| format!("{:>width$}", number(count));
        let (mut shown, mut hidden) = (0, (0, 0));
        for outcome in Outcome::ALL.into_iter().filter(|&outcome| counts.get(outcome) > 0) {
            let count = head(counts.get(outcome));
            let line = format!("{count} {outcome}");
            page.headed((style_of(outcome), &line), width + 1, "");
            for trouble in troubles.iter().filter(|trouble| trouble.outcome == outcome) {
                if shown == MOST_CAUSES {
                    hidden = (hidden.0 + 1, hidden.1 + trouble.nodes);
                    continue;
                }
                shown += 1;
                let headline = trouble.headline(one_account);
                page.paragraph(Style::None, width + 1, width + 3, &headline);
                if let Some(examples) = trouble.examples(page.look, width + 3).filter(|_| examples) {
                    page.paragraph(Style::Dim, width + 3, width + 3, &examples);
                }
            }
        }
        if counts.total() == 0 {
            page.paragraph(Style::None, 2, 2, "none planned");
        }
        // So that the numbers still add up.
        if let (causes @ 1.., nodes) = hidden {
            let (causes, nodes) = (counted(causes, "more cause"), counted(nodes, "node"));
            let text = format!("and {causes} ({nodes}) in {NODES_FILE}");
            page.paragraph(Style::Dim, width + 1, width + 1, &text);
        }
        for ((what, why), accounts) in self.troubled_accounts() {
            let count = head(accounts.len() as u64);
            let noun = if accounts.len() == 1 { "account" } else { "accounts" };
            page.headed((Style::Bad, &format!("{count} {noun}")), width + 1, &format!(" {what}"));
            let text =
                format!("{}: {}", names(accounts.iter().copied()), cut(&for_terminal(&why), REASON_WIDTH));
            page.paragraph(Style::None, width + 1, width + 3, &text);
        }
    }

    /// Accounts with problems that are not those of single nodes, by kind and reason.
    fn troubled_accounts(&self) -> BTreeMap<(&'static str, String), Vec<&AccountName>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (account, (name, tally)) in self.plan.accounts.iter().zip(self.ledger.accounts()) {
            let (what, why) = match (&account.unlisted, &tally.stopped, &account.missing) {
                (Some(why), ..) => ("could not be listed", why),
                (_, Some(why), _) => ("stopped: nothing more was sent", why),
                (.., Some(missing)) => ("not listed completely", missing),
                _ => continue,
            };
            found.entry((what, why.clone())).or_default().push(name);
        }
        found
    }

    fn logs(&self, page: &mut TerminalText<'_>) {
        page.labelled("logs", &self.collected(|text| for_terminal(text).into_owned()));
        for more in self.duplicates().into_iter().chain(self.changes().iter().map(Phrase::plain)) {
            page.labelled("", &more);
        }
    }

    fn next(&self, page: &mut TerminalText<'_>) {
        let mut label = Some("next");
        for step in self.advice().next {
            let colon = if step.command.is_some() { ":" } else { "" };
            page.labelled(label.take().unwrap_or_default(), &format!("{}{colon}", step.text.plain()));
            if let Some(command) = step.command {
                page.command(&for_terminal(&command));
            }
        }
    }
}

/// Only the first lines of the summary: how the run ended. For callers that did not read the nodes.
#[must_use]
pub fn verdict_lines(look: &Look, plan: &Plan, facts: &RunFacts, ledger: &Ledger) -> Vec<String> {
    lines_of_verdict(look, facts.outcome, &verdict_sentence(plan, facts, ledger))
}

/// The first lines of a summary: mark and verdict in their colour, and a sentence behind them.
fn lines_of_verdict(look: &Look, outcome: RunOutcome, sentence: &str) -> Vec<String> {
    let (mark, style) = match outcome {
        RunOutcome::Complete => ('✓', Style::GoodVerdict),
        RunOutcome::Partial | RunOutcome::Interrupted => ('!', Style::WarningVerdict),
        RunOutcome::NothingCollected | RunOutcome::BudgetSpent => ('✗', Style::BadVerdict),
    };
    let head = format!("{mark} {}", outcome.as_str().to_uppercase().replace('-', " "));
    let mut page = TerminalText { look, lines: vec![] };
    page.headed((style, &head), 2, &format!("  {sentence}"));
    page.lines
}
