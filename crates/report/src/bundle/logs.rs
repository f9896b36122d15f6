//! Logs that were downloaded from the container. `logs.jsonl` has a line for each, in the run directory and in the
//! bundle.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use serde::{Deserialize, Serialize};

use crate::files::LOGS_FILE;

/// A blob that was downloaded completely.
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
    /// Its path below the run directory; in the bundle the path is the same.
    pub file: String,
    /// Its size in the container.
    pub bytes: u64,
    /// The version that was downloaded.
    pub etag: String,
    /// Its MD5 in hex, the same in storage and in the file. None if storage has none; then only the size was compared.
    pub md5: Option<String>,
}

/// How much was downloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownloadedLogs {
    /// Complete files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of which storage has no MD5.
    pub without_md5: u64,
}

/// The list in a directory of logs, line by line.
pub fn log_files(run_dir: &Path) -> io::Result<impl Iterator<Item = io::Result<LogFile>>> {
    let lines = BufReader::new(File::open(run_dir.join(LOGS_FILE))?).lines();
    Ok(lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
}
