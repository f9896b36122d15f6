//! The guard before an upload call: whether this process may still work on the run when the call is answered.
//!
//! In a store that several machines reach, the right to work on a run ends by itself unless it is renewed
//! ([`Tenure`]). A call that is answered after that could be one that another machine sends as well. So a call is sent
//! only if it ends before; otherwise it waits until the tenure is renewed. When it has ended, the run drains.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::run_store::{Journal, Tenure};
use tokio::time::sleep;

use crate::stop::{Stop, StopHandle, StopReason};

/// Between the end of a call and that of the tenure: for a client that keeps its time limit late, and for the answer's
/// way to the journal.
const MARGIN: Duration = Duration::from_secs(5);

/// Between two looks at a tenure that is to be renewed.
const LOOK: Duration = Duration::from_millis(250);

/// The shortest tenure in which a call with this time limit can be sent.
#[must_use]
pub fn shortest_tenure(limit: Duration) -> Duration {
    limit + MARGIN
}

/// Lets calls through while their end is within the tenure.
#[derive(Clone, Debug, Default)]
pub struct TenureGuard(Option<Arc<dyn Tenure>>);

impl TenureGuard {
    /// The guard for the process that appends to a journal.
    #[must_use]
    pub fn of(journal: &dyn Journal) -> Self {
        Self(journal.tenure())
    }

    /// Whether a call with this time limit may be sent now.
    pub(crate) fn allows(&self, limit: Duration) -> bool {
        self.0.as_ref().is_none_or(|tenure| tenure.left() >= shortest_tenure(limit))
    }

    /// Waits until a call with this time limit may be sent. If that cannot be, the run drains, and this never ends.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(crate) async fn opens(&self, limit: Duration, stop: &StopHandle) {
        let Some(tenure) = &self.0 else { return };
        let needed = shortest_tenure(limit);
        while !self.allows(limit) {
            let reason = if tenure.length() < needed {
                StopReason::ShortTenure { length: tenure.length(), needed }
            } else if tenure.left().is_zero() {
                StopReason::TenureEnded
            } else {
                sleep(LOOK).await;
                continue;
            };
            stop.stop(Stop::Drain, reason);
            std::future::pending::<()>().await;
        }
    }
}
