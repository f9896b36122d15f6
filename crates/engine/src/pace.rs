//! One request budget per Batch account: how fast calls may go out, and how the account's answers change that.
//!
//! The rate starts at a quarter of the ceiling and doubles every round trip until the ceiling or the first
//! throttled answer. After that it adds a little while answers stay good, and halves when the service says that it
//! is too much: once per round trip, as the calls that were in flight together tell the same story. A
//! `Retry-After` pauses the whole account. The reasons are in docs/design/pace.md.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep_until};

use crate::retry::LONGEST_RETRY_AFTER;

/// The pace never falls below this, in calls per second: a call now and then finds out that the service recovered.
const SLOWEST: f64 = 0.5;

/// How much lateness may be caught up, in seconds of the rate. Timers wake a millisecond or more late; without
/// this each late wake-up would lose its share of the budget for good.
const CATCH_UP_SECONDS: f64 = 0.02;

/// Share of the ceiling that the rate gains per second of good answers.
const CLIMB_PER_SECOND: f64 = 0.05;

/// Governor's clock on tokio's time, so that paused time moves it too.
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

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>;

fn burst(rate: f64) -> NonZeroU32 {
    let burst = (rate * CATCH_UP_SECONDS).ceil().clamp(1.0, 1e6);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=1e6")]
    NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN)
}

fn limiter(rate: f64) -> Limiter {
    let period = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
    let quota = Quota::with_period(period).expect("the period is above zero").allow_burst(burst(rate));
    RateLimiter::direct_with_clock(quota, TokioClock)
}

/// What changed after a throttled answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slowdown {
    /// The new rate, in calls per second.
    pub rate: f64,
    /// How long nothing is sent, if the service asked for that.
    pub pause: Option<Duration>,
}

/// The budget of one account.
pub struct Pacer {
    /// Only the holder waits for the limiter; the others queue here in order, and no wake-up is wasted.
    turn: tokio::sync::Mutex<()>,
    /// The same for [`Pacer::gate`].
    gate: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    ceiling: Option<f64>,
    /// None: as fast as the concurrency allows.
    rate: Option<f64>,
    limiter: Option<Limiter>,
    /// As fast as `limiter`, for calls that had their turn.
    gate: Option<Limiter>,
    /// Still doubling; ends at the ceiling or the first throttled answer.
    starting: bool,
    /// Smoothed; none before the first answer.
    round_trip: Option<Duration>,
    last_raise: Instant,
    last_cut: Option<Instant>,
    paused_until: Option<Instant>,
    /// Calls since `counted_since`, to know the pace there was when no ceiling is set.
    counted: u32,
    counted_since: Instant,
}

