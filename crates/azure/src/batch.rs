//! One Batch account over REST: lists, single nodes, and the upload call.
//!
//! Every call is one request, with one exception: if the token is refused, it is renewed once and the call is sent
//! again, because a refused call was not carried out. `classify` decides what a failure means.

use std::sync::Arc;
use std::time::Duration;

use azure_core::Bytes;
use fleetlogs_model::access::WriteAccess;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{NodeId, PoolId};
use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::scrub;
use fleetlogs_model::service::{
    Accepted, BatchService, Node, NodeState, Page, PageLink, Pool, Task, UploadOrder,
};
use fleetlogs_model::window::Window;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::answer::{Answer, BodyReader, PAGE, UPLOAD};
use crate::classify::{Call, no_answer, refusal};
use crate::http_date::Dates;
use crate::kept_connections::{CLIENT_REQUEST_ID, Connection, KeptConnections};
use crate::large_pages::LargePages;
use crate::service_clock::ServiceClock;
use crate::shared_key::{SharedKey, SignedParts};
use crate::target::{AccountEndpoint, Target};
use crate::token::{Token, TokenSource};
use crate::wire::{
    IdentityReference, ListItem, NodeAnswer, PageReader, PageTrouble, PoolIdentity, PoolIdentityAnswer,
    SubtaskAnswer, UploadAnswer, UploadRequest, json_trouble, time_text,
};
use crate::{link, redact};

const RETURN_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("return-client-request-id");
const OCP_DATE: HeaderName = HeaderName::from_static("ocp-date");
const JSON: &str = "application/json; odata=minimalmetadata";

/// The name of a blob has 1,024 characters at most, and one in this directory has a slash and a name of its own.
const LONGEST_DIRECTORY: usize = 1022;

/// How to reach an account.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Its endpoint.
    pub endpoint: Url,
    /// The version of the API to speak, for example `2024-07-01.20.0`.
    pub api_version: String,
    /// How to authenticate.
    pub auth: BatchAuth,
    /// Time limit for every call that only reads, from connecting to the last byte.
    pub read_timeout: Duration,
}

/// The HTTP clients for an account.
#[derive(Clone, Debug)]
pub struct Clients {
    /// From [`http_client`](crate::http_client).
    pub uploads: reqwest::Client,
    /// From [`list_client`](crate::list_client).
    pub lists: reqwest::Client,
    /// From [`unkept_client`](crate::unkept_client).
    pub unkept: reqwest::Client,
}

/// How to authenticate to an account.
#[derive(Clone, Debug)]
pub enum BatchAuth {
    /// With one of its keys.
    SharedKey(SharedKey),
    /// With a token of Microsoft Entra ID.
    Entra(TokenSource),
}

/// Credentials are sent over https, or to this machine.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint must start with https:// (http:// is for loopback addresses only)")]
pub struct InvalidEndpoint;

/// One Batch account. Cheap to clone.
#[derive(Clone)]
pub struct AzureBatch(Arc<BatchAccount>);

struct BatchAccount {
    clients: Clients,
    endpoint: AccountEndpoint,
    auth: BatchAuth,
    read_timeout: Duration,
    clock: ServiceClock,
    dates: Dates,
    kept: KeptConnections,
    large_pages: LargePages,
    /// The last body of an upload call: most nodes get the same one.
    written: Mutex<Option<WrittenOrder>>,
}

/// An order as the body of an upload call. It contains a SAS, so it has no Debug.
struct WrittenOrder {
    window: Window,
    /// Held, so that no other order can take its address in memory.
    access: Arc<WriteAccess>,
    body: Bytes,
}

/// One request without its credential.
struct OutgoingRequest<'a> {
    call: Call,
    target: Target<'a>,
    client_request_id: Uuid,
    /// For a POST; a request without a body is a GET.
    body: Option<Bytes>,
    deadline: Instant,
    /// The longest answer to read.
    longest_answer: usize,
}

impl AzureBatch {
    /// An account; sends nothing.
    pub fn new(clients: Clients, settings: AccountSettings) -> Result<Self, InvalidEndpoint> {
        if !is_https_or_loopback(&settings.endpoint) {
            return Err(InvalidEndpoint);
        }
        Ok(Self(Arc::new(BatchAccount {
            clients,
            endpoint: AccountEndpoint::new(settings.endpoint, &settings.api_version),
            auth: settings.auth,
            read_timeout: settings.read_timeout,
            clock: ServiceClock::default(),
            dates: Dates::default(),
            kept: KeptConnections::default(),
            large_pages: LargePages::default(),
            written: Mutex::default(),
        })))
    }

