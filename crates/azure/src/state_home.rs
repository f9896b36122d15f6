//! The home of a schedule's shared state: one block blob, which is both the lock and the state.
//!
//! The holder of the blob's lease owns the state: storage refuses writes from everyone else. Every write also names
//! the version that it replaces, so that an abandoned write that is still under way cannot undo a later one. An empty
//! blob is a home in which nothing has been published yet.
//!
//! Each call is sent once. All calls may be repeated: if the answer to the call that took the lease was lost, the
//! lease is recognized by its proposed id.

use std::fmt;
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::home::{Answer as HomeAnswer, HomeError, StateHome};
use fleetlogs_model::sas::SasUrl;
use parking_lot::Mutex;
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::answer::Answer;
use crate::blob::{blob_url, container_url};
use crate::request::{API_VERSION, VERSION, exchange_up_to};
use crate::sas_source::{FreshSas, SasSource};
use crate::storage_error::{lease_is_lost, storage_code, storage_refusal};

const LEASE_ACTION: HeaderName = HeaderName::from_static("x-ms-lease-action");
const LEASE_DURATION: HeaderName = HeaderName::from_static("x-ms-lease-duration");
const LEASE_ID: HeaderName = HeaderName::from_static("x-ms-lease-id");
const PROPOSED_LEASE_ID: HeaderName = HeaderName::from_static("x-ms-proposed-lease-id");
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const BLOB_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-content-type");

/// For downloading or uploading the state: 100,000 nodes are 15 MB, which takes two minutes at 1 Mbit/s.
const TRANSFER_LIMIT: Duration = Duration::from_secs(120);

/// The largest state, far beyond that of any fleet: the state is in memory during the transfer.
const LARGEST: usize = 256 << 20;

/// The home of a schedule's state, in a blob.
pub struct BlobStateHome {
    http: reqwest::Client,
    sas: FreshSas,
    blob: String,
    lease: Duration,
    held: Mutex<LeaseState>,
}

/// What is known about the lease and the blob.
struct LeaseState {
    /// The id of our lease, or of the next one.
    id: Uuid,
    /// The blob's version. None if the answer to a write was lost.
    etag: Option<String>,
}

impl BlobStateHome {
    /// A home; sends nothing. `source` is of SAS with read, create and write permission. `lease` is 15 to 60 whole
    /// seconds.
    #[must_use]
    pub fn new(http: reqwest::Client, source: SasSource, blob: String, lease: Duration) -> Self {
        let held = Mutex::new(LeaseState { id: Uuid::new_v4(), etag: None });
        Self { http, sas: FreshSas::new(source), blob, lease, held }
    }

    async fn take_and_fetch(&self) -> Result<Option<Vec<u8>>, HomeError> {
        let id = self.held.lock().id;
        if !self.take(id).await? {
            self.make().await?;
            if !self.take(id).await? {
                return Err(passing_failure(
                    "the blob of the shared state disappeared right after it was created",
                ));
            }
        }
        // The download may take longer than the lease.
        let fetched = tokio::select! {
            fetched = self.get(Some(id)) => fetched,
            error = self.keep() => Err(error),
        };
        if matches!(fetched, Err(HomeError::Failed(_))) {
            // Another machine may succeed, and need not wait for the lease to end.
            let _ = self.give_back().await;
        }
        fetched
    }

    /// Takes the lease, also if it is already ours; false if there is no blob.
    async fn take(&self, id: Uuid) -> Result<bool, HomeError> {
        let (id, seconds) = (id.to_string(), self.lease.as_secs().to_string());
        let headers =
            [(LEASE_ACTION, "acquire"), (LEASE_DURATION, seconds.as_str()), (PROPOSED_LEASE_ID, &id)];
        let answer = self.ask(Method::PUT, Some("lease"), &headers, vec![], self.short()).await?;
        match (answer.status, storage_code(&answer)) {
            (200..=201, _) => Ok(true),
            (
                _,
                Some(
                    "LeaseAlreadyPresent"
                    | "LeaseIsBreakingAndCannotBeAcquired"
                    | "LeaseIdMismatchWithLeaseOperation",
                ),
            )
            | (409, None) => Err(HomeError::Held),
            _ if is_absent(&answer) => Ok(false),
            _ => Err(refused_by_storage(&answer)),
        }
    }

