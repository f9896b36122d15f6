//! Governor's limiter on tokio's time, so that paused time moves it too.

use std::num::NonZeroU32;
use std::ops::Add;
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// How much lateness may be caught up, in seconds of the rate. Timers wake a millisecond or more late; without
/// this each late wake-up would lose its share of the budget for good.
const CATCH_UP_SECONDS: f64 = 0.02;

#[derive(Clone, Debug, Default)]
struct TokioClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(Instant);

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(Instant::now())
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Add<Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0 + Duration::from(duration))
    }
}

/// Lets calls through at a rate.
pub(super) struct Limiter {
    governor: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>,
    burst: NonZeroU32,
}

impl Limiter {
    /// A limiter for so many calls per second that has something saved up.
    pub(super) fn at(rate: f64) -> Self {
        let burst = (rate * CATCH_UP_SECONDS).ceil().clamp(1.0, 1e6);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=1e6")]
        let burst = NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN);
        let period = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
        let quota = Quota::with_period(period).expect("the period is above zero").allow_burst(burst);
        Self { governor: RateLimiter::direct_with_clock(quota, TokioClock), burst }
    }

    /// The same with only so many calls saved up: otherwise every change of the rate would let calls through at once.
    pub(super) fn with_saved(rate: f64, calls: u32) -> Self {
        let limiter = Self::at(rate);
        if let Some(spent) = NonZeroU32::new(limiter.burst.get().saturating_sub(calls)) {
            let _ = limiter.governor.check_n(spent);
        }
        limiter
    }

    /// Lets one call through, or says when to ask again.
    pub(super) fn check(&self, now: Instant) -> Result<(), Instant> {
        self.governor.check().map_err(|early| now + early.wait_time_from(TokioInstant(now)))
    }
}