    /// ARM ids of the user-assigned identities that are attached to a pool. None if the service does not show the
    /// pool's `identity` at all.
    pub async fn pool_identities(&self, pool: &PoolId) -> Result<Option<Vec<String>>, Failure> {
        let answer = self.0.read(self.0.endpoint.pool(pool)?).await?;
        let identity = read_json::<PoolIdentityAnswer>(Call::Read, &answer)?.identity;
        let ids = |identity: PoolIdentity| {
            identity.user_assigned_identities.into_iter().map(|identity| identity.resource_id).collect()
        };
        Ok(identity.map(ids))
    }
}

impl AzureBatch {
    /// How far the service's clock is ahead of this machine's, to about a second, by its latest answer; none before the
    /// first answer.
    #[must_use]
    pub fn clock_offset(&self) -> Option<time::Duration> {
        self.0.clock.offset()
    }
}

impl BatchAccount {
    async fn read(&self, target: Target<'_>) -> Result<Answer, Failure> {
        self.send(self.reading(target), None).await
    }

    /// Reads a page of a list, while it arrives.
    async fn read_page<U: ListItem + Send>(&self, target: Target<'_>) -> Result<Page<U>, Failure> {
        let mut page = PageReader::default();
        let answer = self.send(self.reading(target), Some(&mut page)).await?;
        answer.whole_body(Call::Read.lost())?;
        page.finish().map_err(|trouble| page_failure(&answer, &trouble))
    }

