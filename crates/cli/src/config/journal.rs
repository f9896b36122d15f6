//! The table `[journal]`: where the record of a run is kept, if not on the disk.

use std::path::Path;
use std::time::Duration;

use super::own_container::{OwnContainer, lease_duration, own_container};
use super::reader::{ListedMistake, Table};

/// Keys by which the table names a container.
const CONTAINER_KEYS: [&str; 4] = ["container_url", "account", "container", "account_key"];

/// A container with the journals of runs.
#[derive(Clone, Debug)]
pub(crate) struct JournalSettings {
    pub(crate) container: OwnContainer,
    /// The directory in the container that the directories of runs are in.
    pub(crate) prefix: String,
    /// How long a process that died keeps its run.
    pub(crate) lease: Duration,
}

/// Reads the table. None if journals are on the disk, or if the command does not need them.
pub(super) fn journal(
    table: Table<'_>,
    dir: &Path,
    needed: bool,
) -> Result<Option<JournalSettings>, ListedMistake> {
    let prefix = table.get("prefix").and_then(|value| {
        let text = value.string()?;
        let fits = !text.is_empty()
            && text.len() <= 256
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !text.contains(['\\', '?', '#', '%'])
            && !text.contains(char::is_control);
        if !fits {
            let help = "write it as \"fleetlogs\" or \"team-a/fleetlogs\"";
            value.wrong(format!("`{text}` is not a directory in a container"), Some(help.into()));
        }
        fits.then(|| text.to_owned())
    });
    let lease = lease_duration(&table, "lease");
    table.allow(&["container_url", "account", "container", "account_key", "cloud"]);
    if !is_in_container(&table) {
        if table.has("cloud") {
            table.wrong("`cloud` needs `account` and `container`", "remove it, or name the container");
        }
        table.finish();
        return prefix.zip(lease).map(|_| None).ok_or(ListedMistake);
    }
    let container = own_container(&table, dir, needed, "the journal");
    table.finish();
    let (container, prefix, lease) = (container?, prefix.ok_or(ListedMistake)?, lease.ok_or(ListedMistake)?);
    Ok(container.map(|container| JournalSettings { container, prefix, lease }))
}

/// Whether the table names a container.
pub(super) fn is_in_container(table: &Table<'_>) -> bool {
    CONTAINER_KEYS.iter().any(|key| table.has(key))
}
