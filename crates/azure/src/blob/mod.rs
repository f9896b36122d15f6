//! The container of the logs: lists, one page per call, and parts of blobs over Microsoft's Blob SDK; whole blobs
//! without it.
//!
//! The SDK does not retry: the engine decides how often and when to call again.

mod download;
mod listing;
mod sdk_failure;
mod store;
mod urls;

pub use download::{BlobVersion, OpenBlob, fell_silent, has_changed};
pub use store::AzureLogStore;
pub use urls::InvalidContainer;
pub(crate) use urls::{blob_url, container_url};
