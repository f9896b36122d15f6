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
            FailureClass::Throttled => Next::Retry(delay(policy, failure, self.throttled, random)),
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
