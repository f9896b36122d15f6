//! The page under construction: the template, filled in with the data and the sections.

use std::io::{self, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use sha2::{Digest as _, Sha256};

use super::data::PageData;
use super::{answer, outcomes, this_run};
use crate::node_end::NodeEnd;
use crate::outcome_look::{css_rules, svg_symbols, word_of_run};
use crate::run_facts::RunFacts;
use crate::summary::Summary;
use crate::text::for_html;

/// Nodes with a row of their own, those that were not collected first. Browsers open larger files slowly.
const MOST_ROWS: u64 = 20_000;

/// The page, with `{{names}}` as placeholders.
const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// The parts of the page's script, which are joined into one.
const SCRIPT: [&str; 9] = [
    include_str!("script/base.js"),
    include_str!("script/node.js"),
    include_str!("script/table.js"),
    include_str!("script/address.js"),
    include_str!("script/paper.js"),
    include_str!("script/map.js"),
    include_str!("script/timeline.js"),
    include_str!("script/left_out.js"),
    include_str!("script/start.js"),
];

/// The page under construction.
pub(crate) struct Page<W: Write> {
    out: W,
    data: PageData,
}

impl<W: Write> Page<W> {
    /// Writes all that comes before the nodes.
    pub(crate) fn begin(mut out: W, plan: &Plan, facts: &RunFacts, ledger: &Ledger) -> io::Result<Self> {
        let (before, _) = around_data();
        fill(&mut out, before, |name| match name {
            "title" => for_html(&format!("{} – fleetlogs run {}", word_of_run(facts.outcome), plan.run_id)),
            "policy" => policy(),
            "style" => style(),
            _ => String::new(),
        })?;
        let data = PageData::begin(&mut out, facts, ledger, MOST_ROWS)?;
        Ok(Self { out, data })
    }

    /// Takes a node in.
    pub(crate) fn node(&mut self, end: &NodeEnd<'_>) -> io::Result<()> {
        self.data.node(&mut self.out, end)
    }

    /// Writes what is known only after the last node, and returns the writer.
    pub(crate) fn end(mut self, summary: &Summary<'_>) -> io::Result<W> {
        let (rows, nodes) = (self.data.rows(), summary.ledger.outcomes().total());
        let trouble = self.data.end(&mut self.out, summary)?;
        let (_, after) = around_data();
        fill(&mut self.out, after, |name| match name {
            "symbols" => svg_symbols(),
            "which" => answer::which_run(summary),
            "verdict" => answer::verdict(summary),
            "causes" => answer::causes(summary),
            "counts" => outcomes::counts(summary),
            "not_planned" => outcomes::not_planned(summary),
            "meanings" => outcomes::meanings(summary),
            "notes" => outcomes::notes(summary),
            "trouble" => outcomes::service_trouble(&trouble),
            "bound" => this_run::bound(rows, nodes),
            "left_out" => this_run::left_out(summary),
            "facts" => this_run::facts(summary),
            "accounts" => this_run::accounts(summary),
            "script" => SCRIPT.concat(),
            _ => String::new(),
        })?;
        Ok(self.out)
    }
}

/// The template before and after the data.
fn around_data() -> (&'static str, &'static str) {
    TEMPLATE.split_once("{{data}}").unwrap_or((TEMPLATE, ""))
}

/// Writes a part of the template, with every `{{name}}` replaced.
fn fill(out: &mut impl Write, template: &str, value: impl Fn(&str) -> String) -> io::Result<()> {
    let mut rest = template;
    while let Some((before, found)) = rest.split_once("{{") {
        out.write_all(before.as_bytes())?;
        let (name, after) = found.split_once("}}").unwrap_or((found, ""));
        out.write_all(value(name).as_bytes())?;
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// The style sheet, with the colours of outcomes filled in.
fn style() -> String {
    STYLE.replacen("/* {{outcomes}} */", &css_rules(), 1)
}

/// What the browser may do with the page: use its own style and script, by their hashes, and nothing else.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hash(&SCRIPT.concat()),
        hash(&style())
    )
}

#[cfg(test)]
mod tests;
