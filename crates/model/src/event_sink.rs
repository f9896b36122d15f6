//! Listeners of a run.

use crate::event::Recorded;
use crate::ledger::Ledger;

/// A listener of a run. It receives events after they are durable, in order.
pub trait EventSink: Send {
    /// Receives a group of events; `ledger` already counts them.
    ///
    /// It must return quickly, because it runs on the journal's thread, and it cannot make the run fail.
    fn hear(&mut self, events: &[Recorded], ledger: &Ledger);
}
