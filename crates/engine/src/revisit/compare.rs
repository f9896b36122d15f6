//! Compares what is in a node's directory now with what the run verified and what an earlier check saw. Pure.
//!
//! The journal has only counts: it shows that something changed, not what. The inventory of an earlier check names the
//! files. A file keeps its status in later checks: a missing file stays missing until it is back.

use std::collections::HashMap;

use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::interval::Interval;
use fleetlogs_model::inventory::{FileStatus, InventoryFile, NodeLook, Standing};
use fleetlogs_model::ledger::NodeStatus;
use fleetlogs_model::service::BlobDetails;

/// What the run verified of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedFiles {
    /// How many files.
    pub files: u32,
    /// Their size in bytes.
    pub bytes: u64,
    /// Fingerprint of their names and sizes; none in journals of earlier versions.
    pub fingerprint: Option<Fingerprint>,
}

impl VerifiedFiles {
    /// Taken from a node's record; none if the run verified nothing.
    #[must_use]
    pub fn of(history: &NodeHistory) -> Option<Self> {
        match history.status {
            NodeStatus::Verified => Some(Self {
                files: history.files_arrived.unwrap_or(0),
                bytes: history.bytes.unwrap_or(0),
                fingerprint: history.fingerprint,
            }),
            NodeStatus::Empty => Some(Self { files: 0, bytes: 0, fingerprint: Some(Fingerprint::default()) }),
            NodeStatus::Planned
            | NodeStatus::Requested
            | NodeStatus::Waiting
            | NodeStatus::InDoubt
            | NodeStatus::Accepted
            | NodeStatus::Adopted
            | NodeStatus::Incomplete
            | NodeStatus::Failed
            | NodeStatus::Gone => None,
        }
    }

    fn standing(self, now: Self) -> Standing {
        let same = self.fingerprint.is_none() || self.fingerprint == now.fingerprint;
        match (now.files.cmp(&self.files), now.bytes.cmp(&self.bytes)) {
            (std::cmp::Ordering::Less, _) => Standing::Missing,
            (_, std::cmp::Ordering::Less) => Standing::Truncated,
            (std::cmp::Ordering::Equal, std::cmp::Ordering::Equal) if same => Standing::Intact,
            (std::cmp::Ordering::Equal, std::cmp::Ordering::Equal) => Standing::Changed,
            _ => Standing::Grown,
        }
    }
}

/// A file that is there now.
#[derive(Clone, Debug)]
pub struct SeenFile {
    /// The blob as listed.
    pub blob: BlobDetails,
    /// From the time of its first line to that of its last, if it was read and its lines have times.
    pub lines: Option<Interval>,
}

/// Compares the files that are in a directory now with what is known about them. `earlier` is what an earlier check
/// recorded of the directory; empty if there was no check.
#[must_use]
pub fn compare(
    directory: &str,
    seen: Vec<SeenFile>,
    verified: Option<VerifiedFiles>,
    earlier: Vec<InventoryFile>,
) -> NodeLook {
    let mut now = VerifiedFiles { files: 0, bytes: 0, fingerprint: None };
    let mut fingerprint = Fingerprint::default();
    let is_first = earlier.is_empty();
    let mut known: HashMap<Box<str>, InventoryFile> =
        earlier.into_iter().map(|file| (file.file.clone(), file)).collect();
    let mut files = Vec::with_capacity(seen.len() + known.len());
    for SeenFile { blob, lines } in seen {
        now.files += 1;
        now.bytes = now.bytes.saturating_add(blob.size);
        fingerprint.add(&blob.name, blob.size);
        let name = blob.name.strip_prefix(directory).and_then(|name| name.strip_prefix('/'));
        let mut file = InventoryFile {
            file: name.unwrap_or(&blob.name).into(),
            bytes: blob.size,
            last_modified: blob.last_modified,
            etag: blob.etag,
            content_md5: blob.content_md5,
            lines,
            status: FileStatus::Present,
        };
        match known.remove(&file.file) {
            Some(before) => {
                file.status = became(&before, &file);
                if is_same(&before, &file) {
                    file.lines = file.lines.or(before.lines);
                }
            }
            None if is_first => {}
            None => file.status = FileStatus::New,
        }
        files.push(file);
    }
    now.fingerprint = Some(fingerprint);
    if verified.is_some_and(|verified| verified.fingerprint == now.fingerprint) {
        // A file that was missing at the first check and is back is not new.
        let new = files.iter_mut().filter(|file| file.status == FileStatus::New);
        new.for_each(|file| file.status = FileStatus::Present);
    }
    let mut gone: Vec<InventoryFile> = known.into_values().collect();
    gone.sort_unstable_by(|one, other| one.file.cmp(&other.file));
    // A file that came after the first check and went again was never verified.
    gone.retain(|file| file.status != FileStatus::New);
    let named_missing = u32::try_from(gone.len()).unwrap_or(u32::MAX);
    files.extend(gone.into_iter().map(|file| InventoryFile { status: FileStatus::Missing, ..file }));

    let by_file = files.iter().map(|file| standing_of(file.status)).max().unwrap_or(Standing::Intact);
    let (standing, counted_missing) = match verified {
        Some(verified) => (verified.standing(now).max(by_file), verified.files.saturating_sub(now.files)),
        None => (Standing::NotCollected, 0),
    };
    NodeLook {
        standing,
        files_now: now.files,
        bytes_now: now.bytes,
        files_missing: counted_missing.max(named_missing),
        files,
    }
}

