//! `ticket.md`: the text of a support request, ready to paste. It has lists instead of tables, so that it also reads
//! well where Markdown is not rendered. Every name and message in it goes through [`for_markdown`]. It contains no
//! SAS.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::Path;

use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::{LeftOut, Plan, PlannedAccount};
use fleetlogs_model::planned::PlannedPool;
use fleetlogs_model::whole_file::WholeFile;

use crate::advice::{Advice, Commands};
use crate::cause::Findings;
use crate::files::{MANIFEST_FILE, NODES_FILE, TICKET_FILE};
use crate::run_facts::RunFacts;
use crate::summary::{counts_line, markdown_step, verdict};
use crate::text::{counted, for_markdown, listed, moment, number, size};
use crate::ticket_findings::{NotedCall, TroubledNode, is_troubled};
use crate::width::cut;

/// Most causes, accounts, pools and skipped nodes that are listed.
const MOST_CAUSES: usize = 8;
const MOST_ACCOUNTS: usize = 10;
const MOST_POOLS: usize = 5;
const MOST_LEFT_OUT: usize = 10;
/// Longest message of the service, in characters.
const LONGEST_MESSAGE: usize = 300;
/// Longest title, in characters.
const LONGEST_TITLE: usize = 200;

/// All that a ticket is made of.
#[derive(Clone, Copy, Debug)]
pub struct Ticket<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// How the run went.
    pub facts: &'a RunFacts,
    /// The counts.
    pub ledger: &'a Ledger,
    /// What [`write_reports`](crate::write_reports) found.
    pub findings: &'a Findings,
    /// What advice has to name.
    pub commands: Commands<'a>,
    /// What only the config contains.
    pub known: TicketDetails<'a>,
}

/// Details that are not in the plan, if they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct TicketDetails<'a> {
    /// The words to use for the title.
    pub title: Option<&'a str>,
    /// The problem in the words of the operator.
    pub problem: Option<&'a str>,
    /// `minimal`, `moderate`, `critical` or `highestcriticalimpact`; `moderate` if left out.
    pub severity: Option<&'a str>,
    /// The subscription of the Batch account.
    pub subscription: Option<&'a str>,
    /// ARM id of the Batch account.
    pub resource_id: Option<&'a str>,
}

