//! When to look, and how many list calls that may cost. Pure.
//!
//! A look is for news: files that no look has shown yet, and complete directories that a second look has to confirm.
//! A listing whose pages are full of news is always worth its calls, because a file is news only twice. All others
//! come out of an allowance that grows with the square root of time.

use std::time::Duration;

use tokio::time::Instant;

use crate::sweep::{Choice, PAGE};

/// Shortest time between two looks while calls are sent.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// The same when only files are awaited.
const SHORTEST_AT_THE_END: Duration = Duration::from_millis(20);

/// Longest time between two looks.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// Time between two list calls of the whole run, on average.
const LIST_EVERY: Duration = Duration::from_millis(20);

/// How far list calls may be ahead of that average: twenty calls.
const LIST_BURST: Duration = Duration::from_millis(400);

/// What the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Calls are sent; verification began this long ago. There is time.
    Sending { age: Duration, slots: bool },
    /// Only files are awaited, and somebody waits for the result; the last call was accepted this long ago.
    Over { age: Duration },
}

impl Phase {
    /// How long to wait for the next look, after one that took this long.
    pub(super) fn interval(self, took: Duration) -> Duration {
        let (age, took) = match self {
            Self::Sending { age, .. } => (age / 100, took * 4),
            Self::Over { age } => (age / 20, took),
        };
        age.max(took).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
    }

    /// The same when the next look may be the last.
    pub(super) fn shortest(self) -> Duration {
        match self {
            Self::Sending { .. } => SHORTEST_INTERVAL,
            Self::Over { .. } => SHORTEST_AT_THE_END,
        }
    }

    /// When to look again at a directory whose files are not all there. Its call was accepted so long before the last
    /// look.
    pub(super) fn again(self, age_then: Duration) -> Duration {
        let wait = match self {
            Self::Sending { .. } => age_then / 2,
            Self::Over { .. } => age_then / 20,
        };
        wait.clamp(SHORTEST_AT_THE_END, LONGEST_INTERVAL)
    }

    /// How many list calls may have been made by now for little news.
    fn allowance(self) -> u64 {
        let (at_once, per_root, age): (u64, u64, _) = match self {
            // Uploads that are not known to have arrived hold up calls.
            Self::Sending { age, slots: false } => (10, 10, age),
            Self::Sending { age, slots: true } | Self::Over { age } => (100, 60, age),
        };
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        at_once + (per_root * per_root).saturating_mul(millis / 10).isqrt() / 10
    }

    /// Whether the pages of a listing hold enough news.
    fn is_worth(self, choice: &Choice<'_>) -> bool {
        let full = choice.pages * PAGE;
        match self {
            Self::Sending { .. } => choice.news * 2 >= full,
            Self::Over { .. } => choice.news * 50 >= full,
        }
    }
}

/// Counts list calls made for little news.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    calls: u64,
    is_over: bool,
}

impl Spent {
    /// Those of the choices that may be made now. `has_failed` says that the last look showed less than it should
    /// have: then no news can be expected.
    pub(super) fn affordable<'pool>(
        &mut self,
        phase: Phase,
        choices: Vec<Choice<'pool>>,
        has_failed: bool,
        since_last: Duration,
    ) -> Vec<Choice<'pool>> {
        if !self.is_over && matches!(phase, Phase::Over { .. }) {
            *self = Self { calls: 0, is_over: true };
        }
        let (worth, mut others): (Vec<_>, Vec<_>) =
            choices.into_iter().partition(|choice| !has_failed && phase.is_worth(choice));
        let mut chosen = worth;
        let cost: u64 = others.iter().map(|choice| choice.pages).sum();
        if self.calls + cost <= phase.allowance() {
            self.calls += cost;
            chosen.append(&mut others);
        } else if chosen.is_empty() && since_last >= LONGEST_INTERVAL {
            // A container that is gone must be noticed.
            others.sort_by_key(|choice| choice.pages);
            others.truncate(1);
            self.calls += others.first().map_or(0, |choice| choice.pages);
            chosen = others;
        }
        chosen
    }
}

