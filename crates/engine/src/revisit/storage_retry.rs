//! A call to storage that is repeated after a passing failure.

use fleetlogs_model::failure::Failure;
use fleetlogs_model::retry::{RetryPolicy, persistently};
use parking_lot::Mutex;
use tokio::time::sleep;

/// Repeats calls to storage that change nothing, by the policy of the config.
#[derive(Debug)]
pub struct StorageRetry<'policy> {
    policy: &'policy RetryPolicy,
    /// Calls are made side by side.
    random: Mutex<fastrand::Rng>,
}

impl<'policy> StorageRetry<'policy> {
    /// Retries by this policy, with jitter from this random source.
    #[must_use]
    pub fn new(policy: &'policy RetryPolicy, random: fastrand::Rng) -> Self {
        Self { policy, random: Mutex::new(random) }
    }

    /// Makes a call that changes nothing until it is answered, is refused, or has no attempt left.
    ///
    /// # Errors
    /// The last call's.
    pub async fn call<T, C>(&self, call: impl FnMut() -> C) -> Result<T, Failure>
    where
        C: Future<Output = Result<T, Failure>>,
    {
        let pause = |attempt, failure: &Failure| {
            let pause = self.policy.pause(attempt, failure, self.random.lock().f64())?;
            tracing::debug!(%failure, attempt, "retrying a call to storage");
            Some(pause)
        };
        persistently(call, pause, sleep).await
    }
}
