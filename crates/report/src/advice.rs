//! What to do about nodes that were not collected: one instruction per outcome, and per error code where that helps.
//!
//! It says what to do first, and the command that then follows is the last thing in it, between backticks; `RUN` in it
//! stands for the run directory. Advice that changes the config says `--accept-changes`, without which `resume`
//! refuses it.

use fleetlogs_model::outcome::Outcome;

/// What a person can do now about nodes that ended so. None where nothing is wrong.
pub(crate) fn advice(outcome: Outcome, code: Option<&str>) -> Option<&'static str> {
    match outcome {
        Outcome::Verified | Outcome::Empty => None,
        Outcome::Accepted => Some(
            "the files may well be there: give a SAS that can list, and look for them with `fleetlogs resume RUN`",
        ),
        Outcome::Incomplete => Some(
            "check the storage account's firewall and private endpoint for these pools, and the SAS; then \
             `fleetlogs resume RUN --retry incomplete`",
        ),
        Outcome::InDoubt => Some(
            "give a SAS that can list, so that the container is searched before they are called again: \
             `fleetlogs resume RUN`",
        ),
        Outcome::Gone => {
            Some("nothing can be done, as the node or its pool is deleted, and the logs with it")
        }
        Outcome::NotSent => Some("once the reason has passed, call them: `fleetlogs resume RUN`"),
        Outcome::Failed => Some(failed(code.unwrap_or_default())),
    }
}

/// An instruction taken apart: what to do, and the command that follows, if one does.
pub(crate) fn taken_apart(advice: &str) -> (&str, Option<&str>) {
    match advice.split_once("`fleetlogs ") {
        Some((what, _)) => {
            let command = advice[what.len()..].trim_matches('`');
            let what = what.trim_end().trim_end_matches(" then").trim_end_matches(" with");
            (what.trim_end_matches([',', ';', ':']), Some(command))
        }
        None => (advice, None),
    }
}

/// By the service's error codes; the order is that of the wire reference.
fn failed(code: &str) -> &'static str {
    match code {
        "TooManyRequests" | "ServerBusy" => {
            "the Batch account was busy to the end: lower `limits.rate`, then \
             `fleetlogs resume RUN --retry failed --accept-changes`"
        }
        "InternalError" | "OperationTimedOut" => {
            "the service failed; tell support the request ids if it does so again: `fleetlogs resume RUN --retry failed`"
        }
        "NodeBeingCreated"
        | "NodeBeingStarted"
        | "NodeBeingRebooted"
        | "NodeBeingReimaged"
        | "OperationInvalidForCurrentState"
        | "PoolBeingResized"
        | "PoolBeingCreated" => {
            "the nodes were not ready in time: once they are, `fleetlogs resume RUN --retry failed`"
        }
        "NodeStateUnusable" => {
            "unusable nodes often cannot upload: look at their errors in the manifest, reboot them if they can be \
             spared, then `fleetlogs resume RUN --retry failed`"
        }
        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "AuthorizationFailure" => {
            "the Batch account refuses the credential: check role, key and this machine's clock, then \
             `fleetlogs resume RUN --retry failed`"
        }
        "InvalidPropertyValue"
        | "MissingRequiredProperty"
        | "InvalidRequestBody"
        | "InvalidInput"
        | "OutOfRangeInput"
        | "UnsupportedProperty"
        | "UnsupportedRequestVersion" => {
            "the service refuses the request as it is: check the container URL (another window needs a new run), then \
             `fleetlogs resume RUN --retry failed`"
        }
        _ => "see the reason; where it has passed, `fleetlogs resume RUN --retry failed`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_last_thing_in_an_instruction() {
        let codes = ["", "ServerBusy", "InternalError", "PoolBeingResized", "NodeStateUnusable"];
        let more = ["AuthenticationFailed", "InvalidInput"];
        for outcome in Outcome::ALL {
            for code in codes.into_iter().chain(more) {
                let Some(advice) = advice(outcome, Some(code)) else { continue };
                let (what, command) = taken_apart(advice);
                assert!(what.ends_with(|char: char| char.is_alphanumeric() || ")`".contains(char)), "{what}");
                match command {
                    Some(command) => assert!(command.starts_with("fleetlogs resume RUN"), "{command}"),
                    None => assert_eq!(outcome, Outcome::Gone),
                }
                assert!(command.is_none_or(|command| !command.contains('`')), "{advice}");
            }
        }
    }
}
