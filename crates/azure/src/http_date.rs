//! Dates as HTTP headers spell them: `Wed, 01 Jan 2025 12:00:00 GMT`.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

const FORM: &[BorrowedFormatItem<'static>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Writes a moment as a header value.
pub(crate) fn format(moment: OffsetDateTime) -> String {
    moment.to_offset(UtcOffset::UTC).format(FORM).expect("a UTC time can be written so")
}

/// Reads a header value; none if it is not such a date.
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text.trim(), FORM).ok().map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_date_survives_the_round_trip() {
        let text = "Wed, 01 Jan 2025 12:00:00 GMT";
        assert_eq!(parse(text), Some(datetime!(2025-01-01 12:00:00 UTC)));
        assert_eq!(format(datetime!(2025-01-01 13:00:00 +1)), text);
        assert_eq!(parse("soon"), None);
    }
}
