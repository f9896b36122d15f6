//! Writes the reports that list every node: `manifest.json`, `nodes.csv` and `report.html`, in one pass over the
//! journal.
//!
//! The histories come from a cursor and can be read only once, so all three files are written at the same time, and
//! what the summary needs is collected on the way. Memory does not grow with the number of nodes (beyond the plan).

use std::error::Error;
use std::io;
use std::path::Path;

use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::{AccountName, NodeIndex, NodeRef};
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::outcome::OutcomeCounts;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::whole_file::WholeFile;

use crate::advice::Commands;
use crate::cause::Findings;
use crate::files::{MANIFEST_FILE, NODES_FILE, PAGE_FILE};
use crate::json_document::JsonDocument;
use crate::manifest;
use crate::node_end::NodeEnd;
use crate::nodes_csv::NodesCsv;
use crate::page::Page;
use crate::run_facts::RunFacts;
use crate::summary::Summary;

/// The reports could not be written. Earlier reports are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// For example, because the disk is full.
    #[error("cannot write `{file}`: {source}")]
    Write {
        /// Which file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The details of the planned nodes could not be read.
    #[error("cannot read the plan: {0}")]
    Plan(#[source] io::Error),
    /// The journal could not be read to its end.
    #[error("cannot read the journal: {0}")]
    Journal(#[source] Box<dyn Error + Send + Sync>),
    /// The journal yields a node out of plan order, or twice. A defect.
    #[error("defect: node {} of the plan is out of order in the journal, or not in the plan", .0.0)]
    OutOfTurn(NodeIndex),
    /// Ledger and journal disagree about a node. A defect.
    #[error("defect: node `{node}` is {ledger:?} in the ledger and {history:?} in the journal")]
    NodeDisagrees {
        /// Which node.
        node: Box<NodeRef>,
        /// Its status in the ledger.
        ledger: NodeStatus,
        /// Its status in the journal.
        history: NodeStatus,
    },
    /// The counts at the head of the manifest are not those of its nodes. A defect.
    #[error("defect: the counts of account `{account}` in the ledger do not agree with its nodes")]
    CountsDisagree {
        /// Which account.
        account: AccountName,
    },
    /// The ledger was made for another plan. A defect.
    #[error("defect: the ledger counts {ledger} nodes and the plan has {plan}")]
    OtherPlan {
        /// Nodes in the ledger.
        ledger: u64,
        /// Nodes in the plan.
        plan: u64,
    },
}

/// Writes `manifest.json`, `nodes.csv` and `report.html` into `dir`, each whole or not at all.
///
/// `histories` yields the nodes that had events, in plan order. A planned node that it does not yield had none, and is
/// written as not sent. `commands` is what advice has to name. The manifest gets its
/// name last: once it exists, the others do, too.
pub fn write_reports<E: Into<Box<dyn Error + Send + Sync>>>(
    dir: &Path,
    plan: &Plan,
    facts: &RunFacts,
    ledger: &Ledger,
    commands: Commands<'_>,
    histories: impl Iterator<Item = Result<(NodeIndex, NodeHistory), E>>,
) -> Result<Findings, ReportError> {
    let mut document = JsonDocument::begin(create(dir, MANIFEST_FILE)?).map_err(manifest_error)?;
    let mut table = NodesCsv::begin(create(dir, NODES_FILE)?).map_err(table_error)?;
    let mut page = Page::begin(create(dir, PAGE_FILE)?, plan, facts, ledger).map_err(page_error)?;
    manifest::write_head(&mut document, plan, facts, ledger).map_err(manifest_error)?;
    let mut nodes = document.list("nodes").map_err(manifest_error)?;
    let findings = for_each_node(plan, facts, ledger, histories, |end| {
        manifest::write_node(&mut nodes, end, facts).map_err(manifest_error)?;
        table.node(end).map_err(table_error)?;
        page.node(end).map_err(page_error)
    })?;
    nodes.end().map_err(manifest_error)?;
    manifest::write_tail(&mut document, &plan.left_out, facts).map_err(manifest_error)?;

    let summary = Summary { plan, facts, ledger, findings: &findings, dir, commands };
    page.end(&summary).and_then(WholeFile::commit).map_err(page_error)?;
    let table = table.end().map_err(|source| ReportError::Write { file: NODES_FILE, source })?;
    table.commit().map_err(|source| ReportError::Write { file: NODES_FILE, source })?;
    let manifest = document.end().map_err(manifest_error)?;
    manifest.commit().map_err(|source| ReportError::Write { file: MANIFEST_FILE, source })?;
    Ok(findings)
}

/// What [`write_reports`] would find, without writing anything.
pub fn find<E: Into<Box<dyn Error + Send + Sync>>>(
    plan: &Plan,
    facts: &RunFacts,
    ledger: &Ledger,
    histories: impl Iterator<Item = Result<(NodeIndex, NodeHistory), E>>,
) -> Result<Findings, ReportError> {
    for_each_node(plan, facts, ledger, histories, |_| Ok(()))
}

/// Calls `write` with the end of every planned node, in plan order, and checks the nodes against the ledger.
fn for_each_node<E: Into<Box<dyn Error + Send + Sync>>>(
    plan: &Plan,
    facts: &RunFacts,
    ledger: &Ledger,
    histories: impl Iterator<Item = Result<(NodeIndex, NodeHistory), E>>,
    mut write: impl FnMut(&NodeEnd<'_>) -> Result<(), ReportError>,
) -> Result<Findings, ReportError> {
    check_is_of(ledger, plan)?;
    let stopped: Vec<Option<&str>> = ledger.accounts().map(|(_, tally)| tally.stopped.as_deref()).collect();
    let mut histories = InPlanOrder::new(histories)?;
    let mut findings = Findings::default();
    let mut written = vec![OutcomeCounts::default(); plan.accounts.len()];
    for ((index, node), account) in
        (0..).map(NodeIndex).zip(plan.nodes.details()).zip(plan.accounts_of_nodes())
    {
        let node = node.map_err(ReportError::Plan)?;
        let history = histories.take(index)?;
        if history.status != ledger.status(index) {
            let (ledger, history) = (ledger.status(index), history.status);
            return Err(ReportError::NodeDisagrees { node: Box::new(node.at()), ledger, history });
        }
        let end = NodeEnd::new(&node, account, &history, facts, stopped[account.get()]);
        write(&end)?;
        written[end.account.get()].add(end.outcome);
        findings.add(&end, facts.verification);
    }
    histories.end()?;
    check_counts(ledger, &written)?;
    Ok(findings)
}

/// One history for every planned node; nodes without events get an empty one.
struct InPlanOrder<I> {
    histories: I,
    next: Option<(NodeIndex, NodeHistory)>,
}

impl<I, E> InPlanOrder<I>
where
    I: Iterator<Item = Result<(NodeIndex, NodeHistory), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn new(histories: I) -> Result<Self, ReportError> {
        let mut this = Self { histories, next: None };
        this.advance()?;
        Ok(this)
    }

    /// The history of the next planned node.
    fn take(&mut self, index: NodeIndex) -> Result<NodeHistory, ReportError> {
        match self.next.take() {
            Some((at, history)) if at == index => {
                self.advance()?;
                Ok(history)
            }
            Some((at, _)) if at < index => Err(ReportError::OutOfTurn(at)),
            later => {
                self.next = later;
                Ok(NodeHistory::default())
            }
        }
    }

    /// Checks that no history is left over.
    fn end(self) -> Result<(), ReportError> {
        self.next.map_or(Ok(()), |(at, _)| Err(ReportError::OutOfTurn(at)))
    }

    fn advance(&mut self) -> Result<(), ReportError> {
        let next = self.histories.next().transpose();
        self.next = next.map_err(|error| ReportError::Journal(error.into()))?;
        Ok(())
    }
}

fn check_is_of(ledger: &Ledger, plan: &Plan) -> Result<(), ReportError> {
    let (ledger, plan) = (ledger.outcomes().total(), plan.nodes.len() as u64);
    if ledger == plan { Ok(()) } else { Err(ReportError::OtherPlan { ledger, plan }) }
}

/// Checks that the counts at the head of the manifest are those of its nodes.
fn check_counts(ledger: &Ledger, written: &[OutcomeCounts]) -> Result<(), ReportError> {
    for ((account, tally), written) in ledger.accounts().zip(written) {
        if tally.outcomes() != *written {
            return Err(ReportError::CountsDisagree { account: account.clone() });
        }
    }
    Ok(())
}

fn create(dir: &Path, file: &'static str) -> Result<WholeFile, ReportError> {
    WholeFile::create(dir, file).map_err(|source| ReportError::Write { file, source })
}

fn manifest_error(error: serde_json::Error) -> ReportError {
    ReportError::Write { file: MANIFEST_FILE, source: error.into() }
}

fn page_error(source: io::Error) -> ReportError {
    ReportError::Write { file: PAGE_FILE, source }
}

fn table_error(error: csv::Error) -> ReportError {
    ReportError::Write { file: NODES_FILE, source: error.into() }
}

#[cfg(test)]
mod tests;
