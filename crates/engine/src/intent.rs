//! The moment at which an upload call was about to be sent, and how long ago that is.
//!
//! This machine's clock may be wrong, and may be set at any time. So the age of a call is measured twice: on the
//! service's clock, and here: on a clock that does not jump, or by the time of day if an earlier process made the call.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::clock::Clock;

/// Two ages of a call that differ by more than this show that a clock moved, or that the machine slept. Less may come
/// from dates of whole seconds and from a slow answer.
pub(crate) const MOVED: Duration = Duration::from_secs(5);

/// All clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// This machine's.
    wall: OffsetDateTime,
    /// The Batch service's, where it is known.
    service: Option<OffsetDateTime>,
    /// One that does not jump.
    pub(crate) instant: Instant,
}

impl Now {
    pub(crate) fn read(clock: Clock, service: Option<OffsetDateTime>) -> Self {
        Self { wall: clock.now(), service, instant: Instant::now() }
    }

    /// What a service shows whose clock is not known better.
    pub(crate) fn time_of_day(&self) -> OffsetDateTime {
        self.service.unwrap_or(self.wall)
    }
}

/// When a call was about to be sent, on every clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    /// This machine's clock.
    at: OffsetDateTime,
    /// How far the service's clock was ahead of it, if that was known.
    service_ahead: Option<time::Duration>,
    /// The clock that does not jump: then, or when this process learned of the call.
    known: Instant,
    /// Whether this process made the call.
    is_ours: bool,
}

impl Intent {
    /// Of a call that this process makes now.
    pub(crate) fn new(now: &Now) -> Self {
        let service_ahead = now.service.map(|service| service - now.wall);
        Self { at: now.wall, service_ahead, known: now.instant, is_ours: true }
    }

    /// Of a call that an earlier process made.
    pub(crate) fn recorded(at: OffsetDateTime, service_ahead_ms: Option<i64>) -> Self {
        let service_ahead = service_ahead_ms.map(time::Duration::milliseconds);
        Self { at, service_ahead, known: Instant::now(), is_ours: false }
    }

    pub(crate) fn service_ahead_ms(&self) -> Option<i64> {
        self.service_ahead.and_then(|ahead| i64::try_from(ahead.whole_milliseconds()).ok())
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Whether a clock of this machine says that it is older than this.
    pub(crate) fn is_older_than(&self, age: Duration, now: &Now) -> bool {
        now.instant.duration_since(self.known) > age || (now.wall - self.at).unsigned_abs() > age
    }

    pub(crate) fn age(&self, now: &Now) -> Age {
        let passed = now.instant.duration_since(self.known);
        let of_day = positive(now.wall - self.at);
        let here = if self.is_ours { passed } else { of_day };
        let then = self.service_ahead.and_then(|ahead| self.at.checked_add(ahead));
        let Some(there) = then.zip(now.service).map(|(then, service)| positive(service - then)) else {
            // The service was silent, or an earlier version made the call.
            let moved = !self.is_ours || of_day.abs_diff(passed) > MOVED;
            let least = passed;
            return Age { trusted: here, longest: here, least, moved };
        };
        if here.abs_diff(there) > MOVED {
            return Age { trusted: there, longest: here.max(there), least: passed, moved: true };
        }
        let longer = here.max(there);
        Age { trusted: longer, longest: longer, least: here.min(there).max(passed), moved: false }
    }
}

fn positive(span: time::Duration) -> Duration {
    Duration::try_from(span).unwrap_or(Duration::ZERO)
}

/// How long ago an intent was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    /// By the service's clock, where it is known.
    pub(crate) trusted: Duration,
    /// By any clock.
    pub(crate) longest: Duration,
    /// It was no less long ago than this, whichever clock is wrong.
    pub(crate) least: Duration,
    /// A clock moved since, or it cannot be told whether one did.
    pub(crate) moved: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    const SECOND: time::Duration = time::Duration::SECOND;

    /// 100 s after the call. `ahead`: how far the service's clock was ahead then, and is ahead now.
    async fn age(is_ours: bool, ahead: (Option<i64>, Option<i64>), wall_moved: i64) -> Age {
        let intent = Intent { is_ours, ..Intent::recorded(NOW, ahead.0.map(|seconds| seconds * 1000)) };
        tokio::time::advance(Duration::from_secs(100)).await;
        let wall = NOW + 100 * SECOND + time::Duration::seconds(wall_moved);
        let service = ahead.1.map(|seconds| wall + time::Duration::seconds(seconds));
        intent.age(&Now { wall, service, instant: Instant::now() })
    }

    fn seconds(age: Age) -> (u64, u64, u64, bool) {
        (age.trusted.as_secs(), age.longest.as_secs(), age.least.as_secs(), age.moved)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_in_mid_run_does_not_change_the_age_of_a_call() {
        for moved in [0, 3, 3600, -3600, -60] {
            let ahead = (Some(-5), Some(-5 - moved));
            let age = age(true, ahead, moved).await;
            assert_eq!(seconds(age), (100, 100, 100, false), "set by {moved} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_put_right_before_resume_is_noticed_and_the_services_clock_counts() {
        // This machine was so far ahead, and is right now.
        for (was_ahead, longest, moved) in
            [(60, 100, true), (7, 100, true), (2, 100, false), (-60, 160, true)]
        {
            let age = age(false, (Some(-was_ahead), Some(0)), -was_ahead).await;
            let found = (age.trusted.as_secs(), age.longest.as_secs(), age.moved);
            assert_eq!(found, (100, longest, moved), "{was_ahead} s ahead");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_whose_clock_is_put_right_is_noticed_too() {
        assert_eq!(seconds(age(true, (Some(60), Some(0)), 0).await), (40, 100, 100, true));
        assert_eq!(seconds(age(false, (Some(-60), Some(0)), 0).await), (160, 160, 100, true));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_services_clock_an_earlier_call_is_in_doubt_and_the_wait_begins_anew() {
        for ahead in [(None, Some(0)), (Some(0), None), (None, None)] {
            assert!(age(false, ahead, 3600).await.moved, "{ahead:?}");
            assert_eq!(seconds(age(false, ahead, 3600).await), (3700, 3700, 100, true), "{ahead:?}");
            assert_eq!(seconds(age(true, ahead, 0).await), (100, 100, 100, false), "{ahead:?}");
            assert_eq!(seconds(age(true, ahead, 3600).await), (100, 100, 100, true), "{ahead:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whole_seconds_and_a_slow_answer_do_not_look_like_a_clock_that_moved() {
        assert_eq!(seconds(age(true, (Some(0), Some(5)), 0).await), (105, 105, 100, false));
        assert_eq!(seconds(age(true, (Some(0), Some(6)), 0).await), (106, 106, 100, true));
        assert!(!age(true, (None, None), 5).await.moved);
        assert!(age(true, (None, None), 6).await.moved);
    }

    #[tokio::test(start_paused = true)]
    async fn an_intent_is_too_old_by_either_clock_of_this_machine() {
        let intent = Intent::recorded(NOW, None);
        let is_old = |wall: i64| {
            let now =
                Now { wall: NOW + time::Duration::seconds(wall), service: None, instant: Instant::now() };
            intent.is_older_than(Duration::from_secs(5), &now)
        };
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!is_old(5) && !is_old(-5), "no older than this");
        assert!(is_old(6) && is_old(-6), "the time of day was set");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_old(5), "the time of day stands still");
    }
}
