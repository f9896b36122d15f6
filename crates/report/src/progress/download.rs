//! Progress of a download: files and bytes, how fast they come, and how long the rest takes.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use fleetlogs_model::duration;
use parking_lot::Mutex;

use super::mode::{ProgressClock, ProgressMode};
use super::one_line::OneLine;
use crate::text::{number, size};

/// The time over which the speed is measured.
const MEASURED_OVER: Duration = Duration::from_secs(15);
/// Before this, a speed says nothing.
const MEASURED_AT_LEAST: Duration = Duration::from_secs(3);

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCount {
    /// How many.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl FileCount {
    /// Adds files.
    pub fn add(&mut self, files: u64, bytes: u64) {
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Shows the progress of a download. Shared by everything that downloads.
pub struct DownloadProgress(Mutex<Transfer>);

struct Transfer {
    /// What there is to have, as far as it is known.
    expected: FileCount,
    /// Nodes whose files nobody has counted yet.
    uncounted: u64,
    /// Whole on disk.
    whole: FileCount,
    /// Downloaded by this process, of these.
    fetched: FileCount,
    /// Bytes of files that are not whole yet.
    in_part: u64,
    /// Bytes that have come so far, with those that came in vain.
    received: u64,
    /// How many had come at a moment.
    samples: VecDeque<(Instant, u64)>,
    screen: OneLine,
    clock: ProgressClock,
}

impl DownloadProgress {
    /// Nothing is shown until something has come.
    #[must_use]
    pub fn new(mode: ProgressMode, clock: ProgressClock) -> Self {
        let screen = OneLine::new(mode, &clock);
        Self(Mutex::new(Transfer {
            expected: FileCount::default(),
            uncounted: 0,
            whole: FileCount::default(),
            fetched: FileCount::default(),
            in_part: 0,
            received: 0,
            samples: VecDeque::from([(clock.now(), 0)]),
            screen,
            clock,
        }))
    }

    /// Expects the files of a directory: those that the run saw there, if it looked.
    pub fn expect(&self, seen: Option<(u64, u64)>) {
        let mut transfer = self.0.lock();
        match seen {
            Some((files, bytes)) => transfer.expected.add(files, bytes),
            None => transfer.uncounted += 1,
        }
    }

    /// A directory that was expected has these files.
    pub fn listed(&self, expected: Option<(u64, u64)>, files: u64, bytes: u64) {
        let mut transfer = self.0.lock();
        let (of_files, of_bytes) = expected.unwrap_or_default();
        if expected.is_none() {
            transfer.uncounted = transfer.uncounted.saturating_sub(1);
        }
        transfer.expected.files = transfer.expected.files.saturating_sub(of_files);
        transfer.expected.bytes = transfer.expected.bytes.saturating_sub(of_bytes);
        transfer.expected.add(files, bytes);
    }

    /// A file that is whole on disk already.
    pub fn found(&self, bytes: u64) {
        self.0.lock().whole.add(1, bytes);
    }

    /// A file begins to come, of which these bytes are on disk. If it is dropped before it is whole, its bytes count no
    /// more.
    pub fn begin(&self, bytes: u64) -> FileProgress<'_> {
        self.0.lock().in_part += bytes;
        FileProgress { progress: self, bytes }
    }

    /// Shows how it stands now.
    pub fn refresh(&self) {
        let mut transfer = self.0.lock();
        let now = transfer.clock.now();
        transfer.sample(now);
        let text = transfer.text(now);
        let Transfer { screen, clock, .. } = &mut *transfer;
        screen.show(text, clock);
    }

    /// Removes the spinner. Returns what this process downloaded.
    pub fn finish(&self) -> FileCount {
        let mut transfer = self.0.lock();
        transfer.screen.finish();
        transfer.fetched
    }
}

impl fmt::Debug for DownloadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadProgress").finish_non_exhaustive()
    }
}

/// A file that is coming.
#[derive(Debug)]
pub struct FileProgress<'a> {
    progress: &'a DownloadProgress,
    /// Its bytes so far.
    bytes: u64,
}

impl FileProgress<'_> {
    /// Some bytes came.
    pub fn received(&mut self, bytes: u64) {
        self.bytes += bytes;
        let mut transfer = self.progress.0.lock();
        transfer.in_part += bytes;
        transfer.received += bytes;
    }

    /// It is whole.
    pub fn whole(self, bytes: u64) {
        let mut transfer = self.progress.0.lock();
        transfer.whole.add(1, bytes);
        transfer.fetched.add(1, bytes);
    }
}

