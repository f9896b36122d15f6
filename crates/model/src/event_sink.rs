//! Listeners of a run.

use crate::event::Recorded;
use crate::ledger::Ledger;

/// Whoever listens to a run. It hears events after they are durable, in order.
pub trait EventSink: Send {
    /// Hears a group of events; `ledger` already counts them.
    ///
    /// It must be quick, as it runs on the journal's thread, and it has no way to fail the run.
    fn hear(&mut self, events: &[Recorded], ledger: &Ledger);
}
