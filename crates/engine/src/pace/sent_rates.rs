//! The rate that calls were sent at.

use std::collections::VecDeque;

/// An account forgives a short excess, so the rate of a call is the mean of this many seconds before it.
const OVER: f64 = 0.25;

/// How long rates are kept, in seconds: an answer may take that long.
const KEPT: f64 = 60.0;

/// Rates, and since when they were in force, in seconds.
pub(super) struct SentRates(VecDeque<(f64, f64)>);

impl SentRates {
    pub(super) fn starting(rate: f64) -> Self {
        Self(VecDeque::from([(f64::NEG_INFINITY, rate)]))
    }

    /// The rate changed.
    pub(super) fn change(&mut self, now: f64, rate: f64) {
        self.0.push_back((now, rate));
        while self.0.get(1).is_some_and(|(since, _)| *since < now - KEPT) {
            self.0.pop_front();
        }
    }

    /// The rate that a call was sent at.
    pub(super) fn at(&self, sent: f64) -> f64 {
        let (mut calls, mut until, begin) = (0.0, sent, sent - OVER);
        for (since, rate) in self.0.iter().rev() {
            if *since >= until {
                continue;
            }
            let from = since.max(begin);
            calls += (until - from) * rate;
            until = from;
            if until <= begin {
                break;
            }
        }
        // Older rates are no longer known: the oldest known one was in force.
        let oldest = self.0.front().map_or(0.0, |(_, rate)| *rate);
        (calls + (until - begin).max(0.0) * oldest) / OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_was_sent_at_the_mean_of_the_last_quarter_of_a_second() {
        let mut rates = SentRates::starting(50.0);
        rates.change(1.0, 100.0);
        rates.change(2.0, 200.0);
        let near = |at: f64, rate: f64| assert!((rates.at(at) - rate).abs() < 1e-9, "{}", rates.at(at));
        near(0.5, 50.0);
        near(1.0, 50.0);
        near(1.125, 75.0);
        near(1.9, 100.0);
        near(2.05, 120.0);
        near(3.0, 200.0);
    }
}
