//! What every answer of Batch has in common: headers, and the body of errors.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;

use super::errors::BatchError;
use super::json::Json;
use super::request::Call;
use super::routes::Route;
use crate::clock::{batch_etag, batch_time, parse_rfc1123, rfc1123};
use crate::http::ReplyBody;
use crate::scenario::RetryAfter;

/// Body of a good answer.
pub(super) struct SuccessReply {
    pub(super) body: String,
    /// Of a single pool, job or task: it has a tag and can be read under a condition.
    pub(super) modified: Option<OffsetDateTime>,
}

impl SuccessReply {
    pub(super) fn body(body: String) -> Self {
        Self { body, modified: None }
    }
}

/// The type of the answer to an upload call.
pub(super) const UPLOAD_RESULT: &str = "Microsoft.Azure.Batch.Protocol.Entities.UploadBatchServiceLogsResult";

const HTML: &str = "text/html";

impl Call<'_> {
    pub(super) fn good(&self, good: SuccessReply) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::chunked(good.body));
        if let Some(modified) = good.modified {
            match self.condition(modified) {
                None => {}
                Some(StatusCode::NOT_MODIFIED) => {
                    response = Response::new(ReplyBody::sized(""));
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                }
                Some(_) => return self.error(&BatchError::condition_not_met()),
            }
            // Without quotes, unlike everywhere else.
            set_header(response.headers_mut(), header::ETAG, &batch_etag(modified));
            set_header(response.headers_mut(), header::LAST_MODIFIED, &rfc1123(modified));
        }
        self.stamp(response.headers_mut());
        response
    }

    /// 304 or 412, if the request has a condition that does not hold.
    fn condition(&self, modified: OffsetDateTime) -> Option<StatusCode> {
        let etag = batch_etag(modified);
        let names = |text: &str| text == "*" || text.trim_matches('"') == etag;
        let date = |name| self.header(name).and_then(parse_rfc1123);
        let seconds = modified.unix_timestamp();
        if self.header("if-match").is_some_and(|text| !names(text))
            || date("if-unmodified-since").is_some_and(|date| seconds > date.unix_timestamp())
        {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
        let unchanged = self.header("if-none-match").is_some_and(names)
            || date("if-modified-since").is_some_and(|date| seconds <= date.unix_timestamp());
        unchanged.then_some(StatusCode::NOT_MODIFIED)
    }

    pub(super) fn error(&self, error: &BatchError) -> Response<ReplyBody> {
        // Errors have a Content-Length; good answers are sent in chunks.
        let body = error_body(error, &self.base(), self.request_id, self.date());
        let mut response = Response::new(ReplyBody::sized(body));
        *response.status_mut() = error.status;
        if let Ok(reason) = hyper::ext::ReasonPhrase::try_from(error.message.as_bytes()) {
            response.extensions_mut().insert(reason);
        }
        let headers = response.headers_mut();
        self.stamp(headers);
        match error.retry_after {
            None => {}
            Some(RetryAfter::Seconds(wait)) => {
                // The header has whole seconds only.
                let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Some(RetryAfter::Date) => {
                set_header(headers, header::RETRY_AFTER, &rfc1123(self.date() + time::Duration::seconds(2)));
            }
        }
        if error.status == StatusCode::UNAUTHORIZED {
            let how = "Bearer authorization_uri=\"https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000\", \
                       resource_id=\"https://batch.core.windows.net/\"";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(how));
        }
        response
    }

    /// 307, with what the account was sent in the path and in the query of the location.
    pub(super) fn redirect(&self, echo: &str) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::sized(""));
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        self.stamp(response.headers_mut());
        let encoded = utf8_percent_encode(echo, NON_ALPHANUMERIC).to_string();
        let plain = echo.replace(' ', "%20");
        let location = format!("{}/{encoded}%20end/{plain}?{plain}", self.base());
        set_header(response.headers_mut(), header::LOCATION, &location);
        response
    }

    /// The bytes of a good answer to an upload call of the next node, which has not come yet. Half of these answers
    /// repeat the request id of this call, if it asked for that, and the others have none.
    pub(super) fn early_answer(&self, route: &Route) -> Vec<u8> {
        let Route::Upload { pool, node } = route else { return Vec::new() };
        let Some((_, pool)) = self.account.pool(pool) else { return Vec::new() };
        let next = pool.names.place(node).map_or(0, |place| (place + 1) % pool.places().max(1));
        let request_id = uuid::Uuid::new_v4();
        let mut json = Json::document(&self.base(), UPLOAD_RESULT, 512);
        json.text("virtualDirectoryName", &self.account.directory_name(pool, next, request_id));
        json.number("numberOfFilesUploaded", pool.scenario.files.min.0);
        let body = json.finish();
        let mut headers = HeaderMap::new();
        self.stamp(&mut headers);
        set_header(&mut headers, header::HeaderName::from_static("request-id"), &request_id.to_string());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if pool.node_roll(next).text("early").happens(0.5) {
            headers.remove("client-request-id");
        }
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in &headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body.into_bytes());
        bytes
    }

    /// A page from something in between: a login portal or a gateway. It has none of the service's headers.
    pub(super) fn html(status: StatusCode, title: &str) -> Response<ReplyBody> {
        let page = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
        );
        let mut response = Response::new(ReplyBody::sized(page));
        *response.status_mut() = status;
        set_header(response.headers_mut(), header::CONTENT_TYPE, HTML);
        response
    }

    /// 200 with an empty body.
    pub(super) fn nothing(&self) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::sized(""));
        self.stamp(response.headers_mut());
        response
    }

    fn stamp(&self, headers: &mut HeaderMap) {
        // Clients use both spellings; one that compares the text sees only one of them.
        let spellings = ["application/json;odata=minimalmetadata", "application/json; odata=minimalmetadata"];
        let spelling = spellings[usize::from(self.request_id.as_bytes()[15] & 1)];
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(spelling));
        set_header(headers, header::DATE, &rfc1123(self.date()));
        let mut id = uuid::Uuid::encode_buffer();
        if let Ok(id) = HeaderValue::from_str(self.request_id.hyphenated().encode_lower(&mut id)) {
            headers.insert("request-id", id);
        }
        if let Some(echo) = self.echo() {
            headers.insert("client-request-id", echo);
        }
        headers.insert("dataserviceversion", HeaderValue::from_static("3.0"));
        headers.insert(header::SERVER, HeaderValue::from_static("Microsoft-HTTPAPI/2.0"));
        let hsts = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
}

