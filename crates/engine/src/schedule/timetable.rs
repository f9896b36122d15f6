//! When a snapshot is due: a cron expression in a time zone, and a delay that spreads load. Pure.
//!
//! When clocks change, the rules of Vixie cron apply, which the crate `croner` implements: a job at a fixed time that
//! the clock skips runs right after the change, and a job at a time that comes twice runs once, the first time. A job
//! at an interval of minutes runs whenever the clock shows one of its minutes.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use fleetlogs_model::ids::SnapshotName;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use time::OffsetDateTime;

/// When a snapshot is due.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
    /// Each time is delayed by less than this, and by less than the interval to the next; the delay of a snapshot's
    /// time is always the same.
    jitter: Duration,
    /// Makes the delays of this snapshot differ from those of others.
    seed: u64,
}

/// Why a timetable cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimetable {
    /// It is not a cron expression: what is wrong with it.
    #[error("not a cron expression: {0}")]
    Cron(String),
    /// It is a cron expression whose time never comes.
    #[error("its time never comes")]
    Never,
    /// The zone is not known.
    #[error("there is no such time zone; write its IANA name, such as \"Europe/Berlin\"")]
    Zone,
}

/// A time of a timetable, and the moment its run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The time in the timetable, which names the run.
    pub due: OffsetDateTime,
    /// The same with its delay.
    pub begins_at: OffsetDateTime,
}

impl Timetable {
    /// Five fields (minute, hour, day of month, month, day of week) or a name such as `@daily`; an IANA time zone.
    pub fn new(
        name: &SnapshotName,
        expression: &str,
        zone: &str,
        jitter: Duration,
    ) -> Result<Self, InvalidTimetable> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            InvalidTimetable::Cron(complaint(parser, expression).unwrap_or_else(|| error.to_string()))
        })?;
        let zone = TimeZone::get(zone).map_err(|_| InvalidTimetable::Zone)?;
        // FNV-1a: the same on every machine and in every version.
        let seed = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let timetable = Self { cron, zone, jitter, seed };
        timetable.after(OffsetDateTime::UNIX_EPOCH).ok_or(InvalidTimetable::Never)?;
        Ok(timetable)
    }

    /// The first time after a moment.
    #[must_use]
    pub fn after(&self, moment: OffsetDateTime) -> Option<Tick> {
        let from = self.zoned(moment)?;
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        Some(self.tick(&next))
    }

    /// The last time at or before a moment.
    #[must_use]
    pub fn before(&self, moment: OffsetDateTime) -> Option<Tick> {
        let from = self.zoned(moment)?;
        let last = self.cron.find_previous_occurrence(&from, true).ok()?;
        Some(self.tick(&last))
    }

    fn zoned(&self, moment: OffsetDateTime) -> Option<Zoned> {
        Some(Timestamp::from_second(moment.unix_timestamp()).ok()?.to_zoned(self.zone.clone()))
    }

    fn tick(&self, at: &Zoned) -> Tick {
        let seconds = at.timestamp().as_second();
        let due = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Tick { due, begins_at: due + self.delay(at, seconds) }
    }

    /// It ends before the next time comes, so that times start in order, however long the jitter is.
    fn delay(&self, at: &Zoned, seconds: i64) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        let next = self.cron.find_next_occurrence(at, false).ok();
        let gap = next.and_then(|next| u64::try_from(next.timestamp().as_second() - seconds).ok());
        let spread = self.jitter.min(gap.map_or(Duration::MAX, Duration::from_secs));
        let spread = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        if spread == 0 {
            return Duration::ZERO;
        }
        let draw = fastrand::Rng::with_seed(self.seed ^ seconds.cast_unsigned()).u64(..spread);
        Duration::from_millis(draw)
    }
}

/// Whether there is a time zone of this name.
#[must_use]
pub fn zone_is_known(zone: &str) -> bool {
    TimeZone::get(zone).is_ok()
}

/// What is wrong with an expression, in plain words; none if no single field is wrong.
fn complaint(parser: CronParser, expression: &str) -> Option<String> {
    const FIELDS: [(&str, &str); 5] = [
        ("minute", "0 to 59"),
        ("hour", "0 to 23"),
        ("day of month", "1 to 31"),
        ("month", "1 to 12, or JAN to DEC"),
        ("day of week", "0 to 7, or SUN to SAT"),
    ];
    let fields: Vec<_> = expression.split_whitespace().collect();
    if expression.contains('@') {
        return Some(format!("there is no timetable `{expression}`"));
    }
    if fields.len() != FIELDS.len() {
        return Some(format!("it has {} fields instead of five", fields.len()));
    }
    let is_wrong = |at: &usize| {
        let mut alone = ["*"; FIELDS.len()];
        alone[*at] = fields[*at];
        parser.parse(&alone.join(" ")).is_err()
    };
    let at = (0..FIELDS.len()).find(is_wrong)?;
    let (field, range) = FIELDS[at];
    Some(format!("`{}` is not a valid {field} ({range})", fields[at]))
}

