//! The defaults of the config.

/// The default config: every key, with a comment.
pub(crate) const DEFAULTS: &str = include_str!("../../../../config/fleetlogs.toml");

/// The api-version of Batch calls, unless an account names another.
pub(crate) const DEFAULT_API_VERSION: &str = "2024-07-01.20.0";
