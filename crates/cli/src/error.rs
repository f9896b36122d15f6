//! Errors as the user sees them: the exit code, and for everything that is wrong, what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use fleetlogs_engine::local_store::PLAN_FILE;
use fleetlogs_engine::schedule::state::StateError;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::files::is_disk_trouble;
use fleetlogs_model::known_cause::{Asked, KnownCause};
use fleetlogs_model::plan::{LeftOut, PlanError};
use fleetlogs_model::run_store::{JournalError, JournalErrorKind};
use fleetlogs_report::{BundleError, ReportError};

use crate::config::{ConfigError, Mistake, PickError};
use crate::exit::Exit;
use crate::file_kind::FileKind;
use crate::input_file::InputError;
use crate::typed_path::as_argument;
use crate::unmatched::UnmatchedPattern;

/// Why a command failed: the exit code, and everything that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    pub(crate) refusals: Vec<Refusal>,
    /// Whether a run was refused. The message then says that no upload was sent, and `check` lists each refusal as a
    /// finding.
    refuses_run: bool,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// A key of the config, an account, or a place in a file.
    pub(crate) about: Option<String>,
    pub(crate) what: String,
    /// Details, one line each.
    pub(crate) seen: Vec<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl Refusal {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..Self::without_help(what) }
    }

    pub(crate) fn without_help(what: impl Into<String>) -> Self {
        Self { about: None, what: what.into(), seen: vec![], help: None }
    }

    /// Adds what the refusal is about.
    pub(crate) fn about(self, about: impl Into<String>) -> Self {
        Self { about: Some(about.into()), ..self }
    }

    /// The text for the terminal.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("error: {self}\n");
        for line in &self.seen {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "  help: {help}");
        }
        text
    }
}

