//! What the executor and the verifier of one run share.

use std::sync::Arc;

use fleetlogs_model::plan::Plan;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::doubt::claims::Claims;
use crate::event_log::EventLog;
use crate::stop::StopHandle;
use crate::tenure_guard::TenureGuard;

/// One run: its plan, its record, and the way to stop it.
#[derive(Clone)]
pub struct Run {
    /// The frozen plan.
    pub plan: Arc<Plan>,
    /// Where everything that happens is recorded.
    pub log: EventLog,
    /// Ends it early.
    pub stop: StopHandle,
    /// Where the time of day comes from.
    pub clock: Clock,
    /// Bounds how many uploads are in progress at once.
    pub slots: UploadSlots,
    /// Whether this process may still work on it when a call ends.
    pub guard: TenureGuard,
    /// Which nodes were given which directories.
    pub(crate) claims: Arc<Claims>,
}

/// Bounds how many accepted uploads have not arrived yet, over all accounts; or there is no limit.
#[derive(Clone, Debug, Default)]
pub struct UploadSlots(Option<Arc<Semaphore>>);

impl UploadSlots {
    /// This many slots; none for no limit.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self(limit.map(|limit| Arc::new(Semaphore::new(limit))))
    }

    /// Whether there is a limit.
    pub(crate) fn are_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for a slot and takes it. It stays taken until it is given back.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(crate) async fn take(&self) {
        if let Some(slots) = &self.0
            && let Ok(permit) = slots.acquire().await
        {
            permit.forget();
        }
    }

    /// An accepted upload arrived, or is no longer waited for; or a call was not accepted.
    pub(crate) fn give_back(&self) {
        if let Some(slots) = &self.0 {
            slots.add_permits(1);
        }
    }
}
