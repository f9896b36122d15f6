//! `README.md` of a bundle: the page for a support engineer who has the bundle and nothing else. Every name and message
//! in it goes through [`for_markdown`].

mod calls;
mod contents;
mod places;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::LeftOutReason;

use super::contents::{Bundle, ListedFile};
use super::notes::Notes;
use super::own_files::NOTES_FILE;
use super::survey::Survey;
use crate::manifest::{account_outcome, account_reason};
use crate::summary::verdict;
use crate::text::{counted, for_markdown, listed, moment, number, size};

/// Causes, and pools, that are shown.
const MOST_CAUSES: usize = 20;
const MOST_POOLS: usize = 20;
const MOST_NOTES: usize = 10;

/// What the page is made of.
pub(super) struct Readme<'a> {
    pub(super) bundle: &'a Bundle<'a>,
    pub(super) survey: &'a Survey,
    pub(super) listed: &'a [ListedFile],
    pub(super) absent: &'a [&'static str],
    pub(super) notes: &'a Notes,
}

impl Readme<'_> {
    pub(super) fn to_markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        self.head(out)?;
        self.what_happened(out)?;
        self.accounts(out)?;
        self.missing(out)?;
        self.places(out)?;
        self.files(out)?;
        self.calls(out)?;
        self.directories(out)?;
        self.pools(out)
    }

    fn head(&self, out: &mut String) -> fmt::Result {
        let Bundle { plan, facts, .. } = self.bundle;
        writeln!(out, "# Azure Batch service logs: {}\n", self.verdict())?;
        writeln!(out, "Everything from one collection of Batch service logs, for a support request.")?;
        writeln!(out, "All times are UTC.\n")?;
        writeln!(out, "| | |\n| --- | --- |")?;
        let window = format!("{} to {}", moment(plan.window.start), moment(plan.window.end));
        let own =
            if self.has_own_windows() { "; some nodes have their own: `window` in the evidence" } else { "" };
        writeln!(out, "| time range of the logs | **{window}**{own} |")?;
        let ran = format!("{} to {}", moment(facts.started_at), moment(facts.ended_at));
        writeln!(out, "| collected | {ran}, {} |", facts.outcome)?;
        writeln!(out, "| container | {} |", for_markdown(&plan.destination))?;
        writeln!(out, "| run | {}, fleetlogs {} |", plan.run_id, for_markdown(&plan.tool_version))?;
        if let Some(reason) = &facts.reason {
            writeln!(out, "| the run ended early | {} |", for_markdown(reason))?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "\n**This bundle is incomplete**, see `{NOTES_FILE}`:\n")?;
            self.notes.list(out, MOST_NOTES);
        }
        writeln!(out)
    }

    /// Whether nodes have time windows of their own; that of the run covers all of them.
    fn has_own_windows(&self) -> bool {
        self.bundle
            .plan
            .nodes
            .details()
            .next()
            .is_some_and(|node| node.is_ok_and(|node| node.window.is_some()))
    }

    fn verdict(&self) -> String {
        verdict(self.bundle.plan, &self.bundle.ledger.outcomes(), self.bundle.facts.verification)
    }

    fn what_happened(&self, out: &mut String) -> fmt::Result {
        let Bundle { plan, facts, ledger, findings, .. } = self.bundle;
        let counts = ledger.outcomes();
        writeln!(out, "## What happened\n")?;
        writeln!(
            out,
            "The customer requested the Batch service logs of {} in {} and {}, with one `uploadbatchservicelogs` call per \
             node; {} sent. The service answers a call with the name of a directory (`virtualDirectoryName`); the node then \
             uploads its logs to the container itself.",
            counted(counts.total(), "node"),
            counted(plan.accounts.len() as u64, "Batch account"),
            counted(plan.pools.len() as u64, "pool"),
            match ledger.accounts().map(|(_, tally)| tally.calls).sum() {
                1 => "1 call was".to_owned(),
                calls => format!("{} were", counted(calls, "call")),
            },
        )?;
        if facts.verification && facts.list_calls == 0 {
            writeln!(out, "No call was accepted, so there was nothing to look for in the container.\n")?;
        } else if facts.verification {
            writeln!(
                out,
                "The container was then listed to see what had arrived: {}, {}.\n",
                counted(findings.files, "file"),
                size(findings.bytes)
            )?;
        } else {
            writeln!(out, "Whether the files arrived was not checked.\n")?;
        }
        writeln!(out, "| nodes | outcome | meaning |\n| ---: | --- | --- |")?;
        for outcome in Outcome::ALL.into_iter().filter(|outcome| counts.get(*outcome) > 0) {
            writeln!(out, "| {} | {outcome} | {} |", number(counts.get(outcome)), outcome.meaning())?;
        }
        writeln!(out)?;
        if let Some(left_out) = self.left_out() {
            writeln!(out, "Skipped: {left_out}; each is in `left-out.jsonl`.\n")?;
        }
        if !facts.appeared.is_empty() {
            let nodes = counted(facts.appeared.len() as u64, "node");
            writeln!(
                out,
                "{nodes} appeared during the run and took no part: `appeared` in `manifest.json`.\n"
            )?;
        }
        Ok(())
    }

    fn left_out(&self) -> Option<String> {
        let mut counts: BTreeMap<LeftOutReason, u64> = BTreeMap::new();
        for entry in &self.bundle.plan.left_out {
            *counts.entry(entry.reason).or_default() += 1;
        }
        let parts: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{} {}", number(*count), reason.as_str())).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn accounts(&self, out: &mut String) -> fmt::Result {
        let Bundle { plan, facts, ledger, .. } = self.bundle;
        writeln!(out, "## Batch accounts\n")?;
        writeln!(
            out,
            "| account | region | endpoint | subscription | result | nodes | not collected | calls | throttled | problem |"
        )?;
        writeln!(out, "| --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |")?;
        for (account, (_, tally)) in plan.accounts.iter().zip(ledger.accounts()) {
            let counts = tally.outcomes();
            let missing = tally.planned() - counts.collected(facts.verification);
            writeln!(
                out,
                "| {} | {} | {} | unknown | {} | {} | {} | {} | {} | {} |",
                for_markdown(account.name.as_str()),
                region(&account.endpoint).map_or_else(|| "unknown".into(), for_markdown),
                for_markdown(&account.endpoint),
                account_outcome(account, tally, facts),
                number(tally.planned()),
                number(missing),
                number(tally.calls),
                number(tally.throttled),
                account_reason(account, tally, facts).map(for_markdown).unwrap_or_default(),
            )?;
        }
        writeln!(
            out,
            "\nThe region is taken from the endpoint. A run does not record subscriptions: ask the customer.\n"
        )
    }

    fn missing(&self, out: &mut String) -> fmt::Result {
        let causes = self.bundle.findings.causes();
        let unlisted: Vec<_> =
            self.bundle.plan.accounts.iter().filter(|account| !account.is_whole()).collect();
        writeln!(out, "## What is missing, and why\n")?;
        if causes.is_empty() && unlisted.is_empty() {
            return if self.bundle.facts.verification {
                writeln!(out, "Nothing: every planned node was collected.\n")
            } else {
                writeln!(
                    out,
                    "Unknown: the calls were accepted, but whether the files arrived was not checked.\n"
                )
            };
        }
        if !causes.is_empty() {
            writeln!(out, "| nodes | outcome | account | pools | cause | for example |")?;
            writeln!(out, "| ---: | --- | --- | --- | --- | --- |")?;
        }
        for cause in causes.iter().take(MOST_CAUSES) {
            let pools = cause.pools.iter().map(|pool| Cow::Owned(for_markdown(pool.as_str())));
            let examples =
                cause.examples.iter().map(|at| Cow::Owned(for_markdown(&format!("{}/{}", at.pool, at.node))));
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                number(cause.nodes),
                cause.outcome,
                for_markdown(cause.account.as_str()),
                listed(pools, 3, cause.pools.len() as u64),
                for_markdown(&cause.reason),
                listed(examples, cause.examples.len(), cause.nodes),
            )?;
        }
        if causes.len() > MOST_CAUSES {
            writeln!(
                out,
                "\nand {}, in `nodes.csv`",
                counted((causes.len() - MOST_CAUSES) as u64, "more cause")
            )?;
        }
        for account in unlisted {
            let name = for_markdown(account.name.as_str());
            let what = match (&account.unlisted, &account.missing) {
                (Some(why), _) => {
                    format!("could not be listed, so none of its nodes was called: {}", for_markdown(why))
                }
                (None, missing) => for_markdown(missing.as_deref().unwrap_or_default()),
            };
            writeln!(out, "\n- account **{name}**: {what}")?;
        }
        writeln!(out)
    }

    fn pools(&self, out: &mut String) -> fmt::Result {
        let pools = &self.bundle.plan.pools;
        if pools.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Pools when the run was planned\n")?;
        writeln!(out, "| account | pool | VM size | OS | nodes | target | state | resize errors |")?;
        writeln!(out, "| --- | --- | --- | --- | ---: | ---: | --- | --- |")?;
        for pool in pools.iter().take(MOST_POOLS) {
            let state = if pool.deleting { Some("deleting") } else { pool.allocation_state.as_deref() };
            let errors = pool.resize_errors.iter().map(|error| Cow::Owned(for_markdown(&error.code)));
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                for_markdown(pool.account.as_str()),
                for_markdown(pool.pool.as_str()),
                known(pool.vm_size.as_deref()),
                known(pool.os.as_deref()),
                number(pool.current_nodes.into()),
                pool.target_nodes.map_or_else(|| "?".into(), |nodes| number(nodes.into())),
                known(state),
                listed(errors, 3, pool.resize_errors.len() as u64),
            )?;
        }
        if pools.len() > MOST_POOLS {
            writeln!(
                out,
                "\nand {}, in `manifest.json`",
                counted((pools.len() - MOST_POOLS) as u64, "more pool")
            )?;
        }
        writeln!(out)
    }
}

fn known(text: Option<&str>) -> String {
    text.map(for_markdown).unwrap_or_default()
}

/// The region of a Batch endpoint of the form `account.region.batch.azure.com`.
pub(super) fn region(endpoint: &str) -> Option<&str> {
    let (_, rest) = endpoint.split_once("://")?;
    let host = rest.split(['/', ':', '?']).next()?;
    let mut labels = host.split('.');
    let (_account, region, batch) = (labels.next()?, labels.next()?, labels.next()?);
    (batch == "batch" && labels.count() >= 2 && !region.is_empty()).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_endpoints_of_the_usual_form_only() {
        assert_eq!(region("https://contoso.westeurope.batch.azure.com"), Some("westeurope"));
        assert_eq!(region("https://contoso.chinaeast2.batch.chinacloudapi.cn/"), Some("chinaeast2"));
        for other in
            ["http://127.0.0.1:4001/contoso", "https://batch.example.com", "contoso", "https://a.b.batch.c"]
        {
            assert_eq!(region(other), None, "{other}");
        }
    }
}
