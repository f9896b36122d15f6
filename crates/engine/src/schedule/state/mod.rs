//! The state of a schedule: one SQLite database, which survives `kill -9` and the loss of power.
//!
//! If several machines share a schedule, the database is a copy of the one in their common home
//! ([`StateHome`](fleetlogs_model::home::StateHome)). It is fetched when this machine becomes the owner, and every
//! change is published before it is acted on. Times are stored as text, RFC 3339 in UTC with milliseconds, so that
//! they sort.

pub mod alerts;
pub mod coverage;
mod error;
pub mod numbers;
pub mod occurrences;
pub mod runs;
mod shared;
mod store;
mod stored_time;
mod tables;

pub use self::error::StateError;
pub(super) use self::store::data_version;
pub use self::store::{Fetched, Store};
#[cfg(test)]
pub(super) use self::stored_time::stored_time;
pub use super::job::JobId;