/// The status of a file that an earlier check saw.
fn became(before: &InventoryFile, now: &InventoryFile) -> FileStatus {
    match before.status {
        // It is back; whatever was there before it went, it is not the worse for it.
        FileStatus::Missing if is_same(before, now) => FileStatus::Present,
        earlier if is_same(before, now) => earlier,
        FileStatus::New => FileStatus::New,
        _ if now.bytes < before.bytes => FileStatus::Truncated,
        _ => FileStatus::Changed,
    }
}

/// Whether it is the same content: by its MD5 where storage has it both times, for a copy or an undeleted blob is as
/// good; else by its version.
fn is_same(before: &InventoryFile, now: &InventoryFile) -> bool {
    if before.bytes != now.bytes {
        return false;
    }
    match (&before.content_md5, &now.content_md5) {
        (Some(before), Some(now)) => before == now,
        _ => before.etag == now.etag,
    }
}

fn standing_of(status: FileStatus) -> Standing {
    match status {
        FileStatus::Present => Standing::Intact,
        FileStatus::New => Standing::Grown,
        FileStatus::Changed => Standing::Changed,
        FileStatus::Truncated => Standing::Truncated,
        FileStatus::Missing => Standing::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(name: &str, size: u64, etag: &str) -> SeenFile {
        let blob = BlobDetails {
            name: format!("d/{name}"),
            size,
            created_at: None,
            last_modified: None,
            etag: Some(etag.into()),
            content_md5: None,
        };
        SeenFile { blob, lines: None }
    }

    fn verified(files: &[SeenFile]) -> VerifiedFiles {
        let mut fingerprint = Fingerprint::default();
        for file in files {
            fingerprint.add(&file.blob.name, file.blob.size);
        }
        let bytes = files.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.blob.size));
        VerifiedFiles { files: u32::try_from(files.len()).unwrap(), bytes, fingerprint: Some(fingerprint) }
    }

    fn look(now: &[SeenFile], verified: Option<VerifiedFiles>, earlier: Option<&NodeLook>) -> NodeLook {
        compare("d", now.to_vec(), verified, earlier.map_or(vec![], |look| look.files.clone()))
    }

    fn first() -> Vec<SeenFile> {
        vec![blob("a", 10, "1"), blob("b", 20, "1")]
    }

    fn named(look: &NodeLook) -> Vec<(&str, FileStatus)> {
        look.files.iter().map(|file| (&*file.file, file.status)).collect()
    }

    #[test]
    fn by_the_journal_alone_it_is_told_what_happened_but_not_to_which_file() {
        let then = Some(verified(&first()));
        for (now, standing, missing) in [
            (first(), Standing::Intact, 0),
            (vec![blob("a", 10, "1")], Standing::Missing, 1),
            (vec![], Standing::Missing, 2),
            (vec![blob("a", 10, "1"), blob("b", 5, "2")], Standing::Truncated, 0),
            (vec![blob("a", 20, "2"), blob("b", 10, "2")], Standing::Changed, 0),
            (vec![blob("a", 10, "1"), blob("b", 21, "2")], Standing::Grown, 0),
            (vec![blob("a", 10, "1"), blob("b", 20, "1"), blob("c", 1, "1")], Standing::Grown, 0),
            (vec![blob("a", 10, "1"), blob("c", 20, "1")], Standing::Changed, 0),
        ] {
            let look = look(&now, then, None);
            assert_eq!((look.standing, look.files_missing), (standing, missing), "{now:?}");
            assert!(look.files.iter().all(|file| file.status == FileStatus::Present));
        }
    }

    #[test]
    fn a_journal_without_fingerprints_counts_and_no_more() {
        let then = Some(VerifiedFiles { fingerprint: None, ..verified(&first()) });
        assert_eq!(look(&first(), then, None).standing, Standing::Intact);
        let swapped = [blob("a", 20, "2"), blob("b", 10, "2")];
        assert_eq!(look(&swapped, then, None).standing, Standing::Intact, "it cannot be seen");
        assert_eq!(look(&[blob("a", 10, "1")], then, None).standing, Standing::Missing);
    }

    #[test]
    fn an_earlier_look_names_the_files() {
        let then = Some(verified(&first()));
        let earlier = look(&first(), then, None);
        for (now, standing, status) in [
            (vec![blob("a", 10, "1")], Standing::Missing, FileStatus::Missing),
            (vec![blob("a", 10, "1"), blob("b", 5, "2")], Standing::Truncated, FileStatus::Truncated),
            (vec![blob("a", 10, "1"), blob("b", 20, "2")], Standing::Changed, FileStatus::Changed),
            (vec![blob("a", 10, "1"), blob("b", 21, "2")], Standing::Changed, FileStatus::Changed),
        ] {
            let look = look(&now, then, Some(&earlier));
            assert_eq!(look.standing, standing, "{now:?}");
            assert_eq!(named(&look), [("a", FileStatus::Present), ("b", status)]);
        }
        let moved = look(&[blob("a", 10, "1"), blob("c", 20, "1")], then, Some(&earlier));
        assert_eq!((moved.standing, moved.files_missing), (Standing::Missing, 1));
        assert_eq!(
            named(&moved),
            [("a", FileStatus::Present), ("c", FileStatus::New), ("b", FileStatus::Missing)]
        );
    }

    #[test]
    fn names_that_look_alike_are_different_files() {
        let names = ["=f", "'=f", "a b.log", "a\nb.log"];
        let all = names.map(|name| blob(name, 10, "1"));
        let earlier = look(&all, Some(verified(&all)), None);
        let left = [all[1].clone(), all[2].clone()];
        let look = look(&left, Some(verified(&all)), Some(&earlier));
        assert_eq!((look.standing, look.files_missing), (Standing::Missing, 2));
        let status = FileStatus::Missing;
        assert_eq!(named(&look)[2..], [("=f", status), ("a\nb.log", status)]);
    }

    #[test]
    fn what_happened_is_not_forgotten_by_the_next_look() {
        let then = Some(verified(&first()));
        let earlier = look(&first(), then, None);
        let overwritten = [blob("a", 10, "2")];
        let second = look(&overwritten, then, Some(&earlier));
        let third = look(&overwritten, then, Some(&second));
        assert_eq!(third, second);
        assert_eq!(named(&third), [("a", FileStatus::Changed), ("b", FileStatus::Missing)]);

        let undeleted = look(&[blob("a", 10, "2"), blob("b", 20, "1")], then, Some(&third));
        assert_eq!(named(&undeleted), [("a", FileStatus::Changed), ("b", FileStatus::Present)]);
        assert_eq!(undeleted.standing, Standing::Changed);
    }

    #[test]
    fn what_was_away_at_the_first_look_and_is_back_is_not_new() {
        let then = Some(verified(&first()));
        let away = look(&[blob("a", 10, "1")], then, None);
        assert_eq!((away.standing, named(&away)), (Standing::Missing, vec![("a", FileStatus::Present)]));
        let back = look(&first(), then, Some(&away));
        assert_eq!(back.standing, Standing::Intact);
        assert_eq!(look(&first(), then, Some(&back)), back);
    }

    #[test]
    fn a_copy_with_the_same_md5_is_the_same_file() {
        let then = Some(verified(&first()));
        let with = |etag, md5: &str| {
            let mut files = first();
            files[0].blob.etag = Some(etag);
            files[0].blob.content_md5 = Some(md5.into());
            files
        };
        let earlier = look(&with("1".into(), "same"), then, None);
        assert_eq!(look(&with("2".into(), "same"), then, Some(&earlier)).standing, Standing::Intact);
        assert_eq!(look(&with("2".into(), "other"), then, Some(&earlier)).standing, Standing::Changed);
    }

    #[test]
    fn a_node_that_was_never_verified_stays_so_whatever_is_there() {
        let look = look(&first(), None, None);
        assert_eq!((look.standing, look.files_now, look.files_missing), (Standing::NotCollected, 2, 0));
    }
}
