//! The part of the page that answers: how the run ended, what is missing and why, and what to do about it. Every text
//! from outside goes through [`for_html`].

use std::borrow::Cow;
use std::fmt::Write as _;

use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};

use super::outcomes::{LEAST_SHARE, named, share};
use crate::advice::{Advice, NotListed, Step};
use crate::cause::Cause;
use crate::files::NODES_FILE;
use crate::outcome_look::word_of_run;
use crate::summary::{NOTHING_TO_DO, Summary};
use crate::text::{counted, for_html, listed, moment, number};
use crate::width::shortened;

/// Causes that are shown; the table of nodes has the reason of every node.
const MOST_CAUSES: usize = 50;
/// Causes that are shown at once; the others are folded, so that outcomes and map are on the first screen.
const OPEN_CAUSES: usize = 4;
/// Pools named with a cause.
const MOST_POOLS: usize = 12;
/// Accounts named with a reason for which they could not be listed.
const MOST_NAMES: usize = 12;
/// Characters of an example's id; the service's ids have 72.
const ID_WIDTH: usize = 24;

/// Which run this is, in one line.
pub(super) fn which_run(summary: &Summary<'_>) -> String {
    let Summary { plan, .. } = summary;
    let (id, window) = (for_html(plan.run_id.as_str()), &plan.window);
    format!(
        "<p class=\"eyebrow\"><span>fleetlogs report</span> <a href=\"#run\">{id}</a> <span>logs of <time>{}</time> to \
         <time>{}</time> UTC</span></p>",
        moment(window.start),
        moment(window.end)
    )
}

/// A badge, one sentence, and a bar of all planned nodes.
pub(super) fn verdict(summary: &Summary<'_>) -> String {
    let outcome = summary.facts.outcome;
    let mut html = format!(
        "<div class=\"verdict\"><p class=\"badge {outcome}\"><svg class=\"sign\" aria-hidden=\"true\">\
         <use href=\"#run-{outcome}\"/></svg>{}</p>\n<h1>{}.</h1></div>\n",
        word_of_run(outcome),
        for_html(&summary.verdict()),
    );
    let early = summary.reason_sentence(for_html);
    if !early.is_empty() {
        let _ = writeln!(html, "<p class=\"early\">{}</p>", early.trim_start());
    }
    html + &bar_of_all(&summary.ledger.outcomes())
}

/// All planned nodes as one bar; the table of outcomes has the numbers.
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

/// What is missing, each cause with what to do about it: accounts that could not be listed first, because nobody knows
/// how many nodes they have, then the causes, those with the most nodes first. The script adds a button to each that
/// shows its nodes.
pub(super) fn causes(summary: &Summary<'_>) -> String {
    let Advice { next, causes, not_listed } = summary.advice();
    let mut html = String::new();
    // A step for the run as a whole comes first, and is not repeated: each of the others stands with its cause.
    let of_causes = || causes.iter().take(MOST_CAUSES).filter_map(|(_, step)| step.as_ref());
    let is_with_a_cause = |step: &Step| {
        of_causes().chain(not_listed.iter().map(|of| &of.step)).any(|other| other.command == step.command)
    };
    let is_whole = summary.facts.outcome.is_resumable() && next.len() == 1;
    let first: Vec<&Step> = next.iter().filter(|step| is_whole || !is_with_a_cause(step)).collect();
    for step in &first {
        let _ = writeln!(html, "<div class=\"first-step\">{}</div>", of_step(step));
    }
    let mut items: Vec<String> = not_listed.iter().map(unlisted).collect();
    let accounts = items.len();
    items.extend(causes.iter().take(MOST_CAUSES).enumerate().map(|(at, (cause, step))| {
        let said =
            |step: &Step| first.iter().find(|said| said.command.is_some() && said.command == step.command);
        let step = step.as_ref().and_then(|step| match said(step) {
            Some(said) if said.text == step.text => None,
            Some(_) => Some(Cow::Owned(Step { command: None, ..step.clone() })),
            None => Some(Cow::Borrowed(step)),
        });
        of_cause(at, cause, step.as_deref())
    }));
    if next.is_empty() {
        let _ = write!(html, "<p>{NOTHING_TO_DO}</p>");
    }
    if items.is_empty() {
        return html;
    }
    let folded = causes.iter().take(MOST_CAUSES).skip(OPEN_CAUSES.saturating_sub(accounts));
    html.push_str(&open_and_folded(items, folded.map(|(cause, _)| cause.nodes).sum()));
    if let Some(hidden) = causes.get(MOST_CAUSES..).filter(|hidden| !hidden.is_empty()) {
        let nodes = counted(hidden.iter().map(|(cause, _)| cause.nodes).sum::<u64>(), "node");
        let more = counted(hidden.len() as u64, "more cause");
        let _ = write!(html, "\n<p class=\"note\">And {more} ({nodes}) in <code>{NODES_FILE}</code>.</p>");
    }
    html
}

