//! How the Azure SDK reaches the network with a credential of an account: a token, or a SAS that the account's key signs
//! for each request. The SDK has no way for keys, and its own policy for tokens would keep a second cache of tokens,
//! which fails while a renewal fails.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode, Transport};
use fleetlogs_model::failure::Failure;
use time::OffsetDateTime;
use url::Url;

use crate::sas::{Protocol, QueueSas, SigningKey, time_text};
use crate::sdk_transport::BoundedClient;
use crate::token::{Token, TokenSource};

/// How long the SAS of one request is valid. The clock of this machine may be wrong.
const LIFE: time::Duration = time::Duration::hours(1);

/// Our HTTP client in the form that the SDK needs; every request is authorized with a token.
pub(crate) fn bearer_transport(http: reqwest::Client, tokens: TokenSource) -> Transport {
    Transport::new(Arc::new(BearerClient { client: BoundedClient::new(http), tokens }))
}

/// The same with a SAS for queues, signed with the account's key.
pub(crate) fn queue_key_transport(
    http: reqwest::Client,
    account: String,
    key: SigningKey,
    protocol: Protocol,
) -> Transport {
    Transport::new(Arc::new(QueueKeyClient { client: BoundedClient::new(http), account, key, protocol }))
}

type SdkAnswer<'a> = Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'a>>;

/// Authorizes requests with a token. If the token is refused, the request is sent once more with another one: nothing
/// was done for the first.
#[derive(Debug)]
struct BearerClient {
    client: BoundedClient,
    tokens: TokenSource,
}

impl BearerClient {
    async fn send(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let token = self.token().await?;
        let answer = self.client.execute_request(&with_token(request, &token)).await?;
        if answer.status() != StatusCode::Unauthorized {
            return Ok(answer);
        }
        self.tokens.invalidate(&token);
        let token = self.token().await?;
        self.client.execute_request(&with_token(request, &token)).await
    }

    async fn token(&self) -> azure_core::Result<Token> {
        let failed =
            |failure: Failure| azure_core::Error::with_message(ErrorKind::Credential, failure.to_string());
        self.tokens.get().await.map_err(failed)
    }
}

fn with_token(request: &Request, token: &Token) -> Request {
    let mut request = request.clone();
    request.insert_header("authorization", token.header.to_str().unwrap_or_default().to_owned());
    request
}

impl HttpClient for BearerClient {
    fn execute_request<'a, 'b, 'c>(&'a self, request: &'b Request) -> SdkAnswer<'c>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.send(request))
    }
}

/// Authorizes requests with a SAS of their own.
#[derive(Debug)]
struct QueueKeyClient {
    client: BoundedClient,
    account: String,
    key: SigningKey,
    protocol: Protocol,
}

impl QueueKeyClient {
    async fn send(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let expires_at = time_text(OffsetDateTime::now_utc() + LIFE);
        let sas = QueueSas { account: &self.account, expires_at: &expires_at, protocol: self.protocol };
        let mut request = request.clone();
        add_query(request.url_mut(), &sas.with_account_key(&self.key));
        self.client.execute_request(&request).await
    }
}

fn add_query(url: &mut Url, more: &str) {
    let query = match url.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{query}&{more}"),
        None => more.to_owned(),
    };
    url.set_query(Some(&query));
}

impl HttpClient for QueueKeyClient {
    fn execute_request<'a, 'b, 'c>(&'a self, request: &'b Request) -> SdkAnswer<'c>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.send(request))
    }
}
