//! The commands, a file each.

pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod history;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod share;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod ticket;
pub(crate) mod verify;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::journal::JournalReader;
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
fn as_json(document: &impl serde::Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(document).map_err(std::io::Error::from)? + "\n")
}

/// The config that was named, or else the one that a run was begun with.
fn config_of(journal: &JournalReader, named: Option<&Path>) -> Result<PathBuf, CliError> {
    Ok(match named {
        Some(config) => config.to_owned(),
        None => journal.meta()?.config.into(),
    })
}

/// Says something to the person. Nobody listening is no error, and must not change how a run ends.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Bars on a terminal, lines elsewhere, nothing if asked.
fn progress_mode(output: &Output) -> ProgressMode {
    if output.quiet {
        ProgressMode::Silent
    } else if std::io::stderr().is_terminal() && !is_dumb() {
        ProgressMode::bars_on_stderr()
    } else {
        ProgressMode::plain_on_stderr()
    }
}

fn progress_clock() -> ProgressClock {
    ProgressClock::new(Clock::System.now(), Instant::now)
}

fn planning_progress(output: &Output) -> PlanningProgress {
    PlanningProgress::new(progress_mode(output), progress_clock())
}

/// What was seen and left out, counted by reason, for people.
fn left_out_counts(plan: &fleetlogs_model::plan::Plan) -> String {
    use std::fmt::Write as _;
    let mut counts = std::collections::BTreeMap::new();
    for left in &plan.left_out {
        *counts.entry(left.reason).or_insert(0_u64) += 1;
    }
    let mut text = String::new();
    for (reason, count) in counts {
        let _ = writeln!(text, "  left out as {}: {count}", reason.as_str());
    }
    text
}
