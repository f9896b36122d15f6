//! Whether the daemon is alive: its loop says so, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The loop beats at least every minute; so long without is too long, also on a busy machine.
const LATE: Duration = Duration::from_secs(150);

/// The heartbeat of the daemon. Clones share it.
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
    /// One that has just beaten, and is alive as long as it does so again within this time.
    pub(super) fn within(late: Duration) -> Self {
        Self { beat: Arc::new(Mutex::new(Instant::now())), late }
    }

    /// The daemon's loop is alive. To be called at least once a minute.
    pub(crate) fn beat(&self) {
        *self.beat.lock() = Instant::now();
    }

    /// For how long there was none, where that is too long.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let silence = self.beat.lock().elapsed();
        (silence > self.late).then_some(silence)
    }
}
