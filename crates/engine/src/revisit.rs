//! A later check of what a run collected: whether the files are still there and unchanged, and which time they cover.
//!
//! It changes neither the container nor the journal. It goes through the container one directory at a time, so that
//! memory does not grow with the number of files.

mod compare;
mod coverage;
mod log_times;
mod storage_retry;
mod walk;

pub use compare::{SeenFile, VerifiedFiles, compare};
pub use coverage::{FileTimes, TOLERANCE, cover, judge};
pub use log_times::{first_time, last_time};
pub use storage_retry::StorageRetry;
pub use walk::{ExpectedDirectory, FoundDirectory, Walk};
