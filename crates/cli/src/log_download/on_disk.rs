//! The complete logs on disk, for nodes whose logs cannot be downloaded.

use std::fs;
use std::io::{self, Write as _};

use fleetlogs_model::whole_file::WholeFile;
use fleetlogs_report::{DownloadedLogs, LogFile, NodeDirectory, Notes, blob_path};

use super::place::LogPlace;
use crate::text::counted;

/// What the disk has of the nodes whose logs could not be downloaded.
#[derive(Debug, Default)]
pub(super) struct DiskCounts {
    nodes: u64,
    files: u64,
    /// Nodes without files.
    pub(super) missing: u64,
    /// Nodes with fewer files than the run saw.
    pub(super) in_part: u64,
}

impl DiskCounts {
    pub(super) fn note(&self, notes: &mut Notes) {
        let Self { nodes, files, missing, in_part } = self;
        if *files > 0 {
            notes.add(format!(
                "{} of {} come from the run directory, which already had them; they could not be compared with storage",
                counted(*files, "log"),
                counted(*nodes, "node")
            ));
        }
        if *missing > 0 {
            notes.add(format!("the logs of {} are missing", counted(*missing, "node")));
        }
        if *in_part > 0 {
            notes.add(format!(
                "some of the logs that the run saw are missing for {}",
                counted(*in_part, "node")
            ));
        }
    }
}

/// Lists the complete files of each of these nodes.
pub(super) fn keep(
    place: &LogPlace,
    nodes: impl Iterator<Item = io::Result<NodeDirectory>>,
    list: &mut WholeFile,
    taken: &mut DownloadedLogs,
) -> io::Result<DiskCounts> {
    let mut kept = DiskCounts::default();
    for node in nodes {
        let node = node?;
        let files = files_of(place, &node)?;
        let (have, seen) = (files.len() as u64, node.seen.map(|(files, _)| files));
        kept.files += have;
        kept.nodes += u64::from(have > 0);
        kept.missing += u64::from(have == 0 && seen != Some(0));
        kept.in_part += u64::from(have > 0 && seen.is_some_and(|seen| have < seen));
        for file in files {
            list_file(&file, list, taken)?;
        }
    }
    Ok(kept)
}

/// The bytes of the complete files of a node.
pub(crate) fn size_on_disk(place: &LogPlace, node: &NodeDirectory) -> io::Result<u64> {
    Ok(files_of(place, node)?.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.bytes)))
}

/// Adds a file to the list, and counts it.
pub(super) fn list_file(file: &LogFile, list: &mut WholeFile, taken: &mut DownloadedLogs) -> io::Result<()> {
    taken.files += 1;
    taken.bytes = taken.bytes.saturating_add(file.bytes);
    serde_json::to_writer(&mut *list, file)?;
    list.write_all(b"\n")
}

/// The complete files of a node, by name.
fn files_of(place: &LogPlace, node: &NodeDirectory) -> io::Result<Vec<LogFile>> {
    let dir = place.dir_of(node);
    let mut files = vec![];
    let mut open = vec![String::new()];
    while let Some(below) = open.pop() {
        let entries = match fs::read_dir(place.path(&dir).join(&below)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // Anything that fleetlogs did not write has another name or is not a file.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (kind, path) = (entry.file_type()?, format!("{below}{name}"));
            if kind.is_dir() {
                open.push(path + "/");
            } else if kind.is_file()
                && let Some(blob) = blob_of(&path)
            {
                let etag = fs::read_to_string(entry.path().with_file_name(format!("{name}.etag")));
                files.push(LogFile {
                    account: node.account.clone(),
                    pool: node.pool.clone(),
                    node: node.node.clone(),
                    blob: format!("{}/{blob}", node.directory.trim_end_matches('/')),
                    file: format!("{dir}/{path}"),
                    bytes: entry.metadata()?.len(),
                    etag: etag.unwrap_or_default(),
                    md5: None,
                });
            }
        }
    }
    files.sort_unstable_by(|one, other| one.file.cmp(&other.file));
    Ok(files)
}

/// The name of the blob stored at a path, relative to the directory of its node. None for partial files and versions,
/// and for names that were shortened.
fn blob_of(path: &str) -> Option<String> {
    let parts: Option<Vec<_>> = path.split('/').map(decoded).collect();
    parts.map(|parts| parts.join("/")).filter(|blob| blob_path(blob) == path)
}

/// Undoes the percent-encoding of a name.
fn decoded(part: &str) -> Option<String> {
    if part == "%-" {
        return Some(String::new());
    }
    let mut bytes = vec![];
    let mut pieces = part.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_of_a_path_is_the_one_that_was_kept_there() {
        for blob in ["agent.log", "startup/stdout.txt", "../x", "a b%é/.part", "x.log.etag", "a//con"] {
            assert_eq!(blob_of(&blob_path(blob)).as_deref(), Some(blob));
        }
        for path in ["agent.log.part", "agent.log.etag", "a%2", "a%zzb", &blob_path(&"x".repeat(300))] {
            assert_eq!(blob_of(path), None, "{path}");
        }
    }
}
