//! How progress is shown and where, and the clock that it is told by.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use console::Term;
use indicatif::TermLike;
use time::OffsetDateTime;

use crate::look::Look;

/// How progress is shown, and where.
pub enum ProgressMode {
    /// Bars that are redrawn in place. Only for a terminal: a handle to it, and what it can show at the moment.
    Bars(Box<dyn Fn() -> Box<dyn TermLike> + Send>, Box<dyn Fn() -> Look + Send>),
    /// A line every ten seconds, and one at once for what is worth it.
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

/// Where progress has its time from: what the clock on the wall said at the start, and a clock that never jumps.
pub struct ProgressClock {
    started_at: OffsetDateTime,
    started: Instant,
    now: Box<dyn Fn() -> Instant + Send>,
}

impl ProgressClock {
    /// `started_at` is the time of day right now; `now` says how time goes on from here.
    #[must_use]
    pub fn new(started_at: OffsetDateTime, now: impl Fn() -> Instant + Send + 'static) -> Self {
        Self { started_at, started: now(), now: Box::new(now) }
    }

    pub(super) fn now(&self) -> Instant {
        (self.now)()
    }

    /// A moment of the wall's clock on this one. Moments before this machine started are told as the start.
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
