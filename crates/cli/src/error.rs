//! Errors at the edge: what is wrong, for a person, then what to do about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use fleetlogs_engine::journal::JournalError;
use fleetlogs_engine::schedule::state::StateError;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::plan::{Plan, PlanError};
use fleetlogs_report::{BundleError, ReportError};

use crate::config::ConfigError;
use crate::exit::Exit;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The config cannot be used; all mistakes.
    #[error("the config cannot be used")]
    Config(ConfigError),
    /// The scenario of the simulator cannot be used.
    #[error("cannot use the scenario `{0}`: {1}")]
    Scenario(PathBuf, String),
    /// The plan given cannot be used.
    #[error("cannot use the plan `{0}`: {1}")]
    Plan(PathBuf, PlanError),
    /// The plan given does not go with the config.
    #[error("the plan `{0}` does not go with this config: {1}")]
    OtherPlan(PathBuf, String),
    /// The config is not the one that the run was begun with.
    #[error("the config `{0}` has changed since this run was begun")]
    ConfigChanged(PathBuf),
    /// The run's container is not the config's.
    #[error("this run collects into `{run}`, and the config names `{config}`")]
    OtherContainer {
        /// As the plan has it.
        run: String,
        /// As the config has it.
        config: String,
    },
    /// A simulated fleet ends with the process that embedded it.
    #[error("a run on an embedded simulator cannot be resumed or looked at again: its fleet ended with it")]
    SimulatorGone,
    /// The run would not work; every reason, each with what to do.
    #[error("refused before any upload was sent")]
    Refused(Vec<Refusal>),
    /// What is asked for cannot be had with this config or these arguments.
    #[error("{}", .0.what)]
    Unusable(Refusal),
    /// A service did not do what it was asked for. Nothing is half done.
    #[error("{}", .0.what)]
    NotDone(Refusal),
    /// `--account` names none of the config.
    #[error("no account of the config has such a name; it has: {0}")]
    NoSuchAccount(String),
    /// The config has no snapshot of this name (any more).
    #[error("the config has no snapshot `{0}`")]
    NoSuchSnapshot(String),
    /// The selection of an embedded simulated fleet cannot be narrowed.
    #[error(
        "`--account`, `--pool`, `--node`, `--state` and `--job` choose of the accounts of a config, and this one has a [simulator]"
    )]
    NothingToPick,
    /// No node is left to ask.
    #[error("the selection matches no node")]
    NoNode(String),
    /// Stopped while nothing had been sent yet.
    #[error("stopped before this process sent any upload")]
    StoppedEarly,
    /// A look at an earlier run was stopped.
    #[error("stopped before all was looked at; earlier results stay as they are")]
    LookStopped,
    /// The run deadline came while accounts were still being listed.
    #[error("listing the accounts took longer than `deadlines.run`; no upload was sent")]
    PlanningTooLong,
    /// What is known of the nodes is kept in a temporary file.
    #[error("cannot write to the directory for temporary files: {0}")]
    Spool(std::io::Error),
    /// The calls were made, and what came of them is in the journal, but not in the reports.
    #[error("the run is on record, but its reports could not be written: {0}")]
    Unreported(Box<CliError>),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state of the schedule cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The reports cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file cannot be read or written.
    #[error("`{0}`: {1}")]
    File(PathBuf, std::io::Error),
    /// A bundle stands where this one is to go.
    #[error("`{0}` is there already")]
    BundleExists(PathBuf),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The simulator does not start.
    #[error("the simulator does not start: {0}")]
    Simulator(#[from] fleetlogs_sim::SimError),
    /// The HTTP client does not start.
    #[error("cannot set up HTTPS: {0}")]
    Http(#[from] fleetlogs_azure::HttpClientError),
    /// Something of the system failed.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// One reason not to run.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) what: String,
    pub(crate) help: String,
}

impl Refusal {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl CliError {
    /// The message for stderr, each error with its help line.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Config(error) => error.describe(),
            Self::Refused(refusals) => {
                let mut text = String::new();
                for Refusal { what, help } in refusals {
                    let _ = write!(text, "error: {what}\n  help: {help}\n");
                }
                let _ = writeln!(text, "no upload was sent");
                text
            }
            Self::NoNode(seen) => {
                format!(
                    "error: {self}\n{seen}  help: `fleetlogs plan CONFIG` shows what is there and why it is left out\n"
                )
            }
            Self::Unusable(Refusal { what, help }) | Self::NotDone(Refusal { what, help }) => {
                format!("error: {what}\n  help: {help}\n")
            }
            error => match error.help() {
                Some(help) => format!("error: {error}\n  help: {help}\n"),
                None => format!("error: {error}\n"),
            },
        }
    }

    fn help(&self) -> Option<&'static str> {
        match self {
            Self::ConfigChanged(_) => Some(
                "give the config it was begun with as `--config`, or `--accept-changes` to go on with this one",
            ),
            Self::OtherContainer { .. } => {
                Some("its files are looked for in the container it began with: name that one")
            }
            Self::SimulatorGone => {
                Some("serve the scenario with `fleetlogs sim --ready FILE`, and run its config")
            }
            Self::Journal(JournalError::Damaged { .. }) => Some(
                "nothing was sent; `sqlite3 run.db .recover` saves what can be read, and the container has the files",
            ),
            Self::Plan(..) | Self::OtherPlan(..) => {
                Some("make one with `fleetlogs plan CONFIG --output FILE`")
            }
            Self::BundleExists(_) => {
                Some("name another file with `--output`, or overwrite it with `--force`")
            }
            Self::Scenario(..) => Some("docs/reference/scenario.md lists every key"),
            Self::PlanningTooLong => Some("raise `deadlines.run`, or choose fewer pools"),
            Self::Journal(JournalError::Copied(_)) => Some(
                "resume the original; if it is lost, or its process has ended for good, go on here with `--accept-changes`",
            ),
            Self::Journal(JournalError::File(..)) => {
                Some("the run directory must be writable for this user, also to look at it")
            }
            Self::Journal(JournalError::Busy { .. }) => {
                Some("wait for the other process, or end it; `fleetlogs status` shows how it gets on")
            }
            Self::State(StateError::Sqlite(_) | StateError::Format { .. } | StateError::Text(_)) => Some(
                "it is `schedule.state`, or `schedule.db` in `output.dir`; moved away, the schedule begins anew: windows start \
                 over, and nodes that are in a bad state now are captured once more",
            ),
            Self::State(StateError::Shared(_)) => Some(
                "it is the blob of [schedule.lease]: use the fleetlogs that wrote it, or delete the blob, and an owner publishes \
                 what it has on its disk",
            ),
            Self::Unreported(_) => Some(
                "make room, then go on with `fleetlogs resume`; if nothing is outstanding, it writes the reports",
            ),
            _ => None,
        }
    }

    /// One line for a record: what is wrong, without what to do.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Refused(refusals) => {
                let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.what.as_str()).collect();
                reasons.join("; ")
            }
            Self::Config(error) => error.describe().lines().next().unwrap_or_default().to_owned(),
            error => error.to_string(),
        }
    }

    /// How the program ends after it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_)
            | Self::Scenario(..)
            | Self::Plan(..)
            | Self::OtherPlan(..)
            | Self::ConfigChanged(_)
            | Self::OtherContainer { .. }
            | Self::Unusable(_)
            | Self::SimulatorGone
            | Self::NoSuchAccount(_)
            | Self::NothingToPick
            | Self::NoSuchSnapshot(_)
            | Self::Report(ReportError::Write { .. } | ReportError::Plan(_))
            | Self::BundleExists(_)
            | Self::Bundle(_)
            | Self::File(..) => Exit::Usage,
            Self::Refused(_)
            | Self::NotDone(_)
            | Self::PlanningTooLong
            | Self::Spool(_)
            | Self::Journal(_)
            | Self::State(_)
            | Self::Simulator(_)
            | Self::Http(_)
            | Self::System(_) => Exit::Refused,
            Self::NoNode(_) => Exit::NoNode,
            Self::StoppedEarly | Self::LookStopped | Self::Unreported(_) => Exit::Interrupted,
            Self::Report(_) => Exit::Defect,
        }
    }
}

