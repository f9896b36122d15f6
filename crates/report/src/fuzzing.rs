//! What fuzzing calls here: one function for each kind of file that is read again. Each panics where its reader breaks a
//! promise.
//!
//! How they are run, and what each promises: docs/design/fuzzing.md.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::timestamp::{FIRST, LAST};
use tempfile::NamedTempFile;

use crate::files::FILES_FILE;
use crate::{EarlierInventory, History, Look, Verdict, check_bundle, read_head, read_summary};

#[cfg(test)]
#[path = "../../../tests/fuzz/short.rs"]
mod short;

/// A name, and a function that panics where a promise is broken.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// The names of the targets, which are also those of their corpora.
pub const TARGETS: [FuzzTarget; 3] = [("manifest", manifest), ("inventory", inventory), ("bundle", bundle)];

fn file_of(data: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file can be created");
    file.write_all(data).expect("a temporary file can be written");
    file
}

/// Whatever a manifest says, it can be told; and one that is cut off proves nothing.
fn manifest(data: &[u8]) {
    let file = file_of(data);
    if let Ok(summary) = read_summary(file.path()) {
        assert!(summary.collected <= summary.counts.total());
        for time in [summary.started_at, summary.ended_at] {
            assert!((FIRST..=LAST).contains(&time), "{time}");
        }
    }
    if verdict_on(&file) != Verdict::Nothing {
        let whole = data.trim_ascii_end().len();
        for end in [whole - 1, whole / 2, whole / 3] {
            assert_eq!(
                verdict_on(&file_of(&data[..end])),
                Verdict::Nothing,
                "the first {end} of {whole} bytes"
            );
        }
    }
}

/// What a series of one run proves.
fn verdict_on(manifest: &NamedTempFile) -> Verdict {
    let Ok(head) = read_head(manifest.path()) else { return Verdict::Nothing };
    let day = Duration::from_secs(24 * 3600);
    let mut history = History::new(SnapshotName::new("nightly"), None, Some(day));
    history.add_run(manifest.path(), &head);
    let series = history.series(None, None);
    serde_json::to_string(&series).expect("a series can be written");
    assert!(!series.to_terminal(&Look::default(), true).is_empty());
    series.verdict()
}

/// The lines of a directory are found under its name, and what they say is in range.
fn inventory(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory can be created");
    std::fs::write(dir.path().join(FILES_FILE), data).expect("a temporary file can be written");
    let Ok(Some(mut inventory)) = EarlierInventory::open(dir.path()) else { return };
    let text = String::from_utf8_lossy(data);
    let cells: BTreeSet<&str> =
        text.split([',', '\n']).map(|cell| cell.trim_matches('"')).take(200).collect();
    for directory in cells {
        let Ok(files) = inventory.of(directory) else { continue };
        for file in files {
            assert!(file.last_modified.is_none_or(|time| (FIRST..=LAST).contains(&time)));
            assert!(file.lines.is_none_or(|lines| FIRST <= lines.from && lines.to <= LAST));
        }
    }
}

/// Whatever a bundle is, it is checked to the end; its problems are told in a bounded number of lines.
fn bundle(data: &[u8]) {
    let file = file_of(data);
    let checked = check_bundle(file.path(), None).expect("the file can be read");
    assert!(checked.problems.len() <= 100);
    if checked.is_sound() {
        assert!(checked.entries > 3 && checked.more == 0);
        for end in [data.len() - 1, data.len() / 2] {
            let cut = check_bundle(file_of(&data[..end]).path(), None).expect("the file can be read");
            assert!(!cut.is_sound(), "the first {end} of {} bytes are a bundle", data.len());
        }
        let expected = check_bundle(file.path(), Some(&checked.sha256)).expect("the file can be read");
        assert!(expected.is_sound() && expected.sha256 == checked.sha256);
    }
}
