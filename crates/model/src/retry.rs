//! How often, and after which delays, a call that changes nothing is repeated.
//!
//! Pure except for the call itself: the random source and the sleep enter as arguments, so that this crate needs no
//! runtime and tests need no clock. The engine, which also knows the node, decides whether an upload call is retried.

use std::time::Duration;

use crate::failure::Failure;

/// A `Retry-After` longer than this is taken for a mistake of the service and shortened.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// How often a call is made, and how long the delays between the attempts are.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Calls, at most. For uploads, throttled calls do not count: they say nothing about the node.
    pub attempts: u32,
    /// Upper bound of the first delay; it doubles with each attempt.
    pub base_delay: Duration,
    /// Upper bound of every delay.
    pub max_delay: Duration,
}

impl RetryPolicy {
    /// How long to wait after the failed call number `attempt`, counted from 1; none if no attempt is left. `random` is
    /// uniform in 0..1.
    #[must_use]
    pub fn pause(&self, attempt: u32, failure: &Failure, random: f64) -> Option<Duration> {
        (attempt < self.attempts).then(|| delay(self, failure, attempt, random))
    }
}

/// How long to wait after a failed attempt: the backoff, or as long as the service asked, if that is longer.
#[must_use]
pub fn delay(policy: &RetryPolicy, failure: &Failure, attempt: u32, random: f64) -> Duration {
    let asked = failure.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
    backoff(policy, attempt, random).max(asked)
}

/// Exponential backoff with full jitter: anything between zero and the exponential bound.
#[must_use]
pub fn backoff(policy: &RetryPolicy, attempt: u32, random: f64) -> Duration {
    let bound =
        policy.base_delay.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(policy.max_delay);
    bound.mul_f64(random)
}

/// The error of a call that may be retried.
pub trait CallError {
    /// The failure of the service; none if something else went wrong, which a retry does not fix.
    fn failure(&self) -> Option<&Failure>;
}

impl CallError for Failure {
    fn failure(&self) -> Option<&Failure> {
        Some(self)
    }
}

/// Retries a call that changes nothing while its failure [may pass](crate::failure::FailureClass::is_passing).
///
/// `pause` receives every such failure, with the number of failed calls so far. It logs, counts, and returns how long
/// to wait before the next call, usually from [`RetryPolicy::pause`]; none gives up. `sleep` waits for that long.
///
/// # Errors
/// The last call's.
///
/// Cancel safety: as that of the call.
pub async fn persistently<T, E, C, S>(
    mut call: impl FnMut() -> C,
    mut pause: impl FnMut(u32, &Failure) -> Option<Duration>,
    sleep: impl Fn(Duration) -> S,
) -> Result<T, E>
where
    // Not `AsyncFnMut`: the compiler cannot tell that its futures may be sent to another thread.
    C: Future<Output = Result<T, E>>,
    E: CallError,
    S: Future<Output = ()>,
{
    let mut attempt = 0;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        attempt += 1;
        let passing = error.failure().filter(|failure| failure.class.is_passing());
        let Some(pause) = passing.and_then(|failure| pause(attempt, failure)) else { return Err(error) };
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::failure::FailureClass;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: 3, base_delay: Duration::from_secs(2), max_delay: Duration::from_secs(60) };

    /// Retries a call that always fails with this class; returns the number of calls, and the delays in seconds.
    fn repeated(class: FailureClass, gives_up_after: u32) -> (u32, Vec<u64>) {
        let (mut calls, slept) = (0, RefCell::new(vec![]));
        let call = || {
            calls += 1;
            ready(Err::<(), _>(Failure::new(class, "no")))
        };
        let pause = |attempt, failure: &Failure| {
            POLICY.pause(attempt, failure, 1.0).filter(|_| attempt < gives_up_after)
        };
        let sleep = |pause: Duration| {
            slept.borrow_mut().push(pause.as_secs());
            ready(())
        };
        {
            let mut repeated = pin!(persistently(call, pause, sleep));
            let end = repeated.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(end, Poll::Ready(Err(Failure::new(class, "no"))));
        }
        (calls, slept.into_inner())
    }

    #[test]
    fn only_a_failure_that_may_pass_is_repeated_and_only_while_attempts_are_left() {
        assert_eq!(repeated(FailureClass::Throttled, u32::MAX), (3, vec![2, 4]));
        assert_eq!(repeated(FailureClass::NotSent, u32::MAX), (3, vec![2, 4]));
        assert_eq!(repeated(FailureClass::Transient, 2), (2, vec![2]));
        assert_eq!(repeated(FailureClass::Auth, u32::MAX), (1, vec![]));
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let longest: Vec<u64> = (1..=7).map(|attempt| backoff(&POLICY, attempt, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(&POLICY, 3, 0.0), Duration::ZERO);
    }
}
