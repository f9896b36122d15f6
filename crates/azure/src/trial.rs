//! A trial of a service with something of its own, before a run needs it.

use fleetlogs_model::failure::Failure;

/// A step of a trial that failed.
#[derive(Debug)]
pub struct FailedTrial {
    /// What was tried, such as `send a message`.
    pub step: &'static str,
    /// Why it failed.
    pub failure: Failure,
}

impl FailedTrial {
    /// For `map_err`.
    pub(crate) fn at(step: &'static str) -> impl Fn(Failure) -> Self {
        move |failure| Self { step, failure }
    }
}
