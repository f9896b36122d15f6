//! Errors of the Blob service: XML, with the code repeated in a header.

use std::borrow::Cow;

use hyper::StatusCode;

/// An error that the service answers with.
#[derive(Clone, Debug)]
pub(crate) struct BlobError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    pub(crate) detail: Option<String>,
}

impl BlobError {
    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message: Cow::Borrowed(message), detail: None }
    }

    pub(crate) fn authentication(detail: &str) -> Self {
        let message = "Server failed to authenticate the request. Make sure the value of Authorization header is \
                       formed correctly including the signature.";
        Self {
            detail: Some(detail.to_owned()),
            ..Self::new(StatusCode::FORBIDDEN, "AuthenticationFailed", message)
        }
    }

    /// A bearer token that is not for storage.
    pub(crate) fn bad_token(detail: &str) -> Self {
        let message = "Server failed to authenticate the request. Please refer to the information in the \
                       www-authenticate header.";
        Self {
            detail: Some(detail.to_owned()),
            ..Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationInfo", message)
        }
    }

    pub(crate) const fn permission_mismatch() -> Self {
        let message = "This request is not authorized to perform this operation using this permission.";
        Self::new(StatusCode::FORBIDDEN, "AuthorizationPermissionMismatch", message)
    }

    /// An operation that no permission of a SAS and no role allows.
    pub(crate) const fn not_authorized() -> Self {
        let message = "This request is not authorized to perform this operation.";
        Self::new(StatusCode::FORBIDDEN, "AuthorizationFailure", message)
    }

    pub(crate) const fn protocol_mismatch() -> Self {
        let message = "This request is not authorized to perform this operation using this protocol.";
        Self::new(StatusCode::FORBIDDEN, "AuthorizationProtocolMismatch", message)
    }

    pub(crate) const fn service_mismatch() -> Self {
        let message = "This request is not authorized to perform this operation using this service.";
        Self::new(StatusCode::FORBIDDEN, "AuthorizationServiceMismatch", message)
    }

    pub(crate) const fn resource_type_mismatch() -> Self {
        let message = "This request is not authorized to perform this operation using this resource type.";
        Self::new(StatusCode::FORBIDDEN, "AuthorizationResourceTypeMismatch", message)
    }

    pub(crate) const fn source_mismatch() -> Self {
        let message = "This request is not authorized to perform this operation using this source IP.";
        Self::new(StatusCode::FORBIDDEN, "AuthorizationSourceIPMismatch", message)
    }

    pub(crate) const fn no_overwrite() -> Self {
        let message = "This request is not authorized to perform blob overwrites.";
        Self::new(StatusCode::FORBIDDEN, "UnauthorizedBlobOverwrite", message)
    }

    pub(crate) const fn anonymous() -> Self {
        let message = "Public access is not permitted on this storage account.";
        Self::new(StatusCode::CONFLICT, "PublicAccessNotPermitted", message)
    }

    /// An error that repeats what it was sent.
    pub(crate) fn echo(text: String) -> Self {
        Self { message: Cow::Owned(text), ..Self::not_authorized() }
    }

    pub(crate) const fn no_container() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ContainerNotFound", "The specified container does not exist.")
    }

    pub(crate) const fn no_blob() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
    }

    pub(crate) const fn no_resource() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", "The specified resource does not exist.")
    }

    pub(crate) const fn exists() -> Self {
        Self::new(StatusCode::CONFLICT, "BlobAlreadyExists", "The specified blob already exists.")
    }

    pub(crate) const fn container_exists() -> Self {
        let message = "The specified container already exists.";
        Self::new(StatusCode::CONFLICT, "ContainerAlreadyExists", message)
    }

    pub(crate) const fn bad_name() -> Self {
        let message = "The specified resource name contains invalid characters.";
        Self::new(StatusCode::BAD_REQUEST, "InvalidResourceName", message)
    }

    pub(crate) const fn bad_xml() -> Self {
        let message = "XML specified is not syntactically valid.";
        Self::new(StatusCode::BAD_REQUEST, "InvalidXmlDocument", message)
    }

    pub(crate) const fn bad_xml_value() -> Self {
        let message = "The value for one of the XML nodes is not in the correct format.";
        Self::new(StatusCode::BAD_REQUEST, "InvalidXmlNodeValue", message)
    }

    pub(crate) const fn condition_not_met() -> Self {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        Self::new(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message)
    }

    pub(crate) const fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "The server is busy.")
    }

    pub(crate) const fn bad_range() -> Self {
        let message = "The range specified is invalid for the current size of the resource.";
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message)
    }

    pub(crate) const fn bad_header() -> Self {
        let message = "The value for one of the HTTP headers is not in the correct format.";
        Self::new(StatusCode::BAD_REQUEST, "InvalidHeaderValue", message)
    }

    pub(crate) const fn missing_header() -> Self {
        let message = "An HTTP header that's mandatory for this request is not specified.";
        Self::new(StatusCode::BAD_REQUEST, "MissingRequiredHeader", message)
    }

    pub(crate) const fn bad_query() -> Self {
        let message = "Value for one of the query parameters specified in the request URI is invalid.";
        Self::new(StatusCode::BAD_REQUEST, "InvalidQueryParameterValue", message)
    }

    pub(crate) const fn out_of_range_query() -> Self {
        let message =
            "One of the query parameters specified in the request URI is outside the permissible range.";
        Self::new(StatusCode::BAD_REQUEST, "OutOfRangeQueryParameterValue", message)
    }

    pub(crate) const fn bad_block() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidBlobOrBlock",
            "The specified blob or block content is invalid.",
        )
    }

    pub(crate) const fn bad_block_list() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidBlockList", "The specified block list is invalid.")
    }

    pub(crate) const fn bad_input() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidInput", "One of the request inputs is not valid.")
    }

    pub(crate) const fn bad_verb() -> Self {
        let message = "The resource doesn't support the specified HTTP verb.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message)
    }

    pub(crate) const fn too_large() -> Self {
        let message = "The request body is too large and exceeds the maximum permissible limit.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message)
    }
}
