//! A run that the schedule asks for, and how it ended.

use std::path::PathBuf;

use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::SnapshotRef;

/// A row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// A run that is recorded and is to start now.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its row in the state.
    pub id: JobId,
    /// Which snapshot, why and when.
    pub snapshot: SnapshotRef,
    /// Where its run is, if an earlier process started it and did not end it: its directory on this machine, or the URL
    /// of its record in Blob storage.
    pub begun: Option<PathBuf>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// How its run ended; none if there was no run.
    pub outcome: Option<RunOutcome>,
    /// The exit code that `fleetlogs run` would have ended with.
    pub exit_code: u8,
    /// Why there was no run, or why it ended early: one line for people, without secrets.
    pub reason: Option<String>,
    /// Whether the next process resumes the run, because this one was told to end.
    pub interrupted: bool,
}
