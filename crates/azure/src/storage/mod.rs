//! A storage account: makes containers, and the SAS that let nodes and people into them.
//!
//! With the account's key a SAS is signed here and nothing is sent. With a token of Entra, storage gives a user
//! delegation key, which signs every SAS until it ends. Calls are made by hand: the SDK sends no token over plain
//! http, where emulators listen, and it signs no SAS with an account's key.

mod account;
mod containers;
mod policies;

pub use account::{ContainerGrant, InvalidStorageAccount, StorageAccount, StorageAuth};
pub use containers::Removal;
pub use policies::{PolicyGrant, Revocation};
