//! The home of a schedule's shared state: one block blob, which is both the lock and the state.
//!
//! The holder of the blob's lease owns the state: storage refuses writes from everyone else. Every write also names
//! the version that it replaces, so that an abandoned write that is still under way cannot undo a later one. An empty
//! blob is a home in which nothing has been published yet.
//!
//! Each call is sent once. All calls may be repeated: if the answer to the call that took the lease was lost, the
//! lease is recognized by its proposed id.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use azure_core::Bytes;
use azure_core::error::ErrorKind;
use azure_core::http::Etag;
use azure_core::http::headers::HeaderName;
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobClientGetPropertiesOptions, BlobClientGetPropertiesResultHeaders as _,
    BlockBlobClientUploadOptions,
};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::home::{Answer as HomeAnswer, HomeError, StateHome};
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::time::sleep;
use uuid::Uuid;

use crate::own_blobs::{
    LeaseAnswer, OwnBlobs, acquire, lease_answer, lost_its_lease, unless_absent, unless_present,
};
use crate::sas_source::SasSource;

/// For downloading or uploading the state: 100,000 nodes are 15 MB, which takes two minutes at 1 Mbit/s.
const TRANSFER_LIMIT: Duration = Duration::from_secs(120);

/// The largest state, far beyond that of any fleet: the state is in memory during the transfer.
const LARGEST: usize = 256 << 20;

/// What one request downloads: the state of 100,000 nodes. A larger one is downloaded in parts of the same version.
const PART: NonZero<usize> = NonZero::new(16 << 20).expect("not zero");

/// What one request uploads: all of it, so a write that is abandoned leaves no parts behind.
const WHOLE: NonZero<u64> = NonZero::new(LARGEST as u64).expect("not zero");

const CONTENT_RANGE: HeaderName = HeaderName::from_static("content-range");

/// The home of a schedule's state, in a blob.
pub struct BlobStateHome {
    blobs: OwnBlobs,
    blob: String,
    lease: Duration,
    held: Mutex<HeldLease>,
}

/// What is known about the lease and the blob.
struct HeldLease {
    /// The id of our lease, or of the next one.
    id: Uuid,
    /// The blob's version. None if the answer to a write was lost.
    etag: Option<Etag>,
}

/// The content of the blob, and its version.
struct Fetched {
    content: Vec<u8>,
    etag: Option<Etag>,
}

impl BlobStateHome {
    /// A home; sends nothing. `source` is of SAS with read, create and write permission. `lease` is 15 to 60 whole
    /// seconds.
    #[must_use]
    pub fn new(http: reqwest::Client, source: SasSource, blob: String, lease: Duration) -> Self {
        let held = Mutex::new(HeldLease { id: Uuid::new_v4(), etag: None });
        Self { blobs: OwnBlobs::new(http, source), blob, lease, held }
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
        let length = self.lease;
        let taken = self.ask(self.short(), |client| acquire(client, id.to_string(), length)).await;
        match lease_answer(taken)? {
            LeaseAnswer::Ours => Ok(true),
            LeaseAnswer::NoBlob => Ok(false),
            LeaseAnswer::Theirs => Err(HomeError::Held),
        }
    }

    /// Creates an empty blob, unless there is one.
    async fn make(&self) -> Result<(), HomeError> {
        let made = self.ask(self.short(), |client| async move {
            let options = BlockBlobClientUploadOptions::default().if_not_exists();
            client.upload(Bytes::new().into(), Some(options)).await.map(|_| ())
        });
        unless_present(made.await)?;
        Ok(())
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
        let renewed = self.ask(self.short(), |client| async move {
            client.renew_lease(id.to_string(), None).await.map(|_| ())
        });
        renewed.await.map_err(|failure| self.lost_or_failed(failure, id))
    }

