//! The schedule at work: what `fleetlogs schedule` runs as a daemon or `--once`. Nothing here prints.

mod active_schedule;
mod lease;
mod listener;
mod lock;
mod machine;
mod metrics;
mod once;
mod retention;
mod runner;
mod serve;
mod snapshots;
mod starting;
mod state_place;
mod watching;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use listener::fuzzed_alert;
pub(crate) use lock::{Holder, Lock, Locked};
pub(crate) use once::{OnceListener, run_once};
pub(crate) use serve::serve;
pub(crate) use snapshots::require_snapshot;
pub(crate) use state_place::{state_of, state_path};
