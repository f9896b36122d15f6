//! Health of the daemon: its main loop sends a heartbeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After this long without a heartbeat the daemon counts as stuck. The loop beats at least once a minute, even on a
/// busy machine.
const LATE: Duration = Duration::from_secs(150);

/// The heartbeat of the daemon. Clones share the value.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    beat: Arc<Mutex<Instant>>,
    late: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self::within(LATE)
    }
}

impl Health {
    /// A heartbeat now; the next one must follow within this time.
    pub(super) fn within(late: Duration) -> Self {
        Self { beat: Arc::new(Mutex::new(Instant::now())), late }
    }

    /// Records a heartbeat. Call it at least once a minute.
    pub(crate) fn beat(&self) {
        *self.beat.lock() = Instant::now();
    }

    /// The time since the last heartbeat, if it is too long.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let silence = self.beat.lock().elapsed();
        (silence > self.late).then_some(silence)
    }
}
