//! Turns an HTTP answer or a broken connection into a [`Failure`].
//!
//! The service's code decides, and the HTTP status if the code is unknown. Calls that only read and the upload call
//! differ in one respect: where the answer is lost, a read can be sent again, but an upload is in doubt.

use fleetlogs_model::failure::{Failure, FailureClass};

use crate::answer::Answer;
use crate::error_body::ServiceError;
use crate::redact;

/// The only code that says that the whole pool is gone.
const POOL_NOT_FOUND: &str = "PoolNotFound";

/// What a call does, and therefore what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Changes nothing: it can be sent again.
    Read,
    /// Creates a directory each time it is accepted.
    Upload,
}

impl Call {
    /// The class of a call that may or may not have been carried out.
    pub(crate) fn lost(self) -> FailureClass {
        match self {
            Self::Read => FailureClass::Transient,
            Self::Upload => FailureClass::InDoubt,
        }
    }
}

/// The failure of an answer that is not a 200.
pub(crate) fn refusal(call: Call, answer: &Answer) -> Failure {
    if (300..=399).contains(&answer.status) && answer.status != 304 {
        let message = match answer.redirect_target() {
            Some(target) => format!("the service redirects to `{target}`, which is not followed"),
            None => "the service redirects, which is not followed".to_owned(),
        };
        return answer.failure(FailureClass::Refused, message);
    }
    let said = match &answer.body {
        Ok(body) => ServiceError::read(body),
        Err(why) => ServiceError { code: None, message: why.to_string() },
    };
    let class = match said.code.as_deref() {
        Some(code) => class_of_code(call, code).unwrap_or_else(|| class_of_status(call, answer.status)),
        // A 404 that is not from Batch says nothing about the node: a proxy or a wrong endpoint sent it.
        None if answer.status == 404 => {
            let message = format!("{}; check the endpoint and any proxy", said.message);
            return answer.failure(FailureClass::Refused, message);
        }
        None => class_of_status(call, answer.status),
    };
    let pool_is_gone = said.code.as_deref() == Some(POOL_NOT_FOUND);
    Failure { code: said.code, pool_is_gone, ..answer.failure(class, said.message) }
}

/// The failure of a call that ended without an answer.
pub(crate) fn no_answer(call: Call, error: &reqwest::Error) -> Failure {
    let class = if error.is_connect() {
        FailureClass::NotSent
    } else if error.is_builder() {
        FailureClass::Config
    } else {
        call.lost()
    };
    Failure::new(class, redact::error_chain(error))
}

/// The class of a known code; none for an unknown one.
fn class_of_code(call: Call, code: &str) -> Option<FailureClass> {
    Some(match code {
        "TooManyRequests" | "ServerBusy" => FailureClass::Throttled,

        "InternalError" | "OperationTimedOut" => call.lost(),

        "NodeNotFound" | POOL_NOT_FOUND | "ResourceNotFound" => FailureClass::Gone,

        "NodeBeingCreated"
        | "NodeBeingStarted"
        | "NodeBeingRebooted"
        | "NodeBeingReimaged"
        // Seen live, on a call for files of a node.
        | "NodeNotReady"
        | "OperationInvalidForCurrentState"
        | "PoolBeingResized"
        | "PoolBeingCreated" => FailureClass::Wait,

        "NodeStateUnusable" | "PoolBeingDeleted" => FailureClass::WaitBriefly,

        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "AuthorizationFailure"
        | "InvalidRestAPIForAccountSetting" => FailureClass::Auth,

        "UnsupportedRequestVersion"
        | "InvalidPropertyValue"
        | "MissingRequiredProperty"
        | "UnsupportedProperty"
        | "InvalidRequestBody"
        | "InvalidInput"
        | "OutOfRangeInput"
        | "InvalidQueryParameterValue"
        | "MissingRequiredQueryParameter"
        | "UnsupportedQueryParameter"
        | "OutOfRangeQueryParameterValue"
        | "RequestUrlFailedToParse"
        | "InvalidUri"
        | "InvalidHeaderValue"
        | "MissingRequiredHeader"
        | "UnsupportedHeader"
        | "MultipleConditionHeadersNotSupported"
        | "EmptyMetadataKey"
        | "InvalidMetadata"
        | "MetadataTooLarge"
        | "InvalidHttpVerb"
        | "UnsupportedHttpVerb"
        | "MissingContentLengthHeader"
        | "RequestBodyTooLarge"
        | "HostInformationNotPresent"
        | "UnsupportedHttpVersion"
        | "NotImplemented" => FailureClass::Config,

        "OperationNotValidOnNode"
        | "OperationNotValidOnPool"
        | "NodeAlreadyInTargetSchedulingState"
        | "NodeUserExists"
        | "IOError"
        | "ConditionNotMet"
        | "ResourceTypeMismatch"
        | "ResourceAlreadyExists"
        | "StorageAccountNotFound" => FailureClass::Refused,

        _ => return None,
    })
}

