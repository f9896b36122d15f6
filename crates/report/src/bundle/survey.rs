//! One pass over the nodes of the manifest: where each is in the file, and the few that the README lists.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use fleetlogs_model::outcome::Outcome;

use super::node_lines::{AttemptLine, LineSpan, NodeLines, NodeRow};

/// Rows of a table in the README. The rest is in `nodes.csv` and the manifest.
pub(super) const MOST_ROWS: usize = 50;
/// Rows of the table of calls.
pub(super) const MOST_CALLS: usize = 25;
/// Kinds of failed calls that are distinguished.
const MOST_KINDS: usize = 50;
/// Accounts whose common directory prefixes are listed, and prefixes of each.
const MOST_ACCOUNTS: usize = 20;
const MOST_BEGINNINGS: usize = 3;

/// What the README says about single nodes, and where each node is in the file.
#[derive(Default)]
pub(super) struct Survey {
    /// Places of the nodes of each pool, by account and pool.
    pub(super) pools: BTreeMap<(String, String), Vec<LineSpan>>,
    /// Nodes with a directory; those that were not collected come first.
    pub(super) directories: FirstRows<DirectoryRow>,
    /// First parts of the directories of each account; the service gives them the same prefix.
    pub(super) beginnings: BTreeMap<String, BTreeSet<String>>,
    /// The last call of nodes that were not collected.
    pub(super) calls: FirstRows<CallRow>,
    /// Calls that failed, by status and code, with one as an example.
    pub(super) failed: BTreeMap<(Option<u16>, String), (u64, CallRow)>,
    /// Number of failed calls of further kinds.
    pub(super) failed_otherwise: u64,
}

/// The first few of many rows; rows of nodes that were not collected come first.
pub(super) struct FirstRows<T> {
    troubled: Vec<T>,
    fine: Vec<T>,
    pub(super) all: u64,
    most: usize,
}

impl<T> FirstRows<T> {
    fn new(most: usize) -> Self {
        Self { troubled: vec![], fine: vec![], all: 0, most }
    }

    fn add(&mut self, row: T, troubled: bool) {
        self.all += 1;
        let rows = if troubled { &mut self.troubled } else { &mut self.fine };
        if rows.len() < self.most {
            rows.push(row);
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &T> {
        self.troubled.iter().chain(&self.fine).take(self.most)
    }
}

impl Default for FirstRows<DirectoryRow> {
    fn default() -> Self {
        Self::new(MOST_ROWS)
    }
}

impl Default for FirstRows<CallRow> {
    fn default() -> Self {
        Self::new(MOST_CALLS)
    }
}

/// A node and its directory.
pub(super) struct DirectoryRow {
    pub(super) account: String,
    pub(super) pool: String,
    pub(super) node: String,
    pub(super) outcome: Outcome,
    pub(super) directory: String,
    pub(super) files: Option<u64>,
    pub(super) bytes: Option<u64>,
}

/// A call, with what support needs to find it.
pub(super) struct CallRow {
    pub(super) account: String,
    pub(super) pool: String,
    pub(super) node: String,
    pub(super) outcome: Outcome,
    pub(super) sent_at: String,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) client_request_id: String,
}

impl CallRow {
    fn new(row: &NodeRow<'_>, attempt: &AttemptLine<'_>) -> Self {
        Self {
            account: row.account.to_string(),
            pool: row.pool.to_string(),
            node: row.node.to_string(),
            outcome: row.outcome,
            sent_at: attempt.sent_at.to_string(),
            status: attempt.status,
            code: attempt.code.as_deref().map(str::to_owned),
            request_id: attempt.request_id.as_deref().map(str::to_owned),
            client_request_id: attempt.client_request_id.to_string(),
        }
    }
}

impl Survey {
    /// Reads the manifest. `verification` says whether arrival was checked.
    pub(super) fn of(manifest: &Path, verification: bool) -> io::Result<Self> {
        let mut lines = NodeLines::open(manifest)?;
        let mut survey = Self::default();
        while let Some((place, row)) = lines.next_row()? {
            survey.add(place, &row, verification);
        }
        Ok(survey)
    }

    fn add(&mut self, place: LineSpan, row: &NodeRow<'_>, verification: bool) {
        let pool = (row.account.to_string(), row.pool.to_string());
        self.pools.entry(pool).or_default().push(place);
        let collected = row.outcome.is_collected(verification);
        if let Some(directory) = &row.virtual_directory {
            self.add_beginning(&row.account, directory);
            let directory = DirectoryRow {
                account: row.account.to_string(),
                pool: row.pool.to_string(),
                node: row.node.to_string(),
                outcome: row.outcome,
                directory: directory.to_string(),
                files: row.files_arrived,
                bytes: row.bytes,
            };
            self.directories.add(directory, !collected);
        }
        if let Some(last) = row.attempts.last().filter(|_| !collected) {
            self.calls.add(CallRow::new(row, last), true);
        }
        for attempt in row.attempts.iter().filter(|attempt| attempt.message.is_some()) {
            let kind = (attempt.status, attempt.code.as_deref().unwrap_or_default().to_owned());
            if let Some((calls, _)) = self.failed.get_mut(&kind) {
                *calls += 1;
            } else if self.failed.len() < MOST_KINDS {
                self.failed.insert(kind, (1, CallRow::new(row, attempt)));
            } else {
                self.failed_otherwise += 1;
            }
        }
    }
    fn add_beginning(&mut self, account: &str, directory: &str) {
        let Some((beginning, _)) = directory.split_once('/') else { return };
        if !self.beginnings.contains_key(account) && self.beginnings.len() >= MOST_ACCOUNTS {
            return;
        }
        let beginnings = self.beginnings.entry(account.to_owned()).or_default();
        if beginnings.len() < MOST_BEGINNINGS && !beginnings.contains(beginning) {
            beginnings.insert(beginning.to_owned());
        }
    }
}
