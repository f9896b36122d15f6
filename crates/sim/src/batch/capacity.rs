//! The hidden capacity of an account: a token bucket whose rate may change over time.

use std::time::Duration;

use crate::scenario::{AccountScenario, CapacityChange};

/// Seconds of capacity that can accumulate: enough to forgive jitter, too little to hide a rate that is too high.
const BURST: f64 = 0.1;

/// The bucket of one account.
#[derive(Debug)]
pub(crate) struct Bucket {
    beginning: Option<f64>,
    /// Sorted by time.
    changes: Vec<CapacityChange>,
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    pub(crate) fn new(account: &AccountScenario) -> Self {
        let mut changes = account.capacity_change.clone();
        changes.sort_by_key(|change| change.at);
        let tokens = account.capacity.map_or(f64::INFINITY, burst);
        Self { beginning: account.capacity, changes, tokens, filled: Duration::ZERO }
    }

    /// Calls per second at `now`; none if there is no limit.
    fn rate(&self, now: Duration) -> Option<f64> {
        let changed = self.changes.iter().rev().find(|change| change.at.0 <= now);
        changed.map(|change| change.capacity).or(self.beginning)
    }

    /// Whether a call at `now` is served.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let Some(rate) = self.rate(now) else { return true };
        let gained = now.saturating_sub(self.filled).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min(burst(rate));
        self.filled = self.filled.max(now);
        let served = self.tokens >= 1.0;
        if served {
            self.tokens -= 1.0;
        }
        served
    }
}

fn burst(rate: f64) -> f64 {
    (rate * BURST).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn bucket(lines: &str) -> Bucket {
        let scenario =
            Scenario::from_toml(&format!("[[account]]\nname = \"contoso\"\n{lines}")).expect("valid");
        Bucket::new(&scenario.accounts[0])
    }

    /// Calls served out of a thousand within one second from `from` on.
    fn served(bucket: &mut Bucket, from: u64) -> usize {
        (0..1000).filter(|ms| bucket.take(Duration::from_secs(from) + Duration::from_millis(*ms))).count()
    }

    #[test]
    fn only_the_capacity_is_served() {
        let served = served(&mut bucket("capacity = 150"), 0);

        assert!((149..=166).contains(&served), "{served}");
    }

    #[test]
    fn the_capacity_follows_its_changes() {
        let mut bucket = bucket("[[account.capacity_change]]\nat = \"30s\"\ncapacity = 75");

        assert_eq!(served(&mut bucket, 0), 1000);
        let later = served(&mut bucket, 30);
        assert!((74..=84).contains(&later), "{later}");
    }
}
