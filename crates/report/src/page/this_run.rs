//! What the run was: its facts, its accounts, and what was skipped. Every text from outside goes through [`for_html`].

use std::borrow::Cow;
use std::fmt::Write as _;

use fleetlogs_model::duration;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::PlannedAccount;
use time::OffsetDateTime;

use super::data::MOST_LEFT_OUT;
use super::outcomes::Skipped;
use crate::files::{MANIFEST_FILE, NODES_FILE};
use crate::manifest::{account_outcome, account_reason};
use crate::outcome_look::word_of_run;
use crate::summary::Summary;
use crate::text::{between, counted, for_html, listed, moment, number};

/// Accounts that are shown.
const MOST_ACCOUNTS: usize = 200;
/// What the table of accounts counts.
const COUNTS: [&str; 5] = ["Nodes", "Collected", "Not collected", "Calls", "Throttled"];

/// The facts of the run, as terms and their values.
pub(super) fn facts(summary: &Summary<'_>) -> String {
    let Summary { plan, facts, .. } = summary;
    let mut html = String::new();
    let mut fact = |term: &str, value: &str| {
        let _ = writeln!(html, "<div><dt>{term}</dt><dd>{value}</dd></div>");
    };
    let took = duration::text(between(facts.started_at, facts.ended_at));
    fact("Run", &format!("<code>{}</code>", for_html(plan.run_id.as_str())));
    if let Some(snapshot) = &plan.snapshot {
        let name = for_html(snapshot.name.as_str());
        let due = time(snapshot.due);
        fact("Snapshot", &format!("{name}<br><small>{}, due {due} UTC</small>", snapshot.trigger));
    }
    fact(
        "Time window of the logs",
        &format!("{} to<br>{} UTC", time(plan.window.start), time(plan.window.end)),
    );
    fact("Started", &format!("{} UTC", time(facts.started_at)));
    fact("Ended", &format!("{} UTC<br><small>after {took}</small>", time(facts.ended_at)));
    fact(accounts_term(plan.accounts.len()), &account_names(&plan.accounts));
    fact("Destination", &format!("<code>{}</code>", for_html(&plan.destination)));
    let files = if facts.verification {
        let calls = counted(facts.list_calls, "list call");
        format!("{}<br><small>verified with {calls}</small>", for_html(&files(summary)))
    } else {
        "not counted: verification is off".into()
    };
    fact("Files collected", &files);
    let (version, digest) = (for_html(&plan.tool_version), for_html(&plan.config_digest));
    fact(
        "Made by",
        &format!("fleetlogs {version}<br><small>config <code class=\"digest\">{digest}</code></small>"),
    );
    html
}

fn files(summary: &Summary<'_>) -> String {
    let findings = summary.findings;
    format!("{}, {}", counted(findings.files, "file"), crate::text::size(findings.bytes))
}

fn accounts_term(accounts: usize) -> &'static str {
    if accounts == 1 { "Batch account" } else { "Batch accounts" }
}

fn account_names(accounts: &[PlannedAccount]) -> String {
    let names = accounts.iter().map(|account| Cow::Owned(for_html(account.name.as_str())));
    listed(names, 8, accounts.len() as u64)
}

fn time(at: OffsetDateTime) -> String {
    format!("<time>{}</time>", moment(at))
}

