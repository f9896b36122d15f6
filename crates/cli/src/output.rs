//! Output: data on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use fleetlogs_model::scrub;
use fleetlogs_report::{
    DownloadProgress, Examples, Look, PlanningProgress, is_dumb, json_for_terminal, lines_for_terminal,
};

use crate::args::Output;
use crate::error::CliError;
use crate::error_document::ErrorDocument;
use crate::exit::Exit;
use crate::logging::Logs;
use crate::run::{ProgressView, Reported, Watchers, progress_clock};

/// Whether stdout has its data. With `--json` it gets one document, never two.
static HAS_DATA: AtomicBool = AtomicBool::new(false);

/// Prints data on stdout, without secrets. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<Exit, CliError> {
    print_secret(&scrub::hide(text))
}

/// The same for what is a secret, which is to be printed.
pub(crate) fn print_secret(text: &str) -> Result<Exit, CliError> {
    match print_only_copy(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Complete),
    }
}

/// Prints on stdout what exists only once. Unlike for other data, a reader that went away is an error.
pub(crate) fn print_only_copy(text: &str) -> std::io::Result<()> {
    HAS_DATA.store(true, Ordering::Relaxed);
    write_data(text)
}

fn write_data(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// A JSON document as `--json` prints it.
pub(crate) fn as_json(document: &impl serde::Serialize) -> Result<String, CliError> {
    Ok(json_for_terminal(serde_json::to_string_pretty(document).map_err(std::io::Error::from)?) + "\n")
}

/// Prints a document on one line of stdout; others may follow.
pub(crate) fn print_json_line(document: &impl serde::Serialize) -> Result<Exit, CliError> {
    match write_data(&scrub::hide(&json_line(document)?)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Complete),
    }
}

fn json_line(document: &impl serde::Serialize) -> Result<String, CliError> {
    Ok(json_for_terminal(serde_json::to_string(document).map_err(std::io::Error::from)?) + "\n")
}

/// Prints the document of a command that failed, unless the command has printed its own. A failure to print it is
/// ignored: the message is on stderr as well.
pub(crate) fn print_error(error: &CliError) {
    if !HAS_DATA.load(Ordering::Relaxed) {
        let _ = print_json_line(&ErrorDocument::of(error));
    }
}

/// Prints lines for people on stdout. Foreign text in them is made safe; they have no styles.
pub(crate) fn print_lines(text: &str) -> Result<Exit, CliError> {
    print(&lines_for_terminal(text))
}

/// Prints a message on stderr. A failure to print it is ignored: it must not change how a run ends. Foreign text in it is
/// made safe; it has no styles.
pub(crate) fn say(text: &str) {
    say_styled(&lines_for_terminal(text));
}

/// The same for text of the reports, which has styles, and in which foreign text is safe. No secret is printed.
pub(crate) fn say_styled(text: &str) {
    let _ = std::io::stderr().write_all(scrub::hide(text).as_bytes());
}

/// Bars on a terminal, lines elsewhere, nothing with `--quiet`.
fn progress_view(output: &Output) -> ProgressView {
    if output.quiet {
        ProgressView::Hidden
    } else if std::io::stderr().is_terminal() && !is_dumb() {
        ProgressView::Bars
    } else {
        ProgressView::Lines
    }
}

/// The watchers of a run that a person started: the screen, `--events`, the log.
pub(crate) fn watchers(output: &Output, logs: &Logs) -> Watchers {
    Watchers { progress: progress_view(output), events: output.events.clone(), logs: logs.clone(), say }
}

/// Prints how a run ended, for a person or for a program.
pub(crate) fn print_end(reported: &Reported, output: &Output) -> Result<(), CliError> {
    if output.json {
        print(&as_json(&reported.document())?)?;
    } else if !output.quiet {
        let examples = if output.verbose > 0 { Examples::Always } else { Examples::WhereThereIsRoom };
        say_styled(&reported.to_terminal(&Look::of_stderr(), examples));
    }
    Ok(())
}

pub(crate) fn planning_progress(output: &Output) -> PlanningProgress {
    PlanningProgress::new(progress_view(output).mode(), progress_clock())
}

pub(crate) fn download_progress(output: &Output) -> DownloadProgress {
    DownloadProgress::new(progress_view(output).mode(), progress_clock())
}
