//! Progress in one line: beside a spinner on a terminal, a line now and then elsewhere.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::mode::{ProgressClock, ProgressMode};

/// Time between two plain lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Time between two turns of the spinner.
const TURN_EVERY: Duration = Duration::from_millis(120);

/// Where the line is shown.
pub(super) enum OneLine {
    Spinner(ProgressBar),
    Plain { writer: Box<dyn Write + Send>, reported_at: Instant },
    Silent,
}

impl OneLine {
    /// Nothing is shown until there is a text.
    pub(super) fn new(mode: ProgressMode, clock: &ProgressClock) -> Self {
        match mode {
            ProgressMode::Bars(term, _) => {
                let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(term()));
                // A message that does not fit is cut at its end.
                let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                spinner.enable_steady_tick(TURN_EVERY);
                Self::Spinner(spinner)
            }
            ProgressMode::Plain(writer) => Self::Plain { writer, reported_at: clock.now() },
            ProgressMode::Silent => Self::Silent,
        }
    }

    /// Shows how it stands. Errors are ignored: if nobody reads the output, nothing is lost.
    pub(super) fn show(&mut self, text: String, clock: &ProgressClock) {
        match self {
            Self::Spinner(spinner) => spinner.set_message(text),
            Self::Plain { writer, reported_at } => {
                let now = clock.now();
                if now.saturating_duration_since(*reported_at) >= REPORT_EVERY {
                    *reported_at = now;
                    let _ = writeln!(writer, "{} {text}", clock.time_of_day(now));
                }
            }
            Self::Silent => {}
        }
    }

    /// Draws the spinner now.
    #[cfg(test)]
    pub(super) fn redraw(&self) {
        if let Self::Spinner(spinner) = self {
            spinner.tick();
        }
    }

    /// Removes the spinner. Nothing is shown from now on.
    pub(super) fn finish(&mut self) {
        if let Self::Spinner(spinner) = std::mem::replace(self, Self::Silent) {
            spinner.finish_and_clear();
        }
    }
}
