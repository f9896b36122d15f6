//! The time range that nodes are asked for.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A range of time, frozen when planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First moment of interest.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// Last moment of interest.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
}
