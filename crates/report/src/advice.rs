//! What to do about nodes that were not collected: one sentence per outcome, and per error code where that helps.

use fleetlogs_model::outcome::Outcome;

/// What a person can do now about nodes that ended so. None where nothing is wrong.
pub(crate) fn advice(outcome: Outcome, code: Option<&str>) -> Option<&'static str> {
    match outcome {
        Outcome::Verified | Outcome::Empty => None,
        Outcome::Accepted => Some(
            "the files may well be there: look into the container, or run again with a SAS that can list",
        ),
        Outcome::Incomplete => Some(
            "check the storage account's firewall and private endpoint for these pools, and the SAS; then collect these \
             pools again",
        ),
        Outcome::InDoubt => {
            Some("look for their directories in the container before you collect these nodes again")
        }
        Outcome::Gone => {
            Some("nothing can be done, as the node or its pool is deleted, and the logs with it")
        }
        Outcome::NotSent => Some("run again for the nodes that were not called"),
        Outcome::Failed => Some(failed(code.unwrap_or_default())),
    }
}

/// By the service's error codes; the order is that of the wire reference.
fn failed(code: &str) -> &'static str {
    match code {
        "TooManyRequests" | "ServerBusy" => {
            "the Batch account was busy to the end: lower `limits.rate`, then collect these nodes again"
        }
        "InternalError" | "OperationTimedOut" => {
            "the service failed: collect these nodes again, and tell support the request ids if it stays so"
        }
        "NodeBeingCreated"
        | "NodeBeingStarted"
        | "NodeBeingRebooted"
        | "NodeBeingReimaged"
        | "OperationInvalidForCurrentState"
        | "PoolBeingResized"
        | "PoolBeingCreated" => "the nodes were not ready in time: collect them again once they are",
        "NodeStateUnusable" => {
            "unusable nodes often cannot upload: look at their errors in the manifest, reboot them if they can be \
             spared, then collect them again"
        }
        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "AuthorizationFailure" => {
            "the Batch account refuses the credential: check role, key and this machine's clock, then run \
             again"
        }
        "InvalidPropertyValue"
        | "MissingRequiredProperty"
        | "InvalidRequestBody"
        | "InvalidInput"
        | "OutOfRangeInput"
        | "UnsupportedProperty"
        | "UnsupportedRequestVersion" => {
            "the service refuses the request as it is: check container URL and window"
        }
        _ => "see the reason; where it has passed, collect these nodes again",
    }
}
