//! What to do about nodes that were not collected: one step per outcome, and per error code where that helps.

use fleetlogs_model::known_cause::{Asked, KnownCause};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::PlannedAccount;

use crate::phrase::Phrase;

/// What to do, and the command to run then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) text: Phrase,
    pub(crate) command: Option<ResumeCommand>,
}

/// A `fleetlogs resume` command, without the run that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResumeCommand {
    /// Nodes with this outcome are called again, too.
    pub(crate) retry: Option<Outcome>,
    /// Resume although the config has changed. Without it, `resume` refuses a changed config.
    pub(crate) accept_changes: bool,
}

impl ResumeCommand {
    /// Resumes a run as it is.
    pub(crate) const PLAIN: Self = Self { retry: None, accept_changes: false };

    pub(crate) const fn retrying(outcome: Outcome) -> Self {
        Self { retry: Some(outcome), accept_changes: false }
    }

    /// The command line. `run` is the run directory as a shell takes it.
    pub(crate) fn line(self, run: &str) -> String {
        let retry = self.retry.map(|outcome| format!(" --retry {outcome}")).unwrap_or_default();
        let accept = if self.accept_changes { " --accept-changes" } else { "" };
        format!("fleetlogs resume {run}{retry}{accept}")
    }
}

/// What stands in a command for the run directory, where that is not known.
pub(crate) const RUN: &str = "RUN";

impl Step {
    pub(crate) fn new(text: Phrase, command: ResumeCommand) -> Self {
        Self { text, command: Some(command) }
    }
}

/// What a person can do about nodes with this outcome; none where nothing is wrong. `code` and `reason` are those of
/// the last failure, and `verification` says whether the run could list the container.
pub(crate) fn advice(outcome: Outcome, code: Option<&str>, reason: &str, verification: bool) -> Option<Step> {
    Some(match outcome {
        Outcome::Verified | Outcome::Empty => return None,
        Outcome::Accepted if verification => Step::new(
            Phrase::new("the run ended before it had checked whether the files arrived: resume it"),
            ResumeCommand::PLAIN,
        ),
        Outcome::Accepted => Step::new(
            Phrase::new("the files may have arrived: use a SAS with list permission, and check for them"),
            ResumeCommand::PLAIN,
        ),
        Outcome::Adopted => Step::new(
            Phrase::new(
                "files of these nodes are there, but whether they are all is not known: if support needs all of them, \
                 collect these nodes again",
            ),
            ResumeCommand::retrying(outcome),
        ),
        Outcome::Incomplete => Step::new(
            Phrase::new(
                "check the storage account's firewall and private endpoint for these pools, and the SAS; then retry",
            ),
            ResumeCommand::retrying(outcome),
        ),
        Outcome::InDoubt if verification => Step::new(
            Phrase::new(
                "the run ended before it was known whether the calls were carried out: resume it, and it searches the \
                 container before it calls the nodes again",
            ),
            ResumeCommand::PLAIN,
        ),
        Outcome::InDoubt => Step::new(
            Phrase::new(
                "use a SAS with list permission, so that the container is searched before the nodes are called again",
            ),
            ResumeCommand::PLAIN,
        ),
        Outcome::Gone => {
            let text = Phrase::new(
                "nothing can be done, because the node or its pool was deleted and its logs with it",
            );
            Step { text, command: None }
        }
        Outcome::NotSent => match KnownCause::of_text(Asked::Batch, reason) {
            Some(cause) => {
                let accept_changes = cause.changes_config();
                let text = Phrase::marked(cause.advice()).text("; then resume the run");
                Step::new(text, ResumeCommand { accept_changes, ..ResumeCommand::PLAIN })
            }
            None => Step::new(
                Phrase::new("once the reason no longer applies, resume the run"),
                ResumeCommand::PLAIN,
            ),
        },
        Outcome::Failed => match KnownCause::of(Asked::Batch, code, reason) {
            Some(cause) => of_known_cause(cause),
            None => after_failure(code.unwrap_or_default()),
        },
    })
}

/// What to do about an account of the plan that could not be listed, or not completely.
pub(crate) fn after_listing(account: &PlannedAccount) -> Phrase {
    let why = account.unlisted.as_deref().or(account.missing.as_deref()).unwrap_or_default();
    match KnownCause::of_text(Asked::Batch, why) {
        Some(cause) => Phrase::marked(cause.advice()).text("; then start a new run"),
        None => Phrase::new("fix the reason, then start a new run"),
    }
}

