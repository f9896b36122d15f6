//! Time as the simulator sees it: seconds since it started (the time of scenarios) and the wall clock (the time in
//! requests and answers), in the formats of the two services.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use time::OffsetDateTime;

use crate::scenario::{ClockShift, Scenario, Skew};

/// Both clocks, read once at the same moment, so that a time of the scenario can be converted to a date.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: OffsetDateTime,
    /// Upload calls that have arrived, of all accounts.
    uploads: AtomicU64,
    /// By how much the clocks of all services are wrong.
    services: WrongClock,
    /// By how much they were shifted from outside.
    by_hand: Mutex<time::Duration>,
}

/// By how much the clock of one service is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct WrongClock {
    skew: time::Duration,
    shifts: Vec<ClockShift>,
}

impl WrongClock {
    pub(crate) fn new(skew: Skew, shifts: &[ClockShift]) -> Self {
        Self { skew: skew.0, shifts: shifts.to_vec() }
    }

    /// `uploads` is the number of upload calls that have arrived.
    fn off(&self, now: Duration, uploads: u64) -> time::Duration {
        let happened = |shift: &&ClockShift| {
            shift.at.is_some_and(|at| now >= at.0)
                || shift.after_uploads.is_some_and(|after| uploads >= u64::from(after))
        };
        let shifts = self.shifts.iter().filter(happened);
        shifts.fold(self.skew, |off, shift| off.saturating_add(shift.by.0))
    }
}

impl Clock {
    pub(crate) fn start(scenario: &Scenario) -> Self {
        Self {
            started: Instant::now(),
            started_at: OffsetDateTime::now_utc(),
            uploads: AtomicU64::new(0),
            services: WrongClock::new(scenario.clock_skew, &scenario.clock_shifts),
            by_hand: Mutex::default(),
        }
    }

    /// Counts an upload call.
    pub(crate) fn count_upload(&self) {
        self.uploads.fetch_add(1, Relaxed);
    }

    /// Shifts the clocks of all services, and returns by how much they have been shifted in total.
    pub(crate) fn shift(&self, by: time::Duration) -> time::Duration {
        let mut shifted = self.by_hand.lock();
        *shifted = shifted.saturating_add(by);
        *shifted
    }

    /// The clock of a service at `now`; `uploads` is the number of upload calls that this service goes by, or else
    /// those of all accounts.
    pub(crate) fn service_date(
        &self,
        clock: &WrongClock,
        now: Duration,
        uploads: Option<u64>,
    ) -> OffsetDateTime {
        let all = self.uploads.load(Relaxed);
        let off = clock.off(now, uploads.unwrap_or(all)).saturating_add(self.services.off(now, all));
        self.date_at(now).saturating_add(off).saturating_add(*self.by_hand.lock())
    }

    /// Time since the simulator started; every `at`, `from` and `until` of a scenario is measured on it.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn started_at(&self) -> OffsetDateTime {
        self.started_at
    }

    /// The wall clock at `since_start`.
    pub(crate) fn date_at(&self, since_start: Duration) -> OffsetDateTime {
        self.started_at + since_start
    }
}

