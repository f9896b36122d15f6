//! Calls about blobs of fleetlogs' own, over Microsoft's Blob SDK: the records of runs, and the shared state of a
//! schedule. The SDK repeats no call: whoever calls decides that.

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{RetryOptions, Transport};
use azure_storage_blob::models::BlobClientAcquireLeaseOptions;
use azure_storage_blob::{BlobClient, BlobClientOptions};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::SasUrl;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::blob::{blob_url, container_url, sdk_failure};
use crate::request::API_VERSION;
use crate::sas_source::{FreshSas, SasSource};
use crate::sdk_transport::{client_options, transport};
use crate::storage_error::lease_is_lost;

/// A container with blobs of fleetlogs' own. Clones share their SAS.
#[derive(Clone)]
pub(crate) struct OwnBlobs {
    transport: Transport,
    sas: Arc<FreshSas>,
}

/// The answer to a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    /// It is ours.
    Ours,
    /// Somebody else has it.
    Theirs,
    /// There is no such blob.
    NoBlob,
}

impl OwnBlobs {
    pub(crate) fn new(http: reqwest::Client, source: SasSource) -> Self {
        Self { transport: transport(http), sas: Arc::new(FreshSas::new(source)) }
    }

    /// The SAS that the next call is sent with. `patience` is for a newer one if it expires soon.
    pub(crate) async fn sas(&self, patience: Duration) -> Result<SasUrl, Failure> {
        self.sas.get(patience).await
    }

    /// Sends a call about a blob once, all within a time limit. If storage refuses its SAS, the next call has another.
    pub(crate) async fn call_once<T, C>(
        &self,
        name: &str,
        limit: Duration,
        patience: Duration,
        call: impl FnOnce(BlobClient) -> C,
    ) -> Result<T, Failure>
    where
        C: Future<Output = azure_core::Result<T>>,
    {
        let deadline = Instant::now() + limit;
        let sas = timeout_at(deadline, self.sas.get(patience)).await.unwrap_or_else(|_| {
            Err(Failure::new(FailureClass::NotSent, "no SAS arrived within the time limit of the call"))
        })?;
        let answer = timeout_at(deadline, self.send(&sas, name, call)).await;
        let answer = answer.unwrap_or_else(|_| Err(no_answer(limit)));
        if answer.as_ref().is_err_and(refuses_the_sas) {
            self.sas.forget().await;
        }
        answer
    }

    /// Sends a call about a blob, with another SAS if storage refuses the first, all within a time limit.
    pub(crate) async fn call<T, C>(
        &self,
        name: &str,
        limit: Duration,
        call: impl Fn(BlobClient) -> C,
    ) -> Result<T, Failure>
    where
        // Not `AsyncFn`: the compiler cannot tell that its futures may be sent to another thread.
        C: Future<Output = azure_core::Result<T>>,
    {
        let work = async {
            let sas = self.sas.get(limit / 2).await?;
            let failure = match self.send(&sas, name, &call).await {
                Err(failure) if refuses_the_sas(&failure) => failure,
                answer => return answer,
            };
            self.sas.forget().await;
            let another = self.sas.get(limit / 2).await?;
            if another.expose() == sas.expose() {
                return Err(failure);
            }
            self.send(&another, name, &call).await
        };
        timeout(limit, work).await.unwrap_or_else(|_| Err(no_answer(limit)))
    }

    async fn send<T, C>(
        &self,
        sas: &SasUrl,
        name: &str,
        call: impl FnOnce(BlobClient) -> C,
    ) -> Result<T, Failure>
    where
        C: Future<Output = azure_core::Result<T>>,
    {
        let options = BlobClientOptions {
            version: API_VERSION.into(),
            client_options: client_options(self.transport.clone(), RetryOptions::none()),
        };
        let answer = match BlobClient::new(blob_url(&container(sas)?, name)?, None, Some(options)) {
            Ok(client) => call(client).await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| sdk_failure(&error))
    }
}

/// The URL of the container, with its SAS.
pub(crate) fn container(sas: &SasUrl) -> Result<Url, Failure> {
    container_url(sas).map_err(|_| Failure::new(FailureClass::Config, "the container URL cannot be used"))
}

fn no_answer(limit: Duration) -> Failure {
    let message = format!("storage did not answer within {} seconds", limit.as_secs());
    Failure::new(FailureClass::Transient, message)
}

fn refuses_the_sas(failure: &Failure) -> bool {
    matches!(failure.status, Some(401 | 403))
}

/// Takes the lease of a blob. It is ours as well if it has been before, under the same id.
pub(crate) async fn acquire(client: BlobClient, id: String, length: Duration) -> azure_core::Result<()> {
    let seconds = i32::try_from(length.as_secs()).unwrap_or(60);
    let options = BlobClientAcquireLeaseOptions {
        proposed_lease_id: Some(id),
        ..BlobClientAcquireLeaseOptions::default()
    };
    client.acquire_lease(seconds, Some(options)).await.map(|_| ())
}

/// What became of a call of [`acquire`].
pub(crate) fn lease_answer(answer: Result<(), Failure>) -> Result<LeaseAnswer, Failure> {
    match unless_absent(answer) {
        Ok(Some(())) => Ok(LeaseAnswer::Ours),
        Ok(None) => Ok(LeaseAnswer::NoBlob),
        Err(failure) if is_held(&failure) => Ok(LeaseAnswer::Theirs),
        Err(failure) => Err(failure),
    }
}

/// Whether a write was refused because its lease is not, or no longer, in force.
pub(crate) fn lost_its_lease(failure: &Failure) -> bool {
    failure.status.is_some_and(|status| lease_is_lost(status, failure.code.as_deref()))
}

fn is_held(failure: &Failure) -> bool {
    let code = failure.code.as_deref();
    matches!(
        code,
        Some(
            "LeaseAlreadyPresent"
                | "LeaseIsBreakingAndCannotBeAcquired"
                | "LeaseIdMismatchWithLeaseOperation"
        )
    ) || (failure.status, code) == (Some(409), None)
}

/// None if there is no such blob. A missing container is a different case: it is not ours to create.
pub(crate) fn unless_absent<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if matches!(failure.code.as_deref(), Some("BlobNotFound")) => Ok(None),
        Err(failure) if failure.status == Some(404) && failure.code.is_none() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// False if a blob was not created because there is one.
pub(crate) fn unless_present(answer: Result<(), Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(()) => Ok(true),
        Err(failure)
            if matches!(
                failure.code.as_deref(),
                Some(
                    "BlobAlreadyExists" | "ConditionNotMet" | "LeaseIdMissing" | "UnauthorizedBlobOverwrite"
                )
            ) =>
        {
            Ok(false)
        }
        Err(failure) => Err(failure),
    }
}
