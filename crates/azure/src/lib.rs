//! The only code of fleetlogs that knows Azure and HTTP: Azure Batch over REST, Blob storage over Microsoft's SDK,
//! both behind the traits of `fleetlogs-model`.
//!
//! Nothing here decides whether to try again. Each call is sent once, and its end is either the answer or a
//! [`Failure`](fleetlogs_model::failure::Failure) whose class says what may be done next.

mod answer;
mod batch;
mod blob;
mod classify;
mod cloud;
mod credential;
mod error_body;
mod http;
mod http_date;
mod link;
mod redact;
mod sdk_transport;
mod shared_key;
mod target;
#[cfg(test)]
mod test_server;
mod token;
mod wire;

pub use batch::{AccountSettings, AzureBatch, BatchAuth, InvalidEndpoint};
pub use blob::{AzureLogStore, InvalidContainer};
pub use cloud::Cloud;
pub use http::{HttpClientError, http_client};
/// The client that [`http_client`] makes.
pub use reqwest::Client;
pub use shared_key::{InvalidSharedKey, SharedKey};
pub use token::TokenSource;
