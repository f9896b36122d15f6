//! What the service reports as the error: the body of an error answer, in all its forms.
//!
//! The usual form is Batch's own JSON. Proxies and gateways answer with other JSON, HTML or nothing at all.

use serde::Deserialize;

use crate::redact::{LONGEST, one_line};

/// The detail that says which of many ways to fail it was. It goes before the message, which is the same for all of
/// them and long: reports cut texts at their end.
const TELLING: &str = "AuthenticationErrorDetail";

/// How much to show of a body that is not Batch's, in characters.
const LONGEST_FOREIGN: usize = 200;

/// Code and message of an error answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServiceError {
    /// The code; only Batch's own errors have one, which distinguishes them from those of a proxy.
    pub(crate) code: Option<Box<str>>,
    /// For a person: one line, without secrets.
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: Option<ErrorMessage>,
    values: Option<Vec<ErrorDetail>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorMessage {
    Plain(String),
    WithLanguage { value: Option<String> },
}

#[derive(Deserialize)]
struct ErrorDetail {
    key: Option<String>,
    value: Option<String>,
}

impl ServiceError {
    /// Reads a body of any form.
    pub(crate) fn read(body: &[u8]) -> Self {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii();
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) if !body.code.is_empty() => Self::of_batch(&body),
            _ => Self::foreign(body),
        }
    }

    fn of_batch(body: &ErrorBody) -> Self {
        let text = match &body.message {
            Some(ErrorMessage::Plain(text) | ErrorMessage::WithLanguage { value: Some(text) }) => text,
            _ => "",
        };
        let mut parts = vec![without_trailer(text).to_owned()];
        for detail in body.values.iter().flatten() {
            let (Some(key), Some(value)) = (&detail.key, &detail.value) else { continue };
            if key == TELLING {
                parts.insert(0, value.trim().to_owned());
            } else {
                parts.push(format!("{key}: {}", value.trim()));
            }
        }
        let mut message = joined(parts.iter().map(String::as_str));
        if message.is_empty() {
            message.push_str("the service gives no reason");
        }
        Self {
            code: Some(one_line(&body.code, LONGEST_FOREIGN).into()),
            message: one_line(&message, LONGEST),
        }
    }

    fn foreign(body: &[u8]) -> Self {
        let message = if body.is_empty() {
            "the answer is empty".to_owned()
        } else {
            // Cut before it is processed: it may be a megabyte.
            let start = String::from_utf8_lossy(&body[..body.len().min(8 * LONGEST_FOREIGN)]);
            format!("the answer is not an error of Batch: {}", one_line(&start, LONGEST_FOREIGN))
        };
        Self { code: None, message }
    }
}

/// Sentences as one line; only the last keeps its full stop.
pub(crate) fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    let last = parts.len().saturating_sub(1);
    let without_stop =
        |(at, part): (usize, &&'a str)| if at < last { part.trim_end_matches('.') } else { part };
    let parts: Vec<_> = parts.iter().enumerate().map(without_stop).collect();
    parts.join("; ")
}

/// Removes the lines `RequestId:...` and `Time:...` at the end; the failure has both elsewhere.
pub(crate) fn without_trailer(message: &str) -> &str {
    let mut rest = message.trim_end();
    while let Some((before, last)) = rest.rsplit_once('\n') {
        let last = last.trim();
        if !last.starts_with("RequestId:") && !last.starts_with("Time:") {
            break;
        }
        rest = before.trim_end();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Option<String>, String) {
        let error = ServiceError::read(body.as_bytes());
        (error.code.map(String::from), error.message)
    }

    #[test]
    fn the_trailer_is_taken_off_the_message() {
        let (code, message) = read(
            "{\r\n\"odata.metadata\":\"x\",\"code\":\"PoolNotFound\",\"message\":{\"lang\":\"en-US\",\"value\":\
             \"The specified pool does not exist.\\nRequestId:b4669e1a\\nTime:2026-01-22T20:18:17.6076943Z\"}}",
        );
        assert_eq!(code.as_deref(), Some("PoolNotFound"));
        assert_eq!(message, "The specified pool does not exist.");
    }

    #[test]
    fn values_are_appended_and_hold_no_signature() {
        let (_, message) = read(
            r#"{"code":"InvalidPropertyValue","message":{"value":"Bad value.\nRequestId:1\nTime:2"},"values":[
                {"key":"PropertyName","value":"containerUrl"},
                {"key":"PropertyValue","value":"https://logs.example/c?sp=w&sig=TOPSECRET%3D&se=2026"},
                {"key":"Nothing"}]}"#,
        );
        assert_eq!(
            message,
            "Bad value; PropertyName: containerUrl; PropertyValue: https://logs.example/c?sp=w&sig=<redacted>&se=2026"
        );
    }

    #[test]
    fn the_telling_detail_comes_first() {
        let (_, message) = read(
            r#"{"code":"AuthenticationFailed","message":{"value":"Server failed to authenticate the request.\nTime:2"},
                "values":[{"key":"AuthenticationErrorDetail","value":"SharedKey is not allowed for this account."}]}"#,
        );
        assert_eq!(
            message,
            "SharedKey is not allowed for this account; Server failed to authenticate the request."
        );
    }

    #[test]
    fn a_plain_message_no_message_and_odd_types_are_read() {
        assert_eq!(read(r#"{"code":"ServerBusy","message":"busy"}"#).1, "busy");
        assert_eq!(read(r#"{"code":"ServerBusy"}"#).1, "the service gives no reason");
        assert_eq!(
            read(r#"{"code":"ServerBusy","message":null,"values":null}"#).0.as_deref(),
            Some("ServerBusy")
        );
        assert_eq!(read(r#"{"code":500}"#).0, None);
    }

    #[test]
    fn what_is_not_of_batch_is_shown_in_part() {
        assert_eq!(read("").1, "the answer is empty");
        let (code, message) = read("<html>\r\n<body>502 Bad Gateway</body></html>");
        assert_eq!(code, None);
        assert_eq!(
            message,
            "the answer is not an error of Batch: <html> <body>502 Bad Gateway</body></html>"
        );
        let huge = ServiceError::read(&vec![b'x'; 1 << 20]);
        assert!(huge.message.len() < 300, "{}", huge.message.len());
    }
}
