//! The time of day as an argument, so that tests can run on tokio's paused time.

use time::OffsetDateTime;
use tokio::time::Instant;

/// Where the time of day comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system's clock. It is read each time, so it is right after the machine was suspended.
    System,
    /// A start and tokio's time since then: for tests.
    Since(OffsetDateTime, Instant),
}

impl Clock {
    /// The time now in UTC, to the millisecond: that is what is stored.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = match self {
            Self::System => OffsetDateTime::now_utc(),
            Self::Since(start, instant) => *start + instant.elapsed(),
        };
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }
}
