//! The ready document: everything a client needs to know of a simulator that has just started.

use serde::Serialize;

/// Schema `fleetlogs.sim-ready/v1`.
///
/// It holds keys and signatures, and may be written anywhere: they open nothing but this simulator.
#[derive(Clone, Default, Serialize)]
pub struct Ready {
    /// `fleetlogs.sim-ready/v1`.
    pub schema: String,
    /// The Batch accounts, in the order of the scenario.
    pub accounts: Vec<ReadyAccount>,
    /// SAS URL of the container that can write and do nothing else.
    pub container_url: String,
    /// SAS URL of the container that can read and list and do nothing else.
    pub verify_url: String,
    /// URL of the container without any query.
    pub container: String,
    /// The storage account.
    pub storage: ReadyStorage,
    /// Where the ledger can be read.
    pub ledger: String,
    /// Where Azure Resource Manager lists the accounts of a subscription: URL, without a slash at the end.
    pub arm: String,
    /// Path of a configuration of `fleetlogs run` for this fleet; filled in by whoever writes one.
    pub config: Option<String>,
}

/// A Batch account of the ready document.
#[derive(Clone, Default, Serialize)]
pub struct ReadyAccount {
    /// Account name.
    pub name: String,
    /// URL, without a slash at the end.
    pub endpoint: String,
    /// Base64.
    pub key: String,
}

/// The storage account of the ready document.
#[derive(Clone, Default, Serialize)]
pub struct ReadyStorage {
    /// Account name.
    pub account: String,
    /// Base64.
    pub key: String,
    /// URL with the account as its path, as Azurite has it; without a slash at the end.
    pub endpoint: String,
}
