//! The simulated Blob service: one storage account, one container, path-style addresses.

mod content;
mod errors;
mod listing;
mod routes;
mod sas;
mod store;

pub(crate) use content::Content;
pub(crate) use routes::BlobService;
pub(crate) use sas::{Sas, container_sas};
pub(crate) use store::{Authority, BlobStore, Condition};
