//! Writes the reports of a verification, node by node.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fleetlogs_model::interval::Interval;
use fleetlogs_model::inventory::{Covers, FileStatus, NoTimes, NodeCoverage, Standing};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::NodeAt;
use fleetlogs_model::timestamp;
use fleetlogs_model::whole_file::WholeFile;
use serde::Serialize;
use time::Duration;

use super::finding::{NodeFinding, RevisitFacts};
use super::inventory::Inventory;
use super::tally::RevisitTally;
use crate::files::{COVERAGE_FILE, FILES_FILE, VERIFY_FILE};
use crate::json_document::{JsonDocument, OpenList};
use crate::reports::ReportError;

/// Schema of [`VERIFY_FILE`].
const VERIFY_SCHEMA: &str = "fleetlogs.verify/v1";
/// Schema of [`COVERAGE_FILE`].
const COVERAGE_SCHEMA: &str = "fleetlogs.coverage/v1";

/// Files that are listed for one node; the inventory has all of them.
const MOST_FILES: usize = 100;

/// The reports under construction.
pub struct RevisitReports<'run> {
    plan: &'run Plan,
    facts: RevisitFacts,
    inventory: Inventory,
    nodes: OpenList<WholeFile>,
    coverage: Option<OpenList<WholeFile>>,
    tally: RevisitTally,
}

/// The finished reports of a verification.
pub struct RevisitResult<'run> {
    pub(super) plan: &'run Plan,
    pub(super) facts: RevisitFacts,
    pub(super) tally: RevisitTally,
    pub(super) list_calls: u64,
}

impl<'run> RevisitReports<'run> {
    /// Begins the reports. Earlier reports stay until these are complete.
    pub fn begin(dir: &Path, plan: &'run Plan, facts: RevisitFacts) -> Result<Self, ReportError> {
        let inventory = Inventory::begin(dir).map_err(failed(FILES_FILE))?;
        let begin = |file: &'static str, schema: &str| -> io::Result<JsonDocument<WholeFile>> {
            let mut document = JsonDocument::begin(WholeFile::create(dir, file)?)?;
            document.member("schema", schema)?;
            document.member("run_id", plan.run_id.as_str())?;
            document.member("at", &timestamp::text(facts.at))?;
            Ok(document)
        };
        let nodes = || -> io::Result<OpenList<WholeFile>> {
            let mut document = begin(VERIFY_FILE, VERIFY_SCHEMA)?;
            document.member("destination", &plan.destination)?;
            document.member("compared_with", if facts.has_earlier { FILES_FILE } else { "run.db" })?;
            Ok(document.into_list("nodes")?)
        };
        let coverage = |tolerance: Duration| -> io::Result<OpenList<WholeFile>> {
            let mut document = begin(COVERAGE_FILE, COVERAGE_SCHEMA)?;
            document.member("tolerance_seconds", &tolerance.whole_seconds())?;
            Ok(document.into_list("nodes")?)
        };
        Ok(Self {
            plan,
            facts,
            inventory,
            nodes: nodes().map_err(failed(VERIFY_FILE))?,
            coverage: facts.tolerance.map(coverage).transpose().map_err(failed(COVERAGE_FILE))?,
            tally: RevisitTally::default(),
        })
    }

    /// Takes a node in.
    pub fn node(&mut self, looked_at: NodeFinding<'_>) -> Result<(), ReportError> {
        let NodeFinding { node, directory, look, coverage, .. } = looked_at;
        self.tally.add(looked_at);
        let written = self.nodes.item(&NodeItem::of(looked_at));
        written.map_err(|error| failed(VERIFY_FILE)(error.into()))?;
        if let Some(directory) = directory {
            let written = self.inventory.node(node, directory, &look.files);
            written.map_err(|error| failed(FILES_FILE)(error.into()))?;
        }
        if let (Some(list), Some(coverage)) = (&mut self.coverage, coverage) {
            let written = list.item(&CoverageItem::of(node, coverage));
            written.map_err(|error| failed(COVERAGE_FILE)(error.into()))?;
        }
        Ok(())
    }

    /// `Complete` if all files are unchanged, `NothingCollected` if none exists any more, otherwise `Partial`.
    #[must_use]
    pub fn outcome(&self) -> RunOutcome {
        self.tally.outcome()
    }

    /// Finishes the reports and gives them their names. `exit_code` is that of the command.
    pub fn commit(self, list_calls: u64, exit_code: u8) -> Result<RevisitResult<'run>, ReportError> {
        let Self { plan, facts, inventory, nodes, coverage, tally } = self;
        inventory.commit().map_err(failed(FILES_FILE))?;
        if let Some(coverage) = coverage {
            let end = || -> io::Result<()> {
                let mut document = coverage.end()?;
                document.member("counts", &tally.covers_by_name())?;
                document.member("reads", &tally.reads)?;
                document.end()?.commit()
            };
            end().map_err(failed(COVERAGE_FILE))?;
        }
        let end = || -> io::Result<()> {
            let mut document = nodes.end()?;
            document.member("counts", &tally.standings_by_name())?;
            document.member("files", &tally.files)?;
            document.member("bytes", &tally.bytes)?;
            document.member("coverage", &facts.tolerance.map(|_| tally.covers_by_name()))?;
            document.member("list_calls", &list_calls)?;
            document.member("reads", &tally.reads)?;
            document.member("exit_code", &exit_code)?;
            document.end()?.commit()
        };
        end().map_err(failed(VERIFY_FILE))?;
        Ok(RevisitResult { plan, facts, tally, list_calls })
    }
}

