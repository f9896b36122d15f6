//! The ready document: everything a client needs to reach a simulator that has just started.

use serde::Serialize;

/// Schema `fleetlogs.sim-ready/v1`.
///
/// It contains keys and signatures, and may be stored anywhere: they are valid for this simulator only.
#[derive(Clone, Default, Serialize)]
pub struct Ready {
    /// `fleetlogs.sim-ready/v1`.
    pub schema: String,
    /// The Batch accounts, in the order of the scenario.
    pub accounts: Vec<ReadyAccount>,
    /// SAS URL of the container with write permission only.
    pub container_url: String,
    /// SAS URL of the container with read and list permission only.
    pub verify_url: String,
    /// URL of the container without any query.
    pub container: String,
    /// The storage account.
    pub storage: ReadyStorage,
    /// URL of the ledger.
    pub ledger: String,
    /// URL of Azure Resource Manager, which lists the accounts of a subscription; without a slash at the end.
    pub arm: String,
    /// URL of the token service, as a managed identity on App Service has it in `IDENTITY_ENDPOINT`.
    pub identity: String,
    /// Path of a config for `fleetlogs run` with this fleet; set by the program that writes the config.
    pub config: Option<String>,
    /// Path of a config that also does for `share` and `ticket`: it creates its SAS and has a `[ticket]`. It needs
    /// `environment`.
    pub full_config: Option<String>,
    /// The variables that make the token service the managed identity of a process.
    pub environment: ReadyEnvironment,
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
    /// What it accepts: `shared-key`, `entra`, or both.
    pub auth: Vec<&'static str>,
    /// The id of its subscription.
    pub subscription: String,
}

/// Variables of the environment, with their names in Azure.
#[derive(Clone, Default, Serialize)]
pub struct ReadyEnvironment {
    /// URL of the token service.
    #[serde(rename = "IDENTITY_ENDPOINT")]
    pub identity_endpoint: String,
    /// What the token service wants to see in the header `X-IDENTITY-HEADER`: it takes any text.
    #[serde(rename = "IDENTITY_HEADER")]
    pub identity_header: String,
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