    /// Creates an empty blob, unless there is one.
    async fn make(&self) -> Result<(), HomeError> {
        let headers = [(IF_NONE_MATCH, "*"), (BLOB_TYPE, "BlockBlob")];
        let answer = self.ask(Method::PUT, None, &headers, vec![], self.short()).await?;
        match (answer.status, storage_code(&answer)) {
            (201, _) | (_, Some("BlobAlreadyExists" | "ConditionNotMet" | "LeaseIdMissing")) => Ok(()),
            _ => Err(refused_by_storage(&answer)),
        }
    }

    /// Renews the lease until that fails.
    async fn keep(&self) -> HomeError {
        loop {
            sleep(self.lease / 4).await;
            match self.extend().await {
                Ok(()) => {}
                Err(HomeError::Failed(failure)) => {
                    tracing::debug!(%failure, "the lease of the shared state cannot be renewed");
                }
                Err(error) => return error,
            }
        }
    }

    async fn extend(&self) -> Result<(), HomeError> {
        let id = self.held.lock().id;
        let answer = self.lease_action("renew", id).await?;
        match answer.status {
            200 => Ok(()),
            _ => Err(self.lost_or_failed(&answer, id)),
        }
    }

    async fn give_back(&self) -> Result<(), HomeError> {
        let id = self.held.lock().id;
        // Whatever the answer is, the next lease has another id.
        self.forget(id);
        let answer = self.lease_action("release", id).await?;
        match answer.status {
            200 => Ok(()),
            _ if is_lost(&answer) => Ok(()),
            _ => Err(refused_by_storage(&answer)),
        }
    }

    /// The content, read under the lease if an id is given; none if nothing has been published yet.
    async fn get(&self, id: Option<Uuid>) -> Result<Option<Vec<u8>>, HomeError> {
        let text = id.unwrap_or_default().to_string();
        let headers = [(LEASE_ID, text.as_str())];
        let headers = if id.is_some() { &headers[..] } else { &[] };
        let answer = self.ask(Method::GET, None, headers, vec![], TRANSFER_LIMIT).await?;
        match (answer.status, id) {
            (200, _) => {}
            (_, Some(id)) => return Err(self.lost_or_failed(&answer, id)),
            (_, None) if is_absent(&answer) => return Ok(None),
            (_, None) => return Err(refused_by_storage(&answer)),
        }
        answer.whole_body(FailureClass::Transient)?;
        if let Some(id) = id {
            self.learn(id, &answer)?;
        }
        Ok(answer.body.ok().filter(|body| !body.is_empty()))
    }

    async fn put(&self, state: Vec<u8>) -> Result<(), HomeError> {
        if state.len() > LARGEST {
            let message = format!("the state of the schedule is larger than {LARGEST} bytes");
            return Err(Failure::new(FailureClass::Refused, message).into());
        }
        let (id, known) = {
            let mut held = self.held.lock();
            (held.id, held.etag.take())
        };
        let text = id.to_string();
        let etag = match known {
            Some(etag) => etag,
            None => self.version(id).await?,
        };
        let headers = [
            (LEASE_ID, text.as_str()),
            (IF_MATCH, &etag),
            (BLOB_TYPE, "BlockBlob"),
            (BLOB_CONTENT_TYPE, "application/vnd.sqlite3"),
        ];
        let answer = self.ask(Method::PUT, None, &headers, state, TRANSFER_LIMIT).await?;
        match (answer.status, storage_code(&answer)) {
            (201, _) => self.learn(id, &answer),
            // It is one of our own writes whose answer was lost, because nobody else can write: the next attempt will
            // know its version.
            (_, Some("ConditionNotMet")) => {
                Err(passing_failure("an earlier write of the shared state arrived late"))
            }
            _ => Err(self.lost_or_failed(&answer, id)),
        }
    }

    /// The blob's version, read under the lease.
    async fn version(&self, id: Uuid) -> Result<String, HomeError> {
        let text = id.to_string();
        let answer = self.ask(Method::HEAD, None, &[(LEASE_ID, &text)], vec![], self.short()).await?;
        if answer.status != 200 {
            return Err(self.lost_or_failed(&answer, id));
        }
        let etag = answer.header(&ETAG);
        etag.map(str::to_owned)
            .ok_or_else(|| passing_failure("storage does not report the version of the blob"))
    }

