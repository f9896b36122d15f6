//! Which part of its window the logs of a node cover, by the times in the first and last lines of its files.
//!
//! A file covers the time from its first line to its last. A quiet stretch inside a file is not a gap: a log of
//! warnings is silent while all is well. If the lines of a file have no times, nothing is known about what it covers.

use std::collections::BTreeMap;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::interval::{Interval, holes, union};
use fleetlogs_model::inventory::{Covers, NoTimes, NodeCoverage};
use fleetlogs_model::service::{BlobDetails, LogStore};
use time::Duration;

use super::log_times::{first_time, last_time};
use super::storage_retry::StorageRetry;

/// Shorter stretches without lines are not gaps: an idle agent writes from time to time.
pub const TOLERANCE: Duration = Duration::minutes(5);

/// Bytes that are read at the beginning of a file, and as many at its end.
const AT_ONCE: u64 = 64 << 10;

/// Files that are read of one node, at most; twice as many reads.
const MOST_FILES: usize = 64;

/// How compressed files begin: gzip, Zip, Zstandard, bzip2, xz.
const COMPRESSED: [&[u8]; 5] = [b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"];

/// The time that the lines of a file cover, or why it is unknown.
pub type FileTimes = Result<Interval, NoTimes>;

/// Reads the files of a node, and returns what each covers and what they cover together.
///
/// # Errors
/// The credential may not read blobs. A blob that is gone, or cannot be read, only counts as unknown.
pub async fn cover<S: LogStore>(
    store: &S,
    retry: &StorageRetry<'_>,
    window: Interval,
    blobs: &[BlobDetails],
) -> Result<(NodeCoverage, Vec<FileTimes>), Failure> {
    let mut reads = 0;
    let mut times = Vec::with_capacity(blobs.len());
    for (at, blob) in blobs.iter().enumerate() {
        times.push(match blob.size {
            0 => Err(NoTimes::Empty),
            _ if at >= MOST_FILES => Err(NoTimes::NotRead),
            _ => of_file(store, retry, blob, &mut reads).await?,
        });
    }
    let written = blobs.iter().filter_map(|blob| {
        let created = blob.created_at.or(blob.last_modified)?;
        Some(Interval::between(created, blob.last_modified.unwrap_or(created)))
    });
    let written =
        written.reduce(|one, other| Interval { from: one.from.min(other.from), to: one.to.max(other.to) });
    Ok((NodeCoverage { written, reads, ..judge(window, &times) }, times))
}

async fn of_file<S: LogStore>(
    store: &S,
    retry: &StorageRetry<'_>,
    blob: &BlobDetails,
    reads: &mut u64,
) -> Result<FileTimes, Failure> {
    let mut part = async |offset, length| {
        let read = retry
            .call(|| {
                *reads += 1;
                store.read_range(&blob.name, offset, length)
            })
            .await;
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(failure) if failure.class == FailureClass::Auth => Err(failure),
            Err(failure) => {
                tracing::debug!(%failure, blob = blob.name, "cannot read which time a file covers");
                Ok(None)
            }
        }
    };
    // For a small file one read is cheaper than two.
    let is_small = blob.size <= 2 * AT_ONCE;
    let Some(head) = part(0, blob.size.min(if is_small { 2 * AT_ONCE } else { AT_ONCE })).await? else {
        return Ok(Err(NoTimes::Unreadable));
    };
    if let Err(reason) = is_text(&head) {
        return Ok(Err(reason));
    }
    if is_small {
        return Ok(times_of(&head, &head, blob));
    }
    let Some(tail) = part(blob.size - AT_ONCE, AT_ONCE).await? else {
        return Ok(Err(NoTimes::Unreadable));
    };
    // The tail begins in the middle of a line.
    let whole_lines = tail.iter().position(|byte| *byte == b'\n').map_or(&[][..], |at| &tail[at + 1..]);
    Ok(times_of(&head, whole_lines, blob))
}

