//! A call to storage that is made again after a passing fault.

use fleetlogs_model::failure::{Failure, FailureClass};

use crate::retry::delay;
use crate::settings::RetryPolicy;

/// How often, and how long in between: as the config has it for calls.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'policy>(pub &'policy RetryPolicy);

impl Patience<'_> {
    /// Makes a call that changes nothing until it is answered, refused, or was tried often enough.
    ///
    /// # Errors
    /// The last call's.
    pub async fn with<T>(self, mut call: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut tried = 0;
        loop {
            let failure = match call().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            tried += 1;
            let passes = matches!(
                failure.class,
                FailureClass::NotSent | FailureClass::Transient | FailureClass::Throttled
            );
            if !passes || tried >= self.0.attempts {
                return Err(failure);
            }
            tracing::debug!(%failure, tried, "storage is asked again");
            tokio::time::sleep(delay(self.0, &failure, tried, fastrand::f64())).await;
        }
    }
}
