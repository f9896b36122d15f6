//! Times in files: RFC 3339 in UTC, always with milliseconds, so that they sort as text.

use serde::{Deserialize, Deserializer, Serializer};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A time in the format of files, for example `2026-11-22T09:30:00.000Z`.
#[must_use]
pub fn text(time: OffsetDateTime) -> String {
    match written(time) {
        Some(text) => String::from_utf8_lossy(&text).into_owned(),
        None => {
            time.to_offset(UtcOffset::UTC).format(FORMAT).expect("a UTC time of our era can be written so")
        }
    }
}

/// The same without an allocation; none for a year without exactly four digits. Every event has a time, and with
/// [`FORMAT`] writing it takes longer than the rest of the event.
fn written(time: OffsetDateTime) -> Option<[u8; 24]> {
    let time = time.to_offset(UtcOffset::UTC);
    let year = u16::try_from(time.year()).ok().filter(|year| *year <= 9999)?;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |from: usize, digits: usize, mut number: u16| {
        for place in text[from..from + digits].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, u8::from(time.month()).into());
    put(8, 2, time.day().into());
    put(11, 2, time.hour().into());
    put(14, 2, time.minute().into());
    put(17, 2, time.second().into());
    put(20, 3, time.millisecond());
    Some(text)
}

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    match written(*time).as_ref().and_then(|text| std::str::from_utf8(text).ok()) {
        Some(text) => serializer.serialize_str(text),
        None => serializer.serialize_str(&text(*time)),
    }
}

/// For `#[serde(with)]`; accepts every RFC 3339 time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    #[test]
    fn by_hand_a_time_is_written_as_by_the_format() {
        for time in [
            datetime!(0000-01-01 00:00 UTC),
            datetime!(2026-11-22 09:30:05.1239 UTC),
            datetime!(9999-12-31 23:59:59.999 UTC),
            datetime!(-1-01-01 00:00 UTC),
            datetime!(2027-01-01 00:30 +1),
        ] {
            let expected = time.to_offset(super::UtcOffset::UTC).format(super::FORMAT).unwrap();
            assert_eq!(super::text(time), expected);
        }
    }

    #[test]
    fn times_sort_as_text() {
        let (early, late) = (datetime!(2026-11-22 09:30:00 UTC), datetime!(2026-11-22 10:30:00.5 +1));
        assert_eq!(super::text(early), "2026-11-22T09:30:00.000Z");
        assert!(super::text(early) < super::text(late));
    }
}