    /// Stores the version from an answer while the lease is the same.
    fn learn(&self, id: Uuid, answer: &Answer) -> Result<(), HomeError> {
        let mut held = self.held.lock();
        if held.id != id {
            return Err(HomeError::Lost);
        }
        held.etag = answer.header(&ETAG).map(str::to_owned);
        Ok(())
    }

    async fn lease_action(&self, action: &str, id: Uuid) -> Result<Answer, HomeError> {
        let id = id.to_string();
        let headers = [(LEASE_ACTION, action), (LEASE_ID, id.as_str())];
        Ok(self.ask(Method::PUT, Some("lease"), &headers, vec![], self.short()).await?)
    }

    /// Sends a request about the blob with a valid SAS, all within a time limit.
    async fn ask(
        &self,
        method: Method,
        comp: Option<&str>,
        headers: &[(HeaderName, &str)],
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + limit;
        let sas = timeout_at(deadline, self.sas.get(self.short() / 2)).await.unwrap_or_else(|_| {
            Err(Failure::new(FailureClass::NotSent, "no SAS arrived within the time limit of the call"))
        })?;
        let url = self.url(&sas, comp)?;
        let builder = self.request(&method, &url, headers, body);
        let answer = exchange_up_to(LARGEST, builder, &url, deadline).await?;
        if matches!(answer.status, 401 | 403) {
            self.sas.forget().await;
        }
        Ok(answer)
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, &str)],
        body: Vec<u8>,
    ) -> RequestBuilder {
        let mut builder = self.http.request(method.clone(), url.clone()).header(VERSION, API_VERSION);
        if *method == Method::PUT {
            // Storage requires it even for an empty body.
            builder = builder.header(CONTENT_LENGTH, body.len()).body(body);
        }
        for (name, value) in headers {
            builder = builder.header(name, *value);
        }
        builder
    }

    fn url(&self, sas: &SasUrl, comp: Option<&str>) -> Result<Url, Failure> {
        let container = container_url(sas)
            .map_err(|_| Failure::new(FailureClass::Config, "the container URL cannot be used"))?;
        let mut url = blob_url(&container, &self.blob)?;
        if let Some(comp) = comp {
            let query = format!("comp={comp}&{}", url.query().unwrap_or_default());
            url.set_query(Some(&query));
        }
        Ok(url)
    }

    /// What a refusal of storage means for the owner.
    fn lost_or_failed(&self, answer: &Answer, id: Uuid) -> HomeError {
        if is_lost(answer) {
            self.forget(id);
            return HomeError::Lost;
        }
        refused_by_storage(answer)
    }

    /// The next lease has another id, so nothing that is still under way with this one has any effect then.
    fn forget(&self, id: Uuid) {
        let mut held = self.held.lock();
        if held.id == id {
            *held = LeaseState { id: Uuid::new_v4(), etag: None };
        }
    }

    /// For a call that does not transfer the state: several fit into a lease.
    fn short(&self) -> Duration {
        self.lease / 3
    }
}

impl StateHome for BlobStateHome {
    fn acquire(&self) -> HomeAnswer<'_, Option<Vec<u8>>> {
        Box::pin(self.take_and_fetch())
    }

    fn renew(&self) -> HomeAnswer<'_, ()> {
        Box::pin(self.extend())
    }

    fn publish(&self, state: Vec<u8>) -> HomeAnswer<'_, ()> {
        Box::pin(self.put(state))
    }

    fn release(&self) -> HomeAnswer<'_, ()> {
        Box::pin(self.give_back())
    }

    fn read(&self) -> HomeAnswer<'_, Option<Vec<u8>>> {
        Box::pin(self.get(None))
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}

impl fmt::Debug for BlobStateHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobStateHome({}, <redacted>)", self.blob)
    }
}

/// Whether storage refuses because the lease is not ours.
fn is_lost(answer: &Answer) -> bool {
    lease_is_lost(answer.status, storage_code(answer))
}

/// Whether there is no blob. A missing container is a different case: it is not ours to create.
fn is_absent(answer: &Answer) -> bool {
    matches!((answer.status, storage_code(answer)), (_, Some("BlobNotFound")) | (404, None))
}

fn refused_by_storage(answer: &Answer) -> HomeError {
    storage_refusal(answer).into()
}

/// A failure that another attempt may not meet.
fn passing_failure(message: &str) -> HomeError {
    Failure::new(FailureClass::Transient, message).into()
}

#[cfg(test)]
mod tests;
