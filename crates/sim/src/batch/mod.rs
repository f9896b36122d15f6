//! The simulated Batch service: pools, nodes, node counts, and the upload call.

mod auth;
mod capacity;
mod envelope;
mod errors;
mod faults;
mod filter;
mod json;
mod nodes;
mod paging;
mod pools;
mod request;
mod routes;
mod select;
mod service;
mod shared_key;
mod upload;
mod versions;

pub(crate) use capacity::Bucket;
pub(crate) use faults::Ordinals;
pub(crate) use service::BatchService;
pub(crate) use shared_key::SigningKey;
