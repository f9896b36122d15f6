//! Waiting for a call to storage where the caller is not asynchronous: on the journal's thread, and where something is
//! dropped.

use std::future::Future;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Has a runtime carry out some work, and waits for its result. None if the runtime ends meanwhile, or if nobody could
/// carry it out while this waits; then it is carried out later.
pub(super) fn wait_for<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (done, result) = sync_channel(1);
    runtime.spawn(async move {
        // Nobody waits if this is the only thread of its runtime.
        let _ = done.send(work.await);
    });
    match Handle::try_current().map(|here| here.runtime_flavor()) {
        Ok(RuntimeFlavor::CurrentThread) => None,
        // Other tasks of this thread go on elsewhere.
        Ok(_) => block_in_place(|| result.recv().ok()),
        Err(_) => result.recv().ok(),
    }
}
