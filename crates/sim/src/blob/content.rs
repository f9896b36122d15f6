//! What is in a blob: bytes that somebody sent, or a log that is made up when somebody reads it.
//!
//! A fleet of 100,000 nodes leaves gigabytes of logs, and hardly anyone reads them; so a simulated log is kept as its
//! seed and its size.

use std::fmt::Write as _;

use hyper::body::Bytes;
use time::OffsetDateTime;

use crate::clock::push_batch_time;
use crate::roll::Roll;

/// The content of a blob.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Sent(Bytes),
    Log { seed: u64, size: u64, written: OffsetDateTime },
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
            Self::Sent(bytes) => bytes.len() as u64,
            Self::Log { size, .. } => *size,
        }
    }

    /// All bytes; for a log, the same ones every time.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Sent(bytes) => bytes.clone(),
            Self::Log { seed, size, written } => log(*seed, *size, *written),
        }
    }
}

/// Lines with times, up to and including `size` bytes.
fn log(seed: u64, size: u64, written: OffsetDateTime) -> Bytes {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut text = String::with_capacity(size.saturating_add(128));
    let mut rng = fastrand::Rng::with_seed(Roll::new(seed).bits());
    let mut at = written - time::Duration::hours(2);
    while text.len() < size {
        at += time::Duration::microseconds(rng.i64(1_000..3_000_000));
        push_batch_time(&mut text, at);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_its_size_its_lines_and_is_the_same_every_time() {
        let written = time::macros::datetime!(2025-01-01 12:00:00 UTC);
        let content = Content::Log { seed: 3, size: 4096, written };

        let bytes = content.bytes();

        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes, content.bytes());
        assert!(bytes.split(|b| *b == b'\n').count() > 20);
        assert_eq!(Content::Log { seed: 3, size: 0, written }.bytes().len(), 0);
    }
}
