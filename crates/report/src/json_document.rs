//! One large JSON object, written member by member, so that memory does not grow with it.
//!
//! Every member and every list item is on its own line, so the file can be searched with `grep` and compared with
//! `diff`.

use std::io::Write;

use serde::Serialize;

/// Result of writing; `serde_json` reports errors of the writer as its own.
type JsonResult = Result<(), serde_json::Error>;

/// An object under construction.
pub(crate) struct JsonDocument<W: Write> {
    writer: W,
    empty: bool,
}

impl<W: Write> JsonDocument<W> {
    /// Opens the object.
    pub(crate) fn begin(mut writer: W) -> Result<Self, serde_json::Error> {
        put(&mut writer, b"{\n")?;
        Ok(Self { writer, empty: true })
    }

    /// Writes a member.
    pub(crate) fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> JsonResult {
        self.name(name)?;
        serde_json::to_writer(&mut self.writer, value)
    }

    /// Opens a member that is a list. Its items follow through [`JsonList::item`]; it ends with [`JsonList::end`].
    pub(crate) fn list(&mut self, name: &str) -> Result<JsonList<'_, W>, serde_json::Error> {
        self.name(name)?;
        put(&mut self.writer, b"[")?;
        Ok(JsonList { writer: &mut self.writer, empty: true, item: vec![] })
    }

    /// Like [`list`](Self::list), for callers that keep the list open for a while.
    pub(crate) fn into_list(mut self, name: &str) -> Result<OpenList<W>, serde_json::Error> {
        self.list(name)?;
        Ok(OpenList { document: self, empty: true, item: vec![] })
    }

    /// Closes the object and hands the writer back.
    pub(crate) fn end(mut self) -> Result<W, serde_json::Error> {
        put(&mut self.writer, b"\n}\n")?;
        Ok(self.writer)
    }

    fn name(&mut self, name: &str) -> JsonResult {
        if !self.empty {
            put(&mut self.writer, b",\n")?;
        }
        self.empty = false;
        serde_json::to_writer(&mut self.writer, name)?;
        put(&mut self.writer, b": ")
    }
}

/// A list under construction.
pub(crate) struct JsonList<'a, W: Write> {
    writer: &'a mut W,
    empty: bool,
    /// The text of one item: JSON comes in many small pieces, and a file takes much longer for each than memory does.
    item: Vec<u8>,
}

impl<W: Write> JsonList<'_, W> {
    /// Writes an item.
    pub(crate) fn item(&mut self, value: &impl Serialize) -> JsonResult {
        self.item.clear();
        self.item.extend_from_slice(if self.empty { b"\n" } else { b",\n" });
        self.empty = false;
        serde_json::to_writer(&mut self.item, value)?;
        put(self.writer, &self.item)
    }

    /// Closes the list.
    pub(crate) fn end(self) -> JsonResult {
        put(self.writer, if self.empty { b"]" } else { b"\n]" })
    }
}

/// A document with an open list.
pub(crate) struct OpenList<W: Write> {
    document: JsonDocument<W>,
    empty: bool,
    item: Vec<u8>,
}

impl<W: Write> OpenList<W> {
    /// Writes an item.
    pub(crate) fn item(&mut self, value: &impl Serialize) -> JsonResult {
        let item = std::mem::take(&mut self.item);
        let mut list = JsonList { writer: &mut self.document.writer, empty: self.empty, item };
        list.item(value)?;
        self.item = list.item;
        self.empty = false;
        Ok(())
    }

    /// Closes the list and returns the document, for the members after it.
    pub(crate) fn end(mut self) -> Result<JsonDocument<W>, serde_json::Error> {
        JsonList { writer: &mut self.document.writer, empty: self.empty, item: vec![] }.end()?;
        Ok(self.document)
    }
}

fn put(writer: &mut impl Write, bytes: &[u8]) -> JsonResult {
    writer.write_all(bytes).map_err(serde_json::Error::io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_stand_on_their_own_lines() {
        let mut document = JsonDocument::begin(vec![]).unwrap();
        document.member("schema", "a/v1").unwrap();
        let mut list = document.list("nodes").unwrap();
        list.item(&1).unwrap();
        list.item(&2).unwrap();
        list.end().unwrap();
        document.list("left_out").unwrap().end().unwrap();
        let text = String::from_utf8(document.end().unwrap()).unwrap();

        assert_eq!(text, "{\n\"schema\": \"a/v1\",\n\"nodes\": [\n1,\n2\n],\n\"left_out\": []\n}\n");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}
