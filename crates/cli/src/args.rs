//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::service::NodeState;
use globset::Glob;

/// Collects the Batch service logs of a whole Azure Batch fleet, and proves what it got.
#[derive(Debug, Parser)]
#[command(name = "fleetlogs", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 complete, 1 defect in fleetlogs, 2 usage or config, 3 partial, 4 nothing collected, \
    5 refused before any upload was sent, 6 interrupted and resumable, 7 error budget spent and \
    resumable, 8 no node selected."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is said, how much and where. Data goes to stdout, everything else to stderr.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Output {
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Write every event as a JSON line to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// How log lines on stderr look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plan, execute, verify, report
    Run(Run),
    /// Go on with an interrupted run
    Resume(Resume),
    /// Show how a run gets on, also from a second terminal
    Status(Status),
    /// Show who would be asked, who not and why; sends no upload
    Plan(Plan),
    /// Check config, credentials, permissions, clocks and storage; sends no upload
    Check(Check),
    /// Write the reports of a run again, from its journal
    Report(Report),
    /// Prove over a series of snapshots which minutes of which node are covered, and which not
    History(crate::commands::history::History),
    /// Look again whether the files of a run are still there, as they were
    Verify(crate::commands::verify::Verify),
    /// Make a SAS that lets support read the logs of a run, and print it once
    Share(crate::commands::share::Share),
    /// Take back what `share` gave away, where that can be done
    Unshare(crate::commands::share::Unshare),
    /// Open a support ticket for a run, or add to one; shows what it sends, and asks first
    Ticket(crate::commands::ticket::Ticket),
    /// Make the escalation bundle of a run, or check one
    Bundle(crate::commands::bundle::Bundle),
    /// Run snapshots by themselves: by timetable, when nodes go bad, on alerts
    Schedule(crate::commands::schedule::Schedule),
    /// Serve a simulated fleet on loopback
    Sim(Sim),
    /// Print a config with every key, its default and a comment
    Init,
    /// Print a JSON Schema
    Schema(Schema),
}

#[derive(Debug, Parser)]
pub(crate) struct Run {
    /// The config file
    pub(crate) config: PathBuf,
    /// Execute exactly this plan (a plan.json) instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accounts", "pools", "nodes", "states", "jobs"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pick: Pick,
}

#[derive(Debug, Parser)]
pub(crate) struct Resume {
    /// The run directory
    pub(crate) run: PathBuf,
    /// The config file; left out: the one that the run was begun with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Take nodes up again that ended so
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OUTCOMES")]
    pub(crate) retry: Vec<Retry>,
    /// Go on although the config has changed since the run was begun, or the run directory is a copy
    #[arg(long)]
    pub(crate) accept_changes: bool,
}

/// What of the config's selection is wanted now. All of them together; each may be given more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Parser)]
pub(crate) struct Pick {
    /// Only accounts with this name (a pattern)
    #[arg(long = "account", value_name = "PATTERN")]
    pub(crate) accounts: Vec<Glob>,
    /// Only pools with this id (a pattern)
    #[arg(long = "pool", value_name = "PATTERN")]
    pub(crate) pools: Vec<Glob>,
    /// Only nodes with this id (a pattern)
    #[arg(long = "node", value_name = "PATTERN")]
    pub(crate) nodes: Vec<Glob>,
    /// Only nodes in this state, instead of the config's `nodes.states`
    #[arg(long = "state", value_name = "STATE", value_parser = node_state)]
    pub(crate) states: Vec<NodeState>,
    /// Only nodes that tasks of this job ran on, instead of the config's `jobs`
    #[arg(long = "job", value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
}

fn node_state(text: &str) -> Result<NodeState, String> {
    match NodeState::from(text.to_owned()) {
        NodeState::Other(_) => {
            Err(format!("known are {}", NodeState::known().collect::<Vec<_>>().join(", ")))
        }
        state => Ok(state),
    }
}

/// An outcome that can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Retry {
    /// No call succeeded.
    Failed,
    /// Files were missing at the deadline.
    Incomplete,
    /// The node was not there.
    Gone,
    /// The node promised no file.
    Empty,
}

impl From<Retry> for Outcome {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Failed => Self::Failed,
            Retry::Incomplete => Self::Incomplete,
            Retry::Gone => Self::Gone,
            Retry::Empty => Self::Empty,
        }
    }
}

#[derive(Debug, Parser)]
pub(crate) struct Status {
    /// The run directory
    pub(crate) run: PathBuf,
    /// Go on showing until the run ends
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct Check {
    /// The config file
    pub(crate) config: PathBuf,
    /// Write a blob as a node would, and remove it again
    #[arg(long)]
    pub(crate) probe_write: bool,
    #[command(flatten)]
    pub(crate) pick: Pick,
}

#[derive(Debug, Parser)]
pub(crate) struct Plan {
    /// The config file
    pub(crate) config: PathBuf,
    /// List every node
    #[arg(long = "nodes")]
    pub(crate) all_nodes: bool,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Write the plan to this file, for `run --plan`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct Report {
    /// The run directory
    pub(crate) run: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct Sim {
    /// The scenario file
    pub(crate) scenario: PathBuf,
    /// Where to listen; each further account, and the blob service, take a port of their own
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Write endpoints, keys and the path of a config to this file once it serves
    #[arg(long, value_name = "FILE")]
    pub(crate) ready: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct Schema {
    /// Which document
    #[arg(value_enum)]
    pub(crate) which: Document,
}

/// A document that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// manifest.json of a run.
    Manifest,
}

impl Document {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Manifest => fleetlogs_report::MANIFEST_SCHEMA,
        }
    }
}
