//! Notes which transitions of nodes the runs of this process make, so that tests can be asked which they have seen. Only
//! in builds for tests: docs/design/transitions.md.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::transition::NodeEvent;
use parking_lot::Mutex;

/// Names the directory that gets a file for each process.
const DIRECTORY: &str = "NODE_TRANSITIONS";

static SEEN: LazyLock<Option<Mutex<SeenTransitions>>> = LazyLock::new(|| {
    let dir = std::env::var_os(DIRECTORY)?;
    let file = File::create(Path::new(&dir).join(uuid::Uuid::new_v4().to_string()));
    let file = file.expect("the file can be created");
    Some(Mutex::new(SeenTransitions { transitions: BTreeSet::new(), file }))
});

struct SeenTransitions {
    transitions: BTreeSet<(NodeStatus, NodeEvent)>,
    file: File,
}

/// Listens to a run. It keeps a ledger of its own, because listeners hear of an event after it was applied.
pub(crate) struct TransitionNotes(Ledger);

impl TransitionNotes {
    /// Of a run that stands here now.
    pub(crate) fn of(ledger: &Ledger) -> Self {
        Self(ledger.clone())
    }
}

impl EventSink for TransitionNotes {
    fn hear(&mut self, events: &[Recorded], _: &Ledger) {
        let Some(seen) = &*SEEN else { return };
        let mut seen = seen.lock();
        for recorded in events {
            if let (Some(node), Some(event)) = (recorded.node, NodeEvent::of(&recorded.event)) {
                let status = self.0.status(node);
                // At once, because the process may be killed.
                if seen.transitions.insert((status, event)) {
                    writeln!(seen.file, "{status:?} {event:?}").expect("the file can be written");
                }
            }
            self.0.apply(recorded);
        }
    }
}
