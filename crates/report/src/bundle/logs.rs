//! Logs that were fetched from the container: a line for each in `logs.jsonl`, beside them in the run directory, and in
//! the bundle.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use serde::{Deserialize, Serialize};

use crate::files::LOGS_FILE;

/// A blob that was fetched whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Its Batch account.
    pub account: AccountName,
    /// Its pool.
    pub pool: PoolId,
    /// The node that wrote it.
    pub node: NodeId,
    /// Its full name in the container, verbatim.
    pub blob: String,
    /// Where it is, below the run directory and the bundle's alike.
    pub file: String,
    /// Its size in the container.
    pub bytes: u64,
    /// The version that was fetched.
    pub etag: String,
    /// Its MD5 in hex, as storage has it and as it was found to be; none where storage has none, and only the size could
    /// be compared.
    pub md5: Option<String>,
}

/// How much was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownloadedLogs {
    /// Files that are whole.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that storage has no MD5 of.
    pub without_md5: u64,
}

/// The list of a run directory, line by line.
pub(super) fn log_files(run_dir: &Path) -> io::Result<impl Iterator<Item = io::Result<LogFile>>> {
    let lines = BufReader::new(File::open(run_dir.join(LOGS_FILE))?).lines();
    Ok(lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
}
