//! A line of the journal: the JSON of an event, with its number and a checksum in front.
//!
//! `{"seq":7,"crc":123,"at":"2026-11-22T09:30:00.125Z","node":17,"event":"upload-requested",…}`. Without the first two
//! members it is the text that the journal of a run directory has. The checksum covers the number and that text.

use std::io::Write as _;

use fleetlogs_model::event::Recorded;
use serde::Deserialize;

const SEQ: &[u8] = b"{\"seq\":";
const CRC: &[u8] = b",\"crc\":";

/// Adds the line of an event, with its line end.
pub(super) fn write_line(seq: u64, event: &Recorded, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let text = serde_json::to_vec(event)?;
    lines.extend_from_slice(SEQ);
    // Writing to a vector does not fail.
    let _ = write!(lines, "{seq},\"crc\":{},", checksum(seq, &text));
    lines.extend_from_slice(&text[1..]);
    lines.push(b'\n');
    Ok(())
}

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineParts {
    pub(super) seq: u64,
    /// The position of the node in the plan.
    pub(super) node: Option<u32>,
    /// The JSON of the event, as it was written.
    pub(super) text: Vec<u8>,
}

/// Reads a line without its end; or says what is wrong with it.
pub(super) fn read_line(line: &[u8]) -> Result<LineParts, String> {
    let no_line = || "it is not a line of a journal".to_owned();
    let rest = line.strip_prefix(SEQ).ok_or_else(no_line)?;
    let (seq, rest) = number(rest).ok_or_else(no_line)?;
    let rest = rest.strip_prefix(CRC).ok_or_else(no_line)?;
    let (crc, rest) = number(rest).ok_or_else(no_line)?;
    let rest = rest.strip_prefix(b",").ok_or_else(no_line)?;
    let text = [b"{", rest].concat();
    if u64::from(checksum(seq, &text)) != crc {
        return Err("its checksum does not fit".into());
    }
    let NodeOnly { node } = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    Ok(LineParts { seq, node, text })
}

/// The node of an event.
#[derive(Deserialize)]
struct NodeOnly {
    #[serde(default)]
    node: Option<u32>,
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

pub(super) fn checksum(seq: u64, text: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&seq.to_le_bytes());
    sum.update(text);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::event::Event;
    use fleetlogs_model::ids::NodeIndex;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_line_is_json_and_any_changed_byte_is_noticed() {
        let event = Recorded {
            at: datetime!(2026-11-22 09:30:00.125 UTC),
            node: Some(NodeIndex(17)),
            event: Event::UploadCancelled { attempt: 2 },
        };
        let mut lines = vec![];
        write_line(7, &event, &mut lines).unwrap();
        let line = lines.strip_suffix(b"\n").unwrap();
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(
            (&value["seq"], &value["node"], &value["event"]),
            (&7.into(), &17.into(), &"upload-cancelled".into())
        );

        let parts = read_line(line).unwrap();
        assert_eq!((parts.seq, parts.node), (7, Some(17)));
        assert_eq!(parts.text, serde_json::to_vec(&event).unwrap());
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(read_line(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
            assert!(read_line(&line[..at]).is_err());
        }
    }
}
