//! The content of a blob: bytes that a client sent, or a log that is generated when it is read.
//!
//! A fleet of 100,000 nodes leaves gigabytes of logs, and hardly any of them are read; so a simulated log is stored
//! as its seed and its size.

use std::fmt::Write as _;

use hyper::body::Bytes;
use time::OffsetDateTime;

use crate::clock::push_batch_time;
use crate::roll::Roll;

/// The content of a blob.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Sent(Bytes),
    /// Sent in blocks.
    Joined(Bytes),
    Log(Log),
}

/// A log that nobody has read yet. There may be a million of them, so its times are stored as seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    seed: u64,
    size: u64,
    /// Time of the first line; none if the content is not text.
    from: Option<i64>,
    /// Time of the last lines.
    to: i64,
}

impl Log {
    /// Lines with times, spread evenly over a time range.
    pub(crate) fn lines(seed: u64, size: u64, from: OffsetDateTime, to: OffsetDateTime) -> Self {
        let to = to.unix_timestamp();
        Self { seed, size, from: Some(from.unix_timestamp().min(to)), to }
    }

    /// Bytes that look like a compressed file.
    pub(crate) fn opaque(seed: u64, size: u64) -> Self {
        Self { seed, size, from: None, to: 0 }
    }
}

const WHAT: [&str; 8] = [
    "INFO  agent.heartbeat   sent, next in 15s",
    "INFO  agent.scheduler   polled, nothing to run",
    "DEBUG agent.storage     listing output container",
    "INFO  agent.task        exit code 0, working directory kept",
    "WARN  agent.network     request took longer than expected, going on",
    "DEBUG agent.metrics     cpu 12.5%, free disk 61%",
    "INFO  agent.update      version is current",
    "ERROR agent.task        exit code 137, stderr kept",
];

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Sent(bytes) | Self::Joined(bytes) => bytes.len() as u64,
            Self::Log(log) => log.size,
        }
    }

    /// All bytes; a log gives the same ones every time.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Sent(bytes) | Self::Joined(bytes) => bytes.clone(),
            Self::Log(log) => log.bytes(),
        }
    }
}

/// Longer than any line.
const LONGEST_LINE: usize = 110;

impl Log {
    fn bytes(self) -> Bytes {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let mut rng = fastrand::Rng::with_seed(Roll::new(self.seed).bits());
        let Some(from) = self.from else {
            let mut bytes = b"\x1f\x8b\x08\0".to_vec();
            bytes.resize_with(size, || rng.u8(..));
            return bytes.into();
        };
        let mut text = String::with_capacity(size.saturating_add(LONGEST_LINE));
        // By the position of the line, so that the last one, which may be cut off, reaches the end of the range.
        let length = size.saturating_sub(LONGEST_LINE).max(1) as u128;
        let micros = u128::from(self.to.abs_diff(from)) * 1_000_000;
        while text.len() < size {
            let passed = micros * text.len() as u128 / length;
            let passed = i64::try_from(passed.min(micros)).unwrap_or(i64::MAX);
            let start = OffsetDateTime::from_unix_timestamp(from).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            push_batch_time(&mut text, start + time::Duration::microseconds(passed));
            let what = WHAT[rng.usize(..WHAT.len())];
            let put = writeln!(text, " [{:>5}] {what}", rng.u16(..));
            debug_assert!(put.is_ok(), "writing to a String does not fail");
        }
        text.truncate(size);
        if let Some(last) = text.pop() {
            text.push(if last.is_ascii() { '\n' } else { last });
        }
        Bytes::from(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: OffsetDateTime = time::macros::datetime!(2025-01-01 12:00:00 UTC);

    #[test]
    fn a_log_has_its_size_its_lines_and_is_the_same_every_time() {
        let content = Content::Log(Log::lines(3, 4096, NOON - time::Duration::hours(2), NOON));

        let bytes = content.bytes();

        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes, content.bytes());
        assert!(bytes.split(|b| *b == b'\n').count() > 20);
        assert_eq!(Content::Log(Log::lines(3, 0, NOON, NOON)).bytes().len(), 0);
    }

    #[test]
    fn its_lines_come_from_one_time_up_to_the_other_in_order() {
        for (size, hours) in [(4096, 2), (4096, 24), (300, 2), (1 << 20, 48)] {
            let from = NOON - time::Duration::hours(hours);
            let bytes = Content::Log(Log::lines(3, size, from, NOON)).bytes();
            let text = std::str::from_utf8(&bytes).expect("text");
            let times: Vec<_> =
                text.lines().filter_map(|line| crate::clock::parse_iso(line.split(' ').next()?)).collect();

            assert_eq!(times.first(), Some(&from), "{size}");
            assert!(times.is_sorted() && times.last() == Some(&NOON), "{size}: {:?}", times.last());
        }
    }

    #[test]
    fn an_opaque_file_has_its_size_and_begins_like_a_compressed_one() {
        for size in [0, 3, 5000] {
            let bytes = Content::Log(Log::opaque(3, size)).bytes();

            assert_eq!(bytes.len() as u64, size);
            assert!(b"\x1f\x8b\x08\0".starts_with(&bytes) || bytes.starts_with(b"\x1f\x8b\x08\0"));
        }
    }
}
