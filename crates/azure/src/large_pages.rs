//! How many large pages of lists are in memory at once.
//!
//! A page of 1,000 nodes has one megabyte, and up to ten if every node lists its last tasks. It is read item by item, but
//! what is kept of it could be nearly as large as a page may be, and many lists are read side by side. So a page beyond
//! [`FREE`] waits for its turn: one of each account, so that a slow account holds up no other, and [`AT_ONCE`] of all.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Read without waiting.
pub(crate) const FREE: usize = 2 << 20;

/// Of all accounts together.
const AT_ONCE: usize = 3;

static ALL: Semaphore = Semaphore::const_new(AT_ONCE);

/// The large pages of an account.
pub(crate) struct LargePages(Arc<Semaphore>);

impl Default for LargePages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The turn of a large page. Held as long as its bytes are.
pub(crate) struct LargePage {
    _of_account: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'static>,
}

impl LargePages {
    /// Waits for a turn; none if it does not come in time.
    pub(crate) async fn turn(&self, deadline: Instant) -> Option<LargePage> {
        let turn = async {
            // Neither is ever closed.
            let of_account = self.0.clone().acquire_owned().await.ok()?;
            Some(LargePage { _of_account: of_account, _of_all: ALL.acquire().await.ok()? })
        };
        timeout_at(deadline, turn).await.ok().flatten()
    }
}
