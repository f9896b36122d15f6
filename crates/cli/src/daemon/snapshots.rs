//! The snapshots of a config, by name.

use fleetlogs_model::ids::SnapshotName;

use crate::config::{Settings, SnapshotSettings};
use crate::error::{CliError, Refusal};

/// The settings of a snapshot's name; the state may know names that the config has no more.
pub(crate) fn find_snapshot<'a>(settings: &'a Settings, name: &SnapshotName) -> Option<&'a SnapshotSettings> {
    settings.snapshots.iter().find(|snapshot| snapshot.name() == name)
}

/// The snapshot of a name.
pub(crate) fn require_snapshot<'a>(
    settings: &'a Settings,
    name: &str,
) -> Result<&'a SnapshotSettings, CliError> {
    find_snapshot(settings, &SnapshotName::new(name)).ok_or_else(|| {
        let names: Vec<_> = settings.snapshots.iter().map(|snapshot| snapshot.name().as_str()).collect();
        let what = format!("the config has no snapshot `{name}`");
        CliError::usage(Refusal::new(what, format!("it has: {}", names.join(", "))))
    })
}