/// One line, without the help.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about {
            Some(about) => write!(f, "{about}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl CliError {
    fn new(exit: Exit, refusal: Refusal) -> Self {
        Self { exit, refusals: vec![refusal], refuses_run: false }
    }

    /// This config, these arguments or these files do not allow what the user asked for.
    pub(crate) fn usage(refusal: Refusal) -> Self {
        Self::new(Exit::Usage, refusal)
    }

    /// The same, for several reasons at once.
    pub(crate) fn usage_all(refusals: impl IntoIterator<Item = Refusal>) -> Self {
        Self { exit: Exit::Usage, refusals: refusals.into_iter().collect(), refuses_run: false }
    }

    /// A run would fail, for these reasons. Nothing was sent.
    pub(crate) fn refused(refusals: impl IntoIterator<Item = Refusal>) -> Self {
        Self { exit: Exit::Refused, refusals: refusals.into_iter().collect(), refuses_run: true }
    }

    /// A service or the system refused. Nothing is left half done.
    pub(crate) fn not_done(refusal: Refusal) -> Self {
        Self::new(Exit::Refused, refusal)
    }

    /// The same, for several reasons at once.
    pub(crate) fn not_done_all(refusals: impl IntoIterator<Item = Refusal>) -> Self {
        Self { exit: Exit::Refused, refusals: refusals.into_iter().collect(), refuses_run: false }
    }

    /// The command was stopped before it had finished.
    pub(crate) fn interrupted(what: &str) -> Self {
        Self::new(Exit::Interrupted, Refusal::without_help(what))
    }

    /// The command ends, but others continue the run.
    pub(crate) fn left_to_others(refusal: Refusal) -> Self {
        Self::new(Exit::Interrupted, refusal)
    }

    /// A file cannot be read or written: the wrong one was named, or its disk is full or fails.
    pub(crate) fn file(path: impl AsRef<Path>, error: &io::Error) -> Self {
        let refusal =
            Refusal::without_help(error.to_string()).about(format!("`{}`", path.as_ref().display()));
        if is_disk_trouble(error) {
            return Self::not_done(Refusal { help: Some(MAKE_ROOM.into()), ..refusal });
        }
        Self::usage(refusal)
    }

    /// A file that the user named cannot be read.
    pub(crate) fn input(path: &Path, error: &InputError) -> Self {
        match error {
            InputError::Io(error) => Self::file(path, error),
            other => {
                Self::usage(Refusal::without_help(other.to_string()).about(format!("`{}`", path.display())))
            }
        }
    }

    /// A plan file is not a valid plan.
    pub(crate) fn plan(path: &Path, error: &PlanError) -> Self {
        let is_plan = matches!(FileKind::of(path), Some(FileKind::Document(name)) if name == "plan");
        if !is_plan && let Some(refusal) = instead_of(A_PLAN, path, MAKE_A_PLAN) {
            return Self::usage(refusal);
        }
        Self::usage(Refusal::new(
            format!("the plan `{}` cannot be used: {error}", path.display()),
            MAKE_A_PLAN,
        ))
    }

    /// Something else than a plan is named as one.
    pub(crate) fn no_plan_file(path: &Path) -> Self {
        let other = instead_of(A_PLAN, path, MAKE_A_PLAN);
        let unknown = || Refusal::new(format!("`{}` is not a plan", path.display()), MAKE_A_PLAN);
        Self::usage(other.unwrap_or_else(unknown))
    }

    /// A plan does not fit the config.
    pub(crate) fn other_plan(path: &Path, why: &str) -> Self {
        let what = format!("the plan `{}` does not fit this config: {why}", path.display());
        Self::usage(Refusal::new(what, MAKE_A_PLAN))
    }

    /// The config names another container than the run's.
    pub(crate) fn other_container(run: &str, config: &str) -> Self {
        let what = format!("this run collects into `{run}`, but the config names `{config}`");
        let help = "name the container that the run was started with";
        Self::usage(Refusal::new(what, help))
    }

    /// A run used an embedded simulator, which ended with its process.
    pub(crate) fn simulator_gone() -> Self {
        let what =
            "a run on an embedded simulator cannot be resumed or verified: its fleet ended with the process";
        let help = "serve the scenario with `fleetlogs sim --ready FILE`, and run the config that it writes";
        Self::usage(Refusal::new(what, help))
    }

    /// The selection matches no node.
    pub(crate) fn no_node(left_out: &[LeftOut], unmatched: &[UnmatchedPattern]) -> Self {
        let help = "`fleetlogs plan CONFIG` shows which nodes there are and why each is skipped";
        let refusal = match unmatched {
            [] => Refusal::new(NO_NODE, help),
            [first, ..] => {
                let patterns: Vec<_> = unmatched.iter().map(UnmatchedPattern::what).collect();
                Refusal::new(format!("{NO_NODE}: {}", patterns.join("; ")), first.help())
            }
        };
        let seen = left_out_counts(left_out).into_iter().chain(unmatched.iter().map(UnmatchedPattern::there));
        Self::new(Exit::NoNode, Refusal { seen: seen.collect(), ..refusal })
    }

    /// The command line names no command.
    pub(crate) fn no_command() -> Self {
        Self::usage(Refusal::new("no command is named", "`fleetlogs --help` lists the commands"))
    }

    /// A panic. Its own message has been printed before.
    pub(crate) fn defect() -> Self {
        let help = "report this as a bug, with the message above; `fleetlogs resume` continues a run that it cut short";
        Self::new(Exit::Defect, Refusal::new("fleetlogs has a defect and ended", help))
    }

    /// The choice of a command matches no node of a run.
    pub(crate) fn no_node_of_run(refusal: Refusal) -> Self {
        Self::new(Exit::NoNode, refusal)
    }

    /// The run was stopped before it sent anything.
    pub(crate) fn stopped_early() -> Self {
        Self::interrupted("stopped before this process sent any upload")
    }

    /// The run deadline passed while accounts were being listed.
    pub(crate) fn planning_too_long() -> Self {
        let what = "listing the accounts took longer than `deadlines.run`; no upload was sent";
        Self::not_done(Refusal::new(what, "raise `deadlines.run`, or select fewer pools"))
    }

    /// The temporary file that holds the details of the nodes cannot be written.
    pub(crate) fn spool(error: &io::Error) -> Self {
        let what = format!("cannot write to the temporary directory: {error}");
        let help = "make room there, or set `TMPDIR` to a directory on another disk";
        Self::not_done(Refusal::new(what, help))
    }

    /// The calls were made and their results are in the journal, but the reports are missing.
    pub(crate) fn unreported(error: &Self) -> Self {
        let what =
            format!("the journal has the run, but its reports could not be written: {}", error.reason());
        let help = "make room, then run `fleetlogs resume`: if nothing is outstanding, it writes the reports";
        Self::new(Exit::Interrupted, Refusal::new(what, help))
    }

    /// Whether a run was refused.
    pub(crate) fn refuses_run(&self) -> bool {
        self.refuses_run
    }

    /// The same error, where it keeps a run from being resumed. Nothing was sent.
    pub(crate) fn refusing_run(self) -> Self {
        Self { refuses_run: true, ..self }
    }

    /// The same error of a process that was told to end: the next one resumes the run.
    pub(crate) fn left_unfinished(self) -> Self {
        Self { exit: Exit::Interrupted, refuses_run: false, ..self }
    }

    /// The same error of a command that never sends an upload.
    pub(crate) fn without_run(self) -> Self {
        Self { refuses_run: false, ..self }
    }

    /// The message for stderr: every refusal with its help line.
    pub(crate) fn describe(&self) -> String {
        let mut text: String = self.refusals.iter().map(Refusal::describe).collect();
        if self.refuses_run {
            text.push_str("no upload was sent\n");
        }
        text
    }

    /// One line for logs and records, without the help.
    pub(crate) fn reason(&self) -> String {
        let reasons: Vec<_> = self.refusals.iter().map(Refusal::to_string).collect();
        reasons.join("; ")
    }
}

