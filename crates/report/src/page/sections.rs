//! The parts of the page that can be read without its script: verdict, facts, counts, next steps, causes and what was
//! skipped. Every text from outside goes through [`for_html`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use fleetlogs_model::duration;
use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts, RunOutcome};
use fleetlogs_model::plan::{LeftOutReason, PlannedAccount};
use time::OffsetDateTime;

use super::data::MOST_LEFT_OUT;
use crate::advice::{RUN, Step, after_listing};
use crate::files::{MANIFEST_FILE, NODES_FILE};
use crate::manifest::{account_outcome, account_reason};
use crate::outcome_look::word_of_run;
use crate::summary::{Summary, nothing_missing};
use crate::text::{between, counted, for_html, listed, moment, number};

/// Causes that are shown; the table of nodes has the reason of every node.
const MOST_CAUSES: usize = 50;
/// Pools named with a cause.
const MOST_POOLS: usize = 12;
/// Accounts that are shown.
const MOST_ACCOUNTS: usize = 200;
/// The smallest share of the bar that an outcome gets, so that one node among thousands is visible.
const LEAST_SHARE: f64 = 0.8;

/// A badge, one sentence, and a bar of all planned nodes.
pub(super) fn verdict(summary: &Summary<'_>) -> String {
    let outcome = summary.facts.outcome;
    let mut html = format!(
        "<p class=\"badge {outcome}\"><svg class=\"sign\" aria-hidden=\"true\"><use href=\"#run-{outcome}\"/></svg>{}</p>\n\
         <h1>{}.</h1>\n",
        word_of_run(outcome),
        for_html(&summary.verdict()),
    );
    let early = summary.reason_sentence(for_html);
    if !early.is_empty() {
        let _ = writeln!(html, "<p class=\"early\">{}</p>", early.trim_start());
    }
    html + &bar_of_all(&summary.ledger.outcomes())
}

/// All planned nodes as one bar; the table of counts has the numbers.
fn bar_of_all(counts: &OutcomeCounts) -> String {
    let present: Vec<Outcome> = Outcome::ALL.into_iter().filter(|&outcome| counts.get(outcome) > 0).collect();
    let wide: Vec<f64> =
        present.iter().map(|&of| share(counts.get(of), counts.total()).max(LEAST_SHARE)).collect();
    let sum: f64 = wide.iter().sum();
    let mut html = String::from("<svg class=\"whole\" aria-hidden=\"true\" focusable=\"false\">");
    let mut from = 0.0;
    for (outcome, wide) in present.iter().zip(wide) {
        let width = wide * 100.0 / sum;
        let _ = write!(
            html,
            "<rect class=\"fill-{outcome}\" x=\"{from:.2}%\" width=\"{width:.2}%\" height=\"100%\"/>"
        );
        from += width;
    }
    html + "</svg>"
}

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
        "<div class=\"scroll\" role=\"region\" aria-label=\"Accounts\" tabindex=\"0\"><table class=\"accounts\">\
         <thead><tr><th scope=\"col\">Account</th><th scope=\"col\">Result</th>",
    );
    for count in ["Nodes", "Collected", "Not collected", "Calls", "Throttled"] {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{count}</th>");
    }
    html.push_str(if reasons { "<th scope=\"col\">Reason</th></tr></thead>\n" } else { "</tr></thead>\n" });
    html.push_str("<tbody>\n");
    for (account, tally) in tallies.iter().take(MOST_ACCOUNTS) {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            for_html(account.name.as_str()),
            result(account_outcome(account, tally, facts))
        );
        let counts = tally.outcomes();
        let (planned, collected) = (counts.total(), counts.collected(summary.facts.verification));
        for count in [planned, collected, planned - collected, tally.calls, tally.throttled] {
            let _ = write!(html, "<td class=\"n\">{}</td>", number(count));
        }
        if reasons {
            let reason = account_reason(account, tally, facts).map(for_html).unwrap_or_default();
            let _ = write!(html, "<td>{reason}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>");
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

/// A row for each outcome that occurs, with its share of the plan.
pub(super) fn counts(summary: &Summary<'_>) -> String {
    let counts = summary.ledger.outcomes();
    let mut html = String::new();
    for outcome in Outcome::ALL {
        let nodes = counts.get(outcome);
        if nodes == 0 && outcome != Outcome::Verified {
            continue;
        }
        let _ = writeln!(
            html,
            "<tr data-outcome=\"{outcome}\"><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"bar\"><svg aria-hidden=\"true\" focusable=\"false\"><rect class=\"rail\" width=\"100%\" height=\"100%\"/>\
             <rect class=\"fill-{outcome}\" width=\"{:.2}%\" height=\"100%\"/></svg></td><td class=\"means\">{}</td></tr>",
            named(outcome),
            number(nodes),
            percent(nodes, counts.total()),
            if nodes == 0 { 0.0 } else { share(nodes, counts.total()).max(LEAST_SHARE) },
            outcome.meaning(),
        );
    }
    let _ = writeln!(
        html,
        "<tr class=\"sum\"><th scope=\"row\">planned</th><td class=\"n\">{}</td><td class=\"n\"></td><td class=\"bar\"></td>\
         <td class=\"means\">every planned node has exactly one outcome</td></tr>",
        number(counts.total())
    );
    html
}

/// An outcome's shape and word.
fn named(outcome: Outcome) -> String {
    format!(
        "<span class=\"outcome\"><svg class=\"shape\" aria-hidden=\"true\"><use href=\"#{outcome}\"/></svg>{outcome}</span>"
    )
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 }
}

