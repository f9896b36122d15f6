//! Errors of the Batch service: code, status, text, and sometimes values.

use hyper::StatusCode;

use crate::scenario::RetryAfter;

/// An error that the service answers with.
#[derive(Clone, Debug)]
pub(crate) struct BatchError {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) values: Vec<(String, String)>,
    pub(crate) retry_after: Option<RetryAfter>,
    /// The message is a string instead of an object, and lacks the two lines that the service appends.
    pub(crate) plain: bool,
}

impl BatchError {
    pub(crate) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            values: Vec::new(),
            retry_after: None,
            plain: false,
        }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.values.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn after(mut self, retry_after: Option<RetryAfter>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(crate) fn bad_request(code: &str, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn conflict(code: &str, message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(crate) fn pool_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "PoolNotFound", "The specified pool does not exist.")
    }

    pub(crate) fn node_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NodeNotFound", "The specified node does not exist.")
    }

    pub(crate) fn job_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "JobNotFound", "The specified job does not exist.")
    }

    pub(crate) fn task_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "TaskNotFound", "The specified task does not exist.")
    }

    pub(crate) fn condition_not_met() -> Self {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        Self::new(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message)
    }

    pub(crate) fn too_many_requests() -> Self {
        let message = "Request failed as server encountered too many requests. Please try again.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    pub(crate) fn server_busy() -> Self {
        let message = "The server is currently unable to receive requests. Please retry your request.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", message)
    }

    pub(crate) fn internal() -> Self {
        let message = "Server encountered an internal error. Please try again after some time.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(crate) fn timed_out() -> Self {
        let message = "Operation could not be completed within the specified time.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "OperationTimedOut", message)
    }

    pub(crate) fn authentication(status: StatusCode, detail: &str) -> Self {
        let message = "Server failed to authenticate the request. Make sure the value of Authorization header is \
                       formed correctly including the signature.";
        Self::new(status, "AuthenticationFailed", message).with("AuthenticationErrorDetail", detail)
    }

    pub(crate) fn query_value(name: &str, value: &str, reason: &str) -> Self {
        let message = "Value for one of the query parameters specified in the request URI is invalid.";
        Self::bad_request("InvalidQueryParameterValue", message)
            .with("QueryParameterName", name)
            .with("QueryParameterValue", value)
            .with("Reason", reason)
    }

    pub(crate) fn header_value(name: &str, value: &str) -> Self {
        Self::bad_request(
            "InvalidHeaderValue",
            "The value for one of the HTTP headers is not in the correct format.",
        )
        .with("HeaderName", name)
        .with("HeaderValue", value)
    }

    pub(crate) fn property_value(name: &str, value: &str, reason: &str) -> Self {
        let message = "The value provided for one of the properties in the request body is invalid.";
        Self::bad_request("InvalidPropertyValue", message)
            .with("PropertyName", name)
            .with("PropertyValue", value)
            .with("Reason", reason)
    }
}