/// [`CliError::reason`].
impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())
    }
}

/// What to do about a config that cannot be read.
fn unreadable_help(error: &InputError) -> &'static str {
    match error {
        InputError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "`fleetlogs init` writes a config"
        }
        InputError::Io(_) => "check the path and its permissions",
        InputError::Device | InputError::TooLong(_) => "name a config file",
        InputError::Terminal => "pass the config through a pipe, or name a config file",
        InputError::NoEnd => "start the program that writes to it first, or name a file",
        InputError::NotText(_) => "save the file as UTF-8",
    }
}

pub(crate) const MAKE_ROOM: &str = "make room on its disk or repair it, or name a place on another disk";

/// What to do with a file that is none of `wanted`, where it is known what it is instead.
pub(crate) fn instead_of(wanted: &str, path: &Path, help: &str) -> Option<Refusal> {
    let kind = FileKind::of(path)?;
    let what = format!("`{}` is {}, not {wanted}", path.display(), kind.name());
    let plan = path.join(PLAN_FILE);
    let help = if wanted == A_PLAN && plan.is_file() {
        format!("name the plan in it: {}", as_argument(&plan))
    } else {
        help.to_owned()
    };
    Some(Refusal::new(what, help))
}

/// What `--plan` names.
const A_PLAN: &str = "a plan";

/// Of a plan without nodes.
pub(crate) const NO_NODE: &str = "the selection matches no node";

const MAKE_A_PLAN: &str = "make a plan with `fleetlogs plan CONFIG --output FILE`";

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let refusals = match error {
            ConfigError::Unreadable(path, error) => {
                let what = format!("cannot read `{}`: {error}", path.display());
                vec![Refusal::new(what, unreadable_help(&error))]
            }
            ConfigError::WrongFile(path, kind) => {
                let what = format!("`{}` is {}, not a config", path.display(), kind.name());
                vec![Refusal::new(what, kind.instead_of_config(&path))]
            }
            ConfigError::Mistakes(path, mistakes) => {
                let refusal = |Mistake { line, key, message, help }: Mistake| {
                    let key = if key.is_empty() { String::new() } else { format!(": `{key}`") };
                    let about = Some(format!("{}:{line}{key}", path.display()));
                    Refusal { about, help, ..Refusal::without_help(message) }
                };
                mistakes.into_iter().map(refusal).collect()
            }
        };
        Self { exit: Exit::Usage, refusals, refuses_run: false }
    }
}