/// A time as the clocks of a zone show it, with the zone's abbreviation: for people.
#[must_use]
pub fn local(moment: OffsetDateTime, zone: &str) -> Option<String> {
    let zone = TimeZone::get(zone).ok()?;
    let zoned = Timestamp::from_second(moment.unix_timestamp()).ok()?.to_zoned(zone);
    Some(zoned.strftime("%Y-%m-%d %H:%M %Z").to_string())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn timetable(expression: &str, zone: &str) -> Timetable {
        Timetable::new(&SnapshotName::new("nightly"), expression, zone, Duration::ZERO).unwrap()
    }

    fn ticks(expression: &str, zone: &str, from: OffsetDateTime, to: OffsetDateTime) -> Vec<OffsetDateTime> {
        let timetable = timetable(expression, zone);
        let next = |tick: &Tick| timetable.after(tick.due);
        std::iter::successors(timetable.after(from), next)
            .map(|tick| tick.due)
            .take_while(|due| *due <= to)
            .collect()
    }

    #[test]
    fn a_fixed_time_that_the_clock_leaps_over_comes_right_after_the_leap() {
        // Berlin leaps from 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
        let due = ticks(
            "30 2 * * *",
            "Europe/Berlin",
            datetime!(2026-03-28 00:00 UTC),
            datetime!(2026-03-31 00:00 UTC),
        );
        let expected = [
            datetime!(2026-03-28 01:30 UTC),
            datetime!(2026-03-29 01:00 UTC),
            datetime!(2026-03-30 00:30 UTC),
        ];
        assert_eq!(due, expected);
    }

    #[test]
    fn a_fixed_time_that_comes_twice_is_due_once() {
        // Berlin falls back from 03:00 to 02:00 on 2026-10-25, at 01:00 UTC.
        let due = ticks(
            "30 2 * * *",
            "Europe/Berlin",
            datetime!(2026-10-24 12:00 UTC),
            datetime!(2026-10-26 12:00 UTC),
        );
        assert_eq!(due, [datetime!(2026-10-25 00:30 UTC), datetime!(2026-10-26 01:30 UTC)]);
    }

    #[test]
    fn every_so_many_minutes_goes_on_through_both_changes() {
        let spring = ticks(
            "*/30 * * * *",
            "Europe/Berlin",
            datetime!(2026-03-28 23:59 UTC),
            datetime!(2026-03-29 03:00 UTC),
        );
        let autumn = ticks(
            "*/30 * * * *",
            "Europe/Berlin",
            datetime!(2026-10-24 23:59 UTC),
            datetime!(2026-10-25 03:00 UTC),
        );
        for due in [spring, autumn] {
            assert_eq!(due.len(), 7, "{due:?}");
            assert!(due.windows(2).all(|pair| pair[1] - pair[0] == time::Duration::minutes(30)), "{due:?}");
        }
    }

    #[test]
    fn the_last_time_is_at_or_before_a_moment() {
        let hourly = timetable("0 * * * *", "UTC");
        let due = |moment| hourly.before(moment).unwrap().due;
        assert_eq!(due(datetime!(2026-11-22 10:00 UTC)), datetime!(2026-11-22 10:00 UTC));
        assert_eq!(due(datetime!(2026-11-22 10:59:59 UTC)), datetime!(2026-11-22 10:00 UTC));
    }

    #[test]
    fn a_delay_is_less_than_the_jitter_and_the_same_each_time() {
        let jitter = Duration::from_secs(300);
        let of = |name: &str| {
            let timetable = Timetable::new(&SnapshotName::new(name), "0 * * * *", "UTC", jitter).unwrap();
            let mut delays = Vec::new();
            let mut moment = datetime!(2026-11-22 00:30 UTC);
            for _ in 0..100 {
                let tick = timetable.after(moment).unwrap();
                assert_eq!(Some(tick), timetable.before(tick.due));
                delays.push(tick.begins_at - tick.due);
                moment = tick.due;
            }
            delays
        };
        let delays = of("nightly");
        assert_eq!(delays, of("nightly"));
        assert_ne!(delays, of("weekly"));
        assert!(delays.iter().all(|delay| *delay < jitter && *delay >= Duration::ZERO), "{delays:?}");
        assert!(delays.iter().max() > delays.iter().min().map(|least| *least + jitter / 2).as_ref());
    }

    #[test]
    fn what_is_no_timetable_is_refused() {
        let new = |expression, zone| {
            Timetable::new(&SnapshotName::new("nightly"), expression, zone, Duration::ZERO).unwrap_err()
        };
        for (expression, wrong) in [
            ("61 * * * *", "`61` is not a valid minute (0 to 59)"),
            ("0 2-30 * * *", "`2-30` is not a valid hour (0 to 23)"),
            ("0 0 * * FUNDAY", "`FUNDAY` is not a valid day of week (0 to 7, or SUN to SAT)"),
            ("* * * *", "it has 4 fields instead of five"),
            ("* * * * * *", "it has 6 fields instead of five"),
            ("", "it has 0 fields instead of five"),
            ("@fortnightly", "there is no timetable `@fortnightly`"),
        ] {
            assert_eq!(new(expression, "UTC"), InvalidTimetable::Cron(wrong.into()));
        }
        assert!(zone_is_known("Europe/Berlin") && !zone_is_known("Mars/Olympus"));
        assert_eq!(new("0 0 30 2 *", "UTC"), InvalidTimetable::Never);
        assert_eq!(new("0 0 * * *", "Europe/Bärlin"), InvalidTimetable::Zone);
    }
}