    fn reading<'a>(&self, target: Target<'a>) -> OutgoingRequest<'a> {
        OutgoingRequest {
            call: Call::Read,
            target,
            client_request_id: Uuid::new_v4(),
            body: None,
            deadline: Instant::now() + self.read_timeout,
            longest_answer: PAGE,
        }
    }

    /// Sends a request; its answer must be a 200, whose body goes to its reader, if it has one.
    async fn send(
        &self,
        outgoing: OutgoingRequest<'_>,
        mut reader: Option<&mut (dyn BodyReader + '_)>,
    ) -> Result<Answer, Failure> {
        let mut may_renew = true;
        loop {
            let (authorized, token) = self.authorize(&outgoing).await?;
            let signed = authorized.headers().get(AUTHORIZATION).filter(|_| token.is_none()).cloned();
            let answer = self.send_once(authorized, signed, &outgoing, reader.as_deref_mut()).await?;
            if answer.status == 200 {
                return Ok(answer);
            }
            let failure = refusal(outgoing.call, &answer);
            match (&self.auth, token) {
                (BatchAuth::Entra(tokens), Some(token)) if may_renew && token_refused(&failure) => {
                    tokens.invalidate(&token);
                    may_renew = false;
                }
                _ => return Err(failure),
            }
        }
    }

    async fn send_once(
        &self,
        mut request: Request,
        signed: Option<HeaderValue>,
        outgoing: &OutgoingRequest<'_>,
        reader: Option<&mut (dyn BodyReader + '_)>,
    ) -> Result<Answer, Failure> {
        let left = outgoing.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(FailureClass::NotSent, "no time was left to send the request"));
        }
        let sent_at = Instant::now();
        *request.timeout_mut() = Some(left);
        let connection = self.kept.next();
        let client = match (connection, outgoing.call) {
            (Connection::New, _) => &self.clients.unkept,
            (Connection::Kept, Call::Upload) => &self.clients.uploads,
            (Connection::Kept, Call::Read) => &self.clients.lists,
        };
        let response = client.execute(request).await.map_err(|error| no_answer(outgoing.call, &error))?;
        let is_ours = self.kept.judge(
            connection,
            outgoing.client_request_id,
            response.status().as_u16(),
            response.headers(),
        );
        if let Err(why) = is_ours {
            // Nothing of it is kept: neither its status nor its request id are those of this call.
            tracing::warn!(path = outgoing.target.url.path(), why, "an answer is not taken");
            return Err(Failure::new(outgoing.call.lost(), why));
        }
        // Before the body is read, which may take long.
        if let Some(date) = response.headers().get(DATE).and_then(|date| self.dates.read(date)) {
            self.clock.hear(date);
        }
        if response.status() != 200 || outgoing.call == Call::Read {
            // Its texts may be kept, and quote the signature of the request. Now, because a list is read as it arrives.
            let signature = signed.as_ref().and_then(|signed| signed.to_str().ok()?.rsplit(':').next());
            scrub::learn_for_now(signature.unwrap_or_default());
        }
        let pages = match outgoing.call {
            Call::Upload => None,
            Call::Read => Some((&self.large_pages, outgoing.deadline)),
        };
        let answer = Answer::read_in_turn(response, outgoing.longest_answer, pages, reader).await;
        tracing::debug!(
            path = outgoing.target.url.path(),
            status = answer.status,
            request_id = answer.request_id().as_deref(),
            client_request_id = %outgoing.client_request_id,
            elapsed_ms = sent_at.elapsed().as_millis(),
            "answered"
        );
        Ok(answer)
    }

    /// The request with all its headers, and the token in it, if there is one.
    async fn authorize(&self, outgoing: &OutgoingRequest<'_>) -> Result<(Request, Option<Token>), Failure> {
        let url = outgoing.target.url.clone();
        let method = outgoing.method();
        let ocp_date = self.dates.write(OffsetDateTime::now_utc());
        let (authorization, token) = match &self.auth {
            BatchAuth::SharedKey(key) => {
                let signed = SignedParts {
                    method: method.as_str(),
                    content_length: outgoing.body.as_ref().map(Bytes::len),
                    content_type: outgoing.body.as_ref().map_or("", |_| JSON),
                    ocp_date: ocp_date.to_str().expect("a date is ASCII"),
                    path: url.path(),
                    query: &outgoing.target.signed_query,
                };
                (key.authorization(&signed), None)
            }
            BatchAuth::Entra(tokens) => {
                let token = timeout_at(outgoing.deadline, tokens.get()).await.unwrap_or_else(|_| {
                    Err(Failure::new(
                        FailureClass::NotSent,
                        "no token arrived within the time limit of the call",
                    ))
                })?;
                (token.header.clone(), Some(token))
            }
        };
        let mut id = Uuid::encode_buffer();
        let id = outgoing.client_request_id.hyphenated().encode_lower(&mut id);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CLIENT_REQUEST_ID, HeaderValue::from_str(id).expect("a GUID is ASCII"));
        headers.insert(RETURN_CLIENT_REQUEST_ID, HeaderValue::from_static("true"));
        headers.insert(OCP_DATE, ocp_date);
        headers.insert(AUTHORIZATION, authorization);
        let mut request = Request::new(method, url);
        if let Some(body) = &outgoing.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            *request.body_mut() = Some(body.clone().into());
        }
        *request.headers_mut() = headers;
        Ok((request, token))
    }
}

impl BatchAccount {
    /// The body of an upload call.
    fn body(&self, order: &UploadOrder) -> Bytes {
        let mut last = self.written.lock();
        if let Some(written) = &*last
            && written.window == order.window
            && Arc::ptr_eq(&written.access, &order.access)
        {
            return written.body.clone();
        }
        let request = UploadRequest {
            container_url: order.access.expose(),
            identity_reference: order.access.identity().map(|resource_id| IdentityReference { resource_id }),
            start_time: time_text(order.window.start),
            end_time: time_text(order.window.end),
        };
        let body = Bytes::from(serde_json::to_vec(&request).expect("texts can be written as JSON"));
        let (window, access) = (order.window, order.access.clone());
        *last = Some(WrittenOrder { window, access, body: body.clone() });
        body
    }
}

impl OutgoingRequest<'_> {
    fn method(&self) -> Method {
        if self.body.is_some() { Method::POST } else { Method::GET }
    }
}

/// Whether a newer token may help: the service did not accept this one, or it has expired.
fn token_refused(failure: &Failure) -> bool {
    let authentication = failure.code.as_deref() == Some("AuthenticationFailed");
    failure.class == FailureClass::Auth
        && (failure.status == Some(401) || (failure.status == Some(403) && authentication))
}

/// A page of another form counts like a lost answer. One that the service would not send would be the same if it were
/// requested again.
fn page_failure(answer: &Answer, trouble: &PageTrouble) -> Failure {
    let class = match trouble {
        PageTrouble::Form { .. } => Call::Read.lost(),
        PageTrouble::Odd(_) => FailureClass::Refused,
    };
    answer.failure(class, redact::one_line(&trouble.to_string(), redact::LONGEST))
}

