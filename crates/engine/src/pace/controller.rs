//! How the answers of an account move the rate.
//!
//! The rate starts at a quarter of the ceiling and doubles every round trip until the ceiling or the first refusal.
//! From then on the controller believes something about the account's capacity and about refusals that have nothing to
//! do with the rate. A refusal that is probably noise changes nothing. Any other makes the rate dip, which lets the
//! account recover and shows whether a lower rate changes the share of refusals; then the rate holds a little below the
//! level that was too much, and climbs again.

use std::time::Duration;

use tokio::time::Instant;

use super::belief::Belief;
use super::meter::Meter;
use super::sent_rates::SentRates;

/// The pace never falls below this, in calls per second: an occasional call finds out whether the service recovered.
pub(super) const SLOWEST: f64 = 0.5;

/// A rate that is used less than this is not raised: the calls in flight are the limit, not the rate.
const USED: f64 = 0.75;

/// A refusal that is noise with at least this probability changes nothing.
const SURE: f64 = 0.7;

/// The first refusals are never taken for noise, as nothing tells them from a capacity; nor are so many in a row.
const FIRST_REFUSALS: u32 = 2;
const IN_A_ROW: u32 = 3;

/// So often a single refusal at the start is given another chance, whatever it says about the capacity.
const CHANCES: u32 = 2;

/// From this share of noise on, dips check from time to time that it is noise.
const NOISY: f64 = 0.004;

/// So often, in seconds; with the second number where the noise is above the third.
const CHECKED_EVERY: (f64, f64, f64) = (6.0, 3.6, 0.08);

/// A dip goes to this share of the rate where a refusal was to be expected: where nothing is forgiven, as there is nothing
/// to recover from, and where much is.
const EXPECTED_DIP: (f64, f64) = (0.8, 0.6);

/// The same where the refusal tells of a change. Where nothing is forgiven, it may tell of a call that came late instead,
/// which made the next one early.
const FALLEN_DIP: (f64, f64) = (0.7, 0.25);

/// What a dip is that checks noise: what it costs is lost.
const CHECKING_DIP: f64 = 0.7;

/// If calls of the dip are refused, too, it goes on at this share of its rate; at the second if all are.
const DEEPER: (f64, f64) = (0.7, 0.5);

/// No dip goes below this share of the rate before it on account of refusals that were on their way when it began; nor
/// while some of its calls are answered well, until more than so many were refused.
const LOWEST: f64 = 0.25;
const FEW_REFUSALS: u32 = 5;

/// Length of a dip, in seconds and in answers; at least two round trips.
const DIP_LENGTH: (f64, f64) = (0.2, 6.0);

/// How long those answers are waited for after that time, in seconds.
const LONGEST_DIP: f64 = 3.0;

/// Doubling beyond the first number, in calls per second, waits for so many seconds: an account forgives an excess for a
/// moment, and many calls would be on their way when it no longer does.
const FAST_START: (f64, f64) = (200.0, 0.3);

/// An account that saves up a tenth of a second forgives nothing at a lower rate than this, in calls per second; at much
/// higher rates the climb is far above the capacity when it is refused.
const FORGIVES_FROM: f64 = 10.0;

/// The rate holds at this share of the level that was too much: where nothing is forgiven, and where much is.
const PLATEAU: (f64, f64) = (0.93, 0.875);

/// The level is at least this share of the rate at which a climb met one refusal: where nothing is forgiven, and where
/// much is.
const NEAR_LEVEL: (f64, f64) = (0.97, 0.93);

/// How long the rate holds at the plateau, in seconds and in answers. Each time that the level turns out to be the same the hold lasts
/// twice as long, from the third number on.
const HOLD: (f64, f64, f64) = (24.0, 120.0, 1.0);

/// A hold lasts at least so many times the pause that the last refusal asked for: the first number where the level is
/// new, the second where it was confirmed.
const HOLD_IN_PAUSES: (f64, f64) = (10.0, 20.0);

/// Holds and climbs of different accounts differ by up to this share, so that they do not try more at the same time.
const SPREAD: f64 = 0.1;

