//! Whether an upload call that failed is sent again, and after how long.
//!
//! Pure: the random number enters as an argument. Delays are those of [`fleetlogs_model::retry`], as for every other
//! call; unlike the others, an upload call changes something, so more is asked than whether its failure may pass.

use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::retry::{RetryPolicy, delay};

/// Pause between two reads of a booting node: a boot takes minutes.
const WAIT_BASE: Duration = Duration::from_secs(10);

/// How often an unusable node is retried: the service's documentation gives little hope.
const BRIEF_WAITS: u32 = 1;

/// A throttled call waits for a part of the delay of other failures: the pace of its account slows down already. With the
/// whole delay, the last nodes of a run wait for seconds where calls are refused at random.
const THROTTLED_PART: u32 = 4;

/// What to do after a failed upload call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send again after this long.
    Retry(Duration),
    /// Read the node again after this long, then send if it makes sense.
    Look(Duration),
    /// The answer was lost: ask the container before anything else.
    AskContainer,
    /// Do not send again.
    GiveUp,
}

/// How often a node was called, by what the results say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Calls that failed for reasons of their own.
    pub counted: u32,
    /// Calls that were throttled.
    pub throttled: u32,
    /// Calls refused because of the node's state.
    pub waits: u32,
}

impl Tries {
    /// Counts a failure of a class.
    pub fn count(&mut self, class: FailureClass) {
        match class {
            FailureClass::Throttled => self.throttled += 1,
            FailureClass::NotSent | FailureClass::Transient | FailureClass::InDoubt => self.counted += 1,
            FailureClass::Wait | FailureClass::WaitBriefly => self.waits += 1,
            FailureClass::Gone | FailureClass::Auth | FailureClass::Config | FailureClass::Refused => {}
        }
    }

    /// Counts a failure and says what comes next. `random` is uniform in 0..1.
    pub fn next(&mut self, policy: &RetryPolicy, failure: &Failure, random: f64) -> Next {
        self.count(failure.class);
        match failure.class {
            FailureClass::Throttled => {
                let sooner = RetryPolicy { base_delay: policy.base_delay / THROTTLED_PART, ..policy.clone() };
                Next::Retry(delay(&sooner, failure, self.throttled, random))
            }
            FailureClass::NotSent | FailureClass::Transient => {
                if self.counted >= policy.attempts {
                    return Next::GiveUp;
                }
                Next::Retry(delay(policy, failure, self.counted, random))
            }
            FailureClass::InDoubt => {
                if self.counted >= policy.attempts {
                    Next::GiveUp
                } else {
                    Next::AskContainer
                }
            }
            FailureClass::Wait | FailureClass::WaitBriefly => {
                let most = if failure.class == FailureClass::WaitBriefly { BRIEF_WAITS } else { u32::MAX };
                if self.waits > most {
                    return Next::GiveUp;
                }
                let longest = WAIT_BASE.min(policy.max_delay);
                Next::Look(longest.mul_f64(f64::midpoint(1.0, random)))
            }
            FailureClass::Gone | FailureClass::Auth | FailureClass::Config | FailureClass::Refused => {
                Next::GiveUp
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::retry::LONGEST_RETRY_AFTER;

    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: 3, base_delay: Duration::from_secs(2), max_delay: Duration::from_secs(60) };

    fn failure(class: FailureClass) -> Failure {
        Failure::new(class, "test")
    }

    #[test]
    fn attempts_end_but_throttling_does_not_use_them_up() {
        let mut tries = Tries::default();
        for _ in 0..100 {
            assert!(matches!(tries.next(&POLICY, &failure(FailureClass::Throttled), 0.5), Next::Retry(_)));
        }
        assert!(matches!(tries.next(&POLICY, &failure(FailureClass::NotSent), 0.5), Next::Retry(_)));
        assert_eq!(tries.next(&POLICY, &failure(FailureClass::InDoubt), 0.5), Next::AskContainer);
        assert_eq!(tries.next(&POLICY, &failure(FailureClass::NotSent), 0.5), Next::GiveUp);
    }

    #[test]
    fn a_throttled_call_waits_less_as_its_account_slows_down_already() {
        let longest = |class| {
            let mut tries = Tries::default();
            (0..2).map(|_| tries.next(&POLICY, &failure(class), 1.0)).collect::<Vec<_>>()
        };
        let after = |millis: [u64; 2]| millis.map(|millis| Next::Retry(Duration::from_millis(millis)));

        assert_eq!(longest(FailureClass::Throttled), after([500, 1_000]));
        assert_eq!(longest(FailureClass::Transient), after([2_000, 4_000]));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_a_bound() {
        let asked = |seconds: u64| Failure {
            retry_after_ms: Some(seconds * 1000),
            ..failure(FailureClass::Throttled)
        };
        let next = |seconds| Tries::default().next(&POLICY, &asked(seconds), 0.0);
        assert_eq!(next(30), Next::Retry(Duration::from_secs(30)));
        assert_eq!(next(86_400), Next::Retry(LONGEST_RETRY_AFTER));
    }

    #[test]
    fn an_unusable_node_gets_one_more_chance() {
        let mut tries = Tries::default();
        assert!(matches!(tries.next(&POLICY, &failure(FailureClass::WaitBriefly), 0.0), Next::Look(_)));
        assert_eq!(tries.next(&POLICY, &failure(FailureClass::WaitBriefly), 0.0), Next::GiveUp);
    }

    #[test]
    fn what_is_final_is_not_tried_again() {
        for class in [FailureClass::Gone, FailureClass::Auth, FailureClass::Config, FailureClass::Refused] {
            assert_eq!(Tries::default().next(&POLICY, &failure(class), 0.5), Next::GiveUp);
        }
    }
}
