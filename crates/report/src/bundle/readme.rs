//! `README.md` of a bundle: the page for a support engineer who has the bundle and nothing else. Every name and message
//! in it goes through [`for_markdown`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::LeftOutReason;

use super::contents::{Bundle, ListedFile};
use super::notes::Notes;
use super::own_files::{NOTES_FILE, SUMS_FILE};
use super::survey::{CallRow, Survey};
use crate::files::LOGS_FILE;
use crate::manifest::{account_outcome, account_reason};
use crate::summary::verdict;
use crate::text::{counted, for_markdown, listed, moment, number, size};

/// Causes, and pools, that are shown.
const MOST_CAUSES: usize = 20;
const MOST_POOLS: usize = 20;
const MOST_NOTES: usize = 10;
const MOST_KINDS: usize = 10;

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
        writeln!(
            out,
            "Everything that one collection of Batch service logs left behind, for a support request."
        )?;
        writeln!(out, "All times are UTC.\n")?;
        writeln!(out, "| | |\n| --- | --- |")?;
        let window = format!("{} to {}", moment(plan.window.start), moment(plan.window.end));
        let own = if self.has_own_windows() {
            "; some nodes have one of their own: `window` in the evidence"
        } else {
            ""
        };
        writeln!(out, "| time range of the logs | **{window}**{own} |")?;
        let ran = format!("{} to {}", moment(facts.started_at), moment(facts.ended_at));
        writeln!(out, "| collected | {ran}, {} |", facts.outcome)?;
        writeln!(out, "| container | {} |", for_markdown(&plan.destination))?;
        writeln!(out, "| run | {}, fleetlogs {} |", plan.run_id, for_markdown(&plan.tool_version))?;
        if let Some(reason) = &facts.reason {
            writeln!(out, "| the run ended early | {} |", for_markdown(reason))?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "\n**This bundle is not whole**, see `{NOTES_FILE}`:\n")?;
            self.notes.list(out, MOST_NOTES);
        }
        writeln!(out)
    }

    /// Where nodes are asked for different ranges, the run's holds all of them.
    fn has_own_windows(&self) -> bool {
        self.bundle
            .plan
            .nodes
            .details()
            .next()
            .is_some_and(|node| node.is_ok_and(|node| node.window.is_some()))
    }

    fn verdict(&self) -> String {
        verdict(&self.bundle.ledger.outcomes(), self.bundle.facts.verification)
    }

    fn what_happened(&self, out: &mut String) -> fmt::Result {
        let Bundle { plan, facts, ledger, findings, .. } = self.bundle;
        let counts = ledger.outcomes();
        writeln!(out, "## What happened\n")?;
        writeln!(
            out,
            "Of {} in {} and {}, the customer wanted the Batch service logs, by one `uploadbatchservicelogs` call for each; \
             {} sent. The service answers such a call with the name of a directory (`virtualDirectoryName`); the node then \
             uploads into the container by itself.",
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
                "The container was then listed, to see what had arrived: {}, {}.\n",
                counted(findings.files, "file"),
                size(findings.bytes)
            )?;
        } else {
            writeln!(out, "Nobody looked whether the files arrived.\n")?;
        }
        writeln!(out, "| nodes | outcome | means |\n| ---: | --- | --- |")?;
        for outcome in Outcome::ALL.into_iter().filter(|outcome| counts.get(*outcome) > 0) {
            writeln!(out, "| {} | {outcome} | {} |", number(counts.get(outcome)), outcome.meaning())?;
        }
        writeln!(out)?;
        if let Some(left_out) = self.left_out() {
            writeln!(out, "Seen and not asked: {left_out}; each is in `left-out.jsonl`.\n")?;
        }
        if !facts.appeared.is_empty() {
            let nodes = counted(facts.appeared.len() as u64, "node");
            writeln!(
                out,
                "{nodes} appeared while the run went on, and took no part: `appeared` in `manifest.json`.\n"
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
            "| account | region | endpoint | subscription | result | nodes | not collected | calls | throttled | trouble |"
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
            "\nThe region is that of the endpoint. A run does not record subscriptions: ask the customer.\n"
        )
    }

    fn missing(&self, out: &mut String) -> fmt::Result {
        let causes = self.bundle.findings.causes();
        let unlisted: Vec<_> =
            self.bundle.plan.accounts.iter().filter(|account| !account.is_whole()).collect();
        writeln!(out, "## What is missing, and why\n")?;
        if causes.is_empty() && unlisted.is_empty() {
            return if self.bundle.facts.verification {
                writeln!(out, "Nothing: every node of the plan is collected.\n")
            } else {
                writeln!(
                    out,
                    "Not known: the calls were accepted, and nobody looked whether the files arrived.\n"
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
                "\nand {} more, in `nodes.csv`",
                counted((causes.len() - MOST_CAUSES) as u64, "cause")
            )?;
        }
        for account in unlisted {
            let name = for_markdown(account.name.as_str());
            let what = match (&account.unlisted, &account.missing) {
                (Some(why), _) => {
                    format!("could not be listed, so none of its nodes was asked: {}", for_markdown(why))
                }
                (None, missing) => for_markdown(missing.as_deref().unwrap_or_default()),
            };
            writeln!(out, "\n- account **{name}**: {what}")?;
        }
        writeln!(out)
    }

    fn calls(&self, out: &mut String) -> fmt::Result {
        let Survey { calls, failed, failed_otherwise, .. } = self.survey;
        if calls.all == 0 && failed.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Calls to look up\n")?;
        if calls.all > 0 {
            writeln!(
                out,
                "The last call of each node that was not collected. A call with status 200 was accepted by the service, and \
                 its files did not all come.\n"
            )?;
            writeln!(
                out,
                "| sent at | account | pool | node | outcome | status | code | request-id | client-request-id |"
            )?;
            writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
            for call in calls.rows() {
                call_row(out, call)?;
            }
            let hidden = calls.all.saturating_sub(calls.rows().count() as u64);
            if hidden > 0 {
                writeln!(
                    out,
                    "\nand {} more, in `nodes.csv`; every call of every node is in `manifest.json`.",
                    number(hidden)
                )?;
            }
            writeln!(out)?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "All calls that failed, also those that were repeated with success, by their answer:\n"
        )?;
        writeln!(out, "| calls | status | code | for example: sent at | node | request-id |")?;
        writeln!(out, "| ---: | --- | --- | --- | --- | --- |")?;
        let mut kinds: Vec<_> = failed.values().collect();
        kinds.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (calls, example) in kinds.iter().take(MOST_KINDS) {
            let node = format!("{}/{}/{}", example.account, example.pool, example.node);
            let CallRow { sent_at, status, code, request_id, .. } = example;
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                number(*calls),
                status.map_or_else(|| "no answer".into(), |status| status.to_string()),
                known(code.as_deref()),
                for_markdown(sent_at),
                for_markdown(&node),
                known(request_id.as_deref()),
            )?;
        }
        let hidden = failed_otherwise + kinds.iter().skip(MOST_KINDS).map(|(calls, _)| calls).sum::<u64>();
        if hidden > 0 {
            writeln!(out, "\nand {} of other kinds, in `manifest.json`", counted(hidden, "call"))?;
        }
        writeln!(out)
    }

    fn places(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## Where the logs are\n")?;
        let destination = &self.bundle.plan.destination;
        match self.bundle.logs {
            Some(taken) if taken.files > 0 => {
                writeln!(
                    out,
                    "**In this bundle**: {}, {}, below `logs/<account>/<pool>/<node>/`. `{LOGS_FILE}` has each with its name \
                     in the container, its size and its checksum. They were compared with the container by size and MD5, but \
                     for those that `{NOTES_FILE}` names, if there is one; of {} storage has no MD5.\n",
                    counted(taken.files, "file"),
                    size(taken.bytes),
                    number(taken.without_md5),
                )?;
            }
            _ => writeln!(out, "Not in this bundle, but in the container.")?,
        }
        if self.survey.directories.all == 0 {
            return writeln!(out, "No node was given a directory: there are no logs of this run.\n");
        }
        writeln!(
            out,
            "The container is {}. A SAS with read and list permission opens it; the customer gives it apart from this bundle, \
             unless the list of files below names one. `DIRECTORY` is a virtual directory, of the table below or of `nodes.csv`.\n",
            for_markdown(destination)
        )?;
        commands(out, destination)?;
        for (account, beginnings) in &self.survey.beginnings {
            let names: Vec<String> = beginnings.iter().map(|name| for_markdown(name)).collect();
            writeln!(
                out,
                "- The directories of {} begin with {}. As `DIRECTORY`, that is all of the account, also of other \
                 collections.",
                for_markdown(account),
                names.join(" or ")
            )?;
        }
        writeln!(out)
    }

    fn directories(&self, out: &mut String) -> fmt::Result {
        let directories = &self.survey.directories;
        if directories.all == 0 {
            return Ok(());
        }
        writeln!(out, "## Virtual directories\n")?;
        writeln!(out, "| account | pool | node | outcome | virtual directory | files | bytes |")?;
        writeln!(out, "| --- | --- | --- | --- | --- | ---: | ---: |")?;
        for row in directories.rows() {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                for_markdown(&row.account),
                for_markdown(&row.pool),
                for_markdown(&row.node),
                row.outcome,
                for_markdown(&row.directory),
                row.files.map_or_else(|| "?".into(), number),
                row.bytes.map_or_else(|| "?".into(), number),
            )?;
        }
        let hidden = directories.all.saturating_sub(directories.rows().count() as u64);
        if hidden > 0 {
            writeln!(
                out,
                "\nand {} more, in `nodes.csv`, column `virtual_directory`.",
                counted(hidden, "node")
            )?;
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
                "\nand {} more, in `manifest.json`",
                counted((pools.len() - MOST_POOLS) as u64, "pool")
            )?;
        }
        writeln!(out)
    }

    fn files(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## What is in this bundle\n")?;
        writeln!(out, "| file | bytes | what it is |\n| --- | ---: | --- |")?;
        for ListedFile { name, bytes } in self.listed {
            writeln!(out, "| `{name}` | {} | {} |", number(*bytes), about(name))?;
        }
        for extra in self.bundle.extras {
            writeln!(out, "| `{}` | {} | {} |", extra.name, number(extra.content.len() as u64), extra.about)?;
        }
        if !self.survey.pools.is_empty() {
            writeln!(
                out,
                "| `evidence/<account>/<pool>.jsonl` | | {}: what is known of each node, one JSON object a line: state and \
                 errors, boot and allocation time, start task, recent tasks, image, agent, directory, and every call. \
                 `grep NODE -r evidence` finds a node |",
                counted(self.survey.pools.len() as u64, "file")
            )?;
        }
        if self.bundle.logs.is_some_and(|taken| taken.files > 0) {
            writeln!(out, "| `logs/<account>/<pool>/<node>/` | | the logs themselves |")?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "| `{NOTES_FILE}` | | what is missing in this bundle or different, and why |")?;
        }
        writeln!(out, "| `{SUMS_FILE}` | | SHA-256 of every other file: `sha256sum -c {SUMS_FILE}` |")?;
        if !self.absent.is_empty() {
            let names: Vec<String> = self.absent.iter().map(|name| format!("`{name}`")).collect();
            writeln!(out, "\nNot made for this run: {}.", names.join(", "))?;
        }
        writeln!(
            out,
            "\nNames of accounts, pools, nodes and blobs that no file system takes are percent-encoded in file names; inside of \
             the files they are verbatim. `fleetlogs bundle --check FILE` checks a bundle as a whole.\n"
        )
    }
}

