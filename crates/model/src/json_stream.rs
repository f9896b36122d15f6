//! Reads a large JSON object member by member, and a list in it item by item.
//!
//! `serde_json` reads a stream byte by byte, which takes several times as long as reading a slice. Here the stream is only
//! searched for the end of each member or item, which is then read from a slice. Memory is that of the largest one.

use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeOwned, Error as _};
use serde_json::Error;

use crate::json_value_end::ValueEnd;

/// How much is read at once.
const READ_AT_ONCE: usize = 64 * 1024;

/// An object that is being read. After each name comes exactly one of [`value`](Self::value), [`text`](Self::text) and
/// [`items`](Self::items).
pub struct JsonStream<R> {
    source: BufReader<R>,
    /// The latest value.
    text: Vec<u8>,
    is_first: bool,
}

impl<R: Read> JsonStream<R> {
    /// Begins to read an object.
    ///
    /// # Errors
    /// It cannot be read, or is not an object.
    pub fn open(source: R) -> Result<Self, Error> {
        let source = BufReader::with_capacity(READ_AT_ONCE, source);
        let mut object = Self { source, text: vec![], is_first: true };
        object.expect(b'{', "expected an object")?;
        Ok(object)
    }

    /// The name of the next member; none after the last, when the text has ended, too.
    ///
    /// # Errors
    /// The text cannot be read, or is not JSON.
    pub fn next_name(&mut self) -> Result<Option<String>, Error> {
        match (self.peek()?, self.is_first) {
            (b'}', _) => {
                self.source.consume(1);
                return if self.at_end()? { Ok(None) } else { Err(Error::custom("trailing characters")) };
            }
            (_, true) => self.is_first = false,
            (_, false) => self.expect(b',', "expected `,` or `}`")?,
        }
        if self.peek()? != b'"' {
            return Err(Error::custom("expected the name of a member"));
        }
        let name = self.value()?;
        self.expect(b':', "expected `:`")?;
        Ok(Some(name))
    }

    /// The value of the member.
    ///
    /// # Errors
    /// The text cannot be read, or is not such a value.
    pub fn value<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        serde_json::from_slice(self.text()?)
    }

    /// The text of the member's value. Only its end was looked for: it may turn out not to be JSON.
    ///
    /// # Errors
    /// The text cannot be read, or is cut off.
    pub fn text(&mut self) -> Result<&[u8], Error> {
        self.text.clear();
        let mut end = ValueEnd::of(self.peek()?);
        loop {
            let chunk = self.source.fill_buf().map_err(Error::io)?;
            if chunk.is_empty() {
                return Err(cut_off());
            }
            let found = end.find(chunk);
            let length = found.unwrap_or(chunk.len());
            self.text.extend_from_slice(&chunk[..length]);
            self.source.consume(length);
            if found.is_some() {
                return Ok(&self.text);
            }
        }
    }

    /// Passes on the items of the member, which is a list.
    ///
    /// # Errors
    /// The text cannot be read, is not a list of such items; or that of `each`.
    pub fn items<T: DeserializeOwned>(
        &mut self,
        mut each: impl FnMut(T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.peek()? != b'[' {
            // No list: this says what it is.
            return self.value::<Vec<T>>()?.into_iter().try_for_each(each);
        }
        self.source.consume(1);
        if self.peek()? == b']' {
            self.source.consume(1);
            return Ok(());
        }
        loop {
            each(self.value()?)?;
            if self.peek()? == b']' {
                self.source.consume(1);
                return Ok(());
            }
            self.expect(b',', "expected `,` or `]`")?;
        }
    }

    fn expect(&mut self, byte: u8, otherwise: &str) -> Result<(), Error> {
        if self.peek()? != byte {
            return Err(Error::custom(otherwise));
        }
        self.source.consume(1);
        Ok(())
    }

    /// The next byte that is not white space; it stays.
    fn peek(&mut self) -> Result<u8, Error> {
        if self.at_end()? {
            return Err(cut_off());
        }
        let next = self.source.fill_buf().map_err(Error::io)?.first();
        next.copied().ok_or_else(cut_off)
    }

    /// Skips white space. Whether nothing follows it.
    fn at_end(&mut self) -> Result<bool, Error> {
        loop {
            let chunk = self.source.fill_buf().map_err(Error::io)?;
            let blank = chunk.iter().take_while(|byte| is_blank(**byte)).count();
            let (is_over, is_found) = (chunk.is_empty(), blank < chunk.len());
            self.source.consume(blank);
            if is_over || is_found {
                return Ok(is_over);
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

fn cut_off() -> Error {
    Error::custom("the text is cut off")
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// Hands out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    /// Reads an object, with its lists item by item.
    fn read(text: &str, at_once: usize) -> Result<Map<String, Value>, Error> {
        let mut object = JsonStream::open(Trickle(text.as_bytes(), at_once))?;
        let mut members = Map::new();
        while let Some(name) = object.next_name()? {
            let value = if object.peek()? == b'[' {
                let mut items = vec![];
                object.items(|item: Value| {
                    items.push(item);
                    Ok(())
                })?;
                Value::from(items)
            } else {
                object.value()?
            };
            members.insert(name, value);
        }
        Ok(members)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\"\\\\{}\\[\\],:é\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z\"\\\\{]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads_wherever_the_pieces_end(
            members in proptest::collection::btree_map("[a-z\"\\\\]{0,3}", any_json(), 0..5),
            pretty in any::<bool>(),
            at_once in 1_usize..9,
        ) {
            let object: Map<String, Value> = members.into_iter().collect();
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
            prop_assert_eq!(read(&text.unwrap(), at_once).unwrap(), object);
        }

        #[test]
        fn it_refuses_what_serde_json_refuses(text in "[{}\\[\\]\",:0a\\\\ ]{0,10}", at_once in 1_usize..5) {
            let text = format!("{{\"a\":{text}");
            let expected = serde_json::from_str::<Map<String, Value>>(&text);
            let read = read(&text, at_once);
            prop_assert_eq!(read.is_ok(), expected.is_ok(), "{}: {:?} and {:?}", text, read, expected);
        }
    }

    #[test]
    fn what_is_no_object_or_goes_on_after_it_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "{",
            "{}x",
            "{\"a\"}",
            "{,}",
            "{\"a\":1,}",
            "{\"a\":[1,]}",
            "{\"a\":[1 2]}",
            "{a:1}",
        ] {
            assert!(read(text, 3).is_err(), "{text}");
        }
        assert_eq!(read(" { } \n", 3).unwrap(), Map::new());
    }

    #[test]
    fn a_list_that_is_none_says_what_it_is() {
        let mut object = JsonStream::open(&b"{\"nodes\": null}"[..]).unwrap();
        assert_eq!(object.next_name().unwrap().as_deref(), Some("nodes"));
        let error = object.items(|_: u8| Ok(())).unwrap_err();
        assert!(error.to_string().contains("expected a sequence"), "{error}");
    }

    #[test]
    fn memory_is_that_of_one_item() {
        let items: Vec<_> = (0..10_000).map(|item| json!({ "item": item })).collect();
        let text = json!({ "items": items }).to_string();
        let mut object = JsonStream::open(text.as_bytes()).unwrap();
        object.next_name().unwrap();
        let mut read = vec![];
        object
            .items(|item: Value| {
                read.push(item);
                Ok(())
            })
            .unwrap();
        assert_eq!(read, items);
        assert!(object.text.capacity() < 100, "{}", object.text.capacity());
    }
}
