//! A simulator of Azure Batch accounts and a storage account, on loopback, over real HTTP.
//!
//! It is the demo, the drill and the test bench of fleetlogs. It is meant to be stricter than the real service, never
//! more lenient: signatures, tokens and SAS are really checked, a 200 promises nothing, and a scenario makes calls,
//! answers and files fail in every known way. The ledger records what really happened, so that a test need not trust
//! the client's own report.
//!
//! A [`Scenario`] says what is simulated, a [`Simulator`] runs it, [`Ready`] says how to reach it, and
//! [`LedgerSnapshot`] says what happened. The simulator shares no code with the clients it tests: a mistake in a
//! shared type would go unnoticed on both sides.

mod arm;
mod arm_error;
mod batch;
mod blob;
mod clock;
mod control;
mod delivery;
mod echo;
mod fleet;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http;
mod identity;
mod ledger;
mod ready;
mod roll;
mod scenario;
mod signing_key;
mod simulator;
mod support;
mod world;

pub use ledger::{
    AccessKind, AccountEntry, DirectoryEntry, LedgerSnapshot, LeftEntry, NodeEntry, StorageEntry,
};
pub use ready::{Ready, ReadyAccount, ReadyStorage};
pub use scenario::{Scenario, ScenarioError};
pub use simulator::{SimError, Simulator};
