//! What can go wrong in a run directory, and what to do about it.

use std::io;
use std::path::PathBuf;

use fleetlogs_model::files::is_disk_trouble;
use fleetlogs_model::plan::PlanError;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind};

use super::database::FORMAT;

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// Another process works on the run.
    #[error("another process works on this run ({}it holds `{path}`)", holder.map(|id| format!("process {id}; ")).unwrap_or_default())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// The other process, where it said.
        holder: Option<u32>,
    },
    /// The file is not a journal, or one of another version.
    #[error("`{path}` has journal format {found}, but this fleetlogs reads format {FORMAT}")]
    Format {
        /// The database.
        path: PathBuf,
        /// Its format number.
        found: i64,
    },
    /// An event is as it was written, and this version does not know it.
    #[error("a newer fleetlogs wrote the journal `{path}`: event {seq} cannot be read: {detail}")]
    NewerEvent {
        /// The database.
        path: PathBuf,
        /// The event's number.
        seq: u64,
        /// What is new in it.
        detail: String,
    },
    /// There is no journal.
    #[error("there is no journal `{0}`")]
    Missing(PathBuf),
    /// The file was changed by something that is not SQLite. Nothing is written to it.
    #[error("the journal `{path}` is damaged: {detail}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says, or where the event stands that cannot be read.
        detail: String,
    },
    /// The directory is a copy of another.
    #[error("`{0}` is a copy of a run directory, and the original may still be at work")]
    Copied(PathBuf),
    /// A file of the run cannot be used.
    #[error("`{0}`: {1}")]
    File(PathBuf, io::Error),
    /// The run directory, or the plan in it, cannot be created.
    #[error("`{0}`: {1}")]
    RunDir(PathBuf, io::Error),
    /// The plan cannot be read.
    #[error("`{0}`: {1}")]
    PlanFile(PathBuf, io::Error),
    /// The plan is not one that this version can execute.
    #[error("the plan `{0}` cannot be used: {1}")]
    Plan(PathBuf, PlanError),
    /// The file system cannot hold a write-ahead log (network file systems often cannot).
    #[error("`{path}` cannot use a write-ahead log (SQLite chose `{mode}`)")]
    NoWal {
        /// The database.
        path: PathBuf,
        /// What SQLite chose instead.
        mode: String,
    },
    /// The run directory is on another machine's disk.
    #[error("`{dir}` is on a network file system ({kind}), where a journal is not safe")]
    Network {
        /// The run directory.
        dir: PathBuf,
        /// What kind.
        kind: &'static str,
    },
    /// SQLite failed.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// An event cannot be written as JSON. A defect.
    #[error("an event cannot be written: {0}")]
    Event(#[from] serde_json::Error),
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl LocalError {
    fn kind(&self) -> JournalErrorKind {
        match self {
            Self::Busy { .. } => JournalErrorKind::Busy,
            Self::Format { .. } | Self::NewerEvent { .. } => JournalErrorKind::OtherFormat,
            Self::Missing(_) => JournalErrorKind::Missing,
            Self::Damaged { .. } => JournalErrorKind::Damaged,
            Self::Copied(_) => JournalErrorKind::Copied,
            Self::RunDir(_, error) | Self::PlanFile(_, error) if is_disk_trouble(error) => {
                JournalErrorKind::Failed
            }
            Self::RunDir(..) | Self::PlanFile(..) | Self::Plan(..) => JournalErrorKind::NoPlan,
            Self::NoWal { .. } | Self::Network { .. } | Self::File(..) => JournalErrorKind::Unsuitable,
            Self::Sqlite(_) | Self::Event(_) | Self::Io(_) => JournalErrorKind::Failed,
        }
    }

    fn help(&self) -> Option<&'static str> {
        match self {
            Self::Busy { .. } => {
                Some("wait for the other process, or end it; `fleetlogs status` shows its progress")
            }
            Self::Damaged { .. } => Some(
                "nothing was sent; `sqlite3 run.db .recover` saves what can be read; the files are in the container",
            ),
            Self::Copied(_) => Some(
                "resume the original; if it is lost, or its process has ended for good, resume the copy with \
                 `--accept-changes`",
            ),
            Self::Plan(..) => Some("create one with `fleetlogs plan CONFIG --output FILE`"),
            Self::File(..) => Some("the run directory must be writable for this user, even to read it"),
            Self::Sqlite(error) => Some(remedy_of_sqlite(error)),
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => Some(MAKE_ROOM),
            Self::RunDir(_, error) | Self::PlanFile(_, error) if is_disk_trouble(error) => {
                Some("make room on its disk or repair it, or set `output.dir` to a directory on another disk")
            }
            Self::Event(_) | Self::Io(_) => Some(MEND_THE_DISK),
            Self::Format { .. } | Self::NewerEvent { .. } => {
                Some("use the version of fleetlogs that worked on the run")
            }
            Self::RunDir(..) => Some("set `output.dir` to a directory that this user may write to"),
            Self::NoWal { .. } | Self::Network { .. } => {
                Some("set `output.dir` to a directory on a local disk")
            }
            Self::Missing(_) | Self::PlanFile(..) => None,
        }
    }
}

const MAKE_ROOM: &str = "make room on its disk, then resume";
const MEND_THE_DISK: &str = "repair its disk, then resume";

fn remedy_of_sqlite(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(DiskFull) => MAKE_ROOM,
        Some(ReadOnly | SystemIoFailure | CannotOpen) => {
            "its disk is read-only or fails: repair it, or copy the run directory to another disk; then resume"
        }
        _ => MEND_THE_DISK,
    }
}

impl From<LocalError> for JournalError {
    fn from(error: LocalError) -> Self {
        let (kind, help) = (error.kind(), error.help());
        Self { kind, what: error.to_string().into(), help: help.map(Into::into) }
    }
}
