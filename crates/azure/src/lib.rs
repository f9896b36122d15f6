//! The only code of fleetlogs that knows Azure and HTTP: Azure Batch over REST and Blob storage over Microsoft's SDK,
//! both behind the traits of `fleetlogs-model`, and what they need: tokens of Entra, and SAS for containers.
//!
//! An upload call, or a call of `LogStore`, is sent once and ends with the answer or a
//! [`Failure`](fleetlogs_model::failure::Failure) whose class says what may be done next; the engine decides. Only
//! the calls of [`SupportClient`] are retried here, because every caller would retry them in the same way. A refused
//! token is renewed once.

mod account_key;
mod account_transport;
mod answer;
mod arm;
mod arm_call;
mod arm_inventory;
mod batch;
mod blob;
mod classify;
mod cloud;
mod credential;
mod delegation_key;
mod error_body;
#[cfg(test)]
#[path = "../../../tests/formats/lock.rs"]
mod format_lock;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http;
mod http_date;
mod kept_connections;
mod large_pages;
mod link;
mod own_blobs;
mod probe;
mod queue;
mod redact;
mod request;
mod run_store;
mod sas;
mod sas_source;
mod sdk_transport;
mod service_clock;
mod shared_key;
mod state_home;
mod storage;
mod storage_error;
mod storage_key;
mod support;
mod target;
#[cfg(test)]
mod test_server;
mod tls;
mod token;
mod token_claims;
mod trial;
mod wire;

pub use account_key::InvalidKey;
pub use arm::{FoundAccount, ListedAccounts, list_accounts};
pub use arm_inventory::{FoundStorage, FoundSubscription, list_storage_accounts, list_subscriptions};
pub use batch::{AccountSettings, AzureBatch, BatchAuth, Clients, InvalidEndpoint};
pub use blob::{AzureLogStore, BlobVersion, InvalidContainer, OpenBlob, fell_silent, has_changed};
pub use cloud::Cloud;
pub use credential::{CredentialKind, EntraSettings};
pub use http::{HttpClientError, http_client, list_client, unkept_client};
pub use probe::{ProbeEnd, probe_write};
pub use queue::{AzureWorkQueue, InvalidQueue, POISON, QueueAccess, QueueContents};
pub use redact::{error_chain, safe};
/// The client that [`http_client`] returns.
pub use reqwest::Client;
pub use run_store::{
    BlobRunStore, BlobTrial, RecordedRunName, StoredPartition, StoredRun, is_run_key, recorded_runs,
    run_of_key, try_out_container,
};
pub use sas_source::SasSource;
pub use shared_key::{InvalidSharedKey, SharedKey};
pub use state_home::BlobStateHome;
pub use storage::{
    ContainerGrant, InvalidStorageAccount, PolicyGrant, Removal, Revocation, StorageAccount, StorageAuth,
};
pub use support::{
    Contact, LONGEST_FILE, NewTicket, OpenTicket, Severity, SupportClient, SupportOption, TechnicalDetails,
    TicketProperties,
};
pub use token::TokenSource;
pub use token_claims::TokenClaims;
pub use trial::FailedTrial;
