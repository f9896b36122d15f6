//! When the downloads are given up: a file that comes too slowly, files that do not come at all, and all of them after
//! a day.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fleetlogs_azure::fell_silent;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::retry::RetryPolicy;
use tokio::time::Instant;

/// For all downloads of a command. A hundred thousand nodes with a gigabyte in all take an hour.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// For the first byte of a file, and for a pause.
const AT_LEAST: Duration = Duration::from_secs(60);

/// In bytes per second. One file of eight over a modem is as fast.
const LEAST_SPEED: u64 = 4 << 10;

/// Files in a row of which nothing came: then no more will come.
const MOST_IN_VAIN: u32 = 24;

/// How many of these a file counts that took minutes for nothing.
const SILENT: u32 = 8;

/// How long a part of a file of this many bytes may take.
pub(super) fn time_for(bytes: u64) -> Duration {
    AT_LEAST.saturating_add(Duration::from_secs(bytes / LEAST_SPEED))
}

/// How the downloads of a command go.
pub(super) struct Patience {
    pub(super) until: Instant,
    in_vain: AtomicU32,
}

/// What a failed download brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A part of the file, at a good speed.
    Something,
    Nothing,
    /// Nothing, and it took minutes.
    Silence,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + LONGEST, in_vain: AtomicU32::new(0) }
    }

    /// Storage answers.
    pub(super) fn went_well(&self) {
        self.in_vain.store(0, Ordering::Relaxed);
    }

    /// Whether all downloads are given up after one that failed.
    pub(super) fn is_over(&self, brought: Brought) -> bool {
        let more = match brought {
            Brought::Something => {
                self.went_well();
                return false;
            }
            Brought::Nothing => 1,
            Brought::Silence => SILENT,
        };
        self.in_vain.fetch_add(more, Ordering::Relaxed).saturating_add(more) >= MOST_IN_VAIN
    }
}

/// How long to wait after a failed attempt. Silence has taken a minute already, so there is a second attempt only.
pub(super) fn pause(
    retry: &RetryPolicy,
    longest: Duration,
    attempt: u32,
    failure: &Failure,
) -> Option<Duration> {
    if fell_silent(failure) && attempt >= 2 {
        return None;
    }
    Some(retry.pause(attempt, failure, 1.0)?.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_storage_that_sends_nothing_is_given_up_after_a_few_files() {
        let patience = Patience::new();
        let ends = |brought, files| (0..files).map(|_| patience.is_over(brought)).collect::<Vec<_>>();
        assert_eq!(ends(Brought::Silence, 3), [false, false, true]);
        patience.went_well();
        assert!(ends(Brought::Nothing, 23).iter().all(|is_over| !is_over));
        assert!(!patience.is_over(Brought::Something), "a file that breaks off half way is a sign of life");
        assert!(!patience.is_over(Brought::Nothing));
    }

    #[test]
    fn a_file_has_time_by_its_size_and_never_for_ever() {
        assert_eq!(time_for(0), Duration::from_secs(60));
        assert_eq!(time_for(1 << 20), Duration::from_secs(60 + 256));
        assert!(time_for(u64::MAX) < Duration::MAX);
    }
}
