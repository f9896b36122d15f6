//! How and where progress is shown, and the clock for it.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use console::Term;
use indicatif::TermLike;
use time::OffsetDateTime;

use crate::look::Look;

/// How progress is shown, and where.
pub enum ProgressMode {
    /// Bars that are redrawn in place. Only for a terminal: functions that return a handle to it, and what it can show.
    Bars(Box<dyn Fn() -> Box<dyn TermLike> + Send>, Box<dyn Fn() -> Look + Send>),
    /// A line every ten seconds, and immediate lines for important events.
    Plain(Box<dyn Write + Send>),
    /// Nothing.
    Silent,
}

impl ProgressMode {
    /// Bars on stderr.
    #[must_use]
    pub fn bars_on_stderr() -> Self {
        Self::Bars(Box::new(|| Box::new(Term::buffered_stderr())), Box::new(Look::of_stderr))
    }

    /// Bars on stdout.
    #[must_use]
    pub fn bars_on_stdout() -> Self {
        Self::Bars(Box::new(|| Box::new(Term::buffered_stdout())), Box::new(Look::of_stdout))
    }

    /// Lines on stderr.
    #[must_use]
    pub fn plain_on_stderr() -> Self {
        Self::Plain(Box::new(io::stderr()))
    }

    /// Lines on stdout.
    #[must_use]
    pub fn plain_on_stdout() -> Self {
        Self::Plain(Box::new(io::stdout()))
    }
}

impl fmt::Debug for ProgressMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bars(..) => "Bars",
            Self::Plain(_) => "Plain",
            Self::Silent => "Silent",
        })
    }
}

/// The clock for progress: the time of day at the start, and a monotonic clock.
pub struct ProgressClock {
    started_at: OffsetDateTime,
    started: Instant,
    now: Box<dyn Fn() -> Instant + Send>,
}

impl ProgressClock {
    /// `started_at` is the time of day right now; `now` is the monotonic clock.
    #[must_use]
    pub fn new(started_at: OffsetDateTime, now: impl Fn() -> Instant + Send + 'static) -> Self {
        Self { started_at, started: now(), now: Box::new(now) }
    }

    pub(super) fn now(&self) -> Instant {
        (self.now)()
    }

    /// A time of day on the monotonic clock. Times before the machine started become the start.
    pub(super) fn instant(&self, at: OffsetDateTime) -> Instant {
        let passed = at - self.started_at;
        let instant = if passed.is_negative() {
            self.started.checked_sub(passed.unsigned_abs())
        } else {
            self.started.checked_add(passed.unsigned_abs())
        };
        instant.unwrap_or(self.started)
    }

    pub(super) fn time_of_day(&self, now: Instant) -> String {
        let passed = now.saturating_duration_since(self.started);
        crate::text::time_of_day(self.started_at + passed)
    }
}
