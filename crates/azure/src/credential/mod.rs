//! Which credential is used, from the config and the environment, and one request to it.
//!
//! The SDK has no chain of credentials, so the choice is made here; the first that is set up is the only one tried.
//! For each request the credential is made anew: the SDK's own cache would hand a refused token out again.

mod chooser;
mod settings;
mod token_request;

pub use settings::{CredentialKind, EntraSettings};
pub(crate) use token_request::TokenRequest;
