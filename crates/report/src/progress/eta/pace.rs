//! How fast the calls of one account are answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::tally::Numbers;

/// Time between two samples, in seconds without pauses.
const SAMPLE_EVERY: f64 = 0.25;
/// Period over which the pace is measured, in seconds without pauses; at most this share of the time so far, so that
/// the slow start does not count for long.
const LONG: f64 = 15.0;
const SHARE: f64 = 0.6;
/// A change shows in this period first. It counts if it differs by more than this, and has enough answers not to be
/// chance.
const SHORT: f64 = 5.0;
const CHANGED: f64 = 0.25;
const ENOUGH: u64 = 30;
/// Answers without which a pace is not known.
const FEWEST: u64 = 5;
/// Pauses of the past make the rest longer by this factor at most.
const MOST_STRETCH: f64 = 4.0;

/// The calls of one account.
#[derive(Default)]
pub(super) struct Pace {
    first: Option<Instant>,
    /// Nodes whose call got its final answer.
    answered: u64,
    samples: VecDeque<Sample>,
    /// Pauses: the end of the last one, how long all of them are together, and how many there were.
    paused_until: Option<Instant>,
    paused: Duration,
    pauses: u32,
    /// When the last retry is due.
    due: Option<Instant>,
    /// When an answer was last lost.
    doubted: Option<Instant>,
}

struct Sample {
    /// Seconds since the first call, without pauses.
    at: f64,
    answered: u64,
}

impl Pace {
    pub(super) fn called(&mut self, at: Instant) {
        if self.first.is_none() {
            self.first = Some(at);
            self.samples.push_back(Sample { at: 0.0, answered: 0 });
        }
    }

    pub(super) fn answered(&mut self, at: Instant) {
        self.called(at);
        self.sample(at);
        self.answered += 1;
    }

    pub(super) fn due(&mut self, due: Option<Instant>) {
        self.due = self.due.max(due);
    }

    pub(super) fn doubted(&mut self, at: Instant) {
        self.doubted = self.doubted.max(Some(at));
    }

    pub(super) fn paused(&mut self, pause: Duration, at: Instant) {
        let Some(until) = at.checked_add(pause) else { return };
        let from = self.paused_until.map_or(at, |end| end.max(at));
        if from == at {
            self.pauses += 1;
        }
        if until > from {
            self.paused += until - from;
            self.paused_until = Some(until);
        }
    }

    /// How long until every call of the account is answered; none if nothing is known. `doubt` is how long it takes to
    /// find out about a lost answer.
    pub(super) fn time_left(
        &self,
        numbers: &Numbers,
        doubt: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let calls = (numbers.not_called + numbers.waiting + numbers.in_flight) as f64;
        let mut seconds = if calls > 0.0 { calls / self.per_second(now)? * self.stretch(now) } else { 0.0 };
        let until =
            |at: Option<Instant>| at.map_or(0.0, |at| at.saturating_duration_since(now).as_secs_f64());
        seconds += until(self.paused_until);
        if numbers.waiting > 0 {
            seconds = seconds.max(until(self.due));
        }
        if numbers.in_doubt > 0 {
            let known = self.doubted.and_then(|at| at.checked_add(doubt.unwrap_or_default()));
            seconds = seconds.max(until(known));
        }
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Seconds since the first call, without pauses.
    fn active(&self, now: Instant) -> f64 {
        let Some(first) = self.first else { return 0.0 };
        let ahead = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let paused = self.paused.saturating_sub(ahead);
        now.saturating_duration_since(first).saturating_sub(paused).as_secs_f64()
    }

    fn sample(&mut self, now: Instant) {
        let at = self.active(now);
        if self.samples.back().is_some_and(|last| at - last.at < SAMPLE_EVERY) {
            return;
        }
        // One sample older than the period is kept, to measure from; so is the first one for as long as it may be.
        while self.samples.get(1).is_some_and(|second| at - second.at >= LONG) {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, answered: self.answered });
    }

    /// Answers per second while the account does not pause.
    fn per_second(&self, now: Instant) -> Option<f64> {
        if self.answered < FEWEST {
            return None;
        }
        let active = self.active(now);
        let over = |seconds: f64| {
            let old = |sample: &&Sample| active - sample.at >= seconds;
            let from = self.samples.iter().rev().find(old).or(self.samples.front())?;
            let count = self.answered.saturating_sub(from.answered);
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = count as f64 / (active - from.at).max(SAMPLE_EVERY);
            Some((count, rate))
        };
        let (_, long) = over((active * SHARE).clamp(1.0, LONG))?;
        let (count, short) = over(SHORT.min(active * SHARE / 2.0).max(1.0))?;
        let changed = (short - long).abs() > long * CHANGED && count >= ENOUGH;
        let rate = if changed { short } else { long };
        if rate > 0.0 {
            return Some(rate);
        }
        // Nothing was answered for a while.
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let whole = self.answered as f64 / active.max(SAMPLE_EVERY);
        (whole > 0.0).then_some(whole)
    }

    /// How much longer the rest takes than its calls, if the service goes on to ask for pauses as it did. The first
    /// pause may stay the only one, and the search for the pace has more of them than the rest: the first does not
    /// count, and the others count more and more.
    fn stretch(&self, now: Instant) -> f64 {
        let active = self.active(now);
        if self.pauses == 0 || active <= 0.0 {
            return 1.0;
        }
        let ahead = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let paused = self.paused.saturating_sub(ahead).as_secs_f64();
        let times = f64::from(self.pauses);
        (1.0 + paused / active * (times - 1.0) / (times + 1.0)).min(MOST_STRETCH)
    }
}
