//! Why the state cannot be used.

use std::path::PathBuf;

use fleetlogs_model::files::is_disk_trouble;
use fleetlogs_model::home::HomeError;

use super::tables::FORMAT;

/// The state cannot be used, or a change to it cannot be made durable.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is not the state of a schedule, or has another version.
    #[error("`{path}` has format {found}, but this fleetlogs reads format {FORMAT}")]
    Format {
        /// The database.
        path: PathBuf,
        /// Its format number.
        found: i64,
    },
    /// The file is damaged, or something else has changed it.
    #[error("`{path}` is damaged: {detail}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// SQLite failed.
    #[error("the state of the schedule: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What the home holds is not the state of a schedule, or has another version.
    #[error("the shared state of the schedule cannot be used: {0}")]
    Shared(Box<StateError>),
    /// The home that it shares with other machines does not accept it.
    #[error("the shared state of the schedule: {0}")]
    Home(#[from] HomeError),
    /// Its text is not what this program writes.
    #[error("the state of the schedule: `{0}` cannot be read")]
    Text(String),
    /// The file system failed.
    #[error("`{0}`: {1}")]
    File(PathBuf, std::io::Error),
    /// The details of the nodes of a plan could not be read.
    #[error("cannot read the plan: {0}")]
    Plan(std::io::Error),
}

impl StateError {
    /// Whether the disk is the reason, and not the file: it is full, read-only or fails.
    #[must_use]
    pub fn is_disk_trouble(&self) -> bool {
        use rusqlite::ErrorCode::{DiskFull, ReadOnly, SystemIoFailure};
        match self {
            Self::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(DiskFull | ReadOnly | SystemIoFailure))
            }
            Self::File(_, error) | Self::Plan(error) => is_disk_trouble(error),
            _ => false,
        }
    }
}