fn about(name: &str) -> &'static str {
    match name {
        "manifest.json" => {
            "every node, its outcome, its directory, and every call with its ids, for programs"
        }
        "manifest.json.sha256" => "SHA-256 of the manifest, to be kept apart",
        "nodes.csv" => "a line for each node, for a spreadsheet",
        "plan.json" => "who was to be asked, frozen before the first call",
        "summary.md" => "the customer's summary, with what to do next",
        "report.html" => "the same to look at, in a browser",
        "ticket.md" => "text for the support request",
        "verify.json" => "what `fleetlogs verify` found when it looked at the files again",
        "coverage.json" => "which part of its window the files of each node cover, and the holes",
        "files.csv" => "a line for each file, as `fleetlogs verify` saw it",
        "tool.log.jsonl" => "the log of fleetlogs itself",
        "left-out.jsonl" => "nodes and pools that were seen and not asked, with the reason",
        "logs.jsonl" => "the logs in this bundle: where each comes from, and how it was checked",
        _ => "",
    }
}

fn call_row(out: &mut String, call: &CallRow) -> fmt::Result {
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        for_markdown(&call.sent_at),
        for_markdown(&call.account),
        for_markdown(&call.pool),
        for_markdown(&call.node),
        call.outcome,
        call.status.map_or_else(|| "no answer".into(), |status| status.to_string()),
        known(call.code.as_deref()),
        known(call.request_id.as_deref()),
        for_markdown(&call.client_request_id),
    )
}

