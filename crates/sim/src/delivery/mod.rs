//! Deliveries: the files that nodes upload after a call was accepted.
//!
//! One task holds all of them in a heap ordered by time; a task or a timer per file would be half a million of them
//! for a large fleet.

mod courier;
mod foreign;
mod log_file;
mod queue;
mod target;

pub(crate) use courier::deliver;
pub(crate) use foreign::upload_to_others;
pub(crate) use queue::{Deliveries, Upload};
pub(crate) use target::{Place, UploadTarget, UploadTargets, WriteAccess};
