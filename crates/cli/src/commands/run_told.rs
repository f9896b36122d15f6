//! The end of every command that ends a run: it is printed, and receivers are notified.

use fleetlogs_engine::stop::StopHandle;

use crate::args::Output;
use crate::config::Settings;
use crate::error::CliError;
use crate::exit::Exit;
use crate::notify::notify_all;
use crate::output::print_end;
use crate::run::FinishedRun;

/// Prints how a run ended, and notifies, even if printing fails. Returns the exit code of the command.
pub(super) async fn tell(
    FinishedRun { reported, log: _log }: FinishedRun,
    settings: &Settings,
    stop: &StopHandle,
    output: &Output,
) -> Result<Exit, CliError> {
    let printed = print_end(&reported, output);
    notify_all(&settings.notify, &reported.end()?, stop).await;
    printed?;
    Ok(reported.outcome().into())
}