fn of_known_cause(cause: KnownCause) -> Step {
    let retry = ResumeCommand::retrying(Outcome::Failed);
    let text = Phrase::marked(cause.advice()).text("; then retry");
    Step::new(text, ResumeCommand { accept_changes: cause.changes_config(), ..retry })
}

/// By the service's error codes; the order is that of the wire reference.
fn after_failure(code: &str) -> Step {
    let retry = ResumeCommand::retrying(Outcome::Failed);
    match code {
        "TooManyRequests" | "ServerBusy" => Step::new(
            Phrase::new("the Batch account was busy until the end: lower ")
                .code("limits.rate")
                .text(", then retry"),
            ResumeCommand { accept_changes: true, ..retry },
        ),
        "InternalError" | "OperationTimedOut" => Step::new(
            Phrase::new("the service failed: if it fails again, give support the request ids; retry"),
            retry,
        ),
        "NodeBeingCreated"
        | "NodeBeingStarted"
        | "NodeBeingRebooted"
        | "NodeBeingReimaged"
        | "OperationInvalidForCurrentState"
        | "PoolBeingResized"
        | "PoolBeingCreated" => {
            Step::new(Phrase::new("the nodes were not ready in time: once they are, retry"), retry)
        }
        "NodeStateUnusable" => Step::new(
            Phrase::new(
                "unusable nodes often cannot upload: check their errors in the manifest, reboot them if possible, \
                 then retry",
            ),
            retry,
        ),
        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "AuthorizationFailure" => Step::new(
            Phrase::new(
                "the Batch account rejects the credential: check the role, the key and this machine's clock, then retry",
            ),
            retry,
        ),
        "InvalidPropertyValue"
        | "MissingRequiredProperty"
        | "InvalidRequestBody"
        | "InvalidInput"
        | "OutOfRangeInput"
        | "UnsupportedProperty"
        | "UnsupportedRequestVersion" => Step::new(
            Phrase::new(
                "the service rejects the request: check the container URL (another time window needs a new run), then \
                 retry",
            ),
            retry,
        ),
        _ => Step::new(Phrase::new("see the reason; once it no longer applies, retry"), retry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_stand_before_a_colon_and_its_command() {
        let codes = ["", "ServerBusy", "InternalError", "PoolBeingResized", "NodeStateUnusable"];
        let more = ["AuthenticationFailed", "InvalidInput", "AuthorizationFailure", "NodeNotReady"];
        for outcome in Outcome::ALL {
            for code in codes.into_iter().chain(more) {
                let Some(Step { text, command }) = advice(outcome, Some(code), "", true) else { continue };
                let text = text.plain();
                assert!(text.ends_with(|char: char| char.is_alphanumeric() || char == ')'), "{text}");
                match command.map(|command| command.line(RUN)) {
                    Some(line) => assert!(line.starts_with("fleetlogs resume RUN"), "{line}"),
                    None => assert_eq!(outcome, Outcome::Gone),
                }
            }
        }
    }

    #[test]
    fn a_known_cause_has_its_own_step() {
        let step = |code: &str, reason: &str| {
            let Step { text, command } = advice(Outcome::Failed, Some(code), reason, true).unwrap();
            (text.plain(), command.unwrap().line(RUN))
        };
        let (text, command) =
            step("AuthenticationFailed", "403: SharedKey is not allowed for this account; Server");
        assert_eq!(text, "set auth = \"entra\" for this account: it does not accept its keys; then retry");
        assert_eq!(command, "fleetlogs resume RUN --retry failed --accept-changes");
        let (text, command) = step("AuthorizationFailure", "403 AuthorizationFailure: not authorized");
        assert!(text.contains("network rules of the Batch account"), "{text}");
        assert_eq!(command, "fleetlogs resume RUN --retry failed");
        assert_eq!(step("NodeNotReady", "409").0, "wait until the nodes are ready; then retry");
        let reason = "the account stopped: 403 AuthorizationFailure: not authorized";
        let Step { text, command } = advice(Outcome::NotSent, None, reason, true).unwrap();
        assert!(text.plain().ends_with("its private endpoint; then resume the run"), "{}", text.plain());
        assert_eq!(command.unwrap().line(RUN), "fleetlogs resume RUN");
    }

    #[test]
    fn a_run_that_could_list_is_not_told_to_get_a_sas_that_can() {
        for outcome in [Outcome::Accepted, Outcome::InDoubt] {
            let text = |verification| advice(outcome, None, "", verification).unwrap().text.plain();
            assert!(!text(true).contains("a SAS with list permission"), "{}", text(true));
            assert!(text(true).contains("resume it"), "{}", text(true));
            assert!(text(false).contains("a SAS with list permission"), "{}", text(false));
        }
    }
}
