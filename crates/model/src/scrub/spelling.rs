//! A text with its escapes decoded, however deep they are nested, and the way back to the original.
//!
//! Percent-encoding, JSON and HTML escapes are decoded while the text is read, and what they yield may complete another
//! escape: `%252B`, `\\u002B` and `%26%2343%3B` are all read as `+`.

use std::ops::Range;

/// The most bytes of one character in a spelling that is expected: `%25252B`, `\\u002B`, `&amp;#x2B;`.
pub(super) const LONGEST_ESCAPE: usize = 10;

/// Names of HTML for characters that occur in secrets or delimit them.
const ENTITIES: [(&[u8], u8); 14] = [
    (b"amp", b'&'),
    (b"plus", b'+'),
    (b"sol", b'/'),
    (b"equals", b'='),
    (b"quot", b'"'),
    (b"apos", b'\''),
    (b"lt", b'<'),
    (b"gt", b'>'),
    (b"lowbar", b'_'),
    (b"hyphen", b'-'),
    (b"percnt", b'%'),
    (b"bsol", b'\\'),
    (b"colon", b':'),
    (b"nbsp", b' '),
];

/// The longest entity between `&` and `;`: `#0000043`.
const LONGEST_ENTITY: usize = 8;

/// The longest escape that is decoded at once: an entity with `&` and `;`.
const REACH: usize = LONGEST_ENTITY + 2;

/// A decoded text.
pub(super) enum Decoded<'a> {
    /// There are no escapes in it.
    Plain(&'a [u8]),
    /// The bytes, and after which of them the original has more.
    Mapped(Vec<u8>, Vec<Shift>),
}

/// From a byte of the decoded text on, up to the next shift, it is as in the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    /// The byte of the decoded text.
    decoded: usize,
    /// Where it begins in the original.
    original: usize,
}

impl<'a> Decoded<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let Some(first) = next_begin(text, 0) else { return Self::Plain(text) };
        let mut bytes = Vec::with_capacity(text.len());
        let mut shifts = Vec::new();
        bytes.extend_from_slice(&text[..first]);
        let mut at = first;
        // Up to here an escape can end.
        let mut reach = 0;
        while at < text.len() {
            if begins_escape(text[at]) {
                reach = bytes.len() + REACH;
            } else if bytes.len() >= reach {
                // No escape is open: all is copied up to where the next one begins.
                let next = next_begin(text, at).unwrap_or(text.len());
                bytes.extend_from_slice(&text[at..next]);
                at = next;
                continue;
            }
            bytes.push(text[at]);
            at += 1;
            while let Some((length, value)) = escape_at_end(&bytes) {
                let from = bytes.len() - length;
                bytes.truncate(from + 1);
                bytes[from] = value;
                if begins_escape(value) {
                    reach = reach.max(from + REACH);
                }
                while shifts.last().is_some_and(|shift: &Shift| shift.decoded > from) {
                    shifts.pop();
                }
                shifts.push(Shift { decoded: from + 1, original: at });
            }
        }
        Self::Mapped(bytes, shifts)
    }

    /// Whether it differs from the original.
    pub(super) fn has_escapes(&self) -> bool {
        matches!(self, Self::Mapped(..))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Mapped(bytes, _) => bytes,
        }
    }

    /// A range of the decoded text as one of the original.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        match self {
            Self::Plain(_) => range,
            Self::Mapped(_, shifts) => original(shifts, range.start)..original(shifts, range.end),
        }
    }
}

/// Where a byte of the decoded text begins in the original.
fn original(shifts: &[Shift], decoded: usize) -> usize {
    let before = shifts.partition_point(|shift| shift.decoded <= decoded).checked_sub(1);
    before.map_or(decoded, |at| shifts[at].original + (decoded - shifts[at].decoded))
}

fn begins_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

/// Where the next escape may begin, from here on.
fn next_begin(text: &[u8], mut from: usize) -> Option<usize> {
    while let Some(chunk) = text.get(from..)?.first_chunk::<32>() {
        // Many bytes at once: most texts have none of them.
        if chunk.iter().fold(false, |any, byte| any | begins_escape(*byte)) {
            break;
        }
        from += chunk.len();
    }
    text[from..].iter().position(|byte| begins_escape(*byte)).map(|length| from + length)
}

