//! Reads the journal of a run, also while another process appends to it.
//!
//! The events are brought to this machine once, checked as they arrive: their text is in a temporary file, and where
//! each begins, and about which node it is, in memory. Looking again brings what was appended since.

use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::run_store::{
    HistoryQuery, HistoryRows, JournalError, JournalErrorKind, JournalReader, RunMeta, StoreFuture,
};
use parking_lot::Mutex;
use tempfile::SpooledTempFile;

use super::blobs::{PIECE, RunBlobs, patiently};
use super::errors;
use super::journal::journal_blob;
use super::line::read_line;
use super::plan_blob::spool;

/// A journal as far as it was brought here.
pub(super) struct BlobReader {
    blobs: Arc<RunBlobs>,
    meta: RunMeta,
    place: Place,
    events: EventTexts,
}

/// How far the journal was read.
struct Place {
    /// The blob that is being read.
    number: u32,
    /// How much of it was read.
    offset: u64,
    /// How many whole lines that were.
    lines: u64,
    /// A line that is not finished.
    rest: Vec<u8>,
}

/// The events that were read, in order.
struct EventTexts {
    /// The JSON of all events, one behind the other. Behind a lock, because reading moves its position.
    text: Mutex<SpooledTempFile>,
    length: u64,
    index: Vec<EventPlace>,
}

#[derive(Clone, Copy)]
struct EventPlace {
    begins: u64,
    length: u32,
    node: Option<u32>,
}

impl BlobReader {
    /// Opens the journal of a run. With `may_await`, there need not be one yet: it is empty then.
    pub(super) async fn open(
        blobs: Arc<RunBlobs>,
        meta: RunMeta,
        may_await: bool,
    ) -> Result<Self, JournalError> {
        let place = Place { number: 1, offset: 0, lines: 0, rest: vec![] };
        let events = EventTexts { text: Mutex::new(spool()), length: 0, index: vec![] };
        let mut reader = Self { blobs, meta, place, events };
        if !reader.read_on().await? && !may_await {
            return Err(errors::missing(&reader.blobs));
        }
        Ok(reader)
    }

    /// Reads what was appended since; false if there is no journal.
    async fn read_on(&mut self) -> Result<bool, JournalError> {
        loop {
            let failed = |failure| errors::failed(&self.blobs, &failure);
            let (name, next) = (journal_blob(self.place.number), journal_blob(self.place.number + 1));
            // Asked before this blob is read to its end: when the next one is there, nothing is appended to this one.
            let next = patiently(|| self.blobs.facts(&next)).await.map_err(failed)?;
            loop {
                let part = patiently(|| self.blobs.range(&name, self.place.offset, PIECE)).await;
                let Some(part) = part.map_err(|failure| errors::failed(&self.blobs, &failure))? else {
                    return if self.events.index.is_empty() && self.place.number == 1 {
                        Ok(false)
                    } else {
                        Err(errors::damaged(&self.blobs, &name, "it is missing"))
                    };
                };
                self.take(&name, &part)?;
                if part.len() < PIECE {
                    break;
                }
            }
            if next.is_none() {
                return Ok(true);
            }
            // An unfinished line was never promised. If it had been, the number of the next event shows it.
            self.place = Place { number: self.place.number + 1, offset: 0, lines: 0, rest: vec![] };
        }
    }

    /// Takes a part of a blob.
    fn take(&mut self, name: &str, part: &[u8]) -> Result<(), JournalError> {
        let mut rest = std::mem::take(&mut self.place.rest);
        self.place.offset += part.len() as u64;
        self.events.text.lock().seek(SeekFrom::Start(self.events.length)).map_err(errors::spool_failed)?;
        for line in part.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(line);
            let Some(line) = rest.strip_suffix(b"\n") else { break };
            self.place.lines += 1;
            let damaged = |what: &str| {
                errors::damaged(&self.blobs, name, &format!("line {}: {what}", self.place.lines))
            };
            let parts = read_line(line).map_err(|what| damaged(&what))?;
            let expected = self.events.index.len() as u64 + 1;
            if parts.seq != expected {
                return Err(damaged(&format!("event {expected} is missing, event {} is there", parts.seq)));
            }
            let too_long = || damaged("it is too long");
            let length = u32::try_from(parts.text.len()).map_err(|_| too_long())?;
            self.events.text.lock().write_all(&parts.text).map_err(errors::spool_failed)?;
            self.events.index.push(EventPlace { begins: self.events.length, length, node: parts.node });
            self.events.length += u64::from(length);
            rest.clear();
        }
        self.place.rest = rest;
        Ok(())
    }
}

impl EventTexts {
    /// Hands over some events in the order of the journal, from the event with this number on, counted from 0.
    fn hand_over(
        &self,
        from: u64,
        most: usize,
        hear: &mut dyn FnMut(&Recorded),
    ) -> Result<u64, JournalError> {
        let places = usize::try_from(from).ok().and_then(|from| self.index.get(from..)).unwrap_or_default();
        let places = &places[..places.len().min(most)];
        let Some(first) = places.first() else { return Ok(from) };
        let mut file = self.text.lock();
        file.seek(SeekFrom::Start(first.begins)).map_err(errors::spool_failed)?;
        let mut file = BufReader::with_capacity(256 << 10, &mut *file);
        let mut text = vec![];
        for place in places {
            text.resize(place.length as usize, 0);
            file.read_exact(&mut text).map_err(errors::spool_failed)?;
            hear(&parsed(&text)?);
        }
        Ok(from + places.len() as u64)
    }

    fn event(&self, place: EventPlace) -> Result<Recorded, JournalError> {
        let mut text = vec![0; place.length as usize];
        let mut file = self.text.lock();
        let mut read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(place.begins))?;
            file.read_exact(&mut text)
        };
        read().map_err(errors::spool_failed)?;
        parsed(&text)
    }
}

fn parsed(text: &[u8]) -> Result<Recorded, JournalError> {
    // Its checksum fits: it is as it was written.
    Recorded::from_json(text).map_err(|error| {
        let what = format!("a newer fleetlogs wrote the journal: an event cannot be read: {error}");
        JournalError::new(JournalErrorKind::OtherFormat, what)
            .with_help("use the version of fleetlogs that worked on the run")
    })
}

impl JournalReader for BlobReader {
    fn meta(&self) -> Result<RunMeta, JournalError> {
        Ok(self.meta.clone())
    }

    fn events_after(&self, after: u64, hear: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError> {
        self.events.hand_over(after, usize::MAX, hear)
    }

    fn some_events_after(
        &self,
        after: u64,
        most: usize,
        hear: &mut dyn FnMut(&Recorded),
    ) -> Result<u64, JournalError> {
        self.events.hand_over(after, most, hear)
    }

    fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let about_the_run = self.events.index.iter().filter(|place| place.node.is_none());
        about_the_run.map(|place| self.events.event(*place)).collect()
    }

    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError> {
        let about_nodes = self.events.index.iter().copied();
        let mut order: Vec<_> =
            about_nodes.filter_map(|place| Some((NodeIndex(place.node?), place))).collect();
        // A stable sort: the events of a node stay in their order.
        order.sort_by_key(|(node, _)| node.0);
        Ok(Box::new(BlobHistories { events: &self.events, order }))
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
