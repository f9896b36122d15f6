//! What is to be run.

use std::path::Path;

use fleetlogs_engine::schedule;
use fleetlogs_model::snapshot::SnapshotRef;

/// A run that somebody asks for.
pub(crate) struct RunRequest<'a> {
    /// The file that the settings came from; `resume` reads it again.
    pub(crate) config: &'a Path,
    /// A plan made earlier.
    pub(crate) plan: Option<&'a Path>,
    /// The snapshot that it is a run of, and where its start is recorded.
    pub(crate) snapshot: Option<(&'a SnapshotRef, schedule::StartRecord)>,
}