impl Ticket<'_> {
    /// Writes `ticket.md` into the run directory, whole or not at all.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = WholeFile::create(dir, TICKET_FILE)?;
        file.write_all(self.to_markdown().as_bytes())?;
        file.commit()
    }

    /// One line, without markup.
    #[must_use]
    pub fn title(&self) -> String {
        let title = self.known.title.map_or_else(
            || {
                let window = self.plan.window;
                let accounts = match self.plan.accounts.as_slice() {
                    [one] => format!("account {}", one.name),
                    many => counted(many.len() as u64, "account"),
                };
                let nodes = counted(self.ledger.outcomes().total(), "node");
                let (start, end) = (moment(window.start), moment(window.end));
                format!("Azure Batch, {accounts}: service logs of {nodes}, {start} to {end} UTC")
            },
            str::to_owned,
        );
        cut(&crate::text::for_terminal(&title), LONGEST_TITLE).into_owned()
    }

    /// The text of `ticket.md`.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.markdown(&mut text);
        text
    }

    fn markdown(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# {}\n", for_markdown(&self.title()))?;
        writeln!(out, "Severity: {}\n", for_markdown(self.known.severity.unwrap_or("moderate")))?;
        writeln!(out, "## Problem\n\n{}\n", self.problem())?;
        self.place(out)?;
        self.result(out)?;
        self.calls(out)?;
        self.nodes(out)?;
        self.logs(out)?;
        self.tried(out)?;
        self.next(out)
    }

    /// The problem in the operator's words, and a paragraph of what the run shows.
    fn problem(&self) -> String {
        let Findings { noticed, .. } = self.findings;
        let mut text = self.known.problem.map(for_markdown).unwrap_or_default();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let counts = self.ledger.outcomes();
        let _ = write!(
            text,
            "We asked {} of {} to upload the Batch service logs of the time below. {}.",
            counted(counts.total(), "node"),
            counted(self.plan.accounts.len() as u64, "Batch account"),
            verdict(self.plan, &counts, self.facts.verification)
        );
        if let [first, ..] = self.findings.causes().as_slice() {
            let reason = for_markdown(&first.reason);
            let _ = write!(
                text,
                " Most frequent cause: {} ({}).",
                reason.trim_end_matches('.'),
                counted(first.nodes, "node")
            );
        }
        if noticed.troubled > 0 {
            let _ = write!(
                text,
                " The service itself reports problems on {}: errors, a bad state, or a failed start task.",
                counted(noticed.troubled, "node")
            );
        }
        text
    }

    fn place(&self, out: &mut String) -> fmt::Result {
        let Self { plan, facts, known, .. } = self;
        writeln!(out, "## Where and when\n")?;
        for account in plan.accounts.iter().take(MOST_ACCOUNTS) {
            let (name, endpoint) = (for_markdown(account.name.as_str()), for_markdown(&account.endpoint));
            let region = region(account).map_or_else(|| "see the endpoint".into(), for_markdown);
            writeln!(out, "- Batch account: {name}; region: {region}; endpoint: {endpoint}")?;
        }
        if let Some(more) = plan.accounts.len().checked_sub(MOST_ACCOUNTS).filter(|more| *more > 0) {
            writeln!(out, "- and {}, in {MANIFEST_FILE}", counted(more as u64, "more account"))?;
        }
        let subscription =
            known.subscription.map_or_else(|| "that of the Batch account".into(), for_markdown);
        writeln!(out, "- Subscription: {subscription}")?;
        if let Some(id) = known.resource_id {
            writeln!(out, "- Resource: {}", for_markdown(id))?;
        }
        writeln!(
            out,
            "- Time of the problem: {} to {} UTC",
            moment(plan.window.start),
            moment(plan.window.end)
        )?;
        writeln!(
            out,
            "- Logs requested: {} to {} UTC, with fleetlogs {}, run {}\n",
            moment(facts.started_at),
            moment(facts.ended_at),
            for_markdown(&plan.tool_version),
            plan.run_id
        )
    }

    fn result(&self, out: &mut String) -> fmt::Result {
        let counts = self.ledger.outcomes();
        writeln!(out, "## Counts and causes\n")?;
        writeln!(out, "- {}: {}", counted(counts.total(), "node"), counts_line(&counts))?;
        let causes = self.findings.causes();
        for cause in causes.iter().take(MOST_CAUSES) {
            let pools = cause.pools.iter().map(|pool| Cow::Owned(for_markdown(pool.as_str())));
            let pools = listed(pools, MOST_POOLS, cause.pools.len() as u64);
            let account = for_markdown(cause.account.as_str());
            let noun = if cause.pools.len() == 1 { "pool" } else { "pools" };
            let place = if pools.is_empty() { account } else { format!("{account}, {noun} {pools}") };
            writeln!(
                out,
                "- {} {} ({place}): {}",
                counted(cause.nodes, "node"),
                cause.outcome,
                for_markdown(&cause.reason)
            )?;
        }
        if let Some(hidden) = causes.get(MOST_CAUSES..).filter(|hidden| !hidden.is_empty()) {
            writeln!(out, "- and {}, in {NODES_FILE}", counted(hidden.len() as u64, "more cause"))?;
        }
        for account in self.plan.accounts.iter().filter(|account| !account.is_whole()).take(MOST_ACCOUNTS) {
            let why = account.unlisted.as_deref().or(account.missing.as_deref()).unwrap_or_default();
            let name = for_markdown(account.name.as_str());
            writeln!(out, "- {name} could not be listed completely: {}", message(why))?;
        }
        writeln!(out)
    }

    fn calls(&self, out: &mut String) -> fmt::Result {
        let Findings { noticed, .. } = self.findings;
        if noticed.calls.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Request ids\n")?;
        writeln!(out, "Upload Batch Service Logs calls that failed, or whose files did not arrive:\n")?;
        for NotedCall { node, attempt, outcome } in &noticed.calls {
            let answer = match (attempt.status, attempt.code.as_deref()) {
                (Some(status), Some(code)) => format!("{status} {}", for_markdown(code)),
                (Some(status), None) => status.to_string(),
                (None, _) => "no answer".to_owned(),
            };
            let request_id = attempt.request_id.as_deref().map_or_else(|| "none".into(), for_markdown);
            writeln!(
                out,
                "- {} UTC, {}: {answer}, request-id {request_id}, client-request-id {}, node {outcome}",
                moment(attempt.sent_at),
                for_markdown(&node.to_string()),
                attempt.client_request_id
            )?;
        }
        let more = noticed.failed_calls - noticed.calls.len() as u64;
        if more > 0 {
            writeln!(out, "- and {} of the same kinds, in {MANIFEST_FILE}", counted(more, "more call"))?;
        }
        writeln!(out)
    }

    fn nodes(&self, out: &mut String) -> fmt::Result {
        let Findings { noticed, .. } = self.findings;
        let versions = noticed.agent_versions();
        let left_out = self.troubled_left_out();
        if noticed.nodes.is_empty() && versions.is_empty() && left_out.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Nodes\n")?;
        if !versions.is_empty() {
            let all: Vec<String> = versions
                .iter()
                .map(|(version, nodes)| format!("{} ({})", for_markdown(version), counted(*nodes, "node")))
                .collect();
            writeln!(out, "- Node agent versions: {}", all.join(", "))?;
        }
        for node in &noticed.nodes {
            writeln!(out, "- {}", describe(node))?;
        }
        let more = noticed.troubled - noticed.nodes.len() as u64;
        if more > 0 {
            writeln!(out, "- and {} with similar problems, in {MANIFEST_FILE}", counted(more, "more node"))?;
        }
        for (entry, node) in left_out.iter().take(MOST_LEFT_OUT) {
            writeln!(out, "- {} (skipped: {})", describe(node), entry.reason.in_words())?;
        }
        if let Some(more) = left_out.len().checked_sub(MOST_LEFT_OUT).filter(|more| *more > 0) {
            let nodes = counted(more as u64, "more node");
            writeln!(out, "- and {nodes} that have problems and were skipped, in {MANIFEST_FILE}")?;
        }
        writeln!(out)
    }

    /// Skipped nodes on which the service reports problems.
    fn troubled_left_out(&self) -> Vec<(&LeftOut, TroubledNode)> {
        let troubled = |entry| {
            let LeftOut { account, pool, node, evidence, .. }: &LeftOut = entry;
            let evidence = evidence.as_ref().filter(|evidence| is_troubled(&evidence.facts))?;
            let place = PlannedPool::bare(account.clone(), pool.clone());
            let (account, pool, node) = (account.clone(), pool.clone(), node.clone()?);
            let troubled = TroubledNode {
                node: NodeRef { account, pool, node },
                place: place.into(),
                facts: evidence.facts.clone(),
                state_since: evidence.state_since,
            };
            Some((entry, troubled))
        };
        self.plan.left_out.iter().filter_map(troubled).collect()
    }

    fn logs(&self, out: &mut String) -> fmt::Result {
        let Findings { files, bytes, .. } = *self.findings;
        writeln!(out, "## Where the logs are\n")?;
        writeln!(out, "- Container: {}", for_markdown(&self.plan.destination))?;
        if self.facts.verification {
            writeln!(out, "- Found there: {}, {}", counted(files, "file"), size(bytes))?;
        }
        writeln!(out, "- The directory of each node: `virtual_directory` in {NODES_FILE}")?;
        writeln!(
            out,
            "- A SAS with read and list permission is sent separately, on request (`fleetlogs share` creates one)\n"
        )
    }

    fn tried(&self, out: &mut String) -> fmt::Result {
        let calls: u64 = self.ledger.accounts().map(|(_, tally)| tally.calls).sum();
        let throttled: u64 = self.ledger.accounts().map(|(_, tally)| tally.throttled).sum();
        let nodes = self.ledger.outcomes().total();
        writeln!(out, "## What was tried\n")?;
        writeln!(
            out,
            "- {} for {}; transient failures are retried with growing delays, and `Retry-After` is honoured",
            counted(calls, "upload call"),
            counted(nodes, "node")
        )?;
        writeln!(out, "- Answered with 429 or 503: {}", number(throttled))?;
        if self.facts.verification && self.facts.list_calls == 0 {
            writeln!(out, "- No call was accepted, so there were no files to look for")?;
        } else if self.facts.verification {
            let looks = counted(self.facts.list_calls, "list call");
            writeln!(out, "- Arrival of the files was checked with {looks}")?;
        } else {
            writeln!(out, "- Arrival of the files was not checked")?;
        }
        if let Some(reason) = &self.facts.reason {
            writeln!(out, "- The run ended early: {}", message(reason))?;
        }
        Ok(())
    }
}

