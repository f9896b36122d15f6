//! The time range of the requested logs.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A time range, frozen when planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First moment of the range.
    #[serde(with = "crate::timestamp::exact")]
    pub start: OffsetDateTime,
    /// Last moment of the range.
    #[serde(with = "crate::timestamp::exact")]
    pub end: OffsetDateTime,
}
