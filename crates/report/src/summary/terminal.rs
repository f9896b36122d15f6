//! The last lines on the terminal: the summary for whoever waited for the run.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use fleetlogs_model::outcome::{Outcome, RunOutcome};

use super::{MOST_CAUSES, Summary, UNLISTED, counts_line, more, pools};
use crate::page::PAGE_FILE;
use crate::reports::MANIFEST_FILE;
use crate::text::{counted, cut, for_terminal, number, shortened};

/// Accounts with a reason of their own on the terminal; the Markdown table has them all.
const MOST_ACCOUNTS: usize = 8;
/// Characters of a reason on the terminal.
const REASON_WIDTH: usize = 120;
/// Characters of a name on the terminal; node ids are long.
const NAME_WIDTH: usize = 40;

impl Summary<'_> {
    pub(super) fn terminal(&self, out: &mut String, paint: Paint) -> fmt::Result {
        let label = |label: &str| paint.dim(&format!("  {label:<9}"));
        let verdict = paint.verdict(self.facts.outcome, &self.facts.outcome.as_str().to_uppercase());
        let reason = self.reason_sentence(|reason| for_terminal(reason).into_owned());
        writeln!(out, "{verdict}  {}.{reason}", self.verdict())?;
        writeln!(out, "{}{}", label("nodes"), counts_line(&self.ledger.outcomes()))?;

        let own_reason = |at: usize| !self.plan.accounts[at].is_whole() || self.stopped(at).is_some();
        let troubled: Vec<usize> = (0..self.plan.accounts.len()).filter(|&at| own_reason(at)).collect();
        for &at in troubled.iter().take(MOST_ACCOUNTS) {
            let account = &self.plan.accounts[at];
            let (what, why) = match (&account.unlisted, self.stopped(at), &account.missing) {
                (Some(why), ..) => ("could not be listed", why.as_str()),
                (_, Some(why), _) => ("was stopped", why),
                (.., missing) => ("is not whole", missing.as_deref().unwrap_or_default()),
            };
            let (name, why) = (on_terminal(account.name.as_str()), for_terminal(why));
            writeln!(out, "{}{name} {what}: {}", label("account"), cut(&why, REASON_WIDTH))?;
        }
        if troubled.len() > MOST_ACCOUNTS {
            let more = (troubled.len() - MOST_ACCOUNTS) as u64;
            writeln!(out, "{}and {} more in {MANIFEST_FILE}", label(""), counted(more, "account"))?;
        }

        let causes = self.findings.causes();
        let width = causes.first().map_or(0, |cause| number(cause.nodes).len());
        for (at, cause) in causes.iter().take(MOST_CAUSES).enumerate() {
            let place = format!(
                "{}{}",
                on_terminal(cause.account.as_str()),
                pools(&cause.pools, |pool| Cow::Owned(on_terminal(pool)))
            );
            let reason = for_terminal(&cause.reason);
            writeln!(
                out,
                "{}{:>width$} {}  {place}: {}",
                label(if at == 0 { "missing" } else { "" }),
                number(cause.nodes),
                paint.outcome(cause.outcome, &format!("{:<10}", cause.outcome)),
                cut(&reason, REASON_WIDTH),
            )?;
        }
        if let Some(more) = more(&causes) {
            writeln!(out, "{}{more}", label(""))?;
        }

        writeln!(out, "{}{}", label("files"), self.collected(|text| for_terminal(text).into_owned()))?;
        if let Some(duplicates) = self.duplicates() {
            writeln!(out, "{}{duplicates}", label(""))?;
        }
        for change in self.changes() {
            writeln!(out, "{}{}", label(""), change.replace('`', ""))?;
        }
        let manifest = self.dir.join(MANIFEST_FILE);
        writeln!(out, "{}{}", label("manifest"), for_terminal(&manifest.to_string_lossy()))?;
        let page = self.dir.join(PAGE_FILE);
        writeln!(out, "{}{}", label("page"), for_terminal(&page.to_string_lossy()))?;
        self.terminal_next(out, label, paint)
    }

    fn terminal_next(&self, out: &mut String, label: impl Fn(&str) -> String, paint: Paint) -> fmt::Result {
        let mut first = true;
        let mut next = |out: &mut String, text: &str| {
            let shown = label(if first { "next" } else { "" });
            first = false;
            writeln!(out, "{shown}{text}")
        };
        if let Some(resume) = self.resume {
            next(out, &paint.bold(&for_terminal(resume)))?;
        }
        for (advice, outcomes) in self.advice() {
            // What needs nothing, or just the command above, is left to the ticket.
            let plain = |outcome: &Outcome| match outcome {
                Outcome::Gone => true,
                Outcome::NotSent => self.resume.is_some(),
                _ => false,
            };
            if outcomes.iter().all(plain) {
                continue;
            }
            let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
            next(out, &format!("{}: {}", names.join(", "), advice.replace('`', "")))?;
        }
        if self.plan.accounts.iter().any(|account| !account.is_whole()) {
            next(
                out,
                &format!("accounts and pools that could not be listed: {}", UNLISTED.replace('`', "")),
            )?;
        }
        Ok(())
    }

    fn stopped(&self, account: usize) -> Option<&str> {
        self.ledger.accounts().nth(account).and_then(|(_, tally)| tally.stopped.as_deref())
    }
}

fn on_terminal(name: &str) -> String {
    shortened(&for_terminal(name), NAME_WIDTH).into_owned()
}

/// The few colours of the terminal's summary. They repeat what the words say.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    pub(super) styled: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.styled { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn verdict(self, outcome: RunOutcome, text: &str) -> String {
        let code = match outcome {
            RunOutcome::Complete => "1;32",
            RunOutcome::Partial | RunOutcome::Interrupted => "1;33",
            RunOutcome::NothingCollected | RunOutcome::BudgetSpent => "1;31",
        };
        self.with(code, text)
    }

    fn outcome(self, outcome: Outcome, text: &str) -> String {
        let code = match outcome {
            Outcome::Verified | Outcome::Empty => "32",
            Outcome::Incomplete | Outcome::Failed => "31",
            Outcome::Accepted | Outcome::InDoubt | Outcome::NotSent => "33",
            Outcome::Gone => "2",
        };
        self.with(code, text)
    }
}