impl Drop for FileProgress<'_> {
    fn drop(&mut self) {
        let mut transfer = self.progress.0.lock();
        transfer.in_part = transfer.in_part.saturating_sub(self.bytes);
    }
}

impl Transfer {
    fn sample(&mut self, now: Instant) {
        while let Some((at, _)) = self.samples.get(1)
            && now.saturating_duration_since(*at) >= MEASURED_OVER
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, self.received));
    }

    /// Bytes a second, as they came lately.
    fn speed(&self, now: Instant) -> Option<u64> {
        let (from, had) = self.samples.front()?;
        let passed = now.saturating_duration_since(*from);
        if passed < MEASURED_AT_LEAST {
            return None;
        }
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        Some(self.received.saturating_sub(*had).saturating_mul(1000) / millis.max(1))
    }

    /// `fetching 120 of 2,484 files, 34.1 MiB of 1.2 GiB, 12.4 MiB/s, ETA 1m 35s`.
    fn text(&self, now: Instant) -> String {
        let bytes = self.whole.bytes.saturating_add(self.in_part);
        let speed = self.speed(now);
        let mut text = if self.uncounted > 0 {
            format!("fetching: {} files, {} so far", number(self.whole.files), size(bytes))
        } else {
            let (files, all) = (number(self.whole.files), number(self.expected.files));
            format!("fetching {files} of {all} files, {} of {}", size(bytes), size(self.expected.bytes))
        };
        if let Some(speed) = speed {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {}/s", size(speed));
            let left = self.expected.bytes.saturating_sub(bytes);
            if self.uncounted == 0 && left > 0 && speed > 0 {
                let left = Duration::from_secs(left.div_ceil(speed));
                let _ = write!(text, ", ETA {}", duration::text(left));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{START, SharedBuffer};

    const MIB: u64 = 1 << 20;

    /// Progress in lines, what was written, and a function that lets seconds pass.
    fn progress() -> (DownloadProgress, SharedBuffer, impl Fn(u64)) {
        let buffer = SharedBuffer::default();
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = ProgressClock::new(START, {
            let now = now.clone();
            move || *now.lock()
        });
        let progress = DownloadProgress::new(ProgressMode::Plain(Box::new(buffer.clone())), clock);
        (progress, buffer, move |seconds| *now.lock() += Duration::from_secs(seconds))
    }

    #[test]
    fn a_download_tells_files_bytes_speed_and_time_left() {
        let (progress, buffer, pass) = progress();
        for _ in 0..4 {
            progress.expect(Some((2, 100 * MIB)));
        }
        progress.found(50 * MIB);
        let mut coming = progress.begin(0);
        for second in 1..=30 {
            pass(1);
            coming.received(if second <= 20 { 5 * MIB } else { 10 * MIB });
            if second == 10 {
                coming.whole(50 * MIB);
                coming = progress.begin(0);
            }
            progress.refresh();
        }
        drop(coming);
        assert_eq!(progress.finish(), FileCount { files: 1, bytes: 50 * MIB });
        progress.refresh();
        insta::assert_snapshot!(buffer.text(), @r"
        09:30:10 fetching 2 of 8 files, 100.0 MiB of 400.0 MiB, 5.0 MiB/s, ETA 1m 00s
        09:30:20 fetching 2 of 8 files, 150.0 MiB of 400.0 MiB, 5.0 MiB/s, ETA 50s
        09:30:30 fetching 2 of 8 files, 250.0 MiB of 400.0 MiB, 8.3 MiB/s, ETA 19s
        ");
    }

    #[test]
    fn nothing_is_promised_while_files_are_not_counted_or_nothing_comes() {
        let (progress, buffer, pass) = progress();
        progress.expect(None);
        let mut coming = progress.begin(0);
        coming.received(30 * MIB);
        pass(10);
        progress.refresh();
        // What came in vain is no part of a file any more.
        drop(coming);
        progress.listed(None, 3, 60 * MIB);
        pass(20);
        progress.refresh();
        insta::assert_snapshot!(buffer.text(), @r"
        09:30:10 fetching: 0 files, 30.0 MiB so far, 3.0 MiB/s
        09:30:30 fetching 0 of 3 files, 0 B of 60.0 MiB, 0 B/s
        ");
    }
}
