//! Times in files: RFC 3339 in UTC, always with milliseconds, so that they sort as text. And the range of times from
//! outside.

use serde::{Deserialize, Deserializer, Serializer};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::{datetime, format_description};
use time::{OffsetDateTime, UtcOffset};

/// The first time that is taken from outside. .NET writes it for a time that is not set.
pub const FIRST: OffsetDateTime = datetime!(0001-01-01 00:00 UTC);

/// The last time that is taken from outside. What is added to it later are durations of a config, which are a year at
/// most, so no sum leaves the range of [`OffsetDateTime`], which ends with the year 9999.
pub const LAST: OffsetDateTime = datetime!(9000-01-01 00:00 UTC);

/// A time from outside, in UTC; none if it is not between [`FIRST`] and [`LAST`]. Every time that is read from an
/// answer, a file or an argument comes through here or through [`clamped`]: some exist in their own offset only, some
/// cannot be written, and to some nothing can be added.
#[must_use]
pub fn from_outside(time: OffsetDateTime) -> Option<OffsetDateTime> {
    let time = time.checked_to_offset(UtcOffset::UTC)?;
    (FIRST..=LAST).contains(&time).then_some(time)
}

/// The nearest time that [`from_outside`] takes, in UTC: for the end of something, which is often `9999-12-31` and
/// means that there is none.
#[must_use]
pub fn clamped(time: OffsetDateTime) -> OffsetDateTime {
    // Comparing does not need its time in UTC to exist.
    if time > LAST {
        LAST
    } else if time < FIRST {
        FIRST
    } else {
        time.to_offset(UtcOffset::UTC)
    }
}

/// Reads an RFC 3339 time from outside; none if it is not one, or out of range.
#[must_use]
pub fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(from_outside)
}

/// A time in UTC; the nearest one if it does not exist in UTC.
#[must_use]
pub fn in_utc(time: OffsetDateTime) -> OffsetDateTime {
    time.checked_to_offset(UtcOffset::UTC).unwrap_or_else(|| clamped(time))
}

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A time in the format of files, for example `2026-11-22T09:30:00.000Z`.
#[must_use]
pub fn text(time: OffsetDateTime) -> String {
    match written(time) {
        Some(text) => String::from_utf8_lossy(&text).into_owned(),
        None => in_utc(time).format(FORMAT).expect("a UTC time of our era can be written so"),
    }
}

/// The same without an allocation; none for a year without exactly four digits. Every event has a time, and with
/// [`FORMAT`] writing it takes longer than the rest of the event.
fn written(time: OffsetDateTime) -> Option<[u8; 24]> {
    let time = in_utc(time);
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

/// Times of services, which are written with all their digits: they tell nodes of one id apart. Read like all others.
pub mod exact {
    use serde::{Deserializer, Serializer};
    use time::OffsetDateTime;

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        time::serde::rfc3339::serialize(time, serializer)
    }

    /// For `#[serde(with)]`; the nearest time in range.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
        super::deserialize(deserializer)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use serde::{Deserializer, Serializer};
        use time::OffsetDateTime;

        /// For `#[serde(with)]`.
        pub fn serialize<S: Serializer>(
            time: &Option<OffsetDateTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            time::serde::rfc3339::option::serialize(time, serializer)
        }

        /// For `#[serde(with)]`; the nearest time in range.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<OffsetDateTime>, D::Error> {
            let time = time::serde::rfc3339::option::deserialize(deserializer)?;
            Ok(time.map(super::super::clamped))
        }
    }
}

/// For `#[serde(with)]`; accepts every RFC 3339 time, and takes the nearest one in range for one out of range.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map(clamped).map_err(serde::de::Error::custom)
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
    fn no_time_from_outside_is_out_of_range() {
        let taken = |text| super::parse(text).map(super::text);
        assert_eq!(taken("2026-11-22T10:30:00.5+01:00").as_deref(), Some("2026-11-22T09:30:00.500Z"));
        assert_eq!(taken("0001-01-01T00:00:00Z").as_deref(), Some("0001-01-01T00:00:00.000Z"));
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59-23:59",
            "9000-01-01T00:00:00.1Z",
            "0000-12-31T23:59:59Z",
            "0000-01-01T00:00:00+23:59",
            "0001-01-01T00:00:00+00:01",
            "soon",
        ] {
            assert_eq!(taken(text), None, "{text}");
        }
        let year = time::Duration::days(366);
        assert!(
            super::LAST.checked_add(year * 20).is_some() && super::FIRST.checked_sub(year * 20).is_some()
        );
    }

    #[test]
    fn a_time_that_does_not_exist_in_utc_is_written_and_read_as_the_nearest() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Stored(#[serde(with = "super")] super::OffsetDateTime);
        for (text, nearest) in [
            ("9999-12-31T23:59:59-23:59", "9000-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9000-01-01T00:00:00.000Z"),
            ("0000-01-01T00:00:00+23:59", "0001-01-01T00:00:00.000Z"),
            ("2026-11-22T10:30:00+01:00", "2026-11-22T09:30:00.000Z"),
        ] {
            let Stored(time) = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(super::text(time), nearest);
            let time = super::OffsetDateTime::parse(text, &super::Rfc3339).unwrap();
            assert!(!super::text(time).is_empty());
            assert!(serde_json::to_string(&Stored(time)).is_ok());
        }
    }

    #[test]
    fn an_exact_time_keeps_its_digits_and_its_range() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Stored(
            #[serde(with = "super::exact")] super::OffsetDateTime,
            #[serde(with = "super::exact::option")] Option<super::OffsetDateTime>,
        );
        let again = |text: &str| {
            let stored: Stored = serde_json::from_str(&format!("[\"{text}\",\"{text}\"]")).unwrap();
            serde_json::to_string(&stored).unwrap()
        };
        for (text, expected) in [
            ("2026-11-22T10:30:00.1234567+01:00", "2026-11-22T09:30:00.1234567Z"),
            ("9999-12-31T23:59:59-23:59", "9000-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(again(text), format!("[\"{expected}\",\"{expected}\"]"));
        }
    }

    #[test]
    fn times_sort_as_text() {
        let (early, late) = (datetime!(2026-11-22 09:30:00 UTC), datetime!(2026-11-22 10:30:00.5 +1));
        assert_eq!(super::text(early), "2026-11-22T09:30:00.000Z");
        assert!(super::text(early) < super::text(late));
    }
}
