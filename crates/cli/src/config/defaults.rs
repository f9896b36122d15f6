//! What holds where the config says nothing.

/// The defaults: every key with a comment.
pub(crate) const DEFAULTS: &str = include_str!("../../../../config/fleetlogs.toml");

/// The api-version spoken unless an account says otherwise.
pub(crate) const DEFAULT_API_VERSION: &str = "2024-07-01.20.0";