/// Milliseconds since 1970, as the ledger counts them.
pub(crate) fn unix_millis(date: OffsetDateTime) -> i64 {
    i64::try_from(date.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Whole microseconds, as [`Roll`](crate::roll::Roll) takes them.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A number of microseconds as a duration that can be added to dates.
pub(crate) fn microseconds(count: u64) -> time::Duration {
    time::Duration::microseconds(i64::try_from(count).unwrap_or(i64::MAX))
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Wed, 01 Jan 2025 12:00:00 GMT`, for headers and blob lists.
pub(crate) fn rfc1123(date: OffsetDateTime) -> String {
    let weekday = WEEKDAYS[usize::from(date.weekday().number_days_from_monday())];
    let month = MONTHS[usize::from(u8::from(date.month()) - 1)];
    let (day, year) = (date.day(), date.year());
    let (hour, minute, second) = date.to_hms();
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// The inverse of [`rfc1123`]. The weekday is not checked; the services do not check it either.
pub(crate) fn parse_rfc1123(text: &str) -> Option<OffsetDateTime> {
    let (_, rest) = text.trim().split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year, clock, zone) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if zone != "GMT" || parts.next().is_some() {
        return None;
    }
    let month = u8::try_from(MONTHS.iter().position(|known| *known == month)? + 1).ok()?;
    let month = time::Month::try_from(month).ok()?;
    let date = time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let mut hms = clock.split(':').map(|part| part.parse::<u8>().ok());
    let time = time::Time::from_hms(hms.next()??, hms.next()??, hms.next()??).ok()?;
    Some(date.with_time(time).assume_utc())
}

/// `2025-01-01T12:00:00.1234567Z`, the format of Batch, appended to `out`, because lists have thousands of them.
pub(crate) fn push_batch_time(out: &mut String, date: OffsetDateTime) {
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second, nano) = date.to_hms_nano();
    let (month, ticks) = (u8::from(month), nano / 100);
    // 6 digits if the seventh is zero, and 7 otherwise.
    let (fraction, digits) = if ticks % 10 == 0 { (ticks / 10, 6) } else { (ticks, 7) };
    let written =
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:0digits$}Z");
    debug_assert!(written.is_ok(), "writing to a String does not fail");
}

/// `2025-01-02T03:04:05.12345Z`: ticks of 100 ns, without the zeros at their end.
pub(crate) fn push_wire_time(out: &mut String, date: OffsetDateTime) {
    out.push_str(&iso_seconds(date));
    let ticks = date.nanosecond() / 100;
    if ticks > 0 {
        out.pop();
        let written = write!(out, ".{}Z", format!("{ticks:07}").trim_end_matches('0'));
        debug_assert!(written.is_ok(), "writing to a String does not fail");
    }
}

/// See [`push_wire_time`].
pub(crate) fn batch_time(date: OffsetDateTime) -> String {
    let mut out = String::with_capacity(28);
    push_wire_time(&mut out, date);
    out
}

/// The tag of a pool, job or task that was modified at `date`: the ticks of 100 ns since year 1. Batch writes no quotes.
pub(crate) fn batch_etag(date: OffsetDateTime) -> String {
    const YEAR_1970: i128 = 621_355_968_000_000_000;
    format!("0x{:X}", date.unix_timestamp_nanos() / 100 + YEAR_1970)
}

/// `2025-01-01T12:00:00Z`, the format of storage for the times of a SAS; fractions are dropped.
pub(crate) fn iso_seconds(date: OffsetDateTime) -> String {
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second) = date.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// `2025-01-01T12:00:00.123Z`, the format of the ledger.
pub(crate) fn iso_millis(date: OffsetDateTime) -> String {
    let mut text = iso_seconds(date);
    text.pop();
    text + &format!(".{:03}Z", date.millisecond())
}

/// Parses a time in the body of an upload call: with up to 9 digits after the second, and `Z` or an offset from UTC.
pub(crate) fn parse_body_time(text: &str) -> Option<OffsetDateTime> {
    if let Some(utc) = text.strip_suffix('Z') {
        return parse_utc(utc, 9);
    }
    let at = text.len().checked_sub(6).filter(|at| text.is_char_boundary(*at))?;
    let (local, offset) = text.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes).filter(|minutes| *minutes < 60)?);
    let east = time::Duration::minutes(i64::from(hours) * 60 + i64::from(minutes));
    let local = parse_utc(local, 9)?;
    match offset.as_bytes().first()? {
        b'+' if hours < 15 => local.checked_sub(east),
        b'-' if hours < 15 => local.checked_add(east),
        _ => None,
    }
}

/// Parses ISO 8601 times sent to storage: UTC (`Z` or `+00:00`), with up to 7 digits after the second.
pub(crate) fn parse_iso(text: &str) -> Option<OffsetDateTime> {
    let utc = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?;
    parse_utc(utc, 7)
}

/// A time without its offset, and with at most this many digits after the second.
fn parse_utc(utc: &str, digits: usize) -> Option<OffsetDateTime> {
    let (date, clock) = utc.split_once('T')?;
    if date.len() != 10 {
        return None;
    }
    let mut ymd = date.split('-');
    let (year, month, day) = (ymd.next()?.parse().ok()?, two_digits(ymd.next()?)?, two_digits(ymd.next()?)?);
    let date = time::Date::from_calendar_date(year, time::Month::try_from(month).ok()?, day).ok()?;
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, rest)| (clock, Some(rest)));
    let mut hms = clock.split(':');
    let (hour, minute, second) =
        (two_digits(hms.next()?)?, two_digits(hms.next()?)?, two_digits(hms.next()?)?);
    if hms.next().is_some() || ymd.next().is_some() {
        return None;
    }
    let nano = match fraction {
        None => 0,
        Some(f) if (1..=digits).contains(&f.len()) && f.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{f:0<9}").parse().ok()?
        }
        Some(_) => return None,
    };
    Some(date.with_time(time::Time::from_hms_nano(hour, minute, second, nano).ok()?).assume_utc())
}

fn two_digits(text: &str) -> Option<u8> {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn header_dates_go_both_ways() {
        let date = datetime!(2025-01-01 12:00:00 UTC);

        assert_eq!(rfc1123(date), "Wed, 01 Jan 2025 12:00:00 GMT");
        assert_eq!(parse_rfc1123("Wed, 01 Jan 2025 12:00:00 GMT"), Some(date));
        assert_eq!(parse_rfc1123("2025-01-01T12:00:00Z"), None);
    }

    #[test]
    fn body_times_have_as_many_digits_as_they_need() {
        assert_eq!(batch_time(datetime!(2025-01-02 03:04:05.1234567 UTC)), "2025-01-02T03:04:05.1234567Z");
        assert_eq!(batch_time(datetime!(2025-01-02 03:04:05.95919 UTC)), "2025-01-02T03:04:05.95919Z");
        assert_eq!(batch_time(datetime!(2025-01-02 03:04:05.0000001 UTC)), "2025-01-02T03:04:05.0000001Z");
        assert_eq!(batch_time(datetime!(2025-01-02 03:04:05 UTC)), "2025-01-02T03:04:05Z");
    }

    #[test]
    fn a_tag_is_a_time_in_ticks() {
        // Of a recorded pool.
        assert_eq!(batch_etag(datetime!(2025-03-19 18:25:37.4102274 UTC)), "0x8DD6713722D7F02");
    }

    #[test]
    fn times_for_people_end_with_seconds_or_milliseconds() {
        let date = datetime!(2025-01-02 03:04:05.0678 UTC);

        assert_eq!(iso_seconds(date), "2025-01-02T03:04:05Z");
        assert_eq!(iso_millis(date), "2025-01-02T03:04:05.067Z");
    }

    #[test]
    fn body_times_may_have_an_offset_and_nine_digits() {
        for (text, expected) in [
            // What Go writes.
            ("2025-02-05T12:06:22.351894814-08:00", datetime!(2025-02-05 20:06:22.351894814 UTC)),
            ("2025-02-05T12:06:22-08:00", datetime!(2025-02-05 20:06:22 UTC)),
            ("2025-02-05T01:06:22+05:30", datetime!(2025-02-04 19:36:22 UTC)),
            ("2025-02-05T01:06:22.123456789Z", datetime!(2025-02-05 1:06:22.123456789 UTC)),
            ("2025-02-05T01:06:22+00:00", datetime!(2025-02-05 1:06:22 UTC)),
        ] {
            assert_eq!(parse_body_time(text), Some(expected), "{text}");
        }
        for text in [
            "2025-02-05",
            "2025-02-05T01:06:22",
            "2025-02-05T01:06:22 08:00",
            "2025-02-05T01:06:22-0800",
            "2025-02-05T01:06:22-15:00",
            "2025-02-05T01:06:22-08:60",
            "2025-02-05T01:06:22.1234567890Z",
            "9999-12-31T23:59:59-14:00",
            "ü08:00",
            "",
        ] {
            assert_eq!(parse_body_time(text), None, "{text}");
        }
    }

    #[test]
    fn fractions_of_0_3_6_and_7_digits_are_read() {
        for text in [
            "2025-01-02T03:04:05Z",
            "2025-01-02T03:04:05.123Z",
            "2025-01-02T03:04:05.123456Z",
            "2025-01-02T03:04:05.1234567Z",
            "2025-01-02T03:04:05+00:00",
        ] {
            assert!(parse_iso(text).is_some(), "{text}");
        }
        for text in
            ["2025-01-02", "2025-01-02T03:04:05", "2025-13-02T03:04:05Z", "2025-01-02T03:04:05+02:00", ""]
        {
            assert!(parse_iso(text).is_none(), "{text}");
        }
    }
}
