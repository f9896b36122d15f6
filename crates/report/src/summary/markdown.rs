//! `summary.md`: the summary for a ticket. Every name and message in it goes through [`for_markdown`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use fleetlogs_model::duration;
use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::LeftOutReason;

use super::content::{MOST_CAUSES, NOTHING_TO_DO, Summary, more, pools};
use crate::advice::Step;
use crate::files::{MANIFEST_FILE, NODES_FILE, PAGE_FILE};
use crate::manifest::{account_outcome, account_reason};
use crate::text::{between, counted, for_markdown, for_terminal, listed, moment, number};

impl Summary<'_> {
    pub(super) fn markdown(&self, out: &mut String) -> fmt::Result {
        let Self { plan, facts, .. } = self;
        writeln!(out, "# fleetlogs run {}: {}\n", plan.run_id, facts.outcome)?;
        writeln!(out, "**{}.**{}\n", self.verdict(), self.reason_sentence(for_markdown))?;
        let verification = if facts.verification {
            format!("on, {}", counted(facts.list_calls, "list call"))
        } else {
            "off: whether the files arrived was not checked".into()
        };
        let window = format!("{} to {} UTC", moment(plan.window.start), moment(plan.window.end));
        let took = duration::text(between(facts.started_at, facts.ended_at));
        let ran = format!("{} to {} UTC ({took})", moment(facts.started_at), moment(facts.ended_at));
        if let Some(snapshot) = &plan.snapshot {
            let name = for_markdown(snapshot.name.as_str());
            writeln!(out, "- Snapshot: {name} ({}), due {} UTC", snapshot.trigger, moment(snapshot.due))?;
        }
        writeln!(out, "- Time window of the logs: {window}")?;
        writeln!(out, "- Run: {ran}, fleetlogs {}", for_markdown(&plan.tool_version))?;
        writeln!(out, "- Verification: {verification}\n")?;

        self.markdown_accounts(out)?;
        self.markdown_causes(out)?;
        self.markdown_places(out)?;
        self.markdown_next(out)
    }

    fn markdown_accounts(&self, out: &mut String) -> fmt::Result {
        let all = self.ledger.outcomes();
        // `verified` is always shown, because people look for it; the others only if they occur.
        let shown: Vec<Outcome> = Outcome::ALL
            .into_iter()
            .filter(|&outcome| outcome == Outcome::Verified || all.get(outcome) > 0)
            .collect();
        writeln!(out, "## Accounts\n")?;
        write!(out, "| account | result | planned |")?;
        for outcome in &shown {
            write!(out, " {outcome} |")?;
        }
        writeln!(out, " calls | throttled | reason |")?;
        writeln!(out, "| --- | --- | ---: |{} ---: | ---: | --- |", " ---: |".repeat(shown.len()))?;
        for (account, (_, tally)) in self.plan.accounts.iter().zip(self.ledger.accounts()) {
            let name = for_markdown(account.name.as_str());
            let outcome = account_outcome(account, tally, self.facts);
            // How many nodes an account has that could not be listed is not known.
            let count = |count| if account.unlisted.is_some() { "?".to_owned() } else { number(count) };
            write!(out, "| {name} | {outcome} | {} |", count(tally.planned()))?;
            let counts = tally.outcomes();
            for &outcome in &shown {
                write!(out, " {} |", count(counts.get(outcome)))?;
            }
            let reason = account_reason(account, tally, self.facts).map(for_markdown).unwrap_or_default();
            writeln!(out, " {} | {} | {reason} |", number(tally.calls), number(tally.throttled))?;
        }
        writeln!(out)?;
        if let Some(left_out) = self.left_out() {
            writeln!(out, "Skipped: {left_out}; the manifest lists each under `left_out`.\n")?;
        }
        Ok(())
    }

    fn markdown_causes(&self, out: &mut String) -> fmt::Result {
        let causes = self.findings.causes();
        if causes.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Not collected\n")?;
        writeln!(out, "| nodes | outcome | where | cause | for example |")?;
        writeln!(out, "| ---: | --- | --- | --- | --- |")?;
        for cause in causes.iter().take(MOST_CAUSES) {
            // A node id is unique in its pool only.
            let name = |at: &NodeRef| match cause.pools.len() {
                1 => for_markdown(at.node.as_str()),
                _ => for_markdown(&format!("{}/{}", at.pool, at.node)),
            };
            let examples = cause.examples.iter().map(|at| Cow::Owned(name(at)));
            writeln!(
                out,
                "| {} | {} | {}{} | {} | {} |",
                number(cause.nodes),
                cause.outcome,
                for_markdown(cause.account.as_str()),
                pools(&cause.pools, |pool| Cow::Owned(for_markdown(pool))),
                for_markdown(&cause.reason),
                listed(examples, cause.examples.len(), cause.nodes),
            )?;
        }
        writeln!(out)?;
        if let Some(more) = more(&causes) {
            writeln!(out, "{more}.\n")?;
        }
        Ok(())
    }

    fn markdown_places(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## Where the files are\n")?;
        writeln!(out, "- {}", self.collected(for_markdown))?;
        writeln!(out, "- The whole run on one page, for a browser: `{PAGE_FILE}`")?;
        writeln!(out, "- The directory of each node: `virtual_directory` in `{NODES_FILE}`")?;
        writeln!(
            out,
            "- Every call with its request ids: `{MANIFEST_FILE}`, config digest {}",
            for_markdown(&self.plan.config_digest)
        )?;
        if let Some(duplicates) = self.duplicates() {
            writeln!(out, "- {duplicates}")?;
        }
        for change in self.changes() {
            writeln!(out, "- {}", change.markdown())?;
        }
        writeln!(out)
    }

    fn markdown_next(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## What to do next\n")?;
        let next = self.advice().next;
        for step in &next {
            writeln!(out, "- {}", markdown_step(step))?;
        }
        if next.is_empty() {
            writeln!(out, "{NOTHING_TO_DO}")?;
        }
        Ok(())
    }

    fn left_out(&self) -> Option<String> {
        let mut counts: BTreeMap<LeftOutReason, u64> = BTreeMap::new();
        for entry in &self.plan.left_out {
            *counts.entry(entry.reason).or_default() += 1;
        }
        let parts: Vec<String> = counts
            .iter()
            .map(|(reason, count)| format!("{} {}", number(*count), reason.in_words()))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// `**failed**: wait until the nodes are ready; then retry: COMMAND`, with the command as code.
pub(crate) fn markdown_step(Step { about, text, command }: &Step) -> String {
    let about: Vec<&str> = about.iter().map(|topic| topic.as_str()).collect();
    let about = if about.is_empty() { String::new() } else { format!("**{}**: ", about.join(", ")) };
    // A command with backticks stands between two of them.
    let command = command.as_ref().map_or_else(String::new, |command| {
        let command = for_terminal(command);
        if command.contains('`') { format!(": `` {command} ``") } else { format!(": `{command}`") }
    });
    format!("{about}{}{command}", text.markdown())
}
