//! What to do about nodes that were not collected: one sentence per outcome, and per error code where that helps.
//!
//! `RUN` stands for the run directory. Advice that changes the config says `--accept-changes`, without which `resume`
//! refuses it.

use fleetlogs_model::outcome::Outcome;

/// What a person can do now about nodes that ended so. None where nothing is wrong.
pub(crate) fn advice(outcome: Outcome, code: Option<&str>) -> Option<&'static str> {
    match outcome {
        Outcome::Verified | Outcome::Empty => None,
        Outcome::Accepted => Some(
            "the files may well be there: `fleetlogs resume RUN`, with a SAS that can list, looks for them",
        ),
        Outcome::Incomplete => Some(
            "check the storage account's firewall and private endpoint for these pools, and the SAS; then \
             `fleetlogs resume RUN --retry incomplete`",
        ),
        Outcome::InDoubt => Some(
            "`fleetlogs resume RUN`, with a SAS that can list, searches the container before it calls them again",
        ),
        Outcome::Gone => {
            Some("nothing can be done, as the node or its pool is deleted, and the logs with it")
        }
        Outcome::NotSent => Some("once the reason has passed, `fleetlogs resume RUN` calls them"),
        Outcome::Failed => Some(failed(code.unwrap_or_default())),
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
            "the service failed: `fleetlogs resume RUN --retry failed`, and tell support the request ids if it stays so"
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
            "the service refuses the request as it is: check the container URL, then `fleetlogs resume RUN --retry failed`; \
             another window needs a new run"
        }
        _ => "see the reason; where it has passed, `fleetlogs resume RUN --retry failed`",
    }
}