/// The escape that a text ends with: its length, and the byte that it stands for.
fn escape_at_end(bytes: &[u8]) -> Option<(usize, u8)> {
    let last = *bytes.last()?;
    if let [.., b'\\', escaped] = bytes {
        let value = match escaped {
            b'/' | b'\\' | b'"' => *escaped,
            b'n' | b'r' | b't' => b' ',
            _ => return hex_escape(bytes, last),
        };
        return Some((2, value));
    }
    if last == b';' { entity(bytes) } else { hex_escape(bytes, last) }
}

fn hex_escape(bytes: &[u8], last: u8) -> Option<(usize, u8)> {
    let low = digit(last, 16)?;
    match bytes {
        [.., b'%', high, _] => Some((3, digit(*high, 16)? * 16 + low)),
        [.., b'\\', b'x', high, _] => Some((4, digit(*high, 16)? * 16 + low)),
        // Other characters than those of ASCII are left as they are.
        [.., b'\\', b'u', b'0', b'0', high @ b'0'..=b'7', _] => Some((6, digit(*high, 16)? * 16 + low)),
        _ => None,
    }
}

fn entity(bytes: &[u8]) -> Option<(usize, u8)> {
    let (_, before) = bytes.split_last()?;
    let window = &before[before.len().saturating_sub(LONGEST_ENTITY + 1)..];
    let begin = window.iter().rposition(|byte| *byte == b'&')?;
    let name = &window[begin + 1..];
    let value = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        name => ENTITIES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, value)| *value),
    };
    Some((name.len() + 2, value?))
}

/// A number below 128.
fn number(digits: &[u8], base: u8) -> Option<u8> {
    let add = |sum: u8, byte: &u8| sum.checked_mul(base)?.checked_add(digit(*byte, base)?);
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add).filter(u8::is_ascii) }
}

fn digit(byte: u8, base: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(base.into())?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same in the simplest way: after each byte, whether an escape ends there; and where each byte begins.
    fn byte_by_byte(text: &[u8]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (vec![], vec![]);
        for (at, byte) in text.iter().enumerate() {
            bytes.push(*byte);
            starts.push(at);
            while let Some((length, value)) = escape_at_end(&bytes) {
                let from = bytes.len() - length;
                bytes.truncate(from + 1);
                bytes[from] = value;
                starts.truncate(from + 1);
            }
        }
        starts.push(text.len());
        (bytes, starts)
    }

    proptest! {
        #[test]
        fn copying_what_has_no_escape_changes_nothing(text in "([%\\\\&#;a-f0-9xu25]|amp|plain text |%25|%26|\\\\u0026|&#x25;|&#38;){0,24}") {
            let decoded = Decoded::of(text.as_bytes());
            let (bytes, starts) = byte_by_byte(text.as_bytes());
            prop_assert_eq!(decoded.bytes(), &bytes[..]);
            for (at, start) in starts.into_iter().enumerate() {
                prop_assert_eq!(decoded.original(at..bytes.len()), start..text.len());
            }
        }
    }

    fn decoded(text: &str) -> String {
        String::from_utf8_lossy(Decoded::of(text.as_bytes()).bytes()).into_owned()
    }

    #[test]
    fn every_spelling_of_a_character_is_read_as_it() {
        for spelling in [
            "+",
            "%2B",
            "%2b",
            "%252B",
            "%25252b",
            "\\u002B",
            "\\\\u002b",
            "\\x2B",
            "&#43;",
            "&#x2B;",
            "&#X2b;",
            "&#0043;",
            "&plus;",
            "&amp;#43;",
            "%26%2343%3B",
            "\\u0026#43;",
        ] {
            assert_eq!(decoded(&format!("a{spelling}b")), "a+b", "{spelling}");
        }
        assert_eq!(decoded("\\/ &amp; \\\"x\\\" &lt;"), "/ & \"x\" <");
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in ["100%", "5 % of", "a\\", "&;", "&#;", "&#300;", "&nothing;", "\\u12", "%g1", "&#x80;"] {
            assert_eq!(decoded(text), text);
        }
    }

    #[test]
    fn a_range_covers_the_whole_of_each_escape() {
        let text = "x%252By&amp;z";
        let decoded = Decoded::of(text.as_bytes());
        assert_eq!(decoded.bytes(), b"x+y&z");
        assert_eq!(&text[decoded.original(1..2)], "%252B");
        assert_eq!(&text[decoded.original(1..4)], "%252By&amp;");
        assert_eq!(&text[decoded.original(4..5)], "z");
    }
}
