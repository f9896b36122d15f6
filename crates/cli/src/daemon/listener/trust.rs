//! Whether a connection may be dropped in favour of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the sender of a request has authenticated. Clones share the value.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust(Arc<AtomicBool>);

impl Trust {
    /// The sender has authenticated, so the listener waits for the rest of the request.
    pub(super) fn gain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_gained(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