fn known(text: Option<&str>) -> String {
    text.map(for_markdown).unwrap_or_default()
}

/// How to fetch one directory, and all of the container.
fn commands(out: &mut String, destination: &str) -> fmt::Result {
    // It goes into a shell: anything but a plain URL is left for the reader to fill in.
    let plain = |char: char| char.is_ascii_alphanumeric() || ":/.-_".contains(char);
    let url = if destination.chars().all(plain) { destination } else { "CONTAINER_URL" };
    let (endpoint, container) = url.rsplit_once('/').unwrap_or(("BLOB_ENDPOINT", "CONTAINER"));
    writeln!(out, "```sh")?;
    writeln!(out, "SAS='...'    # without a question mark at its start")?;
    writeln!(out, "azcopy copy \"{url}/DIRECTORY?$SAS\" ./logs --recursive")?;
    writeln!(
        out,
        "az storage blob download-batch --blob-endpoint {endpoint} --source {container} --pattern 'DIRECTORY/*' \\\n    \
         --destination ./logs --sas-token \"$SAS\""
    )?;
    writeln!(out, "```\n")
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

    #[test]
    fn a_strange_container_does_not_reach_the_shell() {
        let mut text = String::new();
        commands(&mut text, "https://logs.blob.core.windows.net/a$(reboot)`x`\"").unwrap();
        assert!(!text.contains("reboot"), "{text}");
        text.clear();
        commands(&mut text, "https://logs.blob.core.windows.net/batch").unwrap();
        assert!(text.contains("--blob-endpoint https://logs.blob.core.windows.net --source batch"), "{text}");
    }
}
