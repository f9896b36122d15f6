//! Lets calls through at a rate, on tokio's time, so that paused time moves it too.
//!
//! It keeps one moment: when the next call is due if calls are evenly spaced. A call may come earlier than that by what
//! is saved up (the generic cell rate algorithm).

use std::time::Duration;

use tokio::time::Instant;

/// How much lateness may be caught up, in seconds of the rate. Timers wake a millisecond or more late; without
/// this each late wake-up would lose its share of the budget for good.
const CATCH_UP_SECONDS: f64 = 0.02;

/// Lets calls through at a rate.
pub(super) struct Limiter {
    /// The time from one call to the next.
    period: Duration,
    /// How many calls can be saved up.
    burst: u32,
    /// When the next call is due if nothing is saved up.
    due: Instant,
}

impl Limiter {
    /// A limiter for so many calls per second that has something saved up.
    pub(super) fn at(rate: f64) -> Self {
        let burst = (rate * CATCH_UP_SECONDS).ceil().clamp(1.0, 1e6);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=1e6")]
        let burst = burst as u32;
        let period = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
        Self { period, burst, due: Instant::now() }
    }

    /// The same with only so many calls saved up: otherwise every change of the rate would let calls through at once.
    pub(super) fn with_saved(rate: f64, calls: u32) -> Self {
        let limiter = Self::at(rate);
        let spent = limiter.period * limiter.burst.saturating_sub(calls);
        Self { due: limiter.due + spent, ..limiter }
    }

    /// Lets one call through, or says when to ask again.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Instant> {
        let lead = self.period * (self.burst - 1);
        if now + lead < self.due {
            return Err(self.due - lead);
        }
        self.due = self.due.max(now) + self.period;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls pass at once, and how long the next one waits.
    fn passed(limiter: &mut Limiter, now: Instant) -> (u32, Duration) {
        let mut passed = 0;
        loop {
            match limiter.check(now) {
                Ok(()) => passed += 1,
                Err(until) => return (passed, until - now),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_much_is_saved_up_however_long_nobody_calls() {
        let start = Instant::now();
        // 20 ms are ten calls.
        let mut limiter = Limiter::at(500.0);
        assert_eq!(passed(&mut limiter, start), (10, Duration::from_millis(2)));
        assert_eq!(passed(&mut limiter, start + Duration::from_millis(7)), (3, Duration::from_millis(1)));
        assert_eq!(passed(&mut limiter, start + Duration::from_hours(1)), (10, Duration::from_millis(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limiter_begins_with_what_it_is_told_is_saved_up() {
        let now = Instant::now();
        for (calls, expected) in [(0, 0), (1, 1), (10, 10), (11, 10)] {
            assert_eq!(passed(&mut Limiter::with_saved(500.0, calls), now).0, expected);
        }
        let (none, wait) = passed(&mut Limiter::with_saved(0.25, 0), now);
        assert_eq!((none, wait), (0, Duration::from_secs(4)));
    }
}
