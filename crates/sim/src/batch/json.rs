//! JSON byte for byte in the format of Batch: CR LF and two more spaces after `{` and `[`, CR LF before `}` and `]`, no
//! break between members, no space after the colon. Recorded lengths of errors agree with it.
//!
//! It is written straight into a buffer: a page of a thousand nodes is more than a megabyte, and building a tree of
//! values for it would cost more than the rest of the answer.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::select::Select;
use crate::clock::push_wire_time;

/// A document under construction. Members appear in the order in which they are written.
pub(crate) struct Json {
    out: String,
    depth: usize,
    /// Whether the next member at this depth needs a comma before it.
    comma: bool,
}

impl Json {
    /// Begins a document; every document of Batch is an object that begins with `odata.metadata`.
    pub(crate) fn document(base: &str, fragment: &str, capacity: usize) -> Self {
        let mut json = Self { out: String::with_capacity(capacity), depth: 0, comma: false };
        json.open('{');
        json.text("odata.metadata", &format!("{base}/$metadata#{fragment}"));
        json
    }

    pub(crate) fn finish(mut self) -> String {
        self.close('}');
        self.out
    }

    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.depth += 1;
        self.comma = false;
    }

    fn close(&mut self, bracket: char) {
        self.depth -= 1;
        if self.comma {
            self.line();
        }
        self.out.push(bracket);
        self.comma = true;
    }

    fn line(&mut self) {
        const SPACES: &str = "                                ";
        self.out.push_str("\r\n");
        self.out.push_str(&SPACES[..(self.depth * 2).min(SPACES.len())]);
    }

    fn next(&mut self) {
        if self.comma {
            self.out.push(',');
        } else {
            self.line();
        }
        self.comma = true;
    }

    fn name(&mut self, name: &str) {
        self.next();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    pub(crate) fn object(&mut self, name: &str, members: impl FnOnce(&mut Self)) {
        self.name(name);
        self.open('{');
        members(self);
        self.close('}');
    }

    pub(crate) fn list(&mut self, name: &str, items: impl FnOnce(&mut Self)) {
        self.name(name);
        self.open('[');
        items(self);
        self.close(']');
    }

    /// An object in a list.
    pub(crate) fn item(&mut self, members: impl FnOnce(&mut Self)) {
        self.next();
        self.open('{');
        members(self);
        self.close('}');
    }

    /// An object in a list, as it is.
    pub(crate) fn raw_item(&mut self, object: &str) {
        self.next();
        self.out.push_str(object);
    }

    /// Number of bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.quoted(text);
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                c if c < ' ' => {
                    let written = write!(self.out, "\\u{:04x}", u32::from(c));
                    debug_assert!(written.is_ok(), "writing to a String does not fail");
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// A text that a function writes by itself.
    pub(crate) fn plain(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.name(name);
        let mut text = String::new();
        write(&mut text);
        self.quoted(&text);
    }

    pub(crate) fn time(&mut self, name: &str, date: OffsetDateTime) {
        self.plain(name, |out| push_wire_time(out, date));
    }

    pub(crate) fn number(&mut self, name: &str, number: impl Into<i128>) {
        self.name(name);
        let written = write!(self.out, "{}", number.into());
        debug_assert!(written.is_ok(), "writing to a String does not fail");
    }

    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.out.push_str(if flag { "true" } else { "false" });
    }
}

/// A list of members that leaves out those that `$select` did not name.
pub(crate) struct Selected<'a> {
    pub(crate) json: &'a mut Json,
    pub(crate) select: &'a Select,
}

impl Selected<'_> {
    /// Writes the member `name` if it was selected.
    pub(crate) fn member(&mut self, name: &str, write: impl FnOnce(&mut Json, &str)) {
        if self.select.wants(name) {
            write(self.json, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_breaks_after_and_before_brackets_only_and_is_escaped() {
        let mut json = Json::document("http://h", "pools", 64);
        json.list("value", |json| {
            json.item(|json| {
                json.text("id", "a\"b\n");
                json.flag("good", true);
            });
            json.item(|json| json.number("n", -3));
        });
        json.list("empty", |_| {});
        json.object("info", |json| json.list("items", |json| json.item(|json| json.text("a", ""))));

        assert_eq!(
            json.finish(),
            "{\r\n  \"odata.metadata\":\"http://h/$metadata#pools\",\"value\":[\r\n    {\r\n      \"id\":\"a\\\"b\\n\",\
             \"good\":true\r\n    },{\r\n      \"n\":-3\r\n    }\r\n  ],\"empty\":[],\"info\":{\r\n    \"items\":[\r\n      \
             {\r\n        \"a\":\"\"\r\n      }\r\n    ]\r\n  }\r\n}"
        );
    }
}
