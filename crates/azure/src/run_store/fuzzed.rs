//! What fuzzing calls about the journal in Blob storage.

use fleetlogs_model::event::Recorded;

use super::journal::last_whole_line;
use super::line::{read_line, write_line};
use super::replay::{Replay, ReplayTrouble};

/// The events of a journal, as they are written again.
type Events = Vec<Vec<u8>>;

/// A journal of one blob, in pieces of this size.
fn replayed(blob: &[u8], piece: usize) -> Result<Events, String> {
    let mut replay = Replay::new();
    for part in blob.chunks(piece.max(1)) {
        replay.take(part).map_err(|trouble| match trouble {
            ReplayTrouble::Damaged(what) => what,
            ReplayTrouble::Spool(error) => panic!("{error}"),
        })?;
    }
    let mut events = Vec::new();
    let mut hear =
        |event: &Recorded| events.push(serde_json::to_vec(event).expect("an event can be written"));
    let heard = replay.events.hand_over(0, usize::MAX, &mut hear).map_err(|error| error.to_string())?;
    assert_eq!(heard, replay.events.index.len() as u64);
    Ok(events)
}

/// Bytes from outside: in pieces they are the journal that they are as a whole, what ends without a line end does not
/// count, and every beginning of a good journal is the beginning of what it says.
pub(crate) fn foreign_blob(data: &[u8]) {
    let whole = replayed(data, data.len());
    for piece in [1, 7, 64] {
        assert_eq!(replayed(data, piece), whole, "in pieces of {piece}");
    }
    let Ok(events) = whole else { return };
    let lines = lines_in(data);
    assert_eq!(events.len(), lines);
    let last = last_whole_line(data, true).map(|line| read_line(line).expect("it was taken").seq);
    assert_eq!(last.unwrap_or(0), lines as u64);
    beginnings(data, &events);
}

/// Events from outside, as fleetlogs writes them: they are read as written, every beginning of the blob is the beginning
/// of them, and a byte that changed adds no event and changes none.
pub(crate) fn own_blob(data: &[u8]) {
    let (mut blob, mut events) = (Vec::new(), Events::new());
    for event in data.split(|byte| *byte == b'\n').filter_map(|text| Recorded::from_json(text).ok()).take(40)
    {
        events.push(serde_json::to_vec(&event).expect("an event can be written"));
        write_line(events.len() as u64, &event, &mut blob).expect("a line can be written");
    }
    let read = replayed(&blob, 64).expect("what was written can be read");
    // Writing rounds its time, which makes the first reading the original.
    let again = |texts: &Events| -> Events {
        let event =
            |text: &Vec<u8>| Recorded::from_json(text).expect("an event that was written can be read");
        texts.iter().map(|text| serde_json::to_vec(&event(text)).expect("an event can be written")).collect()
    };
    assert_eq!(read, again(&events));
    beginnings(&blob, &read);
    if blob.is_empty() {
        return;
    }
    let (at, bit) = (number(data, 0) % blob.len(), 1 << (data.len() % 8));
    blob[at] ^= bit;
    if let Ok(damaged) = replayed(&blob, 64) {
        assert_eq!(damaged[..], read[..damaged.len()], "byte {at} changed");
    }
}

/// Cuts a good journal in some places.
fn beginnings(blob: &[u8], events: &Events) {
    for salt in 0..4 {
        let end = number(blob, salt) % (blob.len() + 1);
        let cut = replayed(&blob[..end], 64).expect("a beginning of a good journal is good");
        let lines = lines_in(&blob[..end]);
        assert_eq!(cut[..], events[..lines], "the first {end} bytes");
    }
}

/// How many lines have their end.
fn lines_in(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count() - 1
}

/// Some number that follows from a text.
fn number(text: &[u8], salt: u8) -> usize {
    text.iter()
        .fold(usize::from(salt) + 1, |number, byte| number.wrapping_mul(31).wrapping_add(usize::from(*byte)))
        >> 3
}
