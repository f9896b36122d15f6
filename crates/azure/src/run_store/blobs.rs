//! Calls about the blobs of one run. Each is sent once, except that a SAS that storage refuses is replaced by another
//! one. Whoever calls decides whether the call is repeated.

use std::collections::HashMap;
use std::time::Duration;

use azure_core::Bytes;
use azure_core::http::RequestContent;
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{
    AppendBlobClientAppendBlockOptions, AppendBlobClientCreateOptions, BlobClientBreakLeaseOptions,
    BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders as _,
    BlockBlobClientCommitBlockListOptions, BlockBlobClientUploadOptions, BlockLookupList, HttpRange,
    LeaseState,
};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::retry::persistently;
use time::OffsetDateTime;
use tokio::time::sleep;
use uuid::Uuid;

use crate::own_blobs::{
    LeaseAnswer, OwnBlobs, acquire, container, lease_answer, lost_its_lease, unless_absent, unless_present,
};
use crate::sas_source::SasSource;

/// A part of a blob that is read or written at once.
pub(super) const PIECE: usize = 4 << 20;

/// How often a call is repeated, about once a second, before it is given up.
const REPEATS: u32 = 10;

const PAUSE: Duration = Duration::from_secs(1);

/// The blobs of a run.
pub(super) struct RunBlobs {
    own: OwnBlobs,
    /// The directory of the run in its container.
    pub(super) dir: String,
    /// For one call, from its SAS to the last byte of the answer.
    limit: Duration,
}

/// What storage says about a blob.
#[derive(Clone, Debug)]
pub(super) struct BlobFacts {
    pub(super) size: u64,
    pub(super) is_leased: bool,
    /// Its lease ended by itself, and nobody has taken it since.
    pub(super) lease_ran_out: bool,
    pub(super) changed_at: Option<OffsetDateTime>,
    pub(super) metadata: HashMap<String, String>,
}

impl RunBlobs {
    pub(super) fn new(http: reqwest::Client, source: SasSource, dir: String, limit: Duration) -> Self {
        Self { own: OwnBlobs::new(http, source), dir, limit }
    }

    /// The blobs of another directory of the container, with the same SAS.
    pub(super) fn in_dir(&self, dir: String) -> Self {
        Self { own: self.own.clone(), dir, limit: self.limit }
    }

    /// What identifies the place of the run, whatever name the storage account is reached by: account, container and
    /// directory.
    pub(super) async fn place(&self) -> Result<String, Failure> {
        let container = container(&self.own.sas(self.limit).await?)?;
        let account = container.host_str().and_then(|host| host.split('.').next()).unwrap_or_default();
        Ok(format!("{account}{}/{}", container.path(), self.dir))
    }

    /// What storage says about a blob; none if it is not there.
    pub(super) async fn facts(&self, blob: &str) -> Result<Option<BlobFacts>, Failure> {
        let answer = self.call(blob, |client: BlobClient| async move {
            let answer = client.get_properties(None).await?;
            Ok(BlobFacts {
                size: answer.content_length()?.unwrap_or_default(),
                is_leased: answer.lease_state()? == Some(LeaseState::Leased),
                lease_ran_out: answer.lease_state()? == Some(LeaseState::Expired),
                changed_at: answer.last_modified()?,
                metadata: answer.metadata()?,
            })
        });
        unless_absent(answer.await)
    }

    /// Up to `length` bytes of a blob from a byte on; fewer only at its end. None if it is not there.
    pub(super) async fn range(
        &self,
        blob: &str,
        from: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let range = HttpRange::new(from, length as u64);
        let answer = self.call(blob, |client: BlobClient| {
            let options = BlobClientDownloadOptions {
                range: Some(range.clone()),
                partition_size: std::num::NonZero::new(length),
                ..Default::default()
            };
            async move { Ok(Vec::from(client.download(Some(options)).await?.body.collect().await?)) }
        });
        match answer.await {
            // Nothing begins there: the blob ends before.
            Err(failure) if failure.status == Some(416) => Ok(Some(vec![])),
            // A server without support for ranges answers with the whole blob.
            Ok(bytes) if bytes.len() > length => {
                Err(Failure::new(FailureClass::Refused, "the answer is not the requested part of the blob"))
            }
            answer => unless_absent(answer),
        }
    }

    /// Writes a small block blob, unless there is one; false if there is.
    pub(super) async fn create(
        &self,
        blob: &str,
        content: Bytes,
        metadata: &[(&str, &str)],
    ) -> Result<bool, Failure> {
        unless_present(
            self.call(blob, |client: BlobClient| {
                let options = BlockBlobClientUploadOptions {
                    blob_content_type: Some("application/json".into()),
                    metadata: owned(metadata),
                    ..Default::default()
                };
                let content = content.clone().into();
                async move { client.upload(content, Some(options.if_not_exists())).await.map(|_| ()) }
            })
            .await,
        )
    }

    /// Replaces a small block blob, under its lease if an id is given.
    pub(super) async fn write(&self, blob: &str, content: Bytes, lease: Option<&str>) -> Result<(), Failure> {
        self.call(blob, |client: BlobClient| {
            let options = BlockBlobClientUploadOptions {
                blob_content_type: Some("application/json".into()),
                lease_id: lease.map(str::to_owned),
                ..Default::default()
            };
            let content = content.clone().into();
            async move { client.upload(content, Some(options)).await.map(|_| ()) }
        })
        .await
    }