/// The first causes, and the others folded; `nodes` is how many nodes those have.
fn open_and_folded(mut items: Vec<String>, nodes: u64) -> String {
    let folded = items.split_off(OPEN_CAUSES.min(items.len()));
    let mut html = format!("<ol class=\"causes\">\n{}</ol>", items.concat());
    if !folded.is_empty() {
        let _ = write!(
            html,
            "\n<details class=\"more-causes\"><summary>{} ({})</summary>\n<ol class=\"causes\">\n{}</ol></details>",
            counted(folded.len() as u64, "more cause"),
            counted(nodes, "node"),
            folded.concat()
        );
    }
    html
}

fn of_cause(at: usize, cause: &Cause, step: Option<&Step>) -> String {
    // A node id is unique in its pool only.
    let name = |at: &NodeRef| {
        let full = match cause.pools.len() {
            1 => at.node.as_str().to_owned(),
            _ => format!("{}/{}", at.pool, at.node),
        };
        let short =
            shortened(&full, ID_WIDTH + if cause.pools.len() == 1 { 0 } else { at.pool.as_str().len() });
        format!("<code title=\"{}\">{}</code>", for_html(&full), for_html(&short))
    };
    let pools = cause.pools.iter().map(|pool| Cow::Owned(format!("<b>{}</b>", for_html(pool.as_str()))));
    let pools = match cause.pools.len() {
        0 => "several pools".into(),
        1 => format!("pool {}", listed(pools, 1, 1)),
        many => format!("pools {}", listed(pools, MOST_POOLS, many as u64)),
    };
    let examples = cause.examples.iter().map(|at| Cow::Owned(name(at)));
    let examples = match cause.examples.len() {
        0 => String::new(),
        shown => format!("<p class=\"where examples\">{}</p>\n", listed(examples, shown, cause.nodes)),
    };
    format!(
        "<li data-cause=\"{at}\"><p class=\"count\"><b>{}</b> {}</p><div><p class=\"why\">{}</p>\n\
         <p class=\"where\">Account <b>{}</b>, {pools}</p>\n{examples}{}</div></li>\n",
        number(cause.nodes),
        named(cause.outcome),
        for_html(&cause.reason),
        for_html(cause.account.as_str()),
        step.map(of_step).unwrap_or_default(),
    )
}

/// Accounts that could not be listed, or only in part.
fn unlisted(NotListed { accounts, whole, why, step }: &NotListed) -> String {
    let all = accounts.len() as u64;
    let names = accounts.iter().map(|name| Cow::Owned(format!("<b>{}</b>", for_html(name.as_str()))));
    let which = listed(names, MOST_NAMES, all);
    let (count, what) = match (whole, all) {
        (true, 1) => {
            ("not listed", format!("Account {which} could not be listed: its nodes are not in the plan"))
        }
        (true, _) => {
            ("not listed", format!("Accounts {which} could not be listed: their nodes are not in the plan"))
        }
        (false, 1) => (
            "partly listed",
            format!("Pools of account {which} could not be listed: their nodes are not in the plan"),
        ),
        (false, _) => (
            "partly listed",
            format!("Pools of accounts {which} could not be listed: their nodes are not in the plan"),
        ),
    };
    format!(
        "<li class=\"unlisted\"><p class=\"count\"><b>?</b> <span>{count}</span></p><div><p class=\"why\">{what}</p>\n\
         <p class=\"where\">{}</p>\n{}</div></li>\n",
        for_html(why),
        of_step(step),
    )
}

/// What to do, and the command for it.
fn of_step(Step { text, command: line, .. }: &Step) -> String {
    let text = text.html();
    match line {
        Some(line) => format!("<p class=\"step\">{text}:</p>\n{}", command(line)),
        None => format!("<p class=\"step\">{text}.</p>\n"),
    }
}

/// A command; the script adds a button that copies it.
fn command(line: &str) -> String {
    format!("<p class=\"command-line\"><code class=\"command\">{}</code></p>\n", for_html(line))
}
