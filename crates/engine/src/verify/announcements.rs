//! What the verifier hears of the run: the accepted uploads, from the event log.

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::ledger::Ledger;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::resume::{self, Outstanding};

/// Listens to the event log and tells the verifier of accepted uploads.
pub struct Announcements(UnboundedSender<resume::AwaitedUpload>);

/// The verifier's end of [`Announcements`].
pub struct Feed {
    pub(super) uploads: UnboundedReceiver<resume::AwaitedUpload>,
    /// What earlier processes were promised.
    pub(super) promises: Vec<(NodeIndex, u32)>,
}

/// A pair of listener and feed; the feed begins with what was accepted before. The channel needs no bound: it holds at
/// most one entry per planned node, and less than the ledger does.
#[must_use]
pub fn announcements(outstanding: &mut Outstanding) -> (Announcements, Feed) {
    let (sender, receiver) = unbounded_channel();
    for awaited in outstanding.awaited.drain(..) {
        // The receiver is right here.
        let _ = sender.send(awaited);
    }
    let promises = std::mem::take(&mut outstanding.promises);
    (Announcements(sender), Feed { uploads: receiver, promises })
}

impl EventSink for Announcements {
    fn hear(&mut self, events: &[Recorded], _ledger: &Ledger) {
        for recorded in events {
            let Some(node) = recorded.node else { continue };
            let announced = match &recorded.event {
                Event::UploadAccepted { directory, files, .. } if *files != Some(0) => {
                    resume::AwaitedUpload { node, directory: directory.clone(), files: *files, slot: true }
                }
                Event::UploadAdopted { directory, .. } => {
                    resume::AwaitedUpload { node, directory: directory.clone(), files: None, slot: true }
                }
                // None of these announces files.
                Event::UploadAccepted { .. }
                | Event::RunStarted { .. }
                | Event::UploadRequested { .. }
                | Event::UploadCancelled { .. }
                | Event::UploadWillRetry { .. }
                | Event::UploadInDoubt { .. }
                | Event::UploadAbsent { .. }
                | Event::DirectoriesFound { .. }
                | Event::IdentityChanged { .. }
                | Event::NodeSeenAgain { .. }
                | Event::PoolSeenAgain { .. }
                | Event::NodesAppeared { .. }
                | Event::OrderFollowed { .. }
                | Event::UploadFailed { .. }
                | Event::FilesVerified { .. }
                | Event::FilesAdopted { .. }
                | Event::FilesIncomplete { .. }
                | Event::AccountThrottled { .. }
                | Event::AccountStopped { .. }
                | Event::RunDraining { .. }
                | Event::RunEnded { .. } => continue,
            };
            // The receiver is gone if verification ended early.
            let _ = self.0.send(announced);
        }
    }
}
