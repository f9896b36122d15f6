//! Reads the journal of a run, also while another process appends to it.
//!
//! The events are brought to this machine once. Looking again brings what was appended since.

use std::sync::Arc;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::run_store::{
    HistoryQuery, HistoryRows, JournalError, JournalReader, RunMeta, StoreFuture,
};

use super::blobs::{PIECE, RunBlobs, patiently};
use super::errors;
use super::journal::journal_blob;
use super::replay::{EventPlace, EventTexts, Replay, ReplayTrouble};

/// A journal as far as it was brought here.
pub(super) struct BlobReader {
    blobs: Arc<RunBlobs>,
    meta: RunMeta,
    replay: Replay,
}

impl BlobReader {
    /// Opens the journal of a run. With `may_await`, there need not be one yet: it is empty then.
    pub(super) async fn open(
        blobs: Arc<RunBlobs>,
        meta: RunMeta,
        may_await: bool,
    ) -> Result<Self, JournalError> {
        let mut reader = Self { blobs, meta, replay: Replay::new() };
        if !reader.read_on().await? && !may_await {
            return Err(errors::missing(&reader.blobs));
        }
        Ok(reader)
    }

    /// Reads what was appended since; false if there is no journal.
    async fn read_on(&mut self) -> Result<bool, JournalError> {
        loop {
            let number = self.replay.number;
            let failed = |failure| errors::failed(&self.blobs, &failure);
            let (name, next) = (journal_blob(number), journal_blob(number + 1));
            // Asked before this blob is read to its end: when the next one is there, nothing is appended to this one.
            let next = patiently(|| self.blobs.facts(&next)).await.map_err(failed)?;
            loop {
                let part = patiently(|| self.blobs.range(&name, self.replay.offset, PIECE)).await;
                let Some(part) = part.map_err(|failure| errors::failed(&self.blobs, &failure))? else {
                    return if self.replay.events.index.is_empty() && number == 1 {
                        Ok(false)
                    } else {
                        Err(errors::damaged(&self.blobs, &name, "it is missing"))
                    };
                };
                self.replay.take(&part).map_err(|trouble| match trouble {
                    ReplayTrouble::Damaged(what) => errors::damaged(&self.blobs, &name, &what),
                    ReplayTrouble::Spool(error) => errors::spool_failed(error),
                })?;
                if part.len() < PIECE {
                    break;
                }
            }
            if next.is_none() {
                return Ok(true);
            }
            self.replay.next_blob();
        }
    }
}

impl JournalReader for BlobReader {
    fn meta(&self) -> Result<RunMeta, JournalError> {
        Ok(self.meta.clone())
    }

    fn events_after(&self, after: u64, hear: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError> {
        self.replay.events.hand_over(after, usize::MAX, hear)
    }

    fn some_events_after(
        &self,
        after: u64,
        most: usize,
        hear: &mut dyn FnMut(&Recorded),
    ) -> Result<u64, JournalError> {
        self.replay.events.hand_over(after, most, hear)
    }

    fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let about_the_run = self.replay.events.index.iter().filter(|place| place.node.is_none());
        about_the_run.map(|place| self.replay.events.event(*place)).collect()
    }

    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError> {
        let about_nodes = self.replay.events.index.iter().copied();
        let mut order: Vec<_> =
            about_nodes.filter_map(|place| Some((NodeIndex(place.node?), place))).collect();
        // A stable sort: the events of a node stay in their order.
        order.sort_by_key(|(node, _)| node.0);
        Ok(Box::new(BlobHistories { events: &self.replay.events, order }))
    }

    fn refresh(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(async { self.read_on().await.map(|_| ()) })
    }
}

/// The histories of all nodes that have one.
struct BlobHistories<'reader> {
    events: &'reader EventTexts,
    order: Vec<(NodeIndex, EventPlace)>,
}

impl HistoryQuery for BlobHistories<'_> {
    fn rows(&mut self) -> Result<HistoryRows<'_>, JournalError> {
        let of_nodes = self.order.chunk_by(|(one, _), (other, _)| one == other);
        Ok(Box::new(of_nodes.map(|places| {
            let mut history = NodeHistory::default();
            for (_, place) in places {
                history.apply(&self.events.event(*place)?);
            }
            Ok((places[0].0, history))
        })))
    }
}
