//! One request budget per Batch account: how fast calls may go out, and how the account's answers change that.
//!
//! The rate starts at a quarter of the ceiling and doubles every round trip until the ceiling or the first
//! throttled answer. It halves when the service throttles: once per round trip, because the calls that were in flight
//! together carry the same news. Then it returns to a little below the level that was too much, stays there, and probes
//! beyond it in growing steps. A `Retry-After` pauses the whole account. The reasons are in
//! docs/design/pace.md.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::{Add, RangeInclusive};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

use fleetlogs_model::retry::LONGEST_RETRY_AFTER;

/// The pace never falls below this, in calls per second: an occasional call finds out whether the service recovered.
const SLOWEST: f64 = 0.5;

/// How much lateness may be caught up, in seconds of the rate. Timers wake a millisecond or more late; without
/// this each late wake-up would lose its share of the budget for good.
const CATCH_UP_SECONDS: f64 = 0.02;

/// Where the rate returns to after a cut, as a share of the level that was too much.
const PLATEAU: RangeInclusive<f64> = 0.86..=0.90;

/// Where the rate returns to between the level that was good and the one that was too much, if that is less.
const ONWARD: f64 = 0.3;

/// Shortest time between two steps of the climb.
const STEP: Duration = Duration::from_millis(500);

/// How long probing beyond the plateau takes to add the level that was too much once more. The probe grows with the
/// third power of time, so half of this time adds an eighth.
const DOUBLING: RangeInclusive<f64> = 25.0..=35.0;

/// This many cuts in a row without a good answer are an outage, not a level that is too high.
const BLANK_CUTS: u32 = 3;

/// With fewer good answers than this between two cuts, the second cut tells of a storm, not of a level a little too
/// high.
const FEW: u32 = 16;

/// This many cuts within [`OFTEN`] do not mean that a level is too high: below such a level they would end. The service
/// then throttles for reasons that the rate does not explain.
const MANY_CUTS: usize = 8;

/// See [`MANY_CUTS`].
const OFTEN: Duration = Duration::from_secs(60);

/// Unless this many cuts in a row were at levels this close to each other: that is a level that is too high.
const SAME_LEVEL: (usize, f64) = (4, 0.85);

/// What the rate gains per second then: a share of the ceiling, or of the rate itself if that is less.
const ADDED: (f64, f64) = (0.05, 0.2);

/// The least gain, if the ceiling allows it, in calls per second.
const LEAST_ADDED: f64 = 5.0;

/// A rate that is used less than this is not raised: the calls in flight are the limit, not the rate.
const USED: f64 = 0.75;

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
    /// How long nothing is sent, if the service asked for a pause.
    pub pause: Option<Duration>,
}

/// The budget of one account.
pub struct Pacer {
    /// Only the holder waits for the limiter; the others queue here in order, and no wake-up is wasted.
    turn: tokio::sync::Mutex<()>,
    /// The same for [`Pacer::gate`].
    gate: tokio::sync::Mutex<()>,
    state: Mutex<PacerState>,
}

struct PacerState {
    ceiling: Option<f64>,
    /// None: as fast as the concurrency allows.
    rate: Option<f64>,
    limiter: Option<Limiter>,
    /// As fast as `limiter`, for calls that already had their turn.
    gate: Option<Limiter>,
    climb: Climb,
    /// Highest rate that was answered well.
    good: f64,
    /// The rate before the last raise, which calls that are still in flight were sent at.
    before_raise: f64,
    /// When the rate was changed, or a pause ended: calls sent earlier say nothing about the current rate.
    changed: Instant,
    last_step: Instant,
    last_cut: Option<Instant>,
    /// When the last cuts were made, and at which level.
    cuts: VecDeque<(Instant, f64)>,
    /// Calls sent after the last cut that got a good answer.
    well: u32,
    /// Cuts in a row without a good answer in between.
    blank_cuts: u32,
    /// Smoothed; none before the first answer.
    round_trip: Option<Duration>,
    paused_until: Option<Instant>,
    meter: Meter,
    random: fastrand::Rng,
}

/// How the rate rises while answers are good.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Climb {
    /// Doubling: the level that is too much is not known yet. At most once in `pause`.
    Starting { pause: Duration },
    /// After a cut: each step closes half of the gap to the plateau.
    Returning(RateMemory),
    /// Probing beyond the plateau, for this long.
    Probing(RateMemory, Duration),
    /// A little each second: nothing is known about the level that would be too much.
    Adding,
}

/// What a cut teaches.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RateMemory {
    too_much: f64,
    plateau: f64,
    /// See [`DOUBLING`].
    doubling: Duration,
}

/// Counts calls, in a window of a second and the one before.
struct Meter {
    since: Instant,
    calls: u32,
    before: u32,
    before_length: Duration,
}

