//! Times in files: RFC 3339 in UTC, always with milliseconds, so that they sort as text.

use serde::{Deserialize, Deserializer, Serializer};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A time as files have it, for example `2026-11-22T09:30:00.000Z`.
#[must_use]
pub fn text(time: OffsetDateTime) -> String {
    time.to_offset(UtcOffset::UTC).format(FORMAT).expect("a UTC time of our era can be written so")
}

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// For `#[serde(with)]`; takes every RFC 3339 time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    #[test]
    fn times_sort_as_text() {
        let (early, late) = (datetime!(2026-11-22 09:30:00 UTC), datetime!(2026-11-22 10:30:00.5 +1));
        assert_eq!(super::text(early), "2026-11-22T09:30:00.000Z");
        assert!(super::text(early) < super::text(late));
    }
}