    async fn give_back(&self) -> Result<(), HomeError> {
        let id = self.held.lock().id;
        // Whatever the answer is, the next lease has another id.
        self.forget(id);
        let released = self.ask(self.short(), |client| async move {
            client.release_lease(id.to_string(), None).await.map(|_| ())
        });
        match released.await {
            Err(failure) if !lost_its_lease(&failure) => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// The content, read under the lease if an id is given; none if nothing has been published yet.
    async fn get(&self, id: Option<Uuid>) -> Result<Option<Vec<u8>>, HomeError> {
        let fetched = self.ask(TRANSFER_LIMIT, |client| download(client, id)).await;
        if fetched.as_ref().is_err_and(|failure| failure.code.as_deref() == Some("ConditionNotMet")) {
            return Err(passing_failure("the shared state changed between two parts of its download"));
        }
        let fetched = match id {
            Some(id) => {
                let fetched = fetched.map_err(|failure| self.lost_or_failed(failure, id))?;
                self.learn(id, fetched.etag)?;
                Some(fetched.content)
            }
            None => unless_absent(fetched)?.map(|fetched| fetched.content),
        };
        match fetched {
            Some(content) if content.len() > LARGEST => Err(too_large()),
            fetched => Ok(fetched.filter(|content| !content.is_empty())),
        }
    }

    async fn put(&self, state: Vec<u8>) -> Result<(), HomeError> {
        if state.len() > LARGEST {
            return Err(too_large());
        }
        let (id, known) = {
            let mut held = self.held.lock();
            (held.id, held.etag.take())
        };
        let etag = match known {
            Some(etag) => etag,
            None => self.version(id).await?,
        };
        let options = BlockBlobClientUploadOptions {
            lease_id: Some(id.to_string()),
            if_match: Some(etag),
            blob_content_type: Some("application/vnd.sqlite3".into()),
            partition_size: Some(WHOLE),
            ..Default::default()
        };
        let written = self.ask(TRANSFER_LIMIT, |client| async move {
            Ok(client.upload(Bytes::from(state).into(), Some(options)).await?.etag)
        });
        match written.await {
            Ok(etag) => self.learn(id, etag),
            // It is one of our own writes whose answer was lost, because nobody else can write: the next attempt will
            // know its version.
            Err(failure) if failure.code.as_deref() == Some("ConditionNotMet") => {
                Err(passing_failure("an earlier write of the shared state arrived late"))
            }
            Err(failure) => Err(self.lost_or_failed(failure, id)),
        }
    }

    /// The blob's version, read under the lease.
    async fn version(&self, id: Uuid) -> Result<Etag, HomeError> {
        let options = BlobClientGetPropertiesOptions { lease_id: Some(id.to_string()), ..Default::default() };
        let etag = self
            .ask(self.short(), |client| async move { client.get_properties(Some(options)).await?.etag() });
        let etag = etag.await.map_err(|failure| self.lost_or_failed(failure, id))?;
        etag.ok_or_else(|| passing_failure("storage does not report the version of the blob"))
    }

    /// Stores the version from an answer while the lease is the same.
    fn learn(&self, id: Uuid, etag: Option<Etag>) -> Result<(), HomeError> {
        let mut held = self.held.lock();
        if held.id != id {
            return Err(HomeError::Lost);
        }
        held.etag = etag;
        Ok(())
    }

    /// Sends a call about the blob with a valid SAS, all within a time limit.
    async fn ask<T, C>(&self, limit: Duration, call: impl FnOnce(BlobClient) -> C) -> Result<T, Failure>
    where
        C: Future<Output = azure_core::Result<T>>,
    {
        self.blobs.call_once(&self.blob, limit, self.short() / 2, call).await
    }

    /// What a refusal of storage means for the owner.
    fn lost_or_failed(&self, failure: Failure, id: Uuid) -> HomeError {
        if lost_its_lease(&failure) {
            self.forget(id);
            return HomeError::Lost;
        }
        failure.into()
    }

    /// The next lease has another id, so nothing that is still under way with this one has any effect then.
    fn forget(&self, id: Uuid) {
        let mut held = self.held.lock();
        if held.id == id {
            *held = HeldLease { id: Uuid::new_v4(), etag: None };
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

/// The content of the blob, read under the lease if an id is given. Of one that is too large, as much as shows that.
async fn download(client: BlobClient, id: Option<Uuid>) -> azure_core::Result<Fetched> {
    let options = BlobClientDownloadOptions {
        lease_id: id.map(|id| id.to_string()),
        partition_size: Some(PART),
        ..Default::default()
    };
    let mut answer = client.download(Some(options)).await?;
    let mut content = vec![];
    while let Some(part) = answer.body.try_next().await? {
        content.extend_from_slice(&part);
        if content.len() > LARGEST {
            break;
        }
    }
    // The SDK fills up a first part that is shorter than it asked for.
    let total = answer.headers.get_optional_str(&CONTENT_RANGE).and_then(|range| range.rsplit('/').next());
    if total.and_then(|total| total.parse().ok()).is_some_and(|total: usize| total < content.len()) {
        return Err(azure_core::Error::with_message(
            ErrorKind::Io,
            "a part of the blob is shorter than its range",
        ));
    }
    Ok(Fetched { content, etag: answer.properties.etag })
}

fn too_large() -> HomeError {
    let message = format!("the state of the schedule is larger than {LARGEST} bytes");
    Failure::new(FailureClass::Refused, message).into()
}

/// A failure that another attempt may not meet.
fn passing_failure(message: &str) -> HomeError {
    Failure::new(FailureClass::Transient, message).into()
}

#[cfg(test)]
mod tests;