fn error_body(error: &BatchError, base: &str, request_id: uuid::Uuid, date: OffsetDateTime) -> String {
    let fragment = "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element";
    let mut json = Json::document(base, fragment, 512);
    json.text("code", &error.code);
    if error.plain {
        json.text("message", &error.message);
    } else {
        json.object("message", |json| {
            json.text("lang", "en-US");
            let time = batch_time(date);
            json.text("value", &format!("{}\nRequestId:{request_id}\nTime:{time}", error.message));
        });
    }
    if !error.values.is_empty() {
        json.list("values", |json| {
            for (key, value) in &error.values {
                json.item(|json| {
                    json.text("key", key);
                    json.text("value", value);
                });
            }
        });
    }
    json.finish()
}

fn set_header(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    /// Recorded errors of the service, whose lengths are known.
    #[test]
    fn errors_have_the_bytes_of_the_service() {
        let base = "https://sanjsdkbatch.eastus.batch.azure.com";
        let id = |text| uuid::Uuid::try_parse(text).expect("an id");
        let missing = BatchError::bad_request(
            "MissingRequiredProperty",
            "A required property was not specified in the request body.",
        )
        .with("PropertyName", "targetDedicatedNodes and/or targetLowPriorityNodes");

        let not_found = error_body(
            &BatchError::pool_not_found(),
            base,
            id("890e5468-a859-4687-8761-ac5ef8151e11"),
            datetime!(2025-07-13 20:39:32.8838973 UTC),
        );
        let missing = error_body(
            &missing,
            base,
            id("df768605-fce9-48f4-b9a7-d54080ca1993"),
            datetime!(2025-07-13 20:39:32.7273367 UTC),
        );

        assert_eq!((not_found.len(), missing.len()), (333, 487));
        assert_eq!(
            not_found,
            "{\r\n  \"odata.metadata\":\"https://sanjsdkbatch.eastus.batch.azure.com/$metadata#Microsoft.Azure.Batch.\
             Protocol.Entities.Container.errors/@Element\",\"code\":\"PoolNotFound\",\"message\":{\r\n    \"lang\":\
             \"en-US\",\"value\":\"The specified pool does not exist.\\nRequestId:890e5468-a859-4687-8761-ac5ef8151e11\
             \\nTime:2025-07-13T20:39:32.8838973Z\"\r\n  }\r\n}"
        );
    }
}