fn is_text(head: &[u8]) -> Result<(), NoTimes> {
    if COMPRESSED.iter().any(|magic| head.starts_with(magic)) {
        Err(NoTimes::Compressed)
    } else if head.contains(&0) {
        Err(NoTimes::Binary)
    } else {
        Ok(())
    }
}

fn times_of(head: &[u8], tail: &[u8], blob: &BlobDetails) -> FileTimes {
    let first = first_time(head).or_else(|| first_time(tail));
    let last = last_time(tail).or_else(|| last_time(head));
    let (Some(first), Some(last)) = (first, last) else { return Err(NoTimes::NoneRecognised) };
    let lines = Interval::between(first, last);
    if blob.last_modified.is_some_and(|modified| lines.to > modified + TOLERANCE) {
        return Err(NoTimes::AheadOfItsWriting);
    }
    Ok(lines)
}

/// Which part of a window the files cover together. Pure.
#[must_use]
pub fn judge(window: Interval, files: &[FileTimes]) -> NodeCoverage {
    let covered = union(files.iter().filter_map(|times| times.ok()));
    let mut unknown: BTreeMap<NoTimes, u32> = BTreeMap::new();
    for reason in files.iter().filter_map(|times| times.err()) {
        *unknown.entry(reason).or_default() += 1;
    }
    // An empty file covers nothing; what the others cover is unknown.
    let some_do_not_tell = unknown.keys().any(|reason| *reason != NoTimes::Empty);
    let touches = covered.iter().any(|interval| interval.within(window).is_some());
    let mut holes = holes(window, &covered, TOLERANCE);
    let covers = if !touches && some_do_not_tell {
        holes.clear();
        Covers::Unknown
    } else if !touches {
        Covers::None
    } else if holes.is_empty() {
        Covers::Full
    } else {
        Covers::Partial
    };
    let files = u32::try_from(files.len()).unwrap_or(u32::MAX);
    NodeCoverage { covers, window, covered, holes, written: None, files, unknown, reads: 0 }
}

#[cfg(test)]
mod tests {

