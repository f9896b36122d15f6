//! One process works on a schedule of this machine at a time. The kernel lets go of the lock when its holder dies.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use fleetlogs_model::files::owner_only;

use crate::error::CliError;

/// The lock, held for as long as this lives.
pub(crate) struct Lock {
    _file: File,
}

/// What the process that has the lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It works until it is told to end, and looks into the queue again and again.
    Daemon,
    /// It runs one snapshot.
    Once,
}

/// Whether the lock was free.
pub(crate) enum Locked {
    Ours(Lock),
    /// Another process has it; what it is, and its id, where it said.
    Theirs(Holder, Option<u32>),
}

impl Lock {
    /// Takes the lock beside a state, if it is free.
    pub(crate) fn take(state: &Path, holder: Holder) -> Result<Locked, CliError> {
        let mut path = state.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |error| CliError::file(&path, &error);
        let mut file = owner_only().read().write().create().open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut said = String::new();
                let _ = file.read_to_string(&mut said);
                let (what, process) = said.trim().split_once(' ').unwrap_or_default();
                let holder = if what == "daemon" { Holder::Daemon } else { Holder::Once };
                return Ok(Locked::Theirs(holder, process.parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let what = match holder {
            Holder::Daemon => "daemon",
            Holder::Once => "once",
        };
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        write!(file, "{what} {}", std::process::id()).map_err(failed)?;
        Ok(Locked::Ours(Self { _file: file }))
    }
}
