//! Tables for values that many rows share: each is written once, and rows refer to it by its position. And JSON that is
//! safe inside a `<script>` element.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Writes a value so that nothing in it ends the `<script>` element or starts a comment or an entity.
pub(super) fn write_json(out: &mut impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, ForScript)).map_err(io::Error::from)
}

/// Escapes the characters that mean something to an HTML parser, and the line ends that only JSON allows in strings.
struct ForScript;

impl Formatter for ForScript {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        // Many bytes at once: most texts have nothing to escape. The line ends begin with 0xE2.
        let may_mean_something = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
        if fragment.as_bytes().iter().fold(true, |all, byte| all & !may_mean_something(byte)) {
            return out.write_all(fragment.as_bytes());
        }
        let mut plain = 0;
        for (at, mark) in fragment.match_indices(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            out.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in mark.encode_utf16() {
                write!(out, "\\u{unit:04x}")?;
            }
            plain = at + mark.len();
        }
        out.write_all(&fragment.as_bytes()[plain..])
    }
}

/// Values in the order in which they were first seen, as JSON.
#[derive(Default)]
pub(super) struct Table {
    places: HashMap<Box<[u8]>, u32>,
    /// All of them, with commas between.
    json: Vec<u8>,
    /// The one that is looked up.
    value: Vec<u8>,
}

impl Table {
    /// The position of a value, which is added if it is new.
    pub(super) fn place(&mut self, value: &(impl Serialize + ?Sized)) -> io::Result<u32> {
        self.value.clear();
        write_json(&mut self.value, value)?;
        if let Some(place) = self.places.get(self.value.as_slice()) {
            return Ok(*place);
        }
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        if place > 0 {
            self.json.extend_from_slice(b",\n");
        }
        self.json.extend_from_slice(&self.value);
        self.places.insert(self.value.as_slice().into(), place);
        Ok(place)
    }

    /// The position of an optional value.
    pub(super) fn place_of(&mut self, value: Option<&(impl Serialize + ?Sized)>) -> io::Result<Option<u32>> {
        value.map(|value| self.place(value)).transpose()
    }

    /// Writes it as a JSON list.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(b"[")?;
        out.write_all(&self.json)?;
        out.write_all(b"]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &(impl Serialize + ?Sized)) -> String {
        let mut out = vec![];
        write_json(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_text_ends_the_script_it_stands_in() {
        let evil = "</script><!-- &amp; \u{2028}\u{2029} \"quoted\" \u{202e}\n ü";
        let text = json(evil);

        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), evil);
    }

    #[test]
    fn equal_values_share_a_place() {
        let mut table = Table::default();
        let places = ["a", "b", "a"].map(|text| table.place(text).unwrap());
        assert_eq!(places, [0, 1, 0]);
        assert_eq!(table.place_of(None::<&str>).unwrap(), None);
        let mut out = vec![];
        table.write(&mut out).unwrap();
        assert_eq!(out, b"[\"a\",\n\"b\"]");
    }
}
