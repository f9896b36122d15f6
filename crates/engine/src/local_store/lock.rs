//! The lock of a run directory: `run.lock`, which the kernel releases when its holder dies.

use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use fleetlogs_model::files::{owner_only, refuse_if_open_to_all};
use rusqlite::Connection;

use super::database::damaged;
use super::failure::LocalError;

/// How long another process may hold the lock before it is called busy: `status` takes it for a moment, and for a longer
/// one when it moves the log of an ended run.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock of a run, held. It also says how many events were recorded: SQLite forgets what a lost log held.
#[derive(Debug)]
pub(super) struct HeldLock {
    file: File,
    /// The directory is locked as well: removing the lock's file does not get another process past it.
    _dir: Option<File>,
    /// The number of recorded events when the lock was taken.
    mark: u64,
}

impl HeldLock {
    /// Refuses a journal that has lost events. Returns the number of the last one.
    pub(super) fn check_mark(&self, connection: &Connection, path: &Path) -> Result<u64, LocalError> {
        let last = connection
            .query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))
            .map_err(|error| damaged(path, error))?;
        if last < self.mark {
            let detail = format!(
                "{} events were recorded, but only {last} are there: its write-ahead log was lost or cut",
                self.mark
            );
            return Err(LocalError::Damaged { path: path.into(), detail });
        }
        Ok(last)
    }

    /// Notes who holds the lock, and how many events are on record.
    pub(super) fn note(&mut self, events: u64) -> Result<(), LocalError> {
        let line = format!("{:<10} {events:<20}\n", std::process::id());
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Takes the lock of a run for this process, and says so in it.
pub(super) fn take_lock(dir: &Path) -> Result<HeldLock, LocalError> {
    let since = Instant::now();
    let mut held = loop {
        match lock(dir) {
            Err(LocalError::Busy { .. }) if since.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other?,
        }
    };
    held.note(held.mark)?;
    Ok(held)
}

pub(super) fn lock(dir: &Path) -> Result<HeldLock, LocalError> {
    let path = dir.join("run.lock");
    refuse_if_open_to_all(dir).map_err(|error| LocalError::File(dir.to_owned(), error))?;
    let file = private_file(&path).map_err(|error| LocalError::File(path.clone(), error))?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut words = text.split_whitespace();
    let holder = words.next().and_then(|word| word.parse().ok());
    let mark = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let locked_dir = if cfg!(unix) { Some(File::open(dir)?) } else { None };
    for file in [Some(&file), locked_dir.as_ref()].into_iter().flatten() {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LocalError::Busy { path, holder }),
            Err(TryLockError::Error(error)) => return Err(LocalError::File(path, error)),
        }
    }
    Ok(HeldLock { file, _dir: locked_dir, mark })
}

/// Whether a process works on the run right now.
pub(super) fn is_held(dir: &Path) -> Result<bool, LocalError> {
    match lock(dir) {
        Ok(_released_at_once) => Ok(false),
        Err(LocalError::Busy { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Opens a file that only its owner can read; creates it if it is not there.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    owner_only().create().write().open(path)
}
