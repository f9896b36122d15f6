//! How SQLite's write-ahead log ends after its process died.
//!
//! SQLite silently drops everything from the first invalid frame on. For a commit that was never finished that is
//! right: it had not returned, so nothing was promised; a person should still hear of it. But if whole commits follow,
//! the frame was good once and was damaged since, and dropping it would lose records that calls rely on. A commit
//! starts only after the one before it was synced, so the two cases can be told apart. Frames of an earlier round of
//! the log may follow the valid ones; they have another salt, and dropping them loses nothing. Format:
//! sqlite.org/fileformat.html, section 4.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What stands at the end of a write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// A whole commit, or nothing at all.
    Whole,
    /// This many pages of a commit that was never finished.
    Torn(u64),
    /// The frame of this number, counted from 1, is damaged, and finished commits follow it; or, with 0, its header is.
    Damaged(u64),
}

/// Looks at a log that no process writes.
pub(super) fn tail(path: &Path) -> io::Result<Tail> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tail::Whole),
        opened => opened?,
    };
    let mut log = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    if fill(&mut log, &mut header)? < HEADER {
        return Ok(Tail::Whole);
    }
    // The magic number says in which order the bytes of a word are summed; everything else is big-endian.
    let word: fn([u8; 4]) -> u32 = match number(&header, 0) {
        0x377f_0682 => u32::from_le_bytes,
        0x377f_0683 => u32::from_be_bytes,
        // SQLite would take the log for an empty one.
        _ => return Ok(Tail::Damaged(0)),
    };
    let page = number(&header, 8) as usize;
    let start = sum(word, (0, 0), &header[..24]);
    if !(512..=65_536).contains(&page) || start != (number(&header, 24), number(&header, 28)) {
        return Ok(Tail::Damaged(0));
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    let (mut before, mut at, mut pending) = (start, 0, 0);
    // The first frame that does not check out, and whether the commit that it was part of is over.
    let mut bad: Option<(u64, bool)> = None;
    loop {
        let read = fill(&mut log, &mut frame)?;
        if read < FRAME_HEADER {
            break;
        }
        at += 1;
        let stored = (number(&frame, 16), number(&frame, 20));
        let whole = read == frame.len();
        let good = whole && sum(word, sum(word, before, &frame[..8]), &frame[FRAME_HEADER..]) == stored;
        before = stored;
        if frame[8..16] != header[16..24] {
            // Of an earlier round, and so is everything behind it; or its salt is damaged, and what follows shows it.
            bad.get_or_insert((at, true));
            continue;
        }
        match bad {
            Some((frame, true)) if good => return Ok(Tail::Damaged(frame)),
            None if !good => bad = Some((at, false)),
            _ => {}
        }
        pending += 1;
        // The last frame of a commit says how large the database is after it.
        if whole && frame[4..8] != [0; 4] {
            match &mut bad {
                Some((_, over)) => *over = true,
                None => pending = 0,
            }
        }
    }
    Ok(if pending == 0 { Tail::Whole } else { Tail::Torn(pending) })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's checksum over a number of bytes that 8 divides, continued from another.
fn sum(word: fn([u8; 4]) -> u32, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.as_chunks::<8>().0 {
        let (left, right) = pair.split_at(4);
        let value = |half: &[u8]| word(half.try_into().expect("four bytes"));
        first = first.wrapping_add(value(left)).wrapping_add(second);
        second = second.wrapping_add(value(right)).wrapping_add(first);
    }
    (first, second)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