fn failed(file: &'static str) -> impl Fn(io::Error) -> ReportError {
    move |source| ReportError::Write { file, source }
}

/// A node in [`VERIFY_FILE`].
#[derive(Serialize)]
struct NodeItem<'a> {
    account: &'a str,
    pool: &'a str,
    node: Cow<'a, str>,
    virtual_directory: Option<&'a str>,
    standing: Standing,
    files_verified: Option<u32>,
    bytes_verified: Option<u64>,
    files_now: u32,
    bytes_now: u64,
    files_missing: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    covers: Option<Covers>,
}

#[derive(Serialize)]
struct FileItem<'a> {
    file: &'a str,
    status: &'static str,
    bytes: u64,
}

impl<'a> NodeItem<'a> {
    fn of(looked_at: NodeFinding<'a>) -> Self {
        let NodeFinding { node, directory, verified, look, coverage, .. } = looked_at;
        let other = look.files.iter().filter(|file| file.status != FileStatus::Present);
        let files = other.take(MOST_FILES).map(|file| FileItem {
            file: &file.file,
            status: file.status.as_str(),
            bytes: file.bytes,
        });
        Self {
            account: node.account().as_str(),
            pool: node.pool().as_str(),
            node: node.id(),
            virtual_directory: directory,
            standing: look.standing,
            files_verified: verified.map(|(files, _)| files),
            bytes_verified: verified.map(|(_, bytes)| bytes),
            files_now: look.files_now,
            bytes_now: look.bytes_now,
            files_missing: look.files_missing,
            files: files.collect(),
            covers: coverage.map(|coverage| coverage.covers),
        }
    }
}

/// A node in [`COVERAGE_FILE`].
#[derive(Serialize)]
struct CoverageItem<'a> {
    account: &'a str,
    pool: &'a str,
    node: Cow<'a, str>,
    covers: Covers,
    window: Interval,
    covered: &'a [Interval],
    holes: &'a [Interval],
    written: Option<Interval>,
    files: u32,
    unknown: &'a BTreeMap<NoTimes, u32>,
    reads: u64,
}

impl<'a> CoverageItem<'a> {
    fn of(node: NodeAt<'a>, coverage: &'a NodeCoverage) -> Self {
        let NodeCoverage { covers, window, covered, holes, written, files, unknown, reads } = coverage;
        Self {
            account: node.account().as_str(),
            pool: node.pool().as_str(),
            node: node.id(),
            covers: *covers,
            window: *window,
            covered,
            holes,
            written: *written,
            files: *files,
            unknown,
            reads: *reads,
        }
    }
}

#[cfg(test)]
mod tests;
