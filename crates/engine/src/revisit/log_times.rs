//! Times at the beginning of log lines, in forms that nothing else can be mistaken for. Pure.
//!
//! The format of a node's logs is not documented, so nothing is guessed: a number that may be seconds since 1970 may be
//! anything, and is no time here. A time without a zone is taken as UTC.

use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

/// A time begins within this many bytes of its line: after a bracket, a level, or the name of a JSON member.
const FURTHEST: usize = 32;

/// Bytes of a line that are searched: the longest form, after what may come before it.
const LONGEST: usize = FURTHEST + 48;

/// Years that count as plausible.
const YEARS: std::ops::RangeInclusive<i32> = 2000..=2100;

/// The time of the first line that begins with a time.
#[must_use]
pub fn first_time(text: &[u8]) -> Option<OffsetDateTime> {
    text.split(|byte| *byte == b'\n').find_map(time_of_line)
}

/// The time of the last line that begins with a time.
#[must_use]
pub fn last_time(text: &[u8]) -> Option<OffsetDateTime> {
    text.rsplit(|byte| *byte == b'\n').find_map(time_of_line)
}

/// The first time near the beginning of a line.
fn time_of_line(line: &[u8]) -> Option<OffsetDateTime> {
    let line = &line[..line.len().min(LONGEST)];
    (0..line.len().min(FURTHEST)).find_map(|at| {
        // No time begins in the middle of a number or a word.
        let begins = at == 0 || !line[at - 1].is_ascii_alphanumeric();
        (begins && line[at].is_ascii_digit()).then(|| time_at(&line[at..]))?
    })
}

fn time_at(text: &[u8]) -> Option<OffsetDateTime> {
    year_first(text).or_else(|| without_marks(text)).or_else(|| month_first(text))
}

/// `2026-11-22T09:30:00.123Z`, with a space for the `T`, slashes in the date, or without fraction or zone.
fn year_first(text: &[u8]) -> Option<OffsetDateTime> {
    let mut text = Text(text);
    let year = text.number(4, 4)?;
    let mark = text.one_of(b"-/")?;
    let month = text.number(2, 2)?;
    text.one_of(&[mark])?;
    let date = date(year, month, text.number(2, 2)?)?;
    text.one_of(b"T ")?;
    let time = text.clock(2)?;
    text.moment(date, time)
}

/// `20261122T093000Z`, also with a fraction or without the `Z`.
fn without_marks(text: &[u8]) -> Option<OffsetDateTime> {
    let mut text = Text(text);
    let date = date(text.number(4, 4)?, text.number(2, 2)?, text.number(2, 2)?)?;
    text.one_of(b"T")?;
    let (hour, minute, second) = (text.number(2, 2)?, text.number(2, 2)?, text.number(2, 2)?);
    let time = text.with_fraction(hour, minute, second)?;
    text.moment(date, time)
}

/// `11/22/2026 09:30:00`, also with a fraction, or of twelve hours with `AM` or `PM`.
fn month_first(text: &[u8]) -> Option<OffsetDateTime> {
    let mut text = Text(text);
    let month = text.number(1, 2)?;
    text.one_of(b"/")?;
    let day = text.number(1, 2)?;
    text.one_of(b"/")?;
    let date = date(text.number(4, 4)?, month, day)?;
    text.one_of(b" ")?;
    let time = text.clock(1)?;
    let time = match text.half_of_day() {
        None => time,
        Some(afternoon) if (1..=12).contains(&time.hour()) => {
            let hour = time.hour() % 12 + if afternoon { 12 } else { 0 };
            time.replace_hour(hour).ok()?
        }
        Some(_) => return None,
    };
    text.moment(date, time)
}

fn date(year: u32, month: u32, day: u32) -> Option<Date> {
    let year = i32::try_from(year).ok().filter(|year| YEARS.contains(year))?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()
}

/// The rest of a line.
struct Text<'line>(&'line [u8]);

