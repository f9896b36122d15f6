//! `fleetlogs`: collects the Batch service logs of a whole Azure Batch fleet, and proves which nodes it collected.
//!
//! A library with one public function, so that fuzzing reaches the program's readers.

mod args;
mod attachments;
mod clock_skew;
mod command_line;
mod commands;
mod completion;
mod config;
mod config_arg;
mod daemon;
mod destination;
mod discover;
#[cfg(test)]
mod documented;
mod error;
mod error_document;
mod estimate;
mod exit;
mod file_kind;
mod fleet;
#[cfg(test)]
#[path = "../../../tests/formats/lock.rs"]
mod format_lock;
mod found_config;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod help_texts;
mod hygiene;
mod init;
mod input_file;
mod journal_container;
mod log_download;
mod log_line;
mod logging;
mod notify;
mod open_files;
mod output;
mod output_dir;
mod own_container;
mod partition_watch;
mod preflight;
mod process_group;
mod record_file;
mod run;
mod run_container;
mod run_dir;
mod run_name;
mod runs_dir;
mod scale_out;
mod share;
mod shared_run;
mod signals;
mod simulated_fleet;
mod text;
mod tokens;
mod typed_path;
mod unmatched;
mod usage_error;
mod version;
mod window_args;
mod work_queues;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::command_line::{Args, Command};
use crate::error::CliError;
use crate::exit::Exit;
use crate::usage_error::usage_error;

/// One thread makes some 30,000 calls a second, and one journal records all of them: more threads add nothing.
const MOST_WORKER_THREADS: usize = 4;

/// The program, from its command line to its exit code.
pub fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _crash_points = fail::FailScenario::setup();
    completion::answer_shell(command_line_with_help);
    hygiene::no_core_dumps();
    hygiene::no_secret_in_panics();
    open_files::raise_limit();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let json = asks_for_json(&arguments);
    if let Err(refusal) = hygiene::no_secret_in(&arguments) {
        return end(Err(CliError::usage(refusal)), json);
    }
    let args = match parse(&arguments) {
        Ok(args) => args,
        Err(CommandLineEnd::Shown) => return Exit::Complete.into(),
        Err(CommandLineEnd::Empty) => {
            if json {
                output::print_error(&CliError::no_command());
            }
            return Exit::Usage.into();
        }
        Err(CommandLineEnd::Wrong(error)) => return end(Err(error), json),
    };
    let logs = logging::start(&args.output, args.command.is_daemon());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(worker_threads(&args.command))
        .build();
    let result = match runtime {
        Ok(runtime) => {
            // A panic is a defect with its own exit code. Its message has been printed already.
            let result = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(args.command.execute(&args.output, &logs))
            }))
            .unwrap_or_else(|_| Err(CliError::defect()));
            // A thread that is still resolving a host name must not delay the end of the program.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    process_group::kill_all();
    end(result, json)
}

/// Whether `--json` is among the arguments, as far as can be told before they are understood.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// Why the program ends with its command line.
enum CommandLineEnd {
    /// Help or version were asked for, and printed.
    Shown,
    /// No command was named, and the help was printed on stderr.
    Empty,
    /// The command line is wrong.
    Wrong(CliError),
}

/// The command line with the whole help.
fn command_line_with_help() -> clap::Command {
    help_texts::added_to(Args::command())
}

/// Understands the command line.
fn parse(arguments: &[OsString]) -> Result<Args, CommandLineEnd> {
    let matches = command_line_with_help().try_get_matches_from(arguments);
    matches.and_then(|mut matches| Args::from_arg_matches_mut(&mut matches)).map_err(|error| {
        let is_empty = matches!(
            error.kind(),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
        );
        if error.use_stderr() && !is_empty {
            return CommandLineEnd::Wrong(usage_error(&error, arguments));
        }
        // A reader that went away has seen enough.
        let _ = error.print();
        if is_empty { CommandLineEnd::Empty } else { CommandLineEnd::Shown }
    })
}

/// Tells an error, to a person and, with `--json`, to a program.
fn end(result: Result<Exit, CliError>, json: bool) -> ExitCode {
    let exit = result.unwrap_or_else(|error| {
        output::say(&error.describe());
        if json {
            output::print_error(&error);
        }
        error.exit
    });
    exit.into()
}

/// The number of threads that make calls. A call is little work, and threads that share that work wake each other all
/// the time. The journal and the command itself run on threads of their own and need a processor as well.
fn worker_threads(command: &Command) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    match command {
        Command::Sim(_) => cores,
        _ => (cores / 2).clamp(1, MOST_WORKER_THREADS),
    }
}
