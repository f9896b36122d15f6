//! A run that the schedule asks for, and how it ended.

use std::path::PathBuf;

use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::SnapshotRef;

/// A row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// A run that is on record, and is to be run now.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its row in the state.
    pub id: JobId,
    /// Which snapshot, why and when.
    pub snapshot: SnapshotRef,
    /// Its run directory, where an earlier process began it on this machine and did not end it.
    pub begun: Option<PathBuf>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// How its run ended; none where no run came of it.
    pub outcome: Option<RunOutcome>,
    /// The exit code that `fleetlogs run` would have ended with.
    pub exit_code: u8,
    /// Why no run came of it, or why the run ended early: for people, one line, no secret.
    pub reason: Option<String>,
    /// Whether the run is to be taken up again by the next process: this one was told to end.
    pub interrupted: bool,
}
