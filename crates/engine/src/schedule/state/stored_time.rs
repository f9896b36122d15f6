//! Times as the tables have them: RFC 3339 in UTC with milliseconds, so that they sort as text.

use fleetlogs_model::timestamp::clamped;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::StateError;

/// A time as the tables have it.
pub(in crate::schedule) fn stored_time(text: &str) -> Result<OffsetDateTime, StateError> {
    OffsetDateTime::parse(text, &Rfc3339).map(clamped).map_err(|_| StateError::Text(text.into()))
}
