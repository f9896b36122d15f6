//! The command line: every command, and the code that does its work.

use clap::{ArgAction, Parser, Subcommand};

use crate::args::Output;
use crate::commands::bundle::{self, BundleArgs};
use crate::commands::check::{self, CheckArgs};
use crate::commands::completions::{self, CompletionsArgs};
use crate::commands::demo::{self, DemoArgs};
use crate::commands::fan_in::{self, FanInArgs};
use crate::commands::fan_out::{self, FanOutArgs};
use crate::commands::fetch::{self, FetchArgs};
use crate::commands::history::{self, HistoryArgs};
use crate::commands::init::{self, InitArgs};
use crate::commands::man::{self, ManArgs};
use crate::commands::plan::{self, PlanArgs};
use crate::commands::report::{self, ReportArgs};
use crate::commands::resume::{self, ResumeArgs};
use crate::commands::run::{self, RunArgs};
use crate::commands::runs::{self, RunsArgs};
use crate::commands::schedule::{self, ScheduleArgs};
use crate::commands::schema::{self, SchemaArgs};
use crate::commands::share::{self, ShareArgs, UnshareArgs};
use crate::commands::sim::{self, SimArgs};
use crate::commands::status::{self, StatusArgs};
use crate::commands::ticket::{self, TicketArgs};
use crate::commands::verify::{self, VerifyArgs};
use crate::commands::worker::{self, WorkerArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging::Logs;
use crate::version;

/// What each exit code means.
pub(crate) const EXIT_CODES: &str = "0 complete, 1 defect in fleetlogs, 2 usage or config, 3 partial, 4 nothing \
    collected, 5 refused before any upload was sent, 6 interrupted and resumable, 7 error budget spent and resumable, 8 \
    no node selected.";

/// Collect the Batch service logs of a whole Azure Batch fleet, and prove which nodes were collected.
#[derive(Debug, Parser)]
#[command(name = "fleetlogs", version = version::short(), long_version = version::long(), max_term_width = 100)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = format!("Exit codes: {EXIT_CODES}\n\nGuide: docs/guide/first-run.md"))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) output: Output,
    /// Print the version; `--version` also says for what and with what it was built
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Global options")]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Collect logs: plan, execute, verify, report
    Run(RunArgs),
    /// Resume an interrupted run
    Resume(ResumeArgs),
    /// List the runs, newest first
    Runs(RunsArgs),
    /// Show the progress of a run, live or finished
    Status(StatusArgs),
    /// Show which nodes a run would call and which it would skip, and why; sends no upload
    Plan(PlanArgs),
    /// Check config, credentials, permissions, clocks and storage; sends no upload
    Check(CheckArgs),
    /// Write the reports of a run again from its journal
    Report(ReportArgs),
    /// Show which time ranges a series of snapshots covers for each node, and every gap
    History(HistoryArgs),
    /// Check that the files of a run are still there and unchanged
    Verify(VerifyArgs),
    /// Download the logs of a run
    Fetch(FetchArgs),
    /// Create a read-only SAS for support and print it once
    Share(ShareArgs),
    /// Revoke the SAS of a run that are backed by a stored access policy
    Unshare(UnshareArgs),
    /// Open a support ticket for a run, or add a message to one; shows what it would send, and asks first
    Ticket(TicketArgs),
    /// Create the escalation bundle of a run, or check one
    Bundle(BundleArgs),
    /// Run snapshots automatically: on a schedule, when nodes go bad, on alerts
    Schedule(ScheduleArgs),
    /// Share a run out to workers on other machines, wait for them, and report
    FanOut(FanOutArgs),
    /// Wait for the workers of a run that was shared out, and report
    FanIn(FanInArgs),
    /// Take partitions of runs from the queue, and work on them
    Worker(WorkerArgs),
    /// Collect a simulated fleet on loopback: needs no config and no Azure account, takes less than a minute
    Demo(DemoArgs),
    /// Serve a simulated fleet on loopback
    Sim(SimArgs),
    /// Write a config to start with, or one with the accounts that you have in Azure
    Init(InitArgs),
    /// Print a JSON Schema
    Schema(SchemaArgs),
    /// Print the completions of a shell, which know the runs, pools and accounts on this machine
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them
    Man(ManArgs),
}

impl Command {
    /// Whether its log is what people read of it.
    pub(crate) fn is_daemon(&self) -> bool {
        match self {
            Self::Schedule(args) => args.is_daemon(),
            // Its log is all that it says.
            Self::Worker(_) => true,
            _ => false,
        }
    }

    /// Runs the command.
    pub(crate) async fn execute(&self, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
        // Boxed futures have some 18 KB, which would be part of the future of every command.
        match self {
            Self::Run(args) => run::run(args, output, logs).await,
            Self::Resume(args) => resume::resume(args, output, logs).await,
            Self::Runs(args) => runs::runs(args, output).await,
            Self::Status(args) => status::status(args, output).await,
            Self::Plan(args) => plan::plan(args, output).await,
            Self::Check(args) => check::check(args, output).await,
            Self::Report(args) => report::report(args, output).await,
            Self::History(args) => history::history(args, output).await,
            Self::Verify(args) => Box::pin(verify::verify(args, output, logs)).await,
            Self::Fetch(args) => Box::pin(fetch::fetch(args, output, logs)).await,
            Self::Share(args) => share::share(args, output).await,
            Self::Unshare(args) => share::unshare(args, output).await,
            Self::Ticket(args) => ticket::ticket(args, output).await,
            Self::Bundle(args) => bundle::bundle(args, output).await,
            Self::Schedule(args) => Box::pin(schedule::schedule(args, output, logs)).await,
            Self::FanOut(args) => Box::pin(fan_out::fan_out(args, output, logs)).await,
            Self::FanIn(args) => Box::pin(fan_in::fan_in(args, output, logs)).await,
            Self::Worker(args) => Box::pin(worker::worker(args, output)).await,
            Self::Demo(args) => demo::demo(args, output, logs).await,
            Self::Sim(args) => sim::sim(args).await,
            Self::Init(args) => init::init(args, output).await,
            Self::Schema(args) => schema::schema(args),
            Self::Completions(args) => completions::completions(args),
            Self::Man(args) => man::man(args),
        }
    }
}
