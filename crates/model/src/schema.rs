//! The version of a stored document, which is read before the rest: another version may have other members.

use serde::Deserialize;

/// What every version of a document has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SchemaVersion {
    /// Its name and version, such as `fleetlogs.plan/v1`.
    pub schema: String,
}
