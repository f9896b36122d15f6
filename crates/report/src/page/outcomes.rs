//! The counts of the page: planned nodes by outcome, what is not in the plan, and the nodes that the service itself
//! reports trouble on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::LeftOutReason;

use super::service_trouble::ServiceTrouble;
use crate::summary::Summary;
use crate::text::{counted, for_html, number};

/// The smallest share of a bar that an outcome gets, so that one node among thousands is visible.
pub(super) const LEAST_SHARE: f64 = 0.8;

/// A row for each outcome that occurs, with its share of the plan, and one for what is not in the plan.
pub(super) fn counts(summary: &Summary<'_>) -> String {
    let counts = summary.ledger.outcomes();
    let mut html = String::new();
    for outcome in Outcome::ALL {
        let nodes = counts.get(outcome);
        // People look for `verified` even if there is none.
        if nodes == 0 && outcome != Outcome::Verified {
            continue;
        }
        let _ = writeln!(
            html,
            "<tr data-outcome=\"{outcome}\"><th scope=\"row\" title=\"{}\">{}</th><td class=\"n\">{}</td><td class=\"n share\">{}</td>\
             <td class=\"bar\"><svg aria-hidden=\"true\" focusable=\"false\"><rect class=\"rail\" width=\"100%\" height=\"100%\"/>\
             <rect class=\"fill-{outcome}\" width=\"{:.2}%\" height=\"100%\"/></svg></td></tr>",
            for_html(outcome.meaning()),
            named(outcome),
            number(nodes),
            percent(nodes, counts.total()),
            if nodes == 0 { 0.0 } else { share(nodes, counts.total()).max(LEAST_SHARE) },
        );
    }
    let _ = write!(
        html,
        "<tr class=\"sum\"><th scope=\"row\">planned</th><td class=\"n\">{}</td><td class=\"n share\"></td><td class=\"bar\"></td></tr>",
        number(counts.total())
    );
    html
}

/// What is not in the plan, as rows of the same table.
pub(super) fn not_planned(summary: &Summary<'_>) -> String {
    let mut html = String::new();
    let unlisted = summary.plan.accounts.iter().filter(|account| !account.is_whole()).count() as u64;
    if unlisted > 0 {
        let _ = write!(
            html,
            "\n<tr class=\"beyond\"><th scope=\"row\">not listed</th><td class=\"n\">?</td><td colspan=\"2\">{}</td></tr>",
            counted(unlisted, "account")
        );
    }
    let Skipped { nodes, pools, .. } = Skipped::of(summary);
    if nodes + pools > 0 {
        let pools = match pools {
            0 => String::new(),
            pools => format!("and {}. ", counted(pools, "whole pool")),
        };
        let _ = write!(
            html,
            "\n<tr class=\"beyond\"><th scope=\"row\">skipped</th><td class=\"n\">{}</td><td colspan=\"2\">{pools}<a \
             href=\"#skipped\">Why</a></td></tr>",
            number(nodes),
        );
    }
    html
}

/// What was seen and skipped.
pub(super) struct Skipped {
    pub(super) nodes: u64,
    pub(super) pools: u64,
    /// Nodes and whole pools by reason.
    pub(super) by_reason: BTreeMap<LeftOutReason, (u64, u64)>,
}

impl Skipped {
    pub(super) fn of(summary: &Summary<'_>) -> Self {
        let mut by_reason: BTreeMap<LeftOutReason, (u64, u64)> = BTreeMap::new();
        for entry in &summary.plan.left_out {
            let (nodes, pools) = by_reason.entry(entry.reason).or_default();
            *(if entry.node.is_some() { nodes } else { pools }) += 1;
        }
        let nodes = by_reason.values().map(|(nodes, _)| nodes).sum();
        let pools = by_reason.values().map(|(_, pools)| pools).sum();
        Self { nodes, pools, by_reason }
    }
}

/// What each outcome means, for the outcomes that occur.
pub(super) fn meanings(summary: &Summary<'_>) -> String {
    let counts = summary.ledger.outcomes();
    let mut html = String::new();
    for outcome in Outcome::ALL.into_iter().filter(|&outcome| counts.get(outcome) > 0) {
        let _ =
            writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", named(outcome), for_html(outcome.meaning()));
    }
    html
}

/// What is known of the run beside its outcomes.
pub(super) fn notes(summary: &Summary<'_>) -> String {
    let duplicates = summary.duplicates().map(|text| format!("Also in the container: {}.", for_html(&text)));
    let changes = summary.changes().into_iter().map(|text| format!("{}.", text.html()));
    let notes: Vec<String> = duplicates.into_iter().chain(changes).collect();
    if notes.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>", notes.join(" ")) }
}

/// The nodes that the service reports trouble on, by kind; nothing if there are none. The script makes each kind a
/// filter.
pub(super) fn service_trouble(trouble: &ServiceTrouble) -> String {
    if trouble.nodes() == 0 {
        return String::new();
    }
    let mut html = format!(
        "<section class=\"card\" aria-labelledby=\"trouble-title\">\n<h2 id=\"trouble-title\">The service reports trouble on \
         <span data-trouble=\"any\">{}</span></h2>\n<ul class=\"kinds\">\n",
        counted(trouble.nodes(), "node")
    );
    for (at, kind, nodes) in trouble.kinds() {
        let _ = writeln!(
            html,
            "<li><b>{}</b> <span data-trouble=\"{at}\">{}</span></li>",
            number(nodes),
            for_html(kind)
        );
    }
    html.push_str("</ul>\n");
    let lost = trouble.not_collected();
    let _ = write!(
        html,
        "<p class=\"note\">As reported when the run was planned; {}.</p>\n</section>",
        match (lost, trouble.nodes()) {
            (0, 1) => "its logs were collected".into(),
            (0, _) => "the logs of all of them were collected".into(),
            (lost, all) if lost == all => "none of them was collected".into(),
            (lost, _) =>
                format!("{} of them {} not collected", number(lost), if lost == 1 { "was" } else { "were" }),
        }
    );
    html
}

/// An outcome's shape and word.
pub(super) fn named(outcome: Outcome) -> String {
    format!(
        "<span class=\"outcome\"><svg class=\"shape\" aria-hidden=\"true\"><use href=\"#{outcome}\"/></svg>{outcome}</span>"
    )
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
pub(super) fn share(part: u64, of: u64) -> f64 {
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