impl Meter {
    fn starting(since: Instant) -> Self {
        Self { since, calls: 0, before: 0, before_length: Duration::ZERO }
    }

    fn count(&mut self, now: Instant) {
        self.turn_over(now);
        self.calls += 1;
    }

    fn turn_over(&mut self, now: Instant) {
        let length = now.saturating_duration_since(self.since);
        if length >= Duration::from_secs(1) {
            *self = Self { since: now, calls: 0, before: self.calls, before_length: length };
        }
    }

    /// Calls, and the seconds they went out in.
    fn read(&mut self, now: Instant) -> (f64, f64) {
        self.turn_over(now);
        let length = now.saturating_duration_since(self.since) + self.before_length;
        (f64::from(self.calls + self.before), length.as_secs_f64())
    }
}

impl Pacer {
    /// A budget with a ceiling in calls per second, or without one. `random` spreads the times at which accounts try
    /// more than they know to be good.
    #[must_use]
    pub fn new(ceiling: Option<f64>, random: fastrand::Rng) -> Self {
        let now = Instant::now();
        let rate = ceiling.map(|ceiling| (ceiling / 4.0).max(SLOWEST.min(ceiling)));
        let state = PacerState {
            ceiling,
            rate,
            limiter: rate.map(limiter),
            gate: rate.map(limiter),
            climb: Climb::Starting { pause: Duration::ZERO },
            good: 0.0,
            before_raise: rate.unwrap_or_default(),
            changed: now,
            last_step: now,
            last_cut: None,
            cuts: VecDeque::with_capacity(MANY_CUTS),
            well: 0,
            blank_cuts: 0,
            round_trip: None,
            paused_until: None,
            meter: Meter::starting(now),
            random,
        };
        Self {
            turn: tokio::sync::Mutex::new(()),
            gate: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, PacerState> {
        self.state.lock()
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

    /// Waits until a call that had its turn may go out. Between turn and call the intent is recorded, and a disk that
    /// stalls holds several calls back; without this gate they would go out together and exceed the account's ceiling.
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

    /// The service throttled a call. Returns what changed; none if an earlier answer of the same round trip already
    /// carried the news.
    pub fn throttled(&self, sent_at: Instant, retry_after: Option<Duration>) -> Option<Slowdown> {
        self.state().throttled(Instant::now(), sent_at, retry_after)
    }
}

impl PacerState {
    /// Takes a turn, or says until when to wait.
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
        self.meter.count(now);
        None
    }

    fn set_rate(&mut self, now: Instant, rate: f64) {
        self.before_raise = self.rate.unwrap_or(rate);
        self.rate = Some(rate);
        self.changed = now;
        self.meter = Meter::starting(now);
        // New limiters begin with nothing saved up: otherwise every change of the rate would let calls through at once.
        let empty = || {
            let limiter = limiter(rate);
            let _ = limiter.check_n(burst(rate));
            Some(limiter)
        };
        (self.limiter, self.gate) = (empty(), empty());
    }

    /// The rate never falls below this, whatever the account answers.
    fn slowest(&self) -> f64 {
        self.ceiling.map_or(SLOWEST, |ceiling| SLOWEST.min(ceiling))
    }

    fn answered_well(&mut self, now: Instant, round_trip: Duration) {
        let smoothed = self.round_trip.map_or(round_trip, |before| (before * 7 + round_trip) / 8);
        self.round_trip = Some(smoothed);
        let Some(rate) = self.rate else { return };
        // The call was sent at another rate and says nothing about this one.
        if now < self.changed + round_trip {
            return;
        }
        self.well = self.well.saturating_add(1);
        let ceiling = self.ceiling.unwrap_or(f64::INFINITY);
        let length = now - self.changed.max(self.last_step);
        if let Climb::Starting { pause } = self.climb {
            // A round trip of calls, and another one until the last of them is answered.
            if length >= (smoothed * 2).max(pause) && self.is_used(now, rate) {
                self.good = rate;
                self.last_step = now;
                if rate < ceiling {
                    self.set_rate(now, (rate * 2.0).min(ceiling));
                }
            }
            return;
        }
        let step = STEP.max(smoothed).max(Duration::from_secs_f64(4.0 / rate));
        if length < step || !self.is_used(now, rate) {
            return;
        }
        self.good = self.good.max(rate);
        self.last_step = now;
        let next = match &mut self.climb {
            Climb::Starting { .. } => return,
            Climb::Adding => {
                if self.last_cut.is_some_and(|cut| now < cut + Duration::from_secs(1)) {
                    return;
                }
                let (of_ceiling, of_rate) = ADDED;
                let added = (rate * of_rate).max(LEAST_ADDED).min(ceiling * of_ceiling).max(SLOWEST);
                rate + added * length.min(step * 2).as_secs_f64()
            }
            Climb::Returning(memory) => {
                let memory = *memory;
                let next = f64::midpoint(rate, memory.plateau);
                if next < memory.plateau * 0.98 {
                    next
                } else {
                    self.climb = Climb::Probing(memory, Duration::ZERO);
                    memory.plateau
                }
            }
            Climb::Probing(memory, probed) => {
                // Time in which the rate was not used does not count: otherwise the rate would jump afterwards.
                *probed += length.min(step * 2);
                let doublings = probed.div_duration_f64(memory.doubling);
                memory.plateau + memory.too_much.max(4.0 * SLOWEST) * doublings.powi(3)
            }
        };
        let next = next.min(ceiling);
        // Each change costs half a call, so a small one is not worth it.
        if next > rate * 1.005 || (next > rate && next >= ceiling) {
            self.set_rate(now, next);
        }
    }

    /// Whether about as many calls go out as the rate allows.
    fn is_used(&mut self, now: Instant, rate: f64) -> bool {
        let (calls, seconds) = self.meter.read(now);
        calls + 1.0 >= rate * seconds * USED
    }

    /// The rate at which a call that was throttled went out.
    fn level(&mut self, now: Instant, sent_at: Instant) -> f64 {
        let (calls, seconds) = self.meter.read(now);
        let Some(rate) = self.rate else { return calls / seconds.max(0.05) };
        let rate = if sent_at < self.changed { self.before_raise.min(rate) } else { rate };
        // A few calls say nothing about how fast they go out.
        let used = if rate * seconds >= 8.0 { (calls + 1.0) / (rate * seconds) } else { 1.0 };
        if used < USED { rate * used.max(0.1) } else { rate }
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
        // A call sent before the last cut went out at the old pace, so its refusal says nothing new.
        let is_news = self.last_cut.is_none_or(|cut| sent_at > cut);
        if is_news {
            let level = self.level(now, sent_at);
            self.learn(now, level);
            self.last_cut = Some(now);
            self.well = 0;
            self.set_rate(now, (level / 2.0).max(self.slowest()));
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            self.changed = self.changed.max(until);
            self.meter = Meter::starting(self.changed);
        }
        self.rate.filter(|_| is_news).map(|rate| Slowdown { rate, pause: longer_pause })
    }

    /// Whether the last cuts came too often, and at levels too far apart, for a single level to be the cause.
    fn is_refused_at_random(&self, now: Instant) -> bool {
        let is_often =
            self.cuts.len() == MANY_CUTS && self.cuts.front().is_some_and(|(first, _)| now < *first + OFTEN);
        let levels = || self.cuts.iter().rev().take(SAME_LEVEL.0).map(|(_, level)| *level);
        let (least, most) = (levels().fold(f64::INFINITY, f64::min), levels().fold(0.0, f64::max));
        is_often && least < most * SAME_LEVEL.1
    }

    /// `level` was too much.
    fn learn(&mut self, now: Instant, level: f64) {
        if self.cuts.len() == MANY_CUTS {
            self.cuts.pop_front();
        }
        self.cuts.push_back((now, level));
        let is_storm = self.last_cut.is_some() && self.well < FEW;
        self.blank_cuts = if self.last_cut.is_some() && self.well == 0 { self.blank_cuts + 1 } else { 0 };
        if self.blank_cuts >= BLANK_CUTS || (self.rate.is_some() && level <= self.slowest()) {
            // An outage says nothing about the load that the account can take afterwards.
            self.climb = Climb::Starting { pause: Duration::from_secs(1) };
            self.good = 0.0;
            return;
        }
        if self.is_refused_at_random(now) {
            self.climb = Climb::Adding;
            self.good = 0.0;
            return;
        }
        let starting = matches!(self.climb, Climb::Starting { .. });
        if self.good > level * 0.95 {
            // The level that was good no longer is. In a storm nothing is known but where the rate goes now.
            self.good = if is_storm { level / 2.0 } else { level * PLATEAU.start() };
        } else if starting {
            self.good = self.good.max(level / 2.0);
        }
        let share = PLATEAU.start() + (PLATEAU.end() - PLATEAU.start()) * self.random.f64();
        let doubling = DOUBLING.start() + (DOUBLING.end() - DOUBLING.start()) * self.random.f64();
        let round_trips = self.round_trip.unwrap_or_default() * 20;
        self.climb = Climb::Returning(RateMemory {
            too_much: level,
            plateau: (level * share).min(self.good + (level - self.good) * ONWARD).max(self.slowest()),
            doubling: Duration::from_secs_f64(doubling).max(round_trips),
        });
    }
}

#[cfg(test)]
mod tests;