/// Reads the body of a 200. A body of another form counts like a lost answer.
fn read_json<'a, T: serde::Deserialize<'a>>(call: Call, answer: &'a Answer) -> Result<T, Failure> {
    let body = answer.whole_body(call.lost())?;
    // The error names line and column, and at most the type of a wrong value.
    serde_json::from_slice(body).map_err(|error| {
        let (what, line, column) = (json_trouble(&error), error.line(), error.column());
        let message = format!("the answer has an unexpected form: {what}, at line {line} column {column}");
        answer.failure(call.lost(), message)
    })
}

impl BatchService for AzureBatch {
    fn time(&self) -> Option<OffsetDateTime> {
        self.0.clock.now()
    }

    async fn list_pools(&self, link: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
        let endpoint = &self.0.endpoint;
        let target = link.map_or_else(|| endpoint.pools(), |link| link::follow(endpoint.url(), link))?;
        self.0.read_page(target).await
    }

    async fn list_nodes(&self, pool: &PoolId, link: Option<&PageLink>) -> Result<Page<Node>, Failure> {
        let endpoint = &self.0.endpoint;
        let target = link.map_or_else(|| endpoint.nodes(pool), |link| link::follow(endpoint.url(), link))?;
        self.0.read_page(target).await
    }

    async fn list_nodes_in(
        &self,
        pool: &PoolId,
        states: &[NodeState],
        link: Option<&PageLink>,
    ) -> Result<Page<Node>, Failure> {
        let endpoint = &self.0.endpoint;
        let target =
            link.map_or_else(|| endpoint.nodes_in(pool, states), |link| link::follow(endpoint.url(), link))?;
        self.0.read_page(target).await
    }

    async fn list_tasks(&self, job: &str, link: Option<&PageLink>) -> Result<Page<Task>, Failure> {
        let endpoint = &self.0.endpoint;
        let target = link.map_or_else(|| endpoint.tasks(job), |link| link::follow(endpoint.url(), link))?;
        self.0.read_page(target).await
    }

    async fn list_subtasks(&self, job: &str, task: &str) -> Result<Vec<Task>, Failure> {
        let subtasks = self.0.read_page::<SubtaskAnswer>(self.0.endpoint.subtasks(job, task)?).await?;
        Ok(subtasks.items.into_iter().map(|subtask| subtask.into_task(task)).collect())
    }

    async fn get_node(&self, pool: &PoolId, node: &NodeId) -> Result<Node, Failure> {
        let answer = self.0.read(self.0.endpoint.node(pool, node)?).await?;
        read_json::<NodeAnswer<'_>>(Call::Read, &answer).map(Node::of)
    }

    /// Cancel safety: none. If a call is dropped after its first poll, the service may have accepted it.
    async fn upload_logs(
        &self,
        pool: &PoolId,
        node: &NodeId,
        order: &UploadOrder,
        client_request_id: Uuid,
        time_limit: Duration,
    ) -> Result<Accepted, Failure> {
        let outgoing = OutgoingRequest {
            call: Call::Upload,
            target: self.0.endpoint.upload(pool, node)?,
            client_request_id,
            body: Some(self.0.body(order)),
            deadline: Instant::now() + time_limit,
            longest_answer: UPLOAD,
        };
        let answer = self.0.send(outgoing, None).await?;
        let accepted: UploadAnswer = read_json(Call::Upload, &answer)?;
        if accepted.virtual_directory_name.is_empty() {
            return Err(answer.failure(Call::Upload.lost(), "the answer names no directory"));
        }
        // The call was accepted, so its files go somewhere, and only the container can say where.
        if accepted.virtual_directory_name.chars().nth(LONGEST_DIRECTORY).is_some() {
            let message =
                "the answer names a directory that no blob can be in: its name is longer than a blob's";
            return Err(answer.failure(Call::Upload.lost(), message));
        }
        Ok(Accepted {
            // Unchanged, unless something put a secret there.
            directory: redact::verbatim_if_harmless(accepted.virtual_directory_name).into(),
            files: accepted.number_of_files_uploaded,
            request_id: answer.request_id(),
        })
    }
}

#[cfg(test)]
mod tests;
