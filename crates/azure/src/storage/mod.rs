//! A storage account: creates containers, and SAS that give nodes and people access to them.
//!
//! With the account's key a SAS is signed here and nothing is sent. With a token of Entra, storage issues a user
//! delegation key, which signs every SAS until it expires. Calls do not use the SDK: it sends no token over plain
//! http, which emulators use, and signs no SAS with an account's key.

mod account;
mod containers;
mod policies;

pub(crate) use account::account_of;
pub use account::{ContainerGrant, InvalidStorageAccount, StorageAccount, StorageAuth};
pub use containers::Removal;
pub use policies::{PolicyGrant, Revocation};