/// Two levels closer than this are the same.
const SAME: f64 = 0.15;

/// A level is refuted when the capacity is above it with all but this probability.
const REFUTED: f64 = 0.15;

/// What a climb gains per second, as a share of the rate: far below the level that was too much, and near it.
const CLIMB: (f64, f64) = (0.1, 0.05);

/// What it gains where there is noise: the level may have been noise, and a refusal more is not noticed.
const CLIMB_IN_NOISE: f64 = 0.6;

/// From this share of the level on, the climb is near it.
const NEAR: f64 = 0.95;

/// Where no level is known to be too much: beyond this share of the last one the climb is this fast.
const BEYOND: (f64, f64) = (1.16, 1.0);

/// Shortest time between two steps of the climb, in seconds.
const STEP: f64 = 0.2;

/// Above this round trip, in seconds, climbs are slower by as much.
const LONG_ROUND_TRIP: f64 = 0.22;

/// Answers are weighed together as long as this, in seconds, unless one is a refusal.
const WEIGHED_EVERY: f64 = 0.1;

/// Answers from before the first refusal that count when it comes.
const REMEMBERED: f64 = 400.0;

/// At a lower rate than this, in calls per second, the account's changes count by the call instead of by the second.
const BUSY: f64 = 40.0;

/// By how much a pause of a second, which a refusal asks for, lengthens the time until more is tried.
const PER_PAUSE: f64 = 5.0;

/// This many cuts in a row without a good answer are an outage, not a level that is too high.
const BLANK_CUTS: u32 = 3;

/// What a refusal changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// The new rate, in calls per second; none if an earlier refusal already carried the news, or if it was noise.
    pub(super) rate: Option<f64>,
    /// Whether the account pauses for as long as the refusal asks.
    pub(super) obeys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubling, at most once in `pause` seconds: no level is known to be too much.
    Starting { pause: f64 },
    /// Below the rate, to let the account recover and to see what a lower rate changes.
    Dipping(Dip),
    /// A little below the level that was too much, until a time and until so many answers came.
    Holding { until: f64, answers: f64 },
    /// Towards the level that was too much, and beyond it.
    Climbing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Dip {
    /// The rate before it.
    from: f64,
    until: f64,
    /// Refusals that are not noise: the first, those that were on their way then, and those of the dip.
    refusals: u32,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The first level that is too much.
    Start,
    /// The climb met the level that is too much, as it does from time to time.
    Level,
    /// A rate that was fine is too much.
    Fall,
    /// To see whether the noise is noise.
    Check,
}

/// Decides the rate of one account. Times are seconds since it was made.
pub(super) struct Controller {
    began: Instant,
    ceiling: f64,
    /// None: as fast as the concurrency allows.
    rate: Option<f64>,
    phase: Phase,
    /// None before the first refusal.
    belief: Option<Belief>,
    rates: SentRates,
    /// Good answers that are still to be weighed, by the rate of their calls.
    good: Vec<(f64, f64)>,
    meter: Meter,
    /// The lowest level that is too much.
    level: f64,
    /// How often in a row that level was met.
    confirmed: i32,
    /// When the rate was changed, or a pause ended: calls sent earlier say nothing about the current rate.
    changed: f64,
    /// When the rate was last cut: refusals of calls sent earlier carry no news.
    cut_at: f64,
    /// When the climb took its last step.
    stepped: f64,
    /// When the last dip ended.
    dipped: f64,
    /// When answers were last weighed.
    weighed: f64,
    /// When the last call that was weighed was sent, and the last call that was answered.
    served_until: f64,
    last_sent: f64,
    /// Answers since the phase began.
    answers: f64,
    /// Cuts in a row without a good answer in between.
    blank_cuts: u32,
    /// Refusals since nothing is known about the account, and since the last good answer.
    refusals: u32,
    in_a_row: u32,
    /// Single refusals at the start that were given another chance.
    chances: u32,
    /// The pause that the last refusal asked for, in seconds.
    pause: f64,
    /// Smoothed, in seconds; none before the first answer.
    round_trip: Option<f64>,
    random: fastrand::Rng,
}