/// What a status means if the code is unknown.
fn class_of_status(call: Call, status: u16) -> FailureClass {
    match (status, call) {
        // A 503 from a gateway does not mean that the service behind it has not accepted the upload; only the code
        // `ServerBusy` does. A read can always be sent again at a slower pace.
        (429, _) | (503, Call::Read) => FailureClass::Throttled,
        (200..=299 | 408 | 500.., _) => call.lost(),
        (404, _) => FailureClass::Gone,
        (409, _) => FailureClass::Wait,
        (401 | 403, _) => FailureClass::Auth,
        (304, _) => FailureClass::Refused,
        _ => FailureClass::Config,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::answer::UnreadBody;
    use FailureClass::{Auth, Config, Gone, InDoubt, Refused, Throttled, Transient, Wait, WaitBriefly};

    fn answer(status: u16, body: &str, headers: &[(&'static str, &'static str)]) -> Answer {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        Answer { status, headers: headers.collect::<HeaderMap>(), body: Ok(body.into()), turn: None }
    }

    fn coded(status: u16, code: &str) -> Answer {
        answer(status, &format!(r#"{{"code":"{code}","message":{{"value":"m"}}}}"#), &[("request-id", "r-1")])
    }

    #[test]
    fn every_code_has_its_class_for_reads_and_for_uploads() {
        let table: &[(&str, u16, FailureClass, FailureClass)] = &[
            // code, status, class of a read, class of an upload
            ("TooManyRequests", 429, Throttled, Throttled),
            ("ServerBusy", 503, Throttled, Throttled),
            ("InternalError", 500, Transient, InDoubt),
            ("OperationTimedOut", 500, Transient, InDoubt),
            ("NodeNotFound", 404, Gone, Gone),
            ("PoolNotFound", 404, Gone, Gone),
            ("ResourceNotFound", 404, Gone, Gone),
            ("PoolBeingDeleted", 409, WaitBriefly, WaitBriefly),
            ("NodeBeingCreated", 409, Wait, Wait),
            ("NodeBeingStarted", 409, Wait, Wait),
            ("NodeBeingRebooted", 409, Wait, Wait),
            ("NodeBeingReimaged", 409, Wait, Wait),
            ("NodeNotReady", 409, Wait, Wait),
            ("NodeNotReady", 400, Wait, Wait),
            ("OperationInvalidForCurrentState", 409, Wait, Wait),
            ("NodeStateUnusable", 409, WaitBriefly, WaitBriefly),
            ("OperationNotValidOnNode", 409, Refused, Refused),
            ("OperationNotValidOnPool", 409, Refused, Refused),
            ("PoolBeingResized", 409, Wait, Wait),
            ("PoolBeingCreated", 409, Wait, Wait),
            ("NodeUserExists", 409, Refused, Refused),
            ("AuthenticationFailed", 403, Auth, Auth),
            ("AuthenticationFailed", 401, Auth, Auth),
            ("InvalidAuthenticationInfo", 400, Auth, Auth),
            ("InsufficientAccountPermissions", 403, Auth, Auth),
            ("AccountIsDisabled", 403, Auth, Auth),
            ("AuthorizationFailure", 403, Auth, Auth),
            ("IOError", 403, Refused, Refused),
            ("UnsupportedRequestVersion", 400, Config, Config),
            ("InvalidPropertyValue", 400, Config, Config),
            ("InvalidQueryParameterValue", 400, Config, Config),
            ("InvalidHeaderValue", 400, Config, Config),
            ("UnsupportedHttpVerb", 405, Config, Config),
            ("MissingContentLengthHeader", 411, Config, Config),
            ("RequestBodyTooLarge", 413, Config, Config),
            ("ConditionNotMet", 412, Refused, Refused),
            // Unknown codes fall back on the status.
            ("Novelty", 429, Throttled, Throttled),
            ("Novelty", 503, Throttled, InDoubt),
            ("Novelty", 500, Transient, InDoubt),
            ("Novelty", 408, Transient, InDoubt),
            ("Novelty", 404, Gone, Gone),
            ("Novelty", 409, Wait, Wait),
            ("Novelty", 401, Auth, Auth),
            ("Novelty", 403, Auth, Auth),
            ("Novelty", 400, Config, Config),
        ];
        for (code, status, read, upload) in table {
            for (call, class) in [(Call::Read, read), (Call::Upload, upload)] {
                let failure = refusal(call, &coded(*status, code));
                assert_eq!(failure.class, *class, "{call:?} {status} {code}");
                assert_eq!(failure.code.as_deref(), Some(*code));
                assert_eq!(failure.status, Some(*status));
                assert_eq!(failure.request_id.as_deref(), Some("r-1"));
            }
        }
    }

    #[test]
    fn only_a_missing_pool_is_a_pool_that_is_gone() {
        let pool_is_gone = |code| refusal(Call::Upload, &coded(404, code)).pool_is_gone;
        assert!(pool_is_gone("PoolNotFound"));
        assert!(!pool_is_gone("NodeNotFound") && !pool_is_gone("ResourceNotFound"));
    }

    #[test]
    fn an_answer_without_a_batch_error_is_judged_by_its_status() {
        let table = [
            // status, class of a read, class of an upload
            (202, Transient, InDoubt),
            (400, Config, Config),
            (401, Auth, Auth),
            (403, Auth, Auth),
            (404, Refused, Refused),
            (408, Transient, InDoubt),
            (409, Wait, Wait),
            (429, Throttled, Throttled),
            (500, Transient, InDoubt),
            (502, Transient, InDoubt),
            (503, Throttled, InDoubt),
            (504, Transient, InDoubt),
        ];
        for (status, read, upload) in table {
            for body in ["", "<html>gateway</html>", "{\"error\":1}"] {
                assert_eq!(refusal(Call::Read, &answer(status, body, &[])).class, read, "{status} {body}");
                assert_eq!(
                    refusal(Call::Upload, &answer(status, body, &[])).class,
                    upload,
                    "{status} {body}"
                );
            }
        }
    }

    #[test]
    fn an_error_that_could_not_be_read_keeps_its_status() {
        let lost = Answer { body: Err(UnreadBody::TooLong(1)), ..answer(429, "", &[("retry-after", "7")]) };
        let failure = refusal(Call::Upload, &lost);
        assert_eq!((failure.class, failure.retry_after_ms), (Throttled, Some(7000)));
    }

    #[test]
    fn a_redirect_is_named_without_its_query() {
        let headers = [("location", "https://evil.example/pools?sig=SECRET")];
        let failure = refusal(Call::Upload, &answer(307, "", &headers));
        assert_eq!(failure.class, Refused);
        assert_eq!(
            failure.to_string(),
            "307: the service redirects to `https://evil.example/pools`, which is not followed"
        );
    }

    #[test]
    fn retry_after_comes_in_seconds_or_as_a_date() {
        let wait = |headers: &[(&'static str, &'static str)]| {
            refusal(Call::Upload, &answer(429, "", headers)).retry_after_ms
        };
        let now = ("date", "Wed, 01 Jan 2025 12:00:00 GMT");
        assert_eq!(wait(&[("retry-after", "30")]), Some(30_000));
        assert_eq!(wait(&[("retry-after", "86400")]), Some(86_400_000));
        assert_eq!(wait(&[("retry-after", "18446744073709551615")]), Some(86_400_000));
        assert_eq!(wait(&[("retry-after", "Wed, 01 Jan 8025 12:01:30 GMT"), now]), Some(86_400_000));
        assert_eq!(wait(&[("retry-after", "Wed, 01 Jan 2025 12:01:30 GMT"), now]), Some(90_000));
        assert_eq!(wait(&[("retry-after", "Wed, 01 Jan 2025 11:00:00 GMT"), now]), Some(0));
        assert_eq!(wait(&[("retry-after", "soon"), now]), None);
        assert_eq!(wait(&[]), None);
    }
}