impl Ticket<'_> {
    /// The same steps as in the other reports: support sees what is done without it.
    fn next(&self, out: &mut String) -> fmt::Result {
        let Self { plan, facts, ledger, findings, commands, .. } = *self;
        let next = Advice::after(plan, facts, ledger, findings, commands).next;
        if next.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n## What we do next\n")?;
        next.iter().try_for_each(|step| writeln!(out, "- {}", markdown_step(step)))
    }
}

/// What the service says of a node with problems.
fn describe(TroubledNode { node, place, facts, state_since }: &TroubledNode) -> String {
    let mut parts = vec![];
    if let Some(state) = &facts.state {
        let since = state_since.map(|since| format!(" since {} UTC", moment(since))).unwrap_or_default();
        parts.push(format!("{}{since}", for_markdown(state.as_str())));
    }
    for error in facts.errors.iter().take(3) {
        parts.push(format!("error {}: {}", for_markdown(&error.code), message(&error.message)));
    }
    if let Some(task) = &facts.start_task {
        let of = |text: &Option<String>| text.as_deref().map_or_else(|| "unknown".into(), for_markdown);
        let code = task.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        parts.push(format!("start task {}: {}{code}", of(&task.state), of(&task.result)));
    }
    if let Some(version) = &facts.agent_version {
        parts.push(format!("agent {}", for_markdown(version)));
    }
    if let Some(os) = &place.os {
        parts.push(for_markdown(os));
    }
    format!("{}: {}", for_markdown(&node.to_string()), parts.join("; "))
}

