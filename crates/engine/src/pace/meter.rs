//! How fast calls go out.

use std::time::Duration;

use tokio::time::Instant;

/// Counts calls, in a window of a second and the one before.
pub(super) struct Meter {
    since: Instant,
    calls: u32,
    before: u32,
    before_length: Duration,
}

impl Meter {
    pub(super) fn starting(since: Instant) -> Self {
        Self { since, calls: 0, before: 0, before_length: Duration::ZERO }
    }

    pub(super) fn count(&mut self, now: Instant) {
        self.turn_over(now);
        self.calls += 1;
    }

    fn turn_over(&mut self, now: Instant) {
        let length = now.saturating_duration_since(self.since);
        if length >= Duration::from_secs(1) {
            *self = Self { since: now, calls: 0, before: self.calls, before_length: length };
        }
    }

    /// Calls, and the seconds they went out in.
    pub(super) fn read(&mut self, now: Instant) -> (f64, f64) {
        self.turn_over(now);
        let length = now.saturating_duration_since(self.since) + self.before_length;
        (f64::from(self.calls + self.before), length.as_secs_f64())
    }
}