    /// Brings a block of a blob to storage. It is part of the blob when [`commit`](Self::commit) says so. `set` tells the
    /// blocks of several writers apart.
    pub(super) async fn stage(
        &self,
        blob: &str,
        set: Uuid,
        number: u32,
        content: Bytes,
    ) -> Result<(), Failure> {
        self.call(blob, |client: BlobClient| {
            let (client, content) = (client.block_blob_client(), content.clone());
            async move {
                let length = content.len() as u64;
                let id = block_id(set, number);
                client.stage_block(&id, length, content.into(), None).await.map(|_| ())
            }
        })
        .await
    }

    /// Makes a blob of the first blocks of a set that were staged, unless there is one; false if there is.
    pub(super) async fn commit(
        &self,
        blob: &str,
        set: Uuid,
        blocks: u32,
        metadata: &[(&str, &str)],
    ) -> Result<bool, Failure> {
        unless_present(
            self.call(blob, |client: BlobClient| {
                let list = BlockLookupList {
                    latest: Some((0..blocks).map(|number| block_id(set, number)).collect()),
                    ..Default::default()
                };
                let options = BlockBlobClientCommitBlockListOptions {
                    blob_content_type: Some("application/json".into()),
                    metadata: owned(metadata),
                    if_none_match: Some("*".into()),
                    ..Default::default()
                };
                async move {
                    let list = RequestContent::try_from(list)?;
                    client.block_blob_client().commit_block_list(list, Some(options)).await.map(|_| ())
                }
            })
            .await,
        )
    }

    /// Creates an empty append blob, unless there is one; false if there is.
    pub(super) async fn create_log(&self, blob: &str, metadata: &[(&str, &str)]) -> Result<bool, Failure> {
        unless_present(
            self.call(blob, |client: BlobClient| {
                let options = AppendBlobClientCreateOptions {
                    blob_content_type: Some("application/x-ndjson".into()),
                    metadata: owned(metadata),
                    ..Default::default()
                };
                let client = client.append_blob_client();
                async move { client.create(Some(options.if_not_exists())).await.map(|_| ()) }
            })
            .await,
        )
    }

    /// Appends a block at a position, under a lease.
    pub(super) async fn append(
        &self,
        blob: &str,
        lease: &str,
        position: u64,
        block: Bytes,
    ) -> Result<(), Failure> {
        self.call(blob, |client: BlobClient| {
            let options = AppendBlobClientAppendBlockOptions {
                lease_id: Some(lease.to_owned()),
                append_position: i64::try_from(position).ok(),
                ..Default::default()
            };
            let (client, block) = (client.append_blob_client(), block.clone());
            async move {
                let length = block.len() as u64;
                client.append_block(block.into(), length, Some(options)).await.map(|_| ())
            }
        })
        .await
    }

    /// Takes the lease of a blob. It is ours as well if it has been before, under the same id.
    pub(super) async fn lease(&self, blob: &str, id: &str, length: Duration) -> Result<LeaseAnswer, Failure> {
        lease_answer(self.call(blob, |client: BlobClient| acquire(client, id.to_owned(), length)).await)
    }

    /// Renews a lease; false if it is no longer ours.
    pub(super) async fn renew(&self, blob: &str, id: &str) -> Result<bool, Failure> {
        let answer = self.call(blob, |client: BlobClient| {
            let id = id.to_owned();
            async move { client.renew_lease(id, None).await.map(|_| ()) }
        });
        match unless_absent(answer.await) {
            Ok(renewed) => Ok(renewed.is_some()),
            Err(failure) if lost_its_lease(&failure) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Gives a lease up.
    pub(super) async fn release(&self, blob: &str, id: &str) -> Result<(), Failure> {
        self.call(blob, |client: BlobClient| {
            let id = id.to_owned();
            async move { client.release_lease(id, None).await.map(|_| ()) }
        })
        .await
    }

    /// Ends the lease of a blob, whoever has it.
    pub(super) async fn end_lease(&self, blob: &str) -> Result<(), Failure> {
        self.call(blob, |client: BlobClient| async move {
            let options = BlobClientBreakLeaseOptions { break_period: Some(0), ..Default::default() };
            client.break_lease(Some(options)).await.map(|_| ())
        })
        .await
    }

    /// Deletes a blob.
    pub(super) async fn delete(&self, blob: &str) -> Result<(), Failure> {
        self.call(blob, |client: BlobClient| async move { client.delete(None).await.map(|_| ()) }).await
    }

    /// Whether the SAS permits this, as far as its text says.
    pub(super) async fn grants(&self, permission: char) -> Result<Option<bool>, Failure> {
        Ok(self.own.sas(self.limit).await?.grants(permission))
    }

    /// Sends a call about a blob, with another SAS if storage refuses the first.
    async fn call<T, C>(&self, blob: &str, call: impl Fn(BlobClient) -> C) -> Result<T, Failure>
    where
        C: Future<Output = azure_core::Result<T>>,
    {
        self.own.call(&format!("{}/{blob}", self.dir), self.limit, call).await
    }
}

/// Repeats a call that may be repeated, for some seconds.
pub(super) async fn patiently<T, C>(call: impl FnMut() -> C) -> Result<T, Failure>
where
    C: Future<Output = Result<T, Failure>>,
{
    let pause = |attempt, failure: &Failure| {
        tracing::debug!(%failure, attempt, "repeating a call about a run in Blob storage");
        (attempt <= REPEATS).then(|| failure.retry_after().unwrap_or_default().clamp(PAUSE, PAUSE * 10))
    };
    persistently(call, pause, sleep).await
}

fn owned(metadata: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    (!metadata.is_empty())
        .then(|| metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

/// Ids of the blocks of a blob must have the same length.
fn block_id(set: Uuid, number: u32) -> Vec<u8> {
    format!("{}{number:08}", set.simple()).into_bytes()
}
