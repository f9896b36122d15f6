//! What the program says: data on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use fleetlogs_engine::clock::Clock;
use fleetlogs_report::{PlanningProgress, ProgressClock, ProgressMode, is_dumb};

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;

/// Prints data on stdout. A reader that went away is no error.
pub(crate) fn print(text: &str) -> Result<Exit, CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Complete),
    }
}

/// A JSON document as `--json` prints it.
pub(crate) fn as_json(document: &impl serde::Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(document).map_err(std::io::Error::from)? + "\n")
}

/// Says something to the person. Nobody listening is no error, and must not change how a run ends.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Bars on a terminal, lines elsewhere, nothing if asked.
pub(crate) fn progress_mode(output: &Output) -> ProgressMode {
    if output.quiet {
        ProgressMode::Silent
    } else if std::io::stderr().is_terminal() && !is_dumb() {
        ProgressMode::bars_on_stderr()
    } else {
        ProgressMode::plain_on_stderr()
    }
}

pub(crate) fn progress_clock() -> ProgressClock {
    ProgressClock::new(Clock::System.now(), Instant::now)
}

pub(crate) fn planning_progress(output: &Output) -> PlanningProgress {
    PlanningProgress::new(progress_mode(output), progress_clock())
}
