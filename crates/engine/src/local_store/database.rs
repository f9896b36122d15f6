//! The database of a run directory: how it is opened, and how a row is checked. Shared by the journal and its reader.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fleetlogs_model::ids::NodeIndex;
use rusqlite::{Connection, OpenFlags};

use super::failure::LocalError;
use super::wal::{self, Tail};

/// Version of the tables and of the events in them.
pub(super) const FORMAT: i64 = 2;

/// Marks the file as a fleetlogs journal in its header: "flog".
pub(super) const APPLICATION_ID: i64 = 0x666c_6f67;

/// How many pages of an unfinished commit the log ends with. Refuses a damaged one before SQLite sees it, which would
/// drop everything from the first bad frame on. To be asked only while no process writes.
pub(super) fn torn_pages(dir: &Path) -> Result<u64, LocalError> {
    let path = dir.join("run.db-wal");
    match wal::tail(&path)? {
        Tail::Whole => Ok(0),
        Tail::Torn(pages) => Ok(pages),
        Tail::Damaged(frame) => {
            let detail = match frame {
                0 => "the header of the write-ahead log does not check out".to_owned(),
                frame => format!("frame {frame} does not check out, and finished commits follow it"),
            };
            Err(LocalError::Damaged { path, detail })
        }
    }
}

/// Opens a database that must be a journal of this format.
pub(super) fn open_existing(path: &Path) -> Result<Connection, LocalError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => {
            let error = io::Error::other("it is a symbolic link");
            return Err(LocalError::File(path.into(), error));
        }
        Ok(found) if found.is_file() => {}
        _ => return Err(LocalError::Missing(path.into())),
    }
    // A log in write-ahead form cannot be read without write access to its index.
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let pragma = |name: &str| {
        let number = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        number.map_err(|error| damaged(path, error))
    };
    let (found, application) = (pragma("user_version")?, pragma("application_id")?);
    if (found, application) == (0, 0) {
        let detail = "it is empty, or not a journal".into();
        return Err(LocalError::Damaged { path: path.into(), detail });
    }
    if found != FORMAT || application != APPLICATION_ID {
        return Err(LocalError::Format { path: path.into(), found });
    }
    Ok(connection)
}

/// The files of a journal that are written to.
const WRITTEN: [&str; 2] = ["run.db", "run.db-wal"];

/// When something was last recorded in a run directory.
pub(super) fn changed_at(dir: &Path) -> Option<SystemTime> {
    // A log that a reader made, or emptied, has no record.
    let changed = |name| {
        let file = std::fs::metadata(dir.join(name)).ok().filter(|file| file.len() > 0)?;
        file.modified().ok()
    };
    WRITTEN.into_iter().filter_map(changed).max()
}

/// Gives the database the time of the last record when it is dropped, after SQLite has moved its log into it: reports
/// that are older than the last record have to be written again, and those of an ended run are not.
#[derive(Debug)]
pub(super) struct RecordTime {
    path: PathBuf,
    at: Option<SystemTime>,
}

impl RecordTime {
    pub(super) fn of(dir: &Path) -> Self {
        Self { path: dir.join("run.db"), at: changed_at(dir) }
    }
}

impl Drop for RecordTime {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            // Without it, reports are written once more than needed.
            let _ = OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_modified(at));
        }
    }
}

/// Tells a damaged file from other failures of SQLite.
pub(super) fn damaged(path: &Path, error: rusqlite::Error) -> LocalError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            LocalError::Damaged { path: path.into(), detail: error.to_string() }
        }
        _ => error.into(),
    }
}

/// Checksum of an event's row: SQLite keeps none, and would hand out a flipped bit as it is.
pub(super) fn checksum(node: Option<NodeIndex>, json: &str) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&node.map_or(-1, |node| i64::from(node.0)).to_le_bytes());
    sum.update(json.as_bytes());
    sum.finalize()
}
