//! Whether a connection may be cut off for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the sender of a request is known to have the secret. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust(Arc<AtomicBool>);

impl Trust {
    /// Its sender knows the secret: what it sends is waited for.
    pub(super) fn gain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_gained(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