impl From<PickError> for CliError {
    fn from(error: PickError) -> Self {
        let help = match &error {
            PickError::NoSuchAccount(_) => {
                "name one of these, or a pattern in quotes such as 'contoso*'; case matters"
            }
            PickError::Simulated => "use `fleetlogs sim`, which writes a config with accounts",
            PickError::TooLong(_) => "give fewer or shorter patterns",
        };
        Self::usage(Refusal::new(error.to_string(), help))
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        let what = error.to_string();
        let refusal = Refusal { help: error.help.map(Into::into), ..Refusal::without_help(what) };
        match error.kind {
            JournalErrorKind::NoPlan => Self::usage(refusal),
            JournalErrorKind::Busy
            | JournalErrorKind::Missing
            | JournalErrorKind::OtherFormat
            | JournalErrorKind::Damaged
            | JournalErrorKind::Copied
            | JournalErrorKind::OtherPlan
            | JournalErrorKind::Unsuitable
            | JournalErrorKind::TakenOver
            | JournalErrorKind::Failed => Self::not_done(refusal),
        }
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        let help = match &error {
            error if error.is_disk_trouble() => Some(MAKE_ROOM),
            StateError::Format { .. } => Some(
                "use the version of fleetlogs that wrote it; the file is `schedule.state`, or `schedule.db` in `output.dir`",
            ),
            StateError::Sqlite(_) | StateError::Damaged { .. } | StateError::Text(_) => Some(
                "the file is `schedule.state`, or `schedule.db` in `output.dir`; if you move it away, the schedule starts \
                 anew: windows start over, and nodes that are in a bad state now are captured again",
            ),
            StateError::Shared(_) => Some(
                "the blob is that of [schedule.lease]: use the version of fleetlogs that wrote it, or delete the blob; the \
                 next owner publishes the state on its disk",
            ),
            StateError::Home(_) | StateError::File(..) | StateError::Plan(_) => None,
        };
        Self::not_done(Refusal { help: help.map(Into::into), ..Refusal::without_help(error.to_string()) })
    }
}

impl From<ReportError> for CliError {
    fn from(error: ReportError) -> Self {
        let exit = match &error {
            ReportError::Write { source, .. } if is_disk_trouble(source) => Exit::Refused,
            ReportError::Write { .. } | ReportError::Plan(_) => Exit::Usage,
            // Every other report error is a defect.
            _ => Exit::Defect,
        };
        let help = (exit == Exit::Refused).then(|| MAKE_ROOM.into());
        Self::new(exit, Refusal { help, ..Refusal::without_help(error.to_string()) })
    }
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        Self::usage(Refusal::without_help(error.to_string()))
    }
}

impl From<fleetlogs_sim::SimError> for CliError {
    fn from(error: fleetlogs_sim::SimError) -> Self {
        Self::not_done(Refusal::without_help(format!("the simulator cannot start: {error}")))
    }
}

impl From<fleetlogs_azure::HttpClientError> for CliError {
    fn from(error: fleetlogs_azure::HttpClientError) -> Self {
        Self::not_done(Refusal::without_help(format!("cannot set up HTTPS: {error}")))
    }
}

/// The operating system refused.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::not_done(Refusal::without_help(error.to_string()))
    }
}

/// What to do about a failure whose cause is known, and otherwise.
pub(crate) fn help_for(asked: Asked, failure: &Failure, otherwise: &'static str) -> &'static str {
    KnownCause::of(asked, failure.code.as_deref(), &failure.message).map_or(otherwise, KnownCause::advice)
}

/// The same where an identity signs: a permission that is missing is a role that is missing, which `otherwise` names.
pub(crate) fn help_for_signing(failure: &Failure, otherwise: &'static str) -> &'static str {
    match KnownCause::of(Asked::Storage, failure.code.as_deref(), &failure.message) {
        None | Some(KnownCause::StoragePermission) => otherwise,
        Some(cause) => cause.advice(),
    }
}

/// What to do about an account that cannot be listed.
pub(crate) fn account_help(failure: &Failure) -> &'static str {
    help_for(Asked::Batch, failure, account_help_by_class(failure))
}

fn account_help_by_class(failure: &Failure) -> &'static str {
    use fleetlogs_model::failure::FailureClass::{Auth, Config, Gone, NotSent};
    match failure.class {
        Auth => {
            "check the key or the identity's role on the account (Reader and the right to upload node logs), the clock, \
             and whether the account accepts this kind of authentication"
        }
        NotSent => {
            "check `endpoint`, DNS, proxy and firewall; a private endpoint needs a machine in its network"
        }
        class if class.is_passing() => "the service is busy or unreachable; retry in a few minutes",
        Config => "the service rejects the request: check `endpoint` and `api_version`",
        Gone => "check `endpoint`: the server there does not know this path",
        _ => "see the message above",
    }
}