/// `97.3%`. `0%` and `100%` are shown only if they are exact.
fn percent(part: u64, of: u64) -> String {
    match share(part, of) {
        _ if part == 0 => "0%".into(),
        _ if part == of => "100%".into(),
        share if share < 0.1 => "&lt;0.1%".into(),
        share if share > 99.9 => "&gt;99.9%".into(),
        share => format!("{share:.1}%"),
    }
}

/// What to do now, the same as in the summary for the ticket.
pub(super) fn next(summary: &Summary<'_>) -> String {
    let mut items = Vec::new();
    if let Some(resume) = summary.resume {
        items.push(format!("Resume this run: <code class=\"command\">{}</code>", for_html(resume)));
    }
    for (Step { text, command }, outcomes) in summary.advice() {
        let names: Vec<String> = outcomes.iter().map(|outcome| named(*outcome)).collect();
        let command = command.map(|command| format!(": <code>{}</code>", for_html(&command.line(RUN))));
        items.push(format!("{} {}{}.", names.join(" "), text.html(), command.unwrap_or_default()));
    }
    for account in summary.plan.accounts.iter().filter(|account| !account.is_whole()).take(MOST_ACCOUNTS) {
        let name = for_html(account.name.as_str());
        let what = match &account.missing {
            Some(missing) => format!("{}, so their nodes are", for_html(missing)),
            None => "could not be listed, so its nodes are".into(),
        };
        let step = after_listing(account).html_inside();
        items.push(format!("<b>{name}</b> {what} not in the plan: {step}."));
    }
    let duplicates = summary.duplicates().map(|text| format!("Also in the container: {}.", for_html(&text)));
    let changes = summary.changes().into_iter().map(|text| format!("{}.", text.html()));
    let notes: Vec<String> = duplicates.into_iter().chain(changes).collect();
    let mut html = if items.is_empty() {
        format!("<p>{}</p>", nothing_missing(summary.facts.verification))
    } else {
        format!("<ul class=\"steps\">\n<li>{}</li>\n</ul>", items.join("</li>\n<li>"))
    };
    if !notes.is_empty() {
        let _ = write!(html, "\n<p class=\"note\">{}</p>", notes.join(" "));
    }
    html
}

/// The causes, those with the most nodes first. The script adds a button to each that shows its nodes.
pub(super) fn causes(summary: &Summary<'_>) -> String {
    let causes = summary.findings.causes();
    if causes.is_empty() {
        return "<p>Every planned node was collected.</p>".into();
    }
    let mut html = String::from("<ol class=\"causes\">\n");
    for (at, cause) in causes.iter().take(MOST_CAUSES).enumerate() {
        // A node id is unique in its pool only.
        let name = |at: &NodeRef| match cause.pools.len() {
            1 => format!("<code>{}</code>", for_html(at.node.as_str())),
            _ => format!("<code>{}/{}</code>", for_html(at.pool.as_str()), for_html(at.node.as_str())),
        };
        let examples = cause.examples.iter().map(|at| Cow::Owned(name(at)));
        let pools = cause.pools.iter().map(|pool| Cow::Owned(format!("<b>{}</b>", for_html(pool.as_str()))));
        let pools = match cause.pools.len() {
            0 => "several pools".into(),
            1 => format!("pool {}", listed(pools, 1, 1)),
            many => format!("pools {}", listed(pools, MOST_POOLS, many as u64)),
        };
        let _ = writeln!(
            html,
            "<li data-cause=\"{at}\"><p class=\"count\"><b>{}</b> {}</p><div><p class=\"why\">{}</p>\n\
             <p class=\"where\">Account <b>{}</b>, {pools}</p>",
            number(cause.nodes),
            named(cause.outcome),
            for_html(&cause.reason),
            for_html(cause.account.as_str()),
        );
        if !cause.examples.is_empty() {
            let examples = listed(examples, cause.examples.len(), cause.nodes);
            let _ = writeln!(html, "<p class=\"where\">{examples}</p>");
        }
        html.push_str("</div></li>\n");
    }
    html.push_str("</ol>");
    if let Some(hidden) = causes.get(MOST_CAUSES..).filter(|hidden| !hidden.is_empty()) {
        let nodes = counted(hidden.iter().map(|cause| cause.nodes).sum(), "node");
        let more = counted(hidden.len() as u64, "more cause");
        let _ = write!(html, "\n<p class=\"note\">And {more} ({nodes}) in <code>{NODES_FILE}</code>.</p>");
    }
    html
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
        let mut counts: BTreeMap<LeftOutReason, (u64, u64)> = BTreeMap::new();
        for entry in left_out {
            let (nodes, pools) = counts.entry(entry.reason).or_default();
            *(if entry.node.is_some() { nodes } else { pools }) += 1;
        }
        let mut html = String::from(
            "<table class=\"reasons\"><thead><tr><th scope=\"col\">Reason</th><th scope=\"col\" class=\"n\">Nodes</th>\
             <th scope=\"col\" class=\"n\">Whole pools</th></tr></thead>\n<tbody>\n",
        );
        for (reason, (nodes, pools)) in counts {
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
            "\n<p>{} appeared after the plan was made (not called): <code>appeared</code> in <code>{MANIFEST_FILE}</code>.</p>",
            counted(appeared, "node")
        );
    }
    html
}