    use fleetlogs_model::retry::RetryPolicy;
    use fleetlogs_model::service::BlobPage;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-11-22 08:00 UTC);

    fn at(minutes: i64) -> OffsetDateTime {
        START + Duration::minutes(minutes)
    }

    fn interval(from: i64, to: i64) -> Interval {
        Interval::between(at(from), at(to))
    }

    fn covers(files: &[FileTimes]) -> (Covers, usize) {
        let coverage = judge(interval(0, 120), files);
        (coverage.covers, coverage.holes.len())
    }

    #[test]
    fn a_node_is_judged_by_what_its_files_tell() {
        let unknown = Err(NoTimes::NoneRecognised);
        for (files, expected) in [
            (vec![Ok(interval(0, 120))], (Covers::Full, 0)),
            (vec![Ok(interval(-60, 50)), Ok(interval(40, 300))], (Covers::Full, 0)),
            (vec![Ok(interval(0, 50)), Ok(interval(70, 120)), unknown], (Covers::Partial, 1)),
            (vec![Ok(interval(-60, -10))], (Covers::None, 1)),
            (vec![Ok(interval(-60, -10)), unknown], (Covers::Unknown, 0)),
            (vec![unknown, Err(NoTimes::Compressed)], (Covers::Unknown, 0)),
            (vec![Err(NoTimes::Empty)], (Covers::None, 1)),
            (vec![], (Covers::None, 1)),
        ] {
            assert_eq!(covers(&files), expected, "{files:?}");
        }
    }

    proptest! {
        #[test]
        fn more_files_never_cover_less(
            files in prop::collection::vec((-200_i64..300, -200_i64..300), 1..8),
            more in (-200_i64..300, -200_i64..300),
        ) {
            let times = |files: &[(i64, i64)]| files.iter().map(|(a, b)| Ok(interval(*a, *b))).collect::<Vec<_>>();
            let before = judge(interval(0, 120), &times(&files));
            let after = judge(interval(0, 120), &times(&[&files[..], &[more]].concat()));
            let open = |coverage: &NodeCoverage| coverage.holes.iter().map(|hole| hole.length()).sum::<Duration>();
            prop_assert!(open(&after) <= open(&before));
            prop_assert!(after.covers <= before.covers, "{:?} after {:?}", after.covers, before.covers);
            prop_assert_eq!(after.covers == Covers::Full, after.holes.is_empty());
        }
    }

    /// One blob's content, and the reads made of it.
    struct Content(Vec<u8>, Mutex<Vec<(u64, u64)>>, Option<FailureClass>);

    impl LogStore for Content {
        async fn list(&self, _: &str, _: Option<&str>) -> Result<BlobPage, Failure> {
            unreachable!("blobs are read")
        }

        async fn read_range(&self, _: &str, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
            self.1.lock().push((offset, length));
            if let Some(class) = self.2 {
                return Err(Failure::new(class, "no"));
            }
            let size = |bytes: u64| usize::try_from(bytes).unwrap();
            let (from, to) = (size(offset), size(offset + length));
            Ok(self.0[from..to.min(self.0.len())].to_vec())
        }
    }

    const RETRY: RetryPolicy = RetryPolicy {
        attempts: 2,
        base_delay: std::time::Duration::from_millis(1),
        max_delay: std::time::Duration::from_millis(1),
    };

    async fn read(
        content: impl Into<Vec<u8>>,
        failure: Option<FailureClass>,
    ) -> (Result<FileTimes, Failure>, Vec<(u64, u64)>) {
        let store = Content(content.into(), Mutex::default(), failure);
        let blob = BlobDetails {
            name: "d/a".into(),
            size: store.0.len() as u64,
            created_at: Some(at(200)),
            last_modified: Some(at(200)),
            etag: None,
            content_md5: None,
        };
        let covered =
            cover(&store, &StorageRetry::new(&RETRY, fastrand::Rng::with_seed(1)), interval(0, 120), &[blob])
                .await;
        let reads = store.1.into_inner();
        let times = covered.map(|(coverage, times)| {
            assert_eq!(coverage.reads, reads.len() as u64);
            assert_eq!(coverage.written, Some(interval(200, 200)));
            times[0]
        });
        (times, reads)
    }

    /// A line a minute, each of this many bytes.
    fn lines(minutes: i64, length: usize) -> Vec<u8> {
        let line = |minute| {
            let mut line = format!("{} x", fleetlogs_model::timestamp::text(at(minute)));
            line.push_str(&"y".repeat(length - line.len() - 1));
            line + "\n"
        };
        (0..minutes).map(line).collect::<String>().into_bytes()
    }

    #[tokio::test]
    async fn both_ends_of_a_large_file_are_read_and_a_small_one_at_once() {
        let (times, reads) = read(lines(100, 80), None).await;
        assert_eq!((times.unwrap(), reads), (Ok(interval(0, 99)), vec![(0, 8000)]));
        let (times, reads) = read(lines(100, 8000), None).await;
        assert_eq!(times.unwrap(), Ok(interval(0, 99)));
        assert_eq!(reads, [(0, 65_536), (800_000 - 65_536, 65_536)]);
    }

    #[tokio::test]
    async fn what_tells_no_time_is_unknown_and_says_why() {
        for (content, reason) in [
            (&b"\x1f\x8b\x08 2026-11-22 09:00:00"[..], NoTimes::Compressed),
            (b"2026-11-22 09:00:00 \0", NoTimes::Binary),
            (b"no time\nhere\n", NoTimes::NoneRecognised),
            (b"2026-11-22 12:00:00 later than its file\n", NoTimes::AheadOfItsWriting),
            (b"", NoTimes::Empty),
        ] {
            assert_eq!(read(content, None).await.0.unwrap(), Err(reason), "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_unknown_and_a_sas_that_may_not_read_is_told() {
        let (times, reads) = read(lines(3, 80), Some(FailureClass::Transient)).await;
        assert_eq!((times.unwrap(), reads.len()), (Err(NoTimes::Unreadable), 2));
        let (times, reads) = read(lines(3, 80), Some(FailureClass::Auth)).await;
        assert_eq!((times.unwrap_err().class, reads.len()), (FailureClass::Auth, 1));
    }
}