/// How many nodes are skipped for each reason, one line each.
fn left_out_counts(left_out: &[LeftOut]) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for left in left_out {
        *counts.entry(left.reason).or_insert(0_u64) += 1;
    }
    counts.into_iter().map(|(reason, count)| format!("skipped as {}: {count}", reason.in_words())).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use fleetlogs_azure::HttpClientError;
    use fleetlogs_model::plan::Plan;
    use fleetlogs_sim::SimError;

    use super::*;

    #[test]
    fn every_error_has_its_exit_code() {
        let refusal = || Refusal::new("what", "help");
        let io = || io::Error::other("no");
        let path = || std::path::PathBuf::from("file");
        let plan_error =
            || Plan::from_json(io::Cursor::new("{"), Box::new(io::Cursor::new(vec![]))).unwrap_err();
        let table: Vec<(CliError, u8)> = vec![
            (ConfigError::Unreadable(path(), InputError::Io(io())).into(), 2),
            (ConfigError::Mistakes(path(), vec![]).into(), 2),
            (CliError::usage(refusal()), 2),
            (CliError::plan(&path(), &plan_error()), 2),
            (CliError::other_plan(&path(), "no"), 2),
            (CliError::other_container("a", "b"), 2),
            (CliError::simulator_gone(), 2),
            (PickError::NoSuchAccount("a".into()).into(), 2),
            (PickError::Simulated.into(), 2),
            (CliError::file(path(), &io()), 2),
            (CliError::file(path(), &io::ErrorKind::StorageFull.into()), 5),
            (CliError::file(path(), &io::ErrorKind::ReadOnlyFilesystem.into()), 5),
            (CliError::input(&path(), &InputError::Device), 2),
            (CliError::input(&path(), &InputError::NoEnd), 2),
            (BundleError::Write(io()).into(), 2),
            (ReportError::Write { file: "manifest.json", source: io() }.into(), 2),
            (ReportError::Plan(io()).into(), 2),
            (ReportError::Journal("no".into()).into(), 1),
            (ReportError::OtherPlan { ledger: 1, plan: 2 }.into(), 1),
            (CliError::refused([refusal()]), 5),
            (CliError::not_done(refusal()), 5),
            (CliError::planning_too_long(), 5),
            (CliError::spool(&io()), 5),
            (JournalError::new(JournalErrorKind::NoPlan, "no").into(), 2),
            (JournalError::new(JournalErrorKind::OtherPlan, "no").into(), 5),
            (JournalError::new(JournalErrorKind::Busy, "no").into(), 5),
            (JournalError::new(JournalErrorKind::Damaged, "no").into(), 5),
            (JournalError::new(JournalErrorKind::Failed, "no").into(), 5),
            (StateError::Text("no".into()).into(), 5),
            (SimError::NotLoopback(([1, 1, 1, 1], 1).into()).into(), 5),
            (HttpClientError::Proxy("HTTPS_PROXY").into(), 5),
            (io().into(), 5),
            (CliError::no_node(&[], &[]), 8),
            (CliError::defect(), 1),
            (CliError::stopped_early(), 6),
            (CliError::interrupted("stopped"), 6),
            (CliError::unreported(&io().into()), 6),
        ];
        for (error, code) in table {
            assert_eq!(error.exit as u8, code, "{error:?}");
        }
    }
}
