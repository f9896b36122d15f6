//! The container that the logs arrive in: lists over Microsoft's Blob SDK, one page per call, and parts of blobs; whole blobs
//! by hand.
//!
//! The SDK is told not to retry: how often and when to look again is for the engine to say.

mod download;
mod listing;
mod sdk_failure;
mod store;
mod urls;

pub use download::{BlobVersion, OpenBlob, has_changed};
pub use store::AzureLogStore;
pub use urls::InvalidContainer;
pub(crate) use urls::{blob_url, container_url};