impl Controller {
    pub(super) fn new(ceiling: Option<f64>, random: fastrand::Rng) -> Self {
        let began = Instant::now();
        let rate = ceiling.map(|ceiling| (ceiling / 4.0).max(SLOWEST.min(ceiling)));
        Self {
            began,
            ceiling: ceiling.unwrap_or(f64::INFINITY),
            rate,
            phase: Phase::Starting { pause: 0.0 },
            belief: None,
            rates: SentRates::starting(rate.unwrap_or_default()),
            good: vec![],
            meter: Meter::starting(began),
            level: f64::INFINITY,
            confirmed: 0,
            changed: 0.0,
            cut_at: f64::NEG_INFINITY,
            stepped: 0.0,
            dipped: 0.0,
            weighed: 0.0,
            served_until: 0.0,
            last_sent: 0.0,
            answers: 0.0,
            blank_cuts: 0,
            refusals: 0,
            in_a_row: 0,
            chances: 0,
            pause: 0.0,
            round_trip: None,
            random,
        }
    }

    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// A call goes out.
    pub(super) fn sends(&mut self, now: Instant) {
        self.meter.count(now);
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.began).as_secs_f64()
    }

    /// The rate never falls below this, whatever the account answers.
    fn slowest(&self) -> f64 {
        SLOWEST.min(self.ceiling)
    }

    fn round_trip(&self) -> f64 {
        self.round_trip.unwrap_or_default()
    }

    fn set_rate(&mut self, now: Instant, rate: f64) {
        let rate = rate.clamp(self.slowest(), self.ceiling);
        let seconds = self.seconds(now);
        self.rate = Some(rate);
        self.rates.change(seconds, rate);
        self.changed = seconds;
        self.meter = Meter::starting(now);
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.answers = 0.0;
    }

    /// The account pauses until then.
    pub(super) fn pauses(&mut self, until: Instant) {
        let until_seconds = self.seconds(until);
        self.changed = self.changed.max(until_seconds);
        self.weighed = self.weighed.max(until_seconds);
        self.meter = Meter::starting(until);
        if let Phase::Dipping(dip) = &mut self.phase {
            dip.until = dip.until.max(until_seconds + DIP_LENGTH.0);
        }
    }

    /// The share of the rate that calls go out at; one where that is not known or about all of it.
    fn used(&mut self, now: Instant, rate: f64) -> f64 {
        let (calls, seconds) = self.meter.read(now);
        // A few calls say nothing about how fast they go out.
        let used = if rate * seconds >= 8.0 { (calls + 1.0) / (rate * seconds) } else { 1.0 };
        if used < USED { used.max(0.1) } else { 1.0 }
    }

    /// The rate that a call was sent at: what was allowed, or less if the limit of calls in flight held it down.
    fn sent_rate(&mut self, now: Instant, sent_at: Instant) -> f64 {
        if let Some(rate) = self.rate {
            return self.rates.at(self.seconds(sent_at)) * self.used(now, rate);
        }
        let (calls, seconds) = self.meter.read(now);
        calls.max(1.0) / seconds.max(0.05)
    }

    /// The service took a call.
    pub(super) fn answered_well(&mut self, now: Instant, sent_at: Instant) {
        let round_trip = now.saturating_duration_since(sent_at).as_secs_f64();
        self.round_trip =
            Some(self.round_trip.map_or(round_trip, |before| (before * 7.0 + round_trip) / 8.0));
        if self.rate.is_none() {
            return;
        }
        (self.blank_cuts, self.in_a_row) = (0, 0);
        let sent = self.seconds(sent_at);
        self.last_sent = self.last_sent.max(sent);
        let rate = self.sent_rate(now, sent_at);
        match self.good.last_mut() {
            Some((at, calls)) if (*at / rate - 1.0).abs() < 0.005 => *calls += 1.0,
            _ => self.good.push((rate, 1.0)),
        }
        if self.belief.is_none() {
            self.forget_old_answers();
        } else if self.seconds(now) - self.weighed >= WEIGHED_EVERY {
            self.weigh(now);
        }
        // A call that was sent at another rate says nothing about this one.
        if sent >= self.changed {
            self.answers += 1.0;
            self.step(now);
        }
    }

    fn forget_old_answers(&mut self) {
        let mut room = REMEMBERED;
        let mut kept = 0;
        for (_, calls) in self.good.iter_mut().rev() {
            if room <= 0.0 {
                break;
            }
            *calls = calls.min(room);
            room -= *calls;
            kept += 1;
        }
        self.good.drain(..self.good.len() - kept);
    }

    /// Learns from the good answers so far.
    fn weigh(&mut self, now: Instant) {
        let now = self.seconds(now);
        let (seconds, served_for) =
            ((now - self.weighed).max(0.0), (self.last_sent - self.served_until).max(0.0));
        (self.weighed, self.served_until) = (self.weighed.max(now), self.last_sent);
        let Some(belief) = &mut self.belief else { return };
        // Where calls are rare, or each refusal costs a pause, the account gets more time to be the same.
        let strays = (self.rate.unwrap_or(BUSY) / BUSY).min(1.0) / (1.0 + self.pause * PER_PAUSE);
        belief.age(seconds, strays);
        belief.served(served_for, self.good.iter().map(|(_, calls)| calls).sum());
        for (rate, calls) in self.good.drain(..) {
            belief.learn(rate, calls, 0.0);
        }
    }

    fn noise(&self) -> f64 {
        self.belief.as_ref().map_or(0.0, Belief::noise)
    }

    /// The capacity that the account's is below with this probability.
    fn capacity_at(&self, probability: f64) -> f64 {
        self.belief.as_ref().map_or(f64::INFINITY, |belief| belief.capacity_at(probability))
    }

    /// Whether answers have shown that the level was not too much.
    fn is_level_refuted(&self) -> bool {
        self.capacity_at(REFUTED) > self.level * (1.0 + SAME)
    }

    /// A call that was sent at the current rate was answered well: how to go on?
    fn step(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        let seconds = self.seconds(now);
        match self.phase {
            Phase::Starting { pause } => {
                let (fast, wait) = FAST_START;
                let next = (rate * 2.0).min(self.ceiling);
                let length = if next > fast { wait.max(self.round_trip() * 2.0) } else { self.round_trip() };
                let length = length.max(pause);
                if seconds - self.changed >= length && rate < self.ceiling && self.used(now, rate) >= 1.0 {
                    self.set_rate(now, next);
                }
            }
            Phase::Dipping(dip) => {
                // The more noise there seems to be, the more answers it takes to see that a lower rate changes nothing.
                let answers = DIP_LENGTH.1 + (100.0 * self.noise()).min(20.0);
                let is_long = seconds >= dip.until + LONGEST_DIP;
                if seconds >= dip.until && (is_long || self.answers >= answers) {
                    self.end_dip(now, rate, dip);
                }
            }
            Phase::Holding { until, answers } => {
                if self.is_level_refuted() || (seconds >= until && self.answers >= answers) {
                    self.climb_on(seconds);
                }
            }
            Phase::Climbing => self.climb(now, rate),
        }
    }

    fn climb_on(&mut self, seconds: f64) {
        self.begin(Phase::Climbing);
        self.stepped = seconds;
    }

    fn climb(&mut self, now: Instant, rate: f64) {
        let seconds = self.seconds(now);
        let noise = self.noise();
        let (usually, where_much, much) = CHECKED_EVERY;
        let every = if noise > much { where_much } else { usually };
        if noise > NOISY && seconds - self.dipped > every {
            self.dip(now, rate * CHECKING_DIP, Dip { from: rate, until: 0.0, refusals: 0, why: Why::Check });
            return;
        }
        let length = seconds - self.stepped;
        if rate >= self.ceiling || length < STEP.max(self.round_trip()).max(1.0 / rate) {
            return;
        }
        self.stepped = seconds;
        if self.used(now, rate) < 1.0 {
            return;
        }
        let (far, fast) = BEYOND;
        let gain = if rate > self.level * far || self.is_level_refuted() {
            // Not faster than its answers can tell.
            fast.min((rate / 20.0).max(0.2))
        } else if noise > NOISY {
            CLIMB_IN_NOISE
        } else if rate < self.level * NEAR {
            CLIMB.0
        } else {
            CLIMB.1.min((rate / 100.0).max(0.03))
        };
        // What goes out during a long round trip is not seen before its end.
        let gain = gain / (self.round_trip() / LONG_ROUND_TRIP).max(1.0);
        let next = rate * (1.0 + gain * length.min(2.0 * STEP.max(self.round_trip())));
        self.set_rate(now, next);
    }

    fn dip(&mut self, now: Instant, rate: f64, dip: Dip) {
        let until = self.seconds(now) + DIP_LENGTH.0.max(2.0 * self.round_trip());
        self.begin(Phase::Dipping(Dip { until: until.max(dip.until), ..dip }));
        self.set_rate(now, rate);
    }

    /// The dip is over: holds a little below the level that was too much, or goes on as before.
    fn end_dip(&mut self, now: Instant, rate: f64, dip: Dip) {
        self.weigh(now);
        self.dipped = self.seconds(now);
        if dip.why == Why::Check {
            self.climb_on(self.dipped);
            self.set_rate(now, dip.from);
            return;
        }
        // Where it would cost a pause, it is not asked for.
        let another_chance =
            self.pause <= 0.0 && (self.chances < CHANCES || self.capacity_at(0.4) > dip.from);
        if dip.why == Why::Start && dip.refusals == 1 && another_chance {
            // One refusal, and none of the calls beside it: if the level is too much, it shows again at once.
            self.chances += 1;
            self.begin(Phase::Starting { pause: 0.0 });
            self.set_rate(now, dip.from);
            return;
        }
        // What little is known about a new level is read with caution; a few refusals do not tell of a deep fall.
        let careful = match dip.why {
            Why::Level if self.confirmed > 0 => 0.4,
            Why::Start | Why::Fall => 0.1,
            Why::Level | Why::Check => 0.2,
        };
        let least = match (dip.why, dip.refusals) {
            (Why::Level, 0 | 1) => forgiving(dip.from, NEAR_LEVEL),
            (Why::Level, 2) => 0.85,
            (Why::Level, 3) => 0.75,
            (Why::Start, 0 | 1) if self.pause > 0.0 => 0.5,
            (_, 0 | 1) => forgiving(dip.from, (0.93, 0.8)),
            (_, 2) => 0.6,
            _ => 0.3,
        };
        let level = self.capacity_at(careful).min(dip.from).max(rate).max(dip.from * least);
        let is_same = (level / self.level - 1.0).abs() < SAME;
        self.confirmed = match dip.why {
            _ if is_same => (self.confirmed + 1).min(6),
            Why::Fall => self.confirmed,
            Why::Start | Why::Level | Why::Check => self.confirmed / 2,
        };
        self.level = level;
        let (longest, answers, shortest) = HOLD;
        let (new, known) = HOLD_IN_PAUSES;
        let pauses = self.pause * if self.confirmed == 0 { new } else { known };
        let hold = (shortest * 2_f64.powi(self.confirmed)).min(longest).max(pauses);
        let spread = 1.0 - SPREAD + 2.0 * SPREAD * self.random.f64();
        let until = self.dipped + hold * spread;
        let plateau = (level * forgiving(level, PLATEAU)).max(rate);
        let answers = (answers * (hold / longest).min(1.0)).min(hold * plateau);
        self.begin(Phase::Holding { until, answers });
        self.set_rate(now, plateau);
    }

    /// The service refused a call because of its load, and asks for a pause if `retry_after` is given.
    pub(super) fn refused(&mut self, now: Instant, sent_at: Instant, retry_after: Option<Duration>) -> Cut {
        let rate = self.sent_rate(now, sent_at);
        let limit = *self.rate.get_or_insert(rate);
        if self.belief.is_none() {
            let most = if self.ceiling.is_finite() { self.ceiling } else { rate * 4.0 };
            self.belief = Some(Belief::between(self.slowest(), most.max(4.0 * SLOWEST)));
            self.weighed = self.seconds(now);
            self.served_until = self.last_sent;
        }
        let sent = self.seconds(sent_at);
        self.last_sent = self.last_sent.max(sent);
        self.weigh(now);
        let Some(belief) = &mut self.belief else { return Cut { rate: None, obeys: true } };
        let noise = belief.is_noise(rate);
        belief.learn(rate, 0.0, 1.0);
        belief.spent(noise);
        self.refusals = self.refusals.saturating_add(1);
        self.in_a_row += 1;
        if noise > SURE && self.refusals > FIRST_REFUSALS && self.in_a_row < IN_A_ROW {
            self.answers += 1.0;
            return Cut { rate: None, obeys: false };
        }
        self.pause = retry_after.map_or(0.0, |pause| pause.as_secs_f64());
        let rate = if sent > self.cut_at {
            Some(self.cut(now, limit, rate))
        } else {
            self.count_late_refusal(now, limit);
            None
        };
        Cut { rate, obeys: true }
    }

    /// The call was on its way when the dip began. It is no news, but it tells how much too high the rate was.
    fn count_late_refusal(&mut self, now: Instant, limit: f64) {
        let capacity = self.capacity_at(0.5) * 0.9;
        let until = self.seconds(now) + DIP_LENGTH.0;
        let Phase::Dipping(dip) = &mut self.phase else { return };
        if dip.why == Why::Check {
            return;
        }
        dip.refusals += 1;
        if dip.refusals > 2 && capacity < limit {
            dip.until = dip.until.max(until);
            let least = dip.from * LOWEST;
            self.set_rate(now, capacity.max(least).min(limit));
        }
    }

    /// Lowers the rate; `rate` is what the refused call was sent at. Returns the new rate.
    fn cut(&mut self, now: Instant, limit: f64, rate: f64) -> f64 {
        self.cut_at = self.seconds(now);
        self.blank_cuts += 1;
        if self.blank_cuts > BLANK_CUTS || limit <= self.slowest() {
            // An outage says nothing about the load that the account can take afterwards.
            self.belief = None;
            self.refusals = 0;
            self.good.clear();
            (self.level, self.confirmed) = (f64::INFINITY, 0);
            self.begin(Phase::Starting { pause: 1.0 });
            self.set_rate(now, limit / 2.0);
            return self.rate.unwrap_or(limit);
        }
        let capacity = self.capacity_at(0.4).max(limit * 0.5);
        let deeper = if self.blank_cuts > 1 { DEEPER.1 } else { DEEPER.0 };
        let sent = limit.min(rate.max(limit * USED));
        let (why, from, to) = match self.phase {
            Phase::Starting { .. } => (Why::Start, sent, rate.min(limit) / 2.0),
            Phase::Climbing => (Why::Level, sent, limit * forgiving(limit, EXPECTED_DIP)),
            Phase::Holding { .. } if self.confirmed > 0 => {
                (Why::Fall, sent, limit * forgiving(limit, FALLEN_DIP))
            }
            Phase::Holding { .. } => (Why::Fall, sent, limit / 2.0),
            Phase::Dipping(dip) if dip.why == Why::Check => (Why::Fall, dip.from, limit * deeper),
            Phase::Dipping(dip) => {
                let is_deep = self.blank_cuts > 1 || dip.refusals > FEW_REFUSALS;
                let least = if is_deep { 0.0 } else { dip.from * LOWEST };
                let to = (limit * deeper).min(capacity).max(least).min(limit);
                self.dip(now, to, Dip { refusals: dip.refusals + 1, ..dip });
                return self.rate.unwrap_or(to);
            }
        };
        let dip = Dip { from, until: 0.0, refusals: 1, why };
        self.dip(now, to.min(capacity * 0.97), dip);
        self.rate.unwrap_or(to)
    }
}

/// A number for a rate: the first where an account forgives no excess, the second where it forgives much.
fn forgiving(rate: f64, (nothing, much): (f64, f64)) -> f64 {
    let forgives = (1.0 - FORGIVES_FROM / rate).max(0.0);
    nothing + (much - nothing) * forgives
}
