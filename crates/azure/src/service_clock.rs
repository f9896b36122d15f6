//! A service's clock, as its answers tell it. Between two answers a clock of this machine that does not jump carries it
//! on, so that a wall clock that is set changes nothing.

use parking_lot::Mutex;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

/// A wall clock that moved by more than this since the last answer was set, or the machine slept; then only the next
/// answer tells the time.
const MOVED: Duration = Duration::seconds(2);

/// A date this far from what the earlier answers say comes from something in between, unless the next answer agrees
/// with it: it would end a run although its SAS is valid.
const INCREDIBLE: Duration = Duration::days(1);

/// The date of the latest answer that is believed, and one that no second answer has confirmed yet.
#[derive(Debug, Default)]
pub(crate) struct ServiceClock(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    last: Option<Anchor>,
    unconfirmed: Option<Anchor>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    date: OffsetDateTime,
    heard: Instant,
    /// This machine's clock then.
    wall: OffsetDateTime,
}

impl Anchor {
    fn now(&self) -> OffsetDateTime {
        self.date.saturating_add(self.heard.elapsed().try_into().unwrap_or(Duration::ZERO))
    }

    fn agrees_with(&self, date: OffsetDateTime) -> bool {
        (self.now() - date).abs() < INCREDIBLE
    }

    /// Whether this machine's clock went on since then as a clock that does not jump.
    fn is_fresh(&self, wall: OffsetDateTime) -> bool {
        let passed = Duration::try_from(self.heard.elapsed()).unwrap_or(Duration::MAX);
        ((wall - self.wall).saturating_sub(passed)).abs() <= MOVED
    }
}

impl ServiceClock {
    /// An answer that just arrived has this date.
    pub(crate) fn hear(&self, date: OffsetDateTime) {
        self.hear_at(date, OffsetDateTime::now_utc());
    }

    fn hear_at(&self, date: OffsetDateTime, wall: OffsetDateTime) {
        // Later times are added to it. A service whose clock is a century off tells no time.
        if !(2000..2200).contains(&date.year()) {
            return;
        }
        let mut heard = self.0.lock();
        let anchor = Anchor { date, heard: Instant::now(), wall };
        let believed = |known: &Option<Anchor>| known.is_some_and(|known| known.agrees_with(date));
        if heard.last.is_none() || believed(&heard.last) || believed(&heard.unconfirmed) {
            *heard = Heard { last: Some(anchor), unconfirmed: None };
        } else {
            heard.unconfirmed = Some(anchor);
        }
    }

    /// What the service's clock shows now, to about a second. None before the first answer, and after this machine's
    /// clock was set until the next one.
    pub(crate) fn now(&self) -> Option<OffsetDateTime> {
        self.now_at(OffsetDateTime::now_utc())
    }

    fn now_at(&self, wall: OffsetDateTime) -> Option<OffsetDateTime> {
        self.0.lock().last.filter(|anchor| anchor.is_fresh(wall)).map(|anchor| anchor.now())
    }

    /// How far the service's clock is ahead of this machine's now; none where it is not known.
    pub(crate) fn offset(&self) -> Option<Duration> {
        let wall = OffsetDateTime::now_utc();
        self.now_at(wall).map(|now| now - wall)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const WALL: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_between_answers_and_is_unknown_once_the_wall_clock_jumped() {
        let clock = ServiceClock::default();
        assert_eq!(clock.now_at(WALL), None);
        let date = WALL + Duration::minutes(20);
        clock.hear_at(date, WALL);
        tokio::time::advance(std::time::Duration::from_secs(300)).await;
        let later = WALL + Duration::minutes(5);
        assert_eq!(clock.now_at(later), Some(date + Duration::minutes(5)));
        for jump in [Duration::hours(1), Duration::hours(-1), Duration::seconds(3)] {
            assert_eq!(clock.now_at(later + jump), None, "{jump}");
        }
        clock.hear_at(date + Duration::minutes(5), later + Duration::hours(1));
        assert_eq!(clock.now_at(later + Duration::hours(1)), Some(date + Duration::minutes(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_days_off_is_known_and_a_single_answer_does_not_move_it_by_a_day() {
        for days in [-400, -1, 1, 7] {
            let clock = ServiceClock::default();
            let date = WALL + Duration::days(days);
            clock.hear_at(date, WALL);
            assert_eq!(clock.now_at(WALL), Some(date), "{days}");
            clock.hear_at(WALL, WALL);
            assert_eq!(clock.now_at(WALL), Some(date), "{days}: something in between said otherwise");
            clock.hear_at(WALL, WALL);
            assert_eq!(clock.now_at(WALL), Some(WALL), "{days}: it said so twice");
        }
    }

    #[test]
    fn a_clock_that_is_a_century_off_tells_no_time() {
        let clock = ServiceClock::default();
        for date in [datetime!(1999-12-31 23:59 UTC), datetime!(9999-12-31 23:59:59 UTC)] {
            clock.hear_at(date, WALL);
            assert_eq!(clock.now_at(WALL), None, "{date}");
        }
    }
}
