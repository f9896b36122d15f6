//! Which credential is used, from the config and the environment, and one request to it.
//!
//! The SDK has no chain of credentials, so the choice is made here; only the first one that is set up is tried. For
//! each request a new credential is created, because the SDK's own cache would return a refused token again.

mod chooser;
mod developer_tools;
mod settings;
mod token_request;

pub use settings::{CredentialKind, EntraSettings};
pub(crate) use token_request::TokenRequest;