impl Pacer {
    /// A budget with a ceiling in calls per second, or without one.
    #[must_use]
    pub fn new(ceiling: Option<f64>) -> Self {
        let now = Instant::now();
        let rate = ceiling.map(|ceiling| (ceiling / 4.0).max(SLOWEST.min(ceiling)));
        let state = State {
            ceiling,
            rate,
            limiter: rate.map(limiter),
            gate: rate.map(limiter),
            starting: true,
            round_trip: None,
            last_raise: now,
            last_cut: None,
            paused_until: None,
            counted: 0,
            counted_since: now,
        };
        Self {
            turn: tokio::sync::Mutex::new(()),
            gate: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the account may be called once more.
    ///
    /// # Cancel safety
    /// May be dropped at any time; a turn that was not returned is not used up.
    pub async fn turn(&self) {
        let _first_in_line = self.turn.lock().await;
        loop {
            let turn = self.state().try_turn(Instant::now());
            let Some(until) = turn else { return };
            sleep_until(until).await;
        }
    }

    /// Waits until a call that had its turn may go out. Between the two its intent is put on record, and a disk that stalls
    /// holds several back; without this they would go out together, and the account see more than its ceiling.
    ///
    /// # Cancel safety
    /// As [`Pacer::turn`].
    pub async fn gate(&self) {
        let _first_in_line = self.gate.lock().await;
        loop {
            let now = Instant::now();
            let too_early = {
                let state = self.state();
                state.gate.as_ref().and_then(|gate| gate.check().err())
            };
            let Some(too_early) = too_early else { return };
            sleep_until(now + too_early.wait_time_from(TokioInstant(now))).await;
        }
    }

    /// Waits while the service asked the account to pause, without taking a turn.
    pub async fn unpaused(&self) {
        loop {
            let until = self.state().paused_until;
            match until.filter(|until| Instant::now() < *until) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// The rate now, in calls per second; none while nothing limits it.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.state().rate
    }

    /// The service took a call, after `round_trip`.
    pub fn answered_well(&self, round_trip: Duration) {
        self.state().answered_well(Instant::now(), round_trip);
    }

    /// The service refused a call as too much. Returns what changed; none if this answer tells what an earlier one
    /// of the same round trip already told.
    pub fn throttled(&self, sent_at: Instant, retry_after: Option<Duration>) -> Option<Slowdown> {
        self.state().throttled(Instant::now(), sent_at, retry_after)
    }
}

impl State {
    /// Takes a turn, or tells until when to wait.
    fn try_turn(&mut self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.paused_until {
            if now < until {
                return Some(until);
            }
            self.paused_until = None;
        }
        if let Some(limiter) = &self.limiter
            && let Err(too_early) = limiter.check()
        {
            return Some(now + too_early.wait_time_from(TokioInstant(now)));
        }
        if now.duration_since(self.counted_since) > Duration::from_secs(1) {
            self.counted = 0;
            self.counted_since = now;
        }
        self.counted += 1;
        None
    }

    fn set_rate(&mut self, rate: f64) {
        self.rate = Some(rate);
        // They begin with nothing saved up: else every change of the rate would let calls through at once.
        let empty = || {
            let limiter = limiter(rate);
            let _ = limiter.check_n(burst(rate));
            Some(limiter)
        };
        (self.limiter, self.gate) = (empty(), empty());
    }

    fn answered_well(&mut self, now: Instant, round_trip: Duration) {
        let smoothed = self.round_trip.map_or(round_trip, |before| (before * 7 + round_trip) / 8);
        self.round_trip = Some(smoothed);
        let (Some(rate), Some(ceiling)) = (self.rate, self.ceiling.or(Some(f64::INFINITY))) else { return };
        if rate >= ceiling {
            self.starting = false;
            return;
        }
        let since = now.duration_since(self.last_raise);
        if self.starting {
            if since >= smoothed {
                self.last_raise = now;
                self.set_rate((rate * 2.0).min(ceiling));
            }
        } else if since >= Duration::from_secs(1)
            && self.last_cut.is_none_or(|cut| now - cut >= Duration::from_secs(1))
        {
            // Without a ceiling the climb is a share of the rate itself.
            let step = if ceiling.is_finite() { ceiling } else { rate } * CLIMB_PER_SECOND;
            self.last_raise = now;
            self.set_rate((rate + step.max(SLOWEST)).min(ceiling));
        }
    }

    fn throttled(
        &mut self,
        now: Instant,
        sent_at: Instant,
        retry_after: Option<Duration>,
    ) -> Option<Slowdown> {
        let pause = retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER));
        let longer_pause = pause.filter(|pause| self.paused_until.is_none_or(|until| now + *pause > until));
        if let Some(pause) = longer_pause {
            self.paused_until = Some(now + pause);
        }
        // A call sent before the last cut went out at the old pace: its refusal is no news.
        if self.last_cut.is_some_and(|cut| sent_at <= cut) {
            return None;
        }
        self.starting = false;
        self.last_cut = Some(now);
        self.last_raise = now;
        let seconds = now.duration_since(self.counted_since).as_secs_f64().max(0.05);
        let rate = self.rate.unwrap_or_else(|| f64::from(self.counted) / seconds);
        let slowest = self.ceiling.map_or(SLOWEST, |ceiling| SLOWEST.min(ceiling));
        self.set_rate((rate / 2.0).max(slowest));
        self.rate.map(|rate| Slowdown { rate, pause: longer_pause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// Sends as fast as the pacer lets it, each answered well, for `length`; returns the calls.
    async fn calls_within(pacer: &Pacer, length: Duration) -> u32 {
        let end = Instant::now() + length;
        let mut calls = 0;
        while tokio::time::timeout_at(end, pacer.turn()).await.is_ok() {
            calls += 1;
            pacer.answered_well(ROUND_TRIP);
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn it_starts_at_a_quarter_and_reaches_the_ceiling_within_a_few_round_trips() {
        let pacer = Pacer::new(Some(200.0));
        assert_eq!(pacer.rate(), Some(50.0));
        calls_within(&pacer, ROUND_TRIP * 5).await;
        assert_eq!(pacer.rate(), Some(200.0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_ceiling_holds_and_is_used() {
        let pacer = Pacer::new(Some(200.0));
        calls_within(&pacer, Duration::from_secs(1)).await;
        let calls = calls_within(&pacer, Duration::from_secs(10)).await;
        assert!((1990..=2004).contains(&calls), "{calls} calls in 10 s at 200/s");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_were_in_flight_together_cut_the_rate_once() {
        let pacer = Pacer::new(Some(200.0));
        calls_within(&pacer, Duration::from_secs(1)).await;
        let sent_at = Instant::now();
        tokio::time::advance(ROUND_TRIP).await;
        assert_eq!(pacer.throttled(sent_at, None), Some(Slowdown { rate: 100.0, pause: None }));
        assert_eq!(pacer.throttled(sent_at, None), None);
        tokio::time::advance(ROUND_TRIP).await;
        let later = Instant::now();
        assert_eq!(pacer.throttled(later, None).map(|slowdown| slowdown.rate), Some(50.0));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_pauses_the_account_for_just_that_long() {
        let pacer = Pacer::new(Some(200.0));
        pacer.throttled(Instant::now(), Some(Duration::from_secs(7)));
        let before = Instant::now();
        pacer.turn().await;
        assert_eq!(before.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn it_climbs_back_slowly_and_not_above_the_ceiling() {
        let pacer = Pacer::new(Some(100.0));
        calls_within(&pacer, Duration::from_secs(1)).await;
        pacer.throttled(Instant::now() + Duration::from_millis(1), None);
        assert_eq!(pacer.rate(), Some(50.0));
        calls_within(&pacer, Duration::from_secs(5)).await;
        let after_five = pacer.rate().unwrap();
        assert!((65.0..=75.0).contains(&after_five), "{after_five}");
        calls_within(&pacer, Duration::from_secs(60)).await;
        assert_eq!(pacer.rate(), Some(100.0));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_ceiling_nothing_waits_until_the_service_says_so() {
        let pacer = Pacer::new(None);
        let before = Instant::now();
        for _ in 0..500 {
            pacer.turn().await;
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(500)).await;
        let slowdown = pacer.throttled(Instant::now(), None).unwrap();
        assert!((400.0..=600.0).contains(&slowdown.rate), "half of 1000/s, not {}", slowdown.rate);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_does_not_raise_a_pace_whose_ceiling_is_very_low() {
        let pacer = Pacer::new(Some(0.2));
        tokio::time::advance(Duration::from_secs(1)).await;
        pacer.throttled(Instant::now(), None);
        assert_eq!(pacer.rate(), Some(0.2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_pace_lets_no_call_through_at_once() {
        let pacer = Pacer::new(Some(1.0));
        let before = Instant::now();
        for _ in 0..3 {
            pacer.turn().await;
            let sent_at = Instant::now();
            tokio::time::advance(Duration::from_millis(1)).await;
            pacer.throttled(sent_at, None);
        }
        assert_eq!(before.elapsed().as_secs(), 4, "three calls at one in two seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_never_stops_for_good() {
        let pacer = Pacer::new(Some(1.0));
        for _ in 0..50 {
            tokio::time::advance(Duration::from_secs(1)).await;
            pacer.throttled(Instant::now(), None);
        }
        assert_eq!(pacer.rate(), Some(SLOWEST));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_a_stall_held_back_do_not_go_out_together() {
        let pacer = Pacer::new(Some(100.0));
        pacer.state().set_rate(100.0);
        let began = Instant::now();
        for _ in 0..50 {
            pacer.turn().await;
        }
        // All of them were held back until now.
        let stalled = Instant::now();
        let mut out = Vec::new();
        for _ in 0..50 {
            pacer.gate().await;
            out.push(Instant::now());
        }
        assert!(stalled - began >= Duration::from_millis(490));
        for second in out.windows(12) {
            assert!(
                second[11] - second[0] >= Duration::from_millis(90),
                "twelve calls within a tenth of a second"
            );
        }
    }
}
