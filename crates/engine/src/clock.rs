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
    /// The same, and it may be set.
    #[cfg(test)]
    Set(&'static SetClock),
}

/// A clock of a machine that somebody sets while tokio's time goes on.
#[cfg(test)]
#[derive(Debug)]
pub struct SetClock {
    start: OffsetDateTime,
    instant: Instant,
    ahead_ms: std::sync::atomic::AtomicI64,
}

#[cfg(test)]
impl SetClock {
    /// It begins now, and lives as long as the tests.
    pub(crate) fn start(start: OffsetDateTime) -> &'static Self {
        Box::leak(Box::new(Self { start, instant: Instant::now(), ahead_ms: 0.into() }))
    }

    /// Lets it show so much more (or less) than the true time from now on.
    pub(crate) fn set_ahead(&self, by: time::Duration) {
        let ms = i64::try_from(by.whole_milliseconds()).unwrap();
        self.ahead_ms.store(ms, std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn ahead(&self) -> time::Duration {
        time::Duration::milliseconds(self.ahead_ms.load(std::sync::atomic::Ordering::SeqCst))
    }

    /// The true time.
    pub(crate) fn true_time(&self) -> OffsetDateTime {
        self.start + self.instant.elapsed()
    }
}

impl Clock {
    /// The time now in UTC, to the millisecond: that is what is stored.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = match self {
            Self::System => OffsetDateTime::now_utc(),
            Self::Since(start, instant) => *start + instant.elapsed(),
            #[cfg(test)]
            Self::Set(clock) => clock.true_time() + clock.ahead(),
        };
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }
}
