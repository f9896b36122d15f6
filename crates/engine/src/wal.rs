//! What a killed process left unfinished at the end of SQLite's write-ahead log.
//!
//! SQLite drops it without a word when it opens the file, which is right: a commit that did not return was not
//! promised. A person should still hear of it. Frames of an earlier round of the log lie behind the valid ones as well;
//! they have another salt, and are no loss. Format: sqlite.org/fileformat.html, section 4.

use std::fs;
use std::io;
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// How many pages of an unfinished commit the log ends with. None if there is no log, or an empty one.
pub(crate) fn torn_frames(path: &Path) -> io::Result<u64> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read?,
    };
    let Some(header) = bytes.get(..HEADER) else { return Ok(0) };
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page = number(8) as usize;
    let salt = &header[16..24];
    if page == 0 {
        return Ok(0);
    }
    let mut pending = 0;
    for frame in bytes[HEADER..].chunks(FRAME_HEADER + page) {
        if frame.get(8..16) != Some(salt) {
            break;
        }
        pending += 1;
        // The last frame of a commit says how large the database is after it.
        let commits = frame.len() == FRAME_HEADER + page && frame[4..8] != [0; 4];
        if commits {
            pending = 0;
        }
    }
    Ok(pending)
}
