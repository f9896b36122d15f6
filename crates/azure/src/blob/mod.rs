//! The container of the logs: parts of blobs over Microsoft's Blob SDK; lists, one page per call, and whole blobs without
//! it.
//!
//! The SDK does not retry: the engine decides how often and when to call again.

mod download;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod listing;
mod listing_reader;
mod plain_blob;
mod sdk_failure;
mod store;
mod urls;

pub use download::{BlobVersion, OpenBlob, fell_silent, has_changed};
pub(crate) use sdk_failure::sdk_failure;
pub use store::AzureLogStore;
pub use urls::InvalidContainer;
pub(crate) use urls::{blob_url, container_url};
