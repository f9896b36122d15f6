//! What crosses a boundary in fleetlogs: ids, the frozen plan, events, failures, the ledger folded from the
//! events, and the two traits through which the engine sees the outside. No files, no network, no runtime.

pub mod access;
pub mod event;
pub mod event_sink;
pub mod evidence;
pub mod failure;
pub mod fingerprint;
pub mod history;
pub mod home;
pub mod ids;
pub mod interval;
pub mod inventory;
pub mod ledger;
pub mod outcome;
pub mod plan;
pub mod planned;
pub mod sas;
pub mod secret;
pub mod service;
pub mod snapshot;
pub mod timestamp;
pub mod window;
