//! The simulated Blob service: one storage account with its containers, at path-style addresses.

mod account;
mod acl;
mod batch_delete;
mod blocks;
mod container;
mod content;
mod delegation;
mod errors;
mod faults;
mod listing;
mod object;
mod read_faults;
mod routes;
mod sas;
mod sas_text;
mod shared_key;
mod store;
mod xml;

pub(crate) use container::is_container_name;
pub(crate) use content::{Content, Log};
pub(crate) use routes::BlobService;
pub(crate) use sas::{Sas, container_sas};
pub(crate) use store::{Authority, BlobStore, Condition};
