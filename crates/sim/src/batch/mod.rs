//! The simulated Batch service: pools, nodes, node counts, jobs, tasks, and the upload call.

mod auth;
mod capacity;
mod command;
mod envelope;
mod errors;
mod faults;
mod filter;
mod image;
mod jobs;
mod json;
mod node_tasks;
mod nodes;
mod paging;
mod pools;
mod request;
mod routes;
mod select;
mod service;
mod shared_key;
mod start_task;
mod tasks;
mod upload;
mod versions;

pub(crate) use capacity::Bucket;
pub(crate) use faults::AccountFaults;
pub(crate) use service::BatchService;
