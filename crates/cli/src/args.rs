//! Arguments that several commands share. What a command takes besides stands in its file.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use fleetlogs_model::service::NodeState;
use globset::Glob;

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
