//! Arguments that several commands share. The file of each command has the rest of its arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use fleetlogs_model::service::NodeState;
use globset::Glob;

use crate::completion;
use crate::config::nearest;

/// What the program prints, how much and where. Data goes to stdout, everything else to stderr.
#[derive(Clone, Debug, Parser)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Output {
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Append every event to this file as a JSON line
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Print a line for each event of note (-vv for every call)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Format of the log lines on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Print help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Narrows the config's selection for one command. A node must match every kind of option that is given; an option may
/// be given more than once, and matches if any of its values does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Parser)]
#[command(next_help_heading = "Choosing nodes")]
pub(crate) struct Pick {
    /// Select only accounts with a matching name
    #[arg(long = "account", value_name = "PATTERN", add = completion::accounts())]
    pub(crate) accounts: Vec<Glob>,
    /// Select only pools with a matching id
    #[arg(long = "pool", value_name = "PATTERN", add = completion::pools())]
    pub(crate) pools: Vec<Glob>,
    /// Select only nodes with a matching id
    #[arg(long = "node", value_name = "PATTERN")]
    pub(crate) nodes: Vec<Glob>,
    /// Select only nodes in this state; replaces `nodes.states` of the config
    #[arg(long = "state", value_name = "STATE", value_parser = node_state)]
    pub(crate) states: Vec<NodeState>,
    /// Select only nodes on which tasks of this job ran; replaces `jobs` of the config
    #[arg(long = "job", value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
}

fn node_state(text: &str) -> Result<NodeState, String> {
    match NodeState::from(text.to_owned()) {
        NodeState::Other(_) => {
            let near = nearest(text, NodeState::known());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            Err(format!("{near}known states: {}", NodeState::known().collect::<Vec<_>>().join(", ")))
        }
        state => Ok(state),
    }
}

/// No escalation takes longer.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// A time such as `7d` or `12h`.
pub(crate) fn sas_lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("must be above 0".into()),
        Ok(time) if time > LONGEST_LIFETIME => Err("must be a year at most".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}
