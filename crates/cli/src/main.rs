//! `fleetlogs`: collects the Batch service logs of a whole Azure Batch fleet, and proves which nodes it collected.

mod args;
mod attachments;
mod clock_skew;
mod command_line;
mod commands;
mod config;
mod config_arg;
mod daemon;
mod destination;
mod discover;
mod error;
mod estimate;
mod exit;
mod fleet;
mod hygiene;
mod input_file;
mod log_download;
mod log_line;
mod logging;
mod notify;
mod open_files;
mod output;
mod output_dir;
mod preflight;
mod process_group;
mod run;
mod run_dir;
mod run_name;
mod runs_dir;
mod share;
mod signals;
mod simulated_fleet;
mod text;
mod tokens;
mod window_args;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Args, Command};
use crate::exit::Exit;

/// One thread makes some 30,000 calls a second, and one journal records all of them: more threads add nothing.
const MOST_WORKER_THREADS: usize = 4;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _crash_points = fail::FailScenario::setup();
    hygiene::no_core_dumps();
    hygiene::no_secret_in_panics();
    open_files::raise_limit();
    if let Err(message) = hygiene::no_secret_in(std::env::args_os().skip(1)) {
        output::say(&message);
        return Exit::Usage.into();
    }
    let args = Args::parse();
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
            .unwrap_or(Ok(Exit::Defect));
            // A thread that is still resolving a host name must not delay the end of the program.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    process_group::kill_all();
    let exit = result.unwrap_or_else(|error| {
        output::say(&error.describe());
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
