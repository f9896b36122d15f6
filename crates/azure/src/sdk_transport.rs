//! How the Azure SDK reaches the network: through fleetlogs's own HTTP client, with a limit on the size of answers, and
//! with answers that are those to their requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{
    AsyncRawResponse, ClientOptions, HttpClient, RawResponse, Request, RetryOptions, StatusCode, Transport,
};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::BodyReader;
use crate::http::unkept_client;

/// A page of 5,000 blobs is about six megabytes.
const LONGEST_ANSWER: usize = 24 << 20;

/// The SDK sends it with every request, and storage echoes it.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// The longest life of a token that is believed, in seconds. Entra's live for a day at most.
const LONGEST_LIFE: i64 = 366 * 24 * 3600;

/// Our HTTP client in the form that the SDK needs.
pub(crate) fn transport(http: reqwest::Client) -> Transport {
    Transport::new(Arc::new(BoundedClient::new(http)))
}

/// The same for requests for tokens.
pub(crate) fn token_transport(http: reqwest::Client) -> Transport {
    Transport::new(Arc::new(TokenClient(BoundedClient::new(http))))
}

/// Options for a client of the SDK.
pub(crate) fn client_options(transport: Transport, retry: RetryOptions) -> ClientOptions {
    ClientOptions { retry, transport: Some(transport), ..Default::default() }
}

/// An answer of the SDK's trait.
type SdkAnswer<'a, T> = Pin<Box<dyn Future<Output = azure_core::Result<T>> + Send + 'a>>;

/// Our HTTP client for requests to storage: every answer has an end, and is the answer to its request.
#[derive(Debug)]
pub(crate) struct BoundedClient {
    http: reqwest::Client,
    /// Set when an answer was that of another request: from then on, no connection is used twice.
    unkept: OnceLock<reqwest::Client>,
}

impl BoundedClient {
    pub(crate) fn new(http: reqwest::Client) -> Self {
        Self { http, unkept: OnceLock::new() }
    }

    /// Sends a request without the SDK, once, and has the body of a 200 read while it arrives. Every other answer is an
    /// error, as with the SDK.
    pub(crate) async fn read(
        &self,
        request: &mut Request,
        reader: &mut (dyn BodyReader + '_),
    ) -> azure_core::Result<Headers> {
        request.insert_header(CLIENT_REQUEST_ID, Uuid::new_v4().to_string());
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::Ok {
            let answer = answer.try_into_raw_response().await?;
            let (status, raw_response) = (answer.status(), Some(answer.into()));
            let kind = ErrorKind::HttpResponse { status, error_code: None, raw_response };
            return Err(azure_core::Error::with_message(kind, "storage refuses"));
        }
        let (_, headers, mut body) = answer.deconstruct();
        while let Some(chunk) = body.next().await {
            if reader.read_on(&chunk?).is_break() {
                break;
            }
        }
        Ok(headers)
    }

    async fn send(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let http = self.unkept.get().unwrap_or(&self.http);
        let (status, headers, body) = http.execute_request(request).await?.deconstruct();
        let (sent, echoed) =
            (request.headers().get_str(&CLIENT_REQUEST_ID), headers.get_str(&CLIENT_REQUEST_ID));
        if let (Ok(sent), Ok(echoed)) = (sent, echoed)
            && !sent.eq_ignore_ascii_case(echoed)
        {
            if let Ok(unkept) = unkept_client() {
                let _ = self.unkept.set(unkept);
            }
            let message = "the answer has the `x-ms-client-request-id` of another request";
            return Err(azure_core::Error::with_message(ErrorKind::Io, message));
        }
        let mut length = 0_usize;
        let body = body.map(move |chunk| {
            let chunk = chunk?;
            length = length.saturating_add(chunk.len());
            if length > LONGEST_ANSWER {
                let message = format!("the answer is longer than {LONGEST_ANSWER} bytes");
                return Err(azure_core::Error::with_message(ErrorKind::Other, message));
            }
            Ok(chunk)
        });
        Ok(AsyncRawResponse::new(status, headers, Box::pin(body)))
    }
}

impl HttpClient for BoundedClient {
    // Written by hand because the trait uses `async_trait`, which would be a dependency for this alone.
    fn execute_request<'a, 'b, 'c>(&'a self, request: &'b Request) -> SdkAnswer<'c, AsyncRawResponse>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.send(request))
    }
}

/// Refuses a token whose life the SDK cannot add to the time of day: it would panic.
#[derive(Debug)]
struct TokenClient(BoundedClient);

impl HttpClient for TokenClient {
    fn execute_request<'a, 'b, 'c>(&'a self, request: &'b Request) -> SdkAnswer<'c, AsyncRawResponse>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async {
            let answer = self.0.send(request).await?.try_into_raw_response().await?;
            check_life(&answer)?;
            let (status, headers, body) = answer.deconstruct();
            Ok(AsyncRawResponse::from_bytes(status, headers, body))
        })
    }
}

fn check_life(answer: &RawResponse) -> azure_core::Result<()> {
    #[derive(Deserialize)]
    struct Life<'a> {
        #[serde(borrow, default)]
        expires_in: Option<&'a RawValue>,
    }
    let Ok(Life { expires_in: Some(life) }) = serde_json::from_slice(answer.body().as_ref()) else {
        return Ok(());
    };
    match life.get().trim_matches('"').parse::<i64>() {
        Ok(life) if !(0..=LONGEST_LIFE).contains(&life) => {
            let message = format!("the token is said to be valid for {life} seconds, which cannot be");
            Err(azure_core::Error::with_message(ErrorKind::Credential, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use azure_core::http::Method;

    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    fn request(server: &TestServer) -> Request {
        let mut request = Request::new(server.url().parse().unwrap(), Method::Get);
        request.insert_header(CLIENT_REQUEST_ID, "ours");
        request
    }

    #[tokio::test]
    async fn an_answer_to_another_request_is_not_taken_and_its_connection_not_used_again() {
        let server = TestServer::start(|number| {
            let echo = if number == 2 { "another" } else { "OURS" };
            let head =
                format!("HTTP/1.1 200 OK\r\nx-ms-client-request-id: {echo}\r\ncontent-length: 2\r\n\r\n");
            Reply::KeepAlive(format!("{head}{{}}").into())
        })
        .await;
        let client = BoundedClient::new(http_client(1).unwrap());
        let mut ends = vec![];
        for _ in 0..4 {
            let answer = match client.execute_request(&request(&server)).await {
                Ok(answer) => answer.try_into_raw_response().await.map(|_| ()),
                Err(error) => Err(error),
            };
            ends.push((answer.is_ok(), server.connections()));
        }
        assert_eq!(ends, [(true, 1), (false, 1), (true, 2), (true, 3)]);
    }

    #[tokio::test]
    async fn a_token_of_an_absurd_life_is_refused_in_words() {
        for (life, is_taken) in [
            ("3599", true),
            ("\"85770\"", true),
            ("9223372036854775807", false),
            ("-9223372036854775808", false),
            ("\"9223372036854775807\"", false),
        ] {
            let body = format!(r#"{{"token_type":"Bearer","access_token":"x","expires_in":{life}}}"#);
            let server = TestServer::start(move |_| Reply::json("200 OK", &body)).await;
            let answer = TokenClient(BoundedClient::new(http_client(1).unwrap()))
                .execute_request(&request(&server))
                .await;
            match answer {
                Ok(_) => assert!(is_taken, "{life}"),
                Err(error) => {
                    assert!(!is_taken && error.to_string().contains("which cannot be"), "{life}: {error}");
                }
            }
        }
    }
}
