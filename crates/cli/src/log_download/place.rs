//! Where downloaded logs are kept: in the directory of their run, or in one that the user names.
//!
//! Both have the same tree, `<account>/<pool>/<node>/<file>`, and the list `logs.jsonl`. One process downloads into a
//! place at a time: two would write into the same partial files.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use fleetlogs_model::files::{create_private_dirs, owner_only, refuse_if_open_to_all};
use fleetlogs_model::hex::hex;
use fleetlogs_model::whole_file::WholeFile;
use fleetlogs_report::{LOGS_FILE, LogFile, NodeDirectory, log_files, logs_dir};
use sha2::{Digest as _, Sha256};

/// The directory of the logs in a run directory, and in a bundle.
const TOP: &str = "logs";

/// Characters of the digest in the name of a second directory.
const DIGEST: usize = 8;

/// A place for logs, which no other process downloads into.
pub(crate) struct LogPlace {
    /// The list is here, and the paths in it are relative to this directory.
    base: PathBuf,
    /// Whether the tree is in a directory of its own.
    is_in_run: bool,
    _lock: File,
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("another process downloads logs into this directory")]
    Busy,
    #[error("{0}")]
    File(#[from] io::Error),
}

impl LogPlace {
    /// The place in a run directory.
    pub(crate) fn in_run(run_dir: &Path) -> Result<Self, PlaceError> {
        Self::locked(run_dir, true)
    }

    /// A directory that the user names; it is created if it does not exist.
    pub(crate) fn elsewhere(dir: &Path) -> Result<Self, PlaceError> {
        create_private_dirs(dir)?;
        refuse_if_open_to_all(dir)?;
        Self::locked(dir, false)
    }

    fn locked(base: &Path, is_in_run: bool) -> Result<Self, PlaceError> {
        let lock = owner_only().read().write().create().open(&base.join(".logs.lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { base: base.to_owned(), is_in_run, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(PlaceError::Busy),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The directory that has the directories of the accounts.
    pub(crate) fn top(&self) -> PathBuf {
        if self.is_in_run { self.base.join(TOP) } else { self.base.clone() }
    }

    /// The list of the logs.
    pub(crate) fn list(&self) -> PathBuf {
        self.base.join(LOGS_FILE)
    }

    /// Where a path of the list is.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.base.join(file)
    }

    /// The directory of a node's logs, as the list has it. That of a second directory is beside the first one; no node
    /// has such a name, because `+` is encoded in names.
    pub(super) fn dir_of(&self, node: &NodeDirectory) -> String {
        let dir = logs_dir(&node.account, &node.pool, &node.node);
        let dir = if self.is_in_run { dir } else { dir[TOP.len() + 1..].to_owned() };
        if node.is_duplicate {
            let digest = hex(&Sha256::digest(&node.directory));
            format!("{dir}+{}", &digest[..DIGEST])
        } else {
            dir
        }
    }

    /// Begins the list anew.
    pub(super) fn new_list(&self) -> io::Result<WholeFile> {
        WholeFile::create(&self.base, LOGS_FILE)
    }

    /// The earlier list, as far as its files are still there. Empty if there is none that can be read.
    pub(super) fn earlier_list(&self) -> impl Iterator<Item = LogFile> {
        let is_there = |log: &LogFile| {
            let found = self.path(&log.file).symlink_metadata();
            found.is_ok_and(|found| found.is_file() && found.len() == log.bytes)
        };
        log_files(&self.base).into_iter().flatten().map_while(Result::ok).filter(is_there)
    }

    /// Bytes that may still be written here. None where the system does not say.
    pub(crate) fn room(&self) -> Option<u64> {
        #[cfg(unix)]
        {
            let found = rustix::fs::statvfs(&self.base).ok()?;
            Some(found.f_bavail.saturating_mul(found.f_frsize))
        }
        #[cfg(not(unix))]
        None
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::{AccountName, NodeId, PoolId};

    use super::*;

    #[test]
    fn each_directory_of_a_node_has_a_place_of_its_own_inside_of_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let node = |directory: &str, is_duplicate| NodeDirectory {
            account: AccountName::new("contoso"),
            pool: PoolId::new(".."),
            node: NodeId::new("a+b/c"),
            directory: directory.into(),
            seen: None,
            is_duplicate,
        };
        let place = LogPlace::in_run(dir.path()).unwrap();
        assert_eq!(place.dir_of(&node("x", false)), "logs/contoso/%2E%2E/a%2Bb%2Fc");
        assert_eq!(place.dir_of(&node("x", true)), "logs/contoso/%2E%2E/a%2Bb%2Fc+2d711642");
        assert_ne!(place.dir_of(&node("x", true)), place.dir_of(&node("y", true)));
        let elsewhere = LogPlace::elsewhere(&dir.path().join("a/b")).unwrap();
        assert_eq!(elsewhere.dir_of(&node("x", false)), "contoso/%2E%2E/a%2Bb%2Fc");
        assert_eq!((place.top(), elsewhere.top()), (dir.path().join("logs"), dir.path().join("a/b")));
    }

    #[test]
    fn two_processes_do_not_download_into_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let first = LogPlace::elsewhere(dir.path()).unwrap();
        assert!(matches!(LogPlace::elsewhere(dir.path()), Err(PlaceError::Busy)));
        drop(first);
        LogPlace::elsewhere(dir.path()).unwrap();
    }
}
