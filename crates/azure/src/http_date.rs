//! Dates in HTTP headers: `Wed, 01 Jan 2025 12:00:00 GMT`.

use fleetlogs_model::timestamp::{from_outside, in_utc};
use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const FORM: &[BorrowedFormatItem<'static>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// The last date written and the last date read: they change once a second, and a second may have thousands of calls.
#[derive(Default)]
pub(crate) struct Dates {
    /// With its second.
    written: Mutex<Option<(i64, HeaderValue)>>,
    /// With its text.
    read: Mutex<Option<(Box<[u8]>, OffsetDateTime)>>,
}

impl Dates {
    /// Writes a time as a header value.
    pub(crate) fn write(&self, moment: OffsetDateTime) -> HeaderValue {
        let second = moment.unix_timestamp();
        let mut last = self.written.lock();
        match &*last {
            Some((of, value)) if *of == second => value.clone(),
            _ => {
                let value = HeaderValue::try_from(format(moment)).expect("a date is ASCII");
                *last = Some((second, value.clone()));
                value
            }
        }
    }

    /// Reads a header value; none if it is not such a date.
    pub(crate) fn read(&self, value: &HeaderValue) -> Option<OffsetDateTime> {
        let mut last = self.read.lock();
        match &*last {
            Some((text, date)) if **text == *value.as_bytes() => Some(*date),
            _ => {
                let date = parse(value.to_str().ok()?)?;
                *last = Some((value.as_bytes().into(), date));
                Some(date)
            }
        }
    }
}

/// Writes a time as a header value.
pub(crate) fn format(moment: OffsetDateTime) -> String {
    in_utc(moment).format(FORM).expect("a UTC time can be written so")
}

/// Reads a header value; none if it is not such a date, or out of the range of times from outside.
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text.trim(), FORM).ok().map(PrimitiveDateTime::assume_utc).and_then(from_outside)
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
        assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), None);
    }

    #[test]
    fn what_is_kept_is_not_taken_for_another_date() {
        let dates = Dates::default();
        let noon = datetime!(2025-01-01 12:00:00 UTC);
        for seconds in [0, 0, 1, 0] {
            let moment = noon + time::Duration::seconds(seconds);
            let value = dates.write(moment + time::Duration::milliseconds(900));
            assert_eq!(value, format(moment));
            assert_eq!(dates.read(&value), Some(moment));
            assert_eq!(dates.read(&HeaderValue::from_static("soon")), None);
        }
    }
}
