//! What a bundle is made of, and what comes of it.

use std::path::Path;

use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;

use super::logs::DownloadedLogs;
use super::notes::Notes;
use crate::cause::Findings;
use crate::run_facts::RunFacts;

/// All that a bundle is made of.
pub struct Bundle<'a> {
    /// The run directory, with its reports.
    pub dir: &'a Path,
    /// What was planned.
    pub plan: &'a Plan,
    /// How the run went.
    pub facts: &'a RunFacts,
    /// The counts.
    pub ledger: &'a Ledger,
    /// What [`find`](crate::find) found.
    pub findings: &'a Findings,
    /// The logs in the run directory, where they are wanted in the bundle.
    pub logs: Option<DownloadedLogs>,
    /// Files that are not of the run directory.
    pub extras: &'a [ExtraFile],
    /// What went wrong before.
    pub notes: Notes,
}

/// A file that goes in as it is, also where it holds a secret: whoever adds it means to hand it over.
#[derive(Clone)]
pub struct ExtraFile {
    /// Its name in the bundle's directory.
    pub name: &'static str,
    /// What it is, in Markdown, for the list of files.
    pub about: &'static str,
    /// What is in it.
    pub content: String,
}

/// A bundle that was written.
pub struct FinishedBundle<W> {
    /// What it was written to.
    pub target: W,
    /// Files in it.
    pub entries: u64,
    /// What is missing or different, and why.
    pub notes: Notes,
}

/// A file of the bundle, for the list in the README.
pub(super) struct ListedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl Bundle<'_> {
    /// Name of the directory in the bundle, and of its file but for the ending.
    #[must_use]
    pub fn name(plan: &Plan) -> String {
        format!("fleetlogs-{}", plan.run_id)
    }
}