fn message(text: &str) -> String {
    for_markdown(&cut(text, LONGEST_MESSAGE))
}

/// The region in an account's endpoint, `ACCOUNT.REGION.batch.azure.com`.
fn region(account: &PlannedAccount) -> Option<&str> {
    let host = account.endpoint.split("://").nth(1)?.split(['/', ':']).next()?;
    let (before, _) = host.split_once(".batch.")?;
    let (_, region) = before.rsplit_once('.')?;
    Some(region)
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::outcome::RunOutcome;

    use super::*;
    use crate::reports::find;
    use crate::testing::{ended, folded, plan_of, planned, small_plan, small_run};

    fn markdown(plan: &Plan, known: TicketDetails<'_>) -> String {
        let facts = ended(RunOutcome::Partial);
        let events = if plan.nodes.len() == 6 { small_run() } else { vec![] };
        let (ledger, histories) = folded(plan, &events);
        let histories = histories.into_iter().map(Ok::<_, std::convert::Infallible>);
        let findings = find(plan, &facts, &ledger, histories).unwrap();
        Ticket {
            plan,
            facts: &facts,
            ledger: &ledger,
            findings: &findings,
            commands: Commands::default(),
            known,
        }
        .to_markdown()
    }

    #[test]
    fn a_ticket_says_all_that_support_asks_for() {
        let text = markdown(&small_plan(), TicketDetails::default());
        for said in [
            "# Azure Batch, 3 accounts: service logs of 6 nodes, 2026-11-22 07:30:00 to 2026-11-22 09:30:00 UTC",
            "Severity: moderate",
            "Batch account: contoso; region: westeurope; endpoint: https://contoso.westeurope.batch.azure.com",
            "Time of the problem: 2026-11-22 07:30:00 to 2026-11-22 09:30:00 UTC",
            "2 nodes incomplete (contoso, pool blocked): storage blocked",
            "fabrikam/web/tvm-7: 404 NodeNotFound, request-id service-1, client-request-id 00000000-0000-0000-0000-000000000001",
            "contoso/blocked/tvm-1: 200, request-id service-1",
            "contoso/render/tvm-1: starttaskfailed since 2026-11-22 09:00:00 UTC; error DiskFull: no space left; \
             start task completed: failure, exit code 1; agent 1.11.9; batch.node.ubuntu 22.04",
            "Container: https://logs.blob.core.windows.net/batch",
            "tailspin could not be listed completely: 403 AuthenticationFailed",
            "Answered with 429 or 503: 1",
        ] {
            assert!(text.contains(said), "`{said}` is not in\n{text}");
        }
        assert!(!text.contains('|'), "no tables:\n{text}");
    }

    #[test]
    fn what_a_config_knows_stands_in_it_and_names_are_no_markup() {
        let known = TicketDetails {
            title: Some("Nodes are lost\nat night"),
            problem: Some("Nodes <vanish>."),
            severity: Some("critical"),
            subscription: Some("0000"),
            resource_id: Some("/subscriptions/0000/x"),
        };
        let text = markdown(&plan_of(vec![planned("a", "p`q", "<script>")]), known);
        assert!(text.starts_with("# Nodes are lost at night\n\nSeverity: critical\n"), "{text}");
        assert!(
            text.contains("\n\nNodes &lt;vanish&gt;.\n\nWe asked 1 node of 1 Batch account to upload"),
            "{text}"
        );
        assert!(text.contains("- Subscription: 0000\n- Resource: /subscriptions/0000/x\n"), "{text}");
        assert!(!text.contains("<script>"), "{text}");
    }
}
