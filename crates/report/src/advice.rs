//! What to do about nodes that were not collected: one sentence per outcome, and per error code where that helps.

use fleetlogs_model::outcome::Outcome;

/// What a person can do now about nodes that ended so. None where nothing is wrong.
pub(crate) fn advice(outcome: Outcome, code: Option<&str>) -> Option<&'static str> {
    match outcome {
        Outcome::Verified | Outcome::Empty => None,
        Outcome::Accepted => {
            Some("the files may well be there; resume the run, or look again with `fleetlogs verify`")
        }
        Outcome::Incomplete => Some(
            "check the storage account's firewall and private endpoint for these pools, and the SAS; then resume with \
             `--retry incomplete`",
        ),
        Outcome::InDoubt => {
            Some("resume the run, which looks for the directory in the container before it calls again")
        }
        Outcome::Gone => {
            Some("nothing can be done, as the node or its pool is deleted, and the logs with it")
        }
        Outcome::NotSent => Some("resume the run, which goes on with the nodes that were not called"),
        Outcome::Failed => Some(failed(code.unwrap_or_default())),
    }
}

/// By the service's error codes; the order is that of the wire reference.
fn failed(code: &str) -> &'static str {
    match code {
        "TooManyRequests" | "ServerBusy" => {
            "the Batch account was busy to the end: lower `limits.rate`, then resume with `--retry failed`"
        }
        "InternalError" | "OperationTimedOut" => {
            "the service failed: resume with `--retry failed`, and tell support the request ids if it stays so"
        }
        "NodeBeingCreated"
        | "NodeBeingStarted"
        | "NodeBeingRebooted"
        | "NodeBeingReimaged"
        | "OperationInvalidForCurrentState"
        | "PoolBeingResized"
        | "PoolBeingCreated" => {
            "the nodes were not ready in time: resume with `--retry failed` once they are"
        }
        "NodeStateUnusable" => {
            "unusable nodes often cannot upload: look at their errors in the manifest, reboot them if they can be \
             spared, then resume with `--retry failed`"
        }
        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "AuthorizationFailure" => {
            "the Batch account refuses the credential: check role, key and this machine's clock with `fleetlogs \
             check`, then resume with `--retry failed`"
        }
        "InvalidPropertyValue"
        | "MissingRequiredProperty"
        | "InvalidRequestBody"
        | "InvalidInput"
        | "OutOfRangeInput"
        | "UnsupportedProperty"
        | "UnsupportedRequestVersion" => {
            "the service refuses the request as it is: check container URL, identity and window with `fleetlogs check`"
        }
        _ => "see the reason; where it has passed, resume with `--retry failed`",
    }
}