impl Text<'_> {
    /// A number with this many digits; if fewer are allowed, no digit follows.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        bytes.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    /// `09:30:00`, and its fraction.
    fn clock(&mut self, least: usize) -> Option<Time> {
        let hour = self.number(least, 2)?;
        self.one_of(b":")?;
        let minute = self.number(2, 2)?;
        self.one_of(b":")?;
        let second = self.number(2, 2)?;
        self.with_fraction(hour, minute, second)
    }

    fn with_fraction(&mut self, hour: u32, minute: u32, second: u32) -> Option<Time> {
        let mut nano = 0;
        if let [b'.' | b',', digit, ..] = self.0
            && digit.is_ascii_digit()
        {
            self.0 = &self.0[1..];
            let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let known = digits.min(9);
            nano = self.number(known, known)? * 10_u32.pow(u32::try_from(9 - known).unwrap_or(0));
            self.0 = &self.0[digits - known..];
        }
        let small = |number: u32| u8::try_from(number).ok();
        Time::from_hms_nano(small(hour)?, small(minute)?, small(second)?, nano).ok()
    }

    /// Whether it is afternoon; none if the line does not say.
    fn half_of_day(&mut self) -> Option<bool> {
        let text = self.0.strip_prefix(b" ").unwrap_or(self.0);
        let half = text.get(..2)?;
        if text.get(2).is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        let afternoon = match half.to_ascii_uppercase().as_slice() {
            b"AM" => false,
            b"PM" => true,
            _ => return None,
        };
        self.0 = &text[2..];
        Some(afternoon)
    }

    /// The zone, if there is one; then the time. If a digit follows, it was no time.
    fn moment(mut self, date: Date, time: Time) -> Option<OffsetDateTime> {
        let offset = self.offset()?;
        if self.0.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        date.with_time(time).assume_offset(offset).checked_to_offset(UtcOffset::UTC)
    }

    /// `Z`, `+02:00`, `+0200`, or nothing.
    fn offset(&mut self) -> Option<UtcOffset> {
        let [sign @ (b'+' | b'-'), digit, ..] = self.0 else {
            self.0 = self.0.strip_prefix(b"Z").unwrap_or(self.0);
            return Some(UtcOffset::UTC);
        };
        if !digit.is_ascii_digit() {
            return Some(UtcOffset::UTC);
        }
        let sign = if *sign == b'-' { -1 } else { 1 };
        self.0 = &self.0[1..];
        let hours = self.number(2, 2)?;
        let _ = self.one_of(b":");
        let minutes = self.number(2, 2).filter(|minutes| *minutes < 60)?;
        let length = Duration::minutes(i64::from(hours) * 60 + i64::from(minutes));
        UtcOffset::from_whole_seconds(i32::try_from(length.whole_seconds()).ok()? * sign).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const HALF_PAST: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

    #[test]
    fn known_forms_are_read() {
        for line in [
            "2026-11-22T09:30:00Z heartbeat",
            "2026-11-22T09:30:00.0000000Z [   17] INFO",
            "2026-11-22T11:30:00+02:00 x",
            "2026-11-22T04:00:00-0530",
            "2026-11-22 09:30:00",
            "2026-11-22 09:30:00,000 INFO x",
            "2026/11/22 09:30:00 main.go:12",
            "[2026-11-22 09:30:00.000] INFO",
            "INFO 2026-11-22 09:30:00 x",
            "{\"level\":\"info\",\"time\":\"2026-11-22T09:30:00Z\"}",
            "20261122T093000 x",
            "20261122T093000Z",
            "20261122T093000.000Z",
            "11/22/2026 09:30:00 x",
            "11/22/2026 9:30:00 AM x",
            "11/22/2026 09:30:00.000",
            "\u{feff}2026-11-22 09:30:00 begun",
            "2026-11-22 09:30:00\r",
        ] {
            assert_eq!(first_time(line.as_bytes()), Some(HALF_PAST), "{line}");
        }
        let afternoon = first_time(b"11/22/2026 9:30:00 PM").unwrap();
        assert_eq!(afternoon, datetime!(2026-11-22 21:30:00 UTC));
        assert_eq!(first_time(b"11/22/2026 12:00:00 AM").unwrap(), datetime!(2026-11-22 0:00 UTC));
        let fraction = first_time(b"2026-11-22T09:30:00.1234567891Z").unwrap();
        assert_eq!(fraction, datetime!(2026-11-22 09:30:00.123456789 UTC));
    }

    #[test]
    fn everything_else_is_no_time() {
        for line in [
            "",
            "no time here",
            "1763803800 heartbeat",
            "1763803800000",
            "09:30:00 only of the day",
            "2026-11-22 only of a day",
            "2026-13-22 09:30:00",
            "2026-02-30 09:30:00",
            "2026-11-22 24:30:00",
            "2026-11-22 09:30:0",
            "22/11/2026 09:30:00 the day first",
            "11/22/2026 13:30:00 PM",
            "0026-11-22 09:30:00",
            "a2026-11-22T09:30:00Z in a word",
            "2026-11-22T09:30:00+99",
            "the time comes only after so many words 2026-11-22 09:30:00",
            "12026-11-22 09:30:00",
            "2026-11/22 09:30:00",
            "20261122T0930001",
        ] {
            assert_eq!(first_time(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lines_without_a_time_are_passed_over_from_either_end() {
        let text = b"begin\n  at frame 1\n2026-11-22 09:30:00 a\n\n2026-11-22 10:00:00 b\n2026-11-22 11:3";
        assert_eq!(first_time(text), Some(HALF_PAST));
        assert_eq!(last_time(text), Some(datetime!(2026-11-22 10:00 UTC)));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (first_time(&bytes), last_time(&bytes));
        }

        #[test]
        fn nearly_a_time_is_no_panic(text in "[0-9TZ:./, +\\-APM]{0,60}") {
            let _ = first_time(text.as_bytes());
        }

        #[test]
        fn whatever_is_written_is_read_again(seconds in 946_684_800_i64..4_102_444_800, nano in 0_u32..1_000_000_000) {
            let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nano).unwrap();
            let rfc3339 = moment.format(&time::format_description::well_known::Rfc3339).unwrap();
            prop_assert_eq!(first_time(rfc3339.as_bytes()), Some(moment));
            let other = moment.to_offset(time::macros::offset!(+5:30));
            let rfc3339 = other.format(&time::format_description::well_known::Rfc3339).unwrap();
            prop_assert_eq!(first_time(rfc3339.as_bytes()), Some(moment));
        }
    }
}
