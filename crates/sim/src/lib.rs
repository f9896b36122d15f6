//! A simulator of Azure Batch accounts and a storage account, on loopback, over real HTTP.
//!
//! It is the demo, the drill and the test bench of fleetlogs. It means to be harder than the real service and never
//! kinder: signatures, tokens and SAS are checked for real, a 200 promises nothing, and a scenario makes calls,
//! answers and files go wrong in every way that is known of. What really happened is in the ledger, so nobody has to
//! take a client's word for it.
//!
//! A [`Scenario`] says what is simulated, a [`Simulator`] runs it, [`Ready`] says how to reach it, and
//! [`LedgerSnapshot`] says what came of it. It shares no code with the clients it tests: a mistake in a type that both
//! used would be seen by neither.

mod arm;
mod arm_error;
mod batch;
mod blob;
mod clock;
mod control;
mod delivery;
mod fleet;
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