/// What to do about a refused or failed read of an account.
pub(crate) fn account_help(failure: &Failure) -> &'static str {
    use fleetlogs_model::failure::FailureClass::{Auth, Config, Gone, NotSent, Throttled, Transient};
    match failure.class {
        Auth => {
            "check the key or the identity's role on the account (Reader and the right to upload node logs), the clock, \
             and whether the account admits this way of authentication"
        }
        NotSent => {
            "check `endpoint`, DNS, proxy and firewall; a private endpoint needs a machine in its network"
        }
        Throttled | Transient => "the service is busy or unreachable; try again in a few minutes",
        Config => "the service refuses the request as it is: check `endpoint` and `api_version`",
        Gone => "check `endpoint`: what answers there does not know this path",
        _ => "see the message above",
    }
}

/// The selection matches no node of a plan; with what was left out and why.
pub(crate) fn no_node(plan: &Plan) -> CliError {
    CliError::NoNode(left_out_counts(plan))
}

/// What was seen and left out, counted by reason, for people.
fn left_out_counts(plan: &Plan) -> String {
    let mut counts = BTreeMap::new();
    for left in &plan.left_out {
        *counts.entry(left.reason).or_insert(0_u64) += 1;
    }
    let mut text = String::new();
    for (reason, count) in counts {
        let _ = writeln!(text, "  left out as {}: {count}", reason.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use fleetlogs_azure::HttpClientError;
    use fleetlogs_sim::SimError;

    use super::*;

    #[test]
    fn every_error_has_its_exit_code() {
        let refusal = || Refusal::new("what", "help");
        let io = || io::Error::other("no");
        let path = || PathBuf::from("file");
        let plan_error = || Plan::from_json(io::Cursor::new("{")).unwrap_err();
        let table: Vec<(CliError, u8)> = vec![
            (ConfigError::Unreadable(path(), io()).into(), 2),
            (ConfigError::Mistakes(path(), vec![]).into(), 2),
            (CliError::Scenario(path(), "no".into()), 2),
            (CliError::Plan(path(), plan_error()), 2),
            (CliError::OtherPlan(path(), "no".into()), 2),
            (CliError::ConfigChanged(path()), 2),
            (CliError::OtherContainer { run: "a".into(), config: "b".into() }, 2),
            (CliError::SimulatorGone, 2),
            (CliError::Unusable(refusal()), 2),
            (CliError::NoSuchAccount("a".into()), 2),
            (CliError::NoSuchSnapshot("a".into()), 2),
            (CliError::NothingToPick, 2),
            (CliError::File(path(), io()), 2),
            (CliError::BundleExists(path()), 2),
            (BundleError::Write(io()).into(), 2),
            (ReportError::Write { file: "manifest.json", source: io() }.into(), 2),
            (ReportError::Plan(io()).into(), 2),
            (ReportError::Journal("no".into()).into(), 1),
            (ReportError::OtherPlan { ledger: 1, plan: 2 }.into(), 1),
            (CliError::Refused(vec![refusal()]), 5),
            (CliError::NotDone(refusal()), 5),
            (CliError::PlanningTooLong, 5),
            (CliError::Spool(io()), 5),
            (JournalError::OtherPlan.into(), 5),
            (JournalError::File(path(), io()).into(), 5),
            (StateError::Text("no".into()).into(), 5),
            (SimError::NotLoopback(([1, 1, 1, 1], 1).into()).into(), 5),
            (HttpClientError::Proxy("HTTPS_PROXY").into(), 5),
            (io().into(), 5),
            (CliError::NoNode(String::new()), 8),
            (CliError::StoppedEarly, 6),
            (CliError::LookStopped, 6),
            (CliError::Unreported(Box::new(io().into())), 6),
        ];
        for (error, code) in table {
            assert_eq!(error.exit() as u8, code, "{error:?}");
        }
    }
}