/// A line for each account; nothing if there is only one account and it has no problem.
pub(super) fn accounts(summary: &Summary<'_>) -> String {
    let Summary { plan, facts, ledger, .. } = summary;
    let tallies: Vec<_> = plan.accounts.iter().zip(ledger.accounts().map(|(_, tally)| tally)).collect();
    let reasons = tallies.iter().any(|(account, tally)| account_reason(account, tally, facts).is_some());
    if tallies.len() < 2 && !reasons {
        return String::new();
    }
    let mut html = String::from(
        "<table class=\"accounts stacked\"><thead><tr><th scope=\"col\">Account</th><th scope=\"col\">Result</th>",
    );
    for count in COUNTS {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{count}</th>");
    }
    html.push_str(if reasons { "<th scope=\"col\">Reason</th></tr></thead>\n" } else { "</tr></thead>\n" });
    html.push_str("<tbody>\n");
    for (account, tally) in tallies.iter().take(MOST_ACCOUNTS) {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td data-label=\"Result\">{}</td>",
            for_html(account.name.as_str()),
            result(account_outcome(account, tally, facts))
        );
        let counts = tally.outcomes();
        let (planned, collected) = (counts.total(), counts.collected(summary.facts.verification));
        // Of an account that could not be listed, nobody knows how many nodes it has; of one that could be listed in
        // part, only that there are more.
        let nodes = |known: u64| match (&account.unlisted, &account.missing) {
            (Some(_), _) => "?".to_owned(),
            (None, Some(_)) => format!("{} + ?", number(known)),
            (None, None) => number(known),
        };
        let (all, missing) = (nodes(planned), nodes(planned - collected));
        let values = [all, number(collected), missing, number(tally.calls), number(tally.throttled)];
        for (count, value) in COUNTS.into_iter().zip(values) {
            let _ = write!(html, "<td class=\"n\" data-label=\"{count}\">{value}</td>");
        }
        if let Some(reason) = account_reason(account, tally, facts).map(for_html) {
            let _ = write!(html, "<td data-label=\"Reason\">{reason}</td>");
        } else if reasons {
            html.push_str("<td class=\"empty\"></td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>");
    if tallies.len() > MOST_ACCOUNTS {
        let more = counted((tallies.len() - MOST_ACCOUNTS) as u64, "more account");
        let _ = write!(html, "\n<p class=\"note\">And {more} in <code>{MANIFEST_FILE}</code>.</p>");
    }
    html
}

fn result(outcome: RunOutcome) -> String {
    format!(
        "<span class=\"result\"><svg class=\"sign {outcome}\" aria-hidden=\"true\"><use href=\"#run-{outcome}\"/></svg>{}</span>",
        word_of_run(outcome)
    )
}

/// Says how many nodes the table and the map leave out.
pub(super) fn bound(rows: u64, nodes: u64) -> String {
    if rows == nodes {
        return String::new();
    }
    format!(
        "<p class=\"note bound\">This page lists {} of {}; those that were not collected come first. Counts, bars and timeline \
         cover all of them; every node is in <code>{NODES_FILE}</code> and <code>{MANIFEST_FILE}</code>.</p>",
        number(rows),
        counted(nodes, "planned node"),
    )
}

/// What was skipped, by reason. The script makes the list itself.
pub(super) fn left_out(summary: &Summary<'_>) -> String {
    let left_out = &summary.plan.left_out;
    let appeared = summary.facts.appeared.len() as u64;
    let mut html = if left_out.is_empty() {
        "<p>No node or pool was skipped.</p>".to_owned()
    } else {
        let mut html = String::from(
            "<table class=\"reasons\"><thead><tr><th scope=\"col\">Reason</th><th scope=\"col\" class=\"n\">Nodes</th>\
             <th scope=\"col\" class=\"n\">Whole pools</th></tr></thead>\n<tbody>\n",
        );
        for (reason, (nodes, pools)) in Skipped::of(summary).by_reason {
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                reason.as_str(),
                number(nodes),
                number(pools)
            );
        }
        html + "</tbody></table>"
    };
    if left_out.len() > MOST_LEFT_OUT {
        let (shown, all) = (number(MOST_LEFT_OUT as u64), number(left_out.len() as u64));
        let _ = write!(
            html,
            "\n<p class=\"note\">The list below has the first {shown} of {all}; all are in <code>{MANIFEST_FILE}</code>.</p>"
        );
    }
    if appeared > 0 {
        let _ = write!(
            html,
            "\n<p>{} appeared after the plan was made and not called; <code>{MANIFEST_FILE}</code> lists them (<code>appeared</code>).</p>",
            counted(appeared, "node")
        );
    }
    html
}
