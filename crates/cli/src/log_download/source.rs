//! What downloads ask of storage.

use fleetlogs_azure::{AzureLogStore, BlobVersion, OpenBlob};
use fleetlogs_model::failure::Failure;
use fleetlogs_model::service::LogStore;

/// A container that can be listed, and whose blobs can be read from any byte on.
pub(crate) trait BlobSource: LogStore {
    /// A blob that is being read.
    type Open: BlobStream;

    /// The current version of a blob.
    async fn version(&self, blob: &str) -> Result<BlobVersion, Failure>;

    /// Reads a blob from a byte on; with an `etag`, only if it is still that version.
    async fn open(&self, blob: &str, from: u64, etag: Option<&str>) -> Result<Self::Open, Failure>;
}

/// A blob that is being read.
pub(crate) trait BlobStream {
    /// The version that is being read.
    fn version(&self) -> &BlobVersion;

    /// The next bytes; none at the end.
    async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]>>, Failure>;
}

impl BlobSource for AzureLogStore {
    type Open = OpenBlob;

    async fn version(&self, blob: &str) -> Result<BlobVersion, Failure> {
        self.blob_version(blob).await
    }

    async fn open(&self, blob: &str, from: u64, etag: Option<&str>) -> Result<OpenBlob, Failure> {
        self.open_blob(blob, from, etag).await
    }
}

impl BlobStream for OpenBlob {
    fn version(&self) -> &BlobVersion {
        &self.version
    }

    async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]>>, Failure> {
        OpenBlob::chunk(self).await
    }
}
