//! What a bundle is made of, and the finished bundle.

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
    /// The logs in the run directory, if they are to go into the bundle.
    pub logs: Option<DownloadedLogs>,
    /// Files from outside the run directory.
    pub extras: &'a [ExtraFile],
    /// What has gone wrong so far.
    pub notes: Notes,
}

/// A file that is added unchanged, even if it contains a secret: it is added on purpose.
#[derive(Clone)]
pub struct ExtraFile {
    /// Its name in the bundle's directory.
    pub name: &'static str,
    /// What the file is, in Markdown, for the list of files.
    pub about: &'static str,
    /// What is in it.
    pub content: String,
}

/// A bundle that was written.
pub struct FinishedBundle<W> {
    /// The writer it was written to.
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
    /// Name of the directory in the bundle, and of its file without the extension.
    #[must_use]
    pub fn name(plan: &Plan) -> String {
        format!("fleetlogs-{}", plan.run_id)
    }
}