/// The rate of list calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListRate {
    /// When the next call would be due if all were [`LIST_EVERY`] apart.
    due: Instant,
}

impl ListRate {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// When the next list call may be made.
    pub(super) fn turn(&mut self) -> Instant {
        let now = Instant::now();
        let begins = self.due.checked_sub(LIST_BURST).map_or(now, |earliest| earliest.max(now));
        self.due = self.due.max(now) + LIST_EVERY;
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::{Listing, Way};

    const SECOND: Duration = Duration::from_secs(1);

    fn choice(pages: u64, news: u64) -> Choice<'static> {
        Choice { way: Way::Sweep(Listing { prefix: "a/".into(), most_pages: 2 * pages }), pages, news }
    }

    #[test]
    fn looks_are_rarer_the_longer_it_takes_and_rarer_still_while_calls_are_sent() {
        let (sending, over) = (
            |age| Phase::Sending { age: age * SECOND, slots: false },
            |age| Phase::Over { age: age * SECOND },
        );
        assert_eq!(
            (sending(1_000).interval(SECOND), sending(1_000).interval(5 * SECOND)),
            (10 * SECOND, 20 * SECOND)
        );
        assert_eq!((over(100).interval(SECOND), over(100).interval(8 * SECOND)), (5 * SECOND, 8 * SECOND));
        assert_eq!(
            (sending(0).interval(SECOND / 1_000), over(99_999).interval(SECOND)),
            (SHORTEST_INTERVAL, 60 * SECOND)
        );
        assert_eq!((sending(0).again(20 * SECOND), over(0).again(20 * SECOND)), (10 * SECOND, SECOND));
        assert_eq!(
            (over(0).again(SECOND / 1_000), sending(0).again(999 * SECOND)),
            (SHORTEST_AT_THE_END, 60 * SECOND)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_list_calls_may_come_at_once_and_then_fifty_a_second() {
        let (mut rate, start) = (ListRate::new(), Instant::now());
        let waits: Vec<_> = (0..40).map(|_| (rate.turn() - start).as_millis()).collect();
        let expected: Vec<_> = (0..40_u128).map(|call| (20 * call).saturating_sub(400)).collect();
        assert_eq!(waits, expected);
    }

    #[test]
    fn pages_full_of_news_are_worth_their_calls_and_others_come_out_of_the_allowance() {
        let sending = Phase::Sending { age: 100 * SECOND, slots: false };
        let mut spent = Spent::default();
        let mut made = |choices: &[Choice<'static>], failed| {
            let chosen = spent.affordable(sending, choices.to_vec(), failed, SECOND);
            chosen.iter().map(|choice| choice.pages).sum::<u64>()
        };
        // 110 in a hundred seconds.
        assert_eq!(made(&[choice(400, 1_000_000), choice(60, 0)], false), 460);
        assert_eq!(made(&[choice(400, 1_000_000), choice(60, 0)], false), 400);
        assert_eq!(made(&[choice(50, 0)], false), 50);
        assert_eq!(made(&[choice(1, 0)], false), 0);
        // After a failure, no news can be expected.
        assert_eq!(made(&[choice(400, 1_000_000)], true), 0);
    }

    #[test]
    fn a_list_call_is_made_once_in_a_minute_whatever_it_costs() {
        let sending = Phase::Sending { age: SECOND, slots: false };
        let mut spent = Spent::default();
        let chosen = spent.affordable(sending, vec![choice(500, 0), choice(30, 0)], false, LONGEST_INTERVAL);
        assert_eq!(chosen.iter().map(|choice| choice.pages).collect::<Vec<_>>(), [30]);
    }

    #[tokio::test(start_paused = true)]
    async fn list_calls_have_a_rate() {
        let mut rate = ListRate::new();
        let began = Instant::now();
        let turns: Vec<_> = (0..150).map(|_| rate.turn() - began).collect();
        assert_eq!((turns[20], turns[21], turns[149]), (Duration::ZERO, LIST_EVERY, LIST_EVERY * 129));
    }
}
