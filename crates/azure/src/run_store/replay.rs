//! The events of a journal, taken from its blobs in the order in which they were appended.
//!
//! Each line is checked as it arrives. The text of the events is in a temporary file, and where each begins, and about
//! which node it is, in memory. A line without its end was never promised to anybody, and does not count.

use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};

use fleetlogs_model::event::Recorded;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind};
use parking_lot::Mutex;
use tempfile::SpooledTempFile;

use super::errors;
use super::line::read_line;
use super::plan_blob::spool;

/// A journal as far as it was taken.
pub(super) struct Replay {
    pub(super) events: EventTexts,
    /// The blob that is being read.
    pub(super) number: u32,
    /// How much of it was taken.
    pub(super) offset: u64,
    /// How many whole lines that were.
    lines: u64,
    /// A line that is not finished.
    rest: Vec<u8>,
}

/// The events that were read, in order.
pub(super) struct EventTexts {
    /// The JSON of all events, one behind the other. Behind a lock, because reading moves its position.
    text: Mutex<SpooledTempFile>,
    length: u64,
    pub(super) index: Vec<EventPlace>,
}

#[derive(Clone, Copy)]
pub(super) struct EventPlace {
    begins: u64,
    length: u32,
    pub(super) node: Option<u32>,
}

/// Why a part of a blob cannot be taken.
#[derive(Debug)]
pub(super) enum ReplayTrouble {
    /// The journal is not what fleetlogs wrote: where, and what is wrong.
    Damaged(String),
    /// The temporary file failed.
    Spool(io::Error),
}

impl Replay {
    pub(super) fn new() -> Self {
        let events = EventTexts { text: Mutex::new(spool()), length: 0, index: vec![] };
        Self { events, number: 1, offset: 0, lines: 0, rest: vec![] }
    }

    /// Goes on with the next blob. An unfinished line was never promised to anybody; if one had been, the number of the
    /// next event would show the gap.
    pub(super) fn next_blob(&mut self) {
        (self.number, self.offset, self.lines) = (self.number + 1, 0, 0);
        self.rest.clear();
    }

    /// Takes the next part of a blob.
    pub(super) fn take(&mut self, part: &[u8]) -> Result<(), ReplayTrouble> {
        let mut rest = std::mem::take(&mut self.rest);
        self.offset += part.len() as u64;
        self.events.text.lock().seek(SeekFrom::Start(self.events.length)).map_err(ReplayTrouble::Spool)?;
        for line in part.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(line);
            let Some(line) = rest.strip_suffix(b"\n") else { break };
            self.lines += 1;
            let damaged = |what: &str| ReplayTrouble::Damaged(format!("line {}: {what}", self.lines));
            let parts = read_line(line).map_err(|what| damaged(&what))?;
            let expected = self.events.index.len() as u64 + 1;
            if parts.seq != expected {
                return Err(damaged(&format!("event {expected} is missing, event {} is there", parts.seq)));
            }
            let length = u32::try_from(parts.text.len()).map_err(|_| damaged("it is too long"))?;
            self.events.text.lock().write_all(&parts.text).map_err(ReplayTrouble::Spool)?;
            self.events.index.push(EventPlace { begins: self.events.length, length, node: parts.node });
            self.events.length += u64::from(length);
            rest.clear();
        }
        self.rest = rest;
        Ok(())
    }
}

impl EventTexts {
    /// Hands over some events in the order of the journal, from the event with this number on, counted from 0.
    pub(super) fn hand_over(
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

    pub(super) fn event(&self, place: EventPlace) -> Result<Recorded, JournalError> {
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
