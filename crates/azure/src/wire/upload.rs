//! The upload call: its body and its answer.

use fleetlogs_model::timestamp::in_utc;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::values::lenient_count;

/// The format of times in a request.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Body of an upload call. It contains a SAS, so it has no Debug.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadRequest<'a> {
    pub(crate) container_url: &'a str,
    pub(crate) start_time: String,
    pub(crate) end_time: String,
    /// Instead of a SAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity_reference: Option<IdentityReference<'a>>,
}

/// A user-assigned managed identity of the node's pool.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IdentityReference<'a> {
    pub(crate) resource_id: &'a str,
}

/// Answer to an upload call. It must have a directory. A missing or odd count changes nothing: the call was accepted,
/// and repeating it would create a second directory.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadAnswer {
    pub(crate) virtual_directory_name: String,
    #[serde(default, deserialize_with = "lenient_count")]
    pub(crate) number_of_files_uploaded: Option<u32>,
}

/// A time in the format of requests: ISO 8601, UTC, milliseconds.
pub(crate) fn time_text(moment: OffsetDateTime) -> String {
    in_utc(moment).format(TIME).expect("a UTC time can be written so")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_sent_in_utc() {
        assert_eq!(time_text(datetime!(2026-11-22 10:30:00.5 +1)), "2026-11-22T09:30:00.500Z");
    }
}
