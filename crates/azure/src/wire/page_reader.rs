//! Reads a page of a list while it arrives.
//!
//! A page of 1,000 nodes has a megabyte of text, and many lists are read side by side. So each item is read as soon as
//! its last byte is there, and its text is dropped; no page is in memory as a whole. Each member and each item is read by
//! `serde_json`; this file only knows how a page is put together: one object, whose member `value` is the list.

use std::borrow::Cow;
use std::ops::ControlFlow;

use fleetlogs_model::json_value_end::ValueEnd;
use fleetlogs_model::service::{Page, PageLink};
use serde::de::IgnoredAny;
use serde_json::error::Category;

use super::list::{HasId, ListItem, MOST_ITEMS, OddPage, is_too_long};
use crate::answer::BodyReader;

/// Reads one page, whose text it gets in pieces.
pub(crate) struct PageReader<U> {
    state: State,
    /// The value that is being read: where it began, and the search for its end.
    value: Option<(Place, ValueEnd)>,
    /// What earlier pieces had of it.
    begun: Vec<u8>,
    place: Place,
    items: Option<Vec<U>>,
    has_link: bool,
    next_link: Option<String>,
    trouble: Option<PageTrouble>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// A name, or with `may_end` the end of the object.
    Name {
        may_end: bool,
    },
    Colon(Member),
    Value(Member),
    AfterMember,
    /// An item, or with `may_end` the end of the list.
    Item {
        may_end: bool,
    },
    AfterItem,
    End,
}

/// A member of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Items,
    NextLink,
    Other,
}

/// A place in a text as `serde_json` counts: lines from 1, and the bytes before the place in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
}

/// Why a page cannot be used. Nothing of it is taken: the list would have gaps.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageTrouble {
    /// It has another form than a page; it may arrive whole the next time.
    #[error("the answer has an unexpected form: {what}, at line {line} column {column}")]
    Form { what: &'static str, line: usize, column: usize },
    /// The service would not send it.
    #[error(transparent)]
    Odd(#[from] OddPage),
}

/// What is wrong with a JSON text, without quoting it.
pub(crate) fn json_trouble(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Eof => "it ends too soon",
        Category::Data => WRONG_TYPE,
        Category::Syntax | Category::Io => NOT_JSON,
    }
}

const WRONG_TYPE: &str = "a member is missing or of the wrong type";
const NOT_JSON: &str = "it is not JSON";

impl Place {
    fn pass(&mut self, text: &[u8]) {
        match text.iter().rposition(|byte| *byte == b'\n') {
            None => self.column += text.len(),
            Some(last) => {
                self.line += text[..=last].split(|byte| *byte == b'\n').count() - 1;
                self.column = text.len() - last - 1;
            }
        }
    }

    fn trouble(self, what: &'static str) -> PageTrouble {
        PageTrouble::Form { what, line: self.line, column: self.column }
    }

    /// For a value that begins here, and what is wrong in it.
    fn trouble_in(self, error: &serde_json::Error) -> PageTrouble {
        let in_first_line = error.line() <= 1;
        let column = if in_first_line { self.column + error.column() } else { error.column() };
        let line = self.line + error.line().saturating_sub(1);
        PageTrouble::Form { what: json_trouble(error), line, column }
    }
}

impl<U> Default for PageReader<U> {
    fn default() -> Self {
        Self {
            state: State::Start,
            value: None,
            begun: vec![],
            place: Place { line: 1, column: 0 },
            items: None,
            has_link: false,
            next_link: None,
            trouble: None,
        }
    }
}

impl<U: ListItem + Send> BodyReader for PageReader<U> {
    /// Breaks if nothing that follows could make it a page.
    fn read_on(&mut self, text: &[u8]) -> ControlFlow<()> {
        let mut rest = text;
        while !rest.is_empty() && self.trouble.is_none() {
            match self.step(rest) {
                Ok(passed) => {
                    self.place.pass(&rest[..passed]);
                    rest = &rest[passed..];
                }
                Err(trouble) => self.trouble = Some(trouble),
            }
        }
        if self.trouble.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl<U: ListItem> PageReader<U> {
    /// The page, if it was one.
    pub(crate) fn finish(mut self) -> Result<Page<U>, PageTrouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        if self.state != State::End {
            return Err(self.place.trouble("it ends too soon"));
        }
        // Required: other JSON must not be taken for an empty list, because nodes would be missing from the plan without
        // notice.
        let items = self.items.take().ok_or_else(|| self.place.trouble(WRONG_TYPE))?;
        let next = self.next_link.filter(|link| !link.is_empty()).map(PageLink);
        Ok(Page { items, next })
    }

    /// Reads on, and returns how much it has read.
    fn step(&mut self, text: &[u8]) -> Result<usize, PageTrouble> {
        if let Some((begins, end)) = &mut self.value {
            let begins = *begins;
            let Some(ends) = end.find(text) else {
                self.begun.extend_from_slice(text);
                return Ok(text.len());
            };
            self.value = None;
            if self.begun.is_empty() {
                self.take(&text[..ends], begins)?;
            } else {
                let mut value = std::mem::take(&mut self.begun);
                value.extend_from_slice(&text[..ends]);
                self.take(&value, begins)?;
                value.clear();
                self.begun = value;
            }
            return Ok(ends);
        }
        let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        if blank > 0 {
            return Ok(blank);
        }
        self.enter(text[0])
    }

    /// Passes a byte of the page's frame, or begins a value with it.
    fn enter(&mut self, byte: u8) -> Result<usize, PageTrouble> {
        self.state = match (self.state, byte) {
            (State::Start, b'{') => State::Name { may_end: true },
            (State::Name { may_end: true } | State::AfterMember, b'}') => State::End,
            (State::Colon(member), b':') => State::Value(member),
            (State::Value(Member::Items), b'[') => {
                if self.items.replace(vec![]).is_some() {
                    return Err(self.place.trouble(WRONG_TYPE));
                }
                State::Item { may_end: true }
            }
            (State::AfterMember, b',') => State::Name { may_end: false },
            (State::Item { may_end: true } | State::AfterItem, b']') => State::AfterMember,
            (State::AfterItem, b',') => State::Item { may_end: false },
            (State::Name { .. }, b'"') => return Ok(self.begin(byte)),
            (state, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => match state {
                State::Value(Member::NextLink | Member::Other) | State::Item { .. } => {
                    return Ok(self.begin(byte));
                }
                State::Start | State::Value(Member::Items) => return Err(self.place.trouble(WRONG_TYPE)),
                _ => return Err(self.place.trouble(NOT_JSON)),
            },
            _ => return Err(self.place.trouble(NOT_JSON)),
        };
        Ok(1)
    }

    fn begin(&mut self, byte: u8) -> usize {
        self.value = Some((self.place, ValueEnd::of(byte)));
        0
    }

    /// Takes a value that has all its text.
    fn take(&mut self, text: &[u8], begins: Place) -> Result<(), PageTrouble> {
        let odd = |error: serde_json::Error| begins.trouble_in(&error);
        self.state = match self.state {
            State::Item { .. } => {
                let items = self.items.get_or_insert_default();
                if items.len() >= MOST_ITEMS {
                    return Err(OddPage::TooManyItems.into());
                }
                let answer = serde_json::from_slice::<U::Answer<'_>>(text).map_err(odd)?;
                if is_too_long(answer.id()) {
                    return Err(OddPage::long_id(answer.id()).into());
                }
                let mut item = U::of(answer);
                if let Some(before) = items.last() {
                    item.share_with(before);
                }
                items.push(item);
                State::AfterItem
            }
            State::Value(Member::NextLink) => {
                if std::mem::replace(&mut self.has_link, true) {
                    return Err(begins.trouble(WRONG_TYPE));
                }
                self.next_link = serde_json::from_slice(text).map_err(odd)?;
                State::AfterMember
            }
            State::Value(_) => {
                serde_json::from_slice::<IgnoredAny>(text).map_err(odd)?;
                State::AfterMember
            }
            _ => State::Colon(match &*serde_json::from_slice::<Cow<'_, str>>(text).map_err(odd)? {
                "value" => Member::Items,
                "odata.nextLink" => Member::NextLink,
                _ => Member::Other,
            }),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::service::{Node, Pool};

    use super::*;

    fn read<U: ListItem + Send>(text: &str, piece: usize) -> Result<Page<U>, PageTrouble> {
        let mut reader = PageReader::default();
        for piece in text.as_bytes().chunks(piece) {
            if reader.read_on(piece).is_break() {
                break;
            }
        }
        reader.finish()
    }

    /// A page of a list, as one text.
    #[derive(serde::Deserialize)]
    struct WholePage<T> {
        value: Vec<T>,
        #[serde(rename = "odata.nextLink")]
        next_link: Option<String>,
    }

    fn whole<'a, U: ListItem>(text: &'a str) -> Option<(Vec<U>, Option<PageLink>)> {
        let page: WholePage<U::Answer<'a>> = serde_json::from_str(text).ok()?;
        let next = page.next_link.filter(|link| !link.is_empty()).map(PageLink);
        Some((page.value.into_iter().map(U::of).collect(), next))
    }

    fn nodes(count: usize) -> String {
        let node = |node: usize| {
            format!(
                r#"{{"id":"tvm-{node}\u005f\"}}]","state":"idle","novel":[{{"a":[1,"]"]}}],"isDedicated":true,"errors":
                   [{{"code":"é{{","message":"\\\""}}],"virtualMachineInfo":{{"imageReference":{{"sku":"s{}"}}}}}}"#,
                node / 3
            )
        };
        (0..count).map(node).collect::<Vec<_>>().join(" ,\r\n ")
    }

    #[test]
    fn a_page_in_pieces_is_the_page_as_a_whole_and_a_part_of_it_is_none() {
        for text in [
            format!(
                r#"{{"odata.metadata":"x]}}","value":[{}],"odata.nextLink":"http://h/x?$skiptoken=^"}}"#,
                nodes(7)
            ),
            format!(" {{\r\n \"va\\u006cue\" : [ {} ] , \"a\":{{\"value\":[1]}},\"b\":-1.5e3 }}\n", nodes(3)),
            r#"{"value":[],"odata.nextLink":null,"more":null}"#.to_owned(),
            r#"{"odata.nextLink":"","value":[ ]}"#.to_owned(),
        ] {
            let (items, next) = whole::<Node>(&text).unwrap();
            for piece in (1..80).chain([text.len()]) {
                let page = read::<Node>(&text, piece).unwrap();
                assert_eq!((&page.items, &page.next), (&items, &next), "in pieces of {piece}: {text}");
            }
            let page = text.trim_end();
            for end in (0..page.len()).filter(|end| page.is_char_boundary(*end)) {
                assert!(read::<Node>(&page[..end], 7).is_err(), "{}", &page[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_page_as_a_whole_is_none_in_pieces() {
        for text in [
            "",
            " ",
            "[]",
            "3",
            "<html>",
            "{}",
            "{]",
            r#"{"value":null}"#,
            r#"{"value":{}}"#,
            r#"{"value":"[]"}"#,
            r#"{"value":[]} x"#,
            r#"{"value":[]}{}"#,
            r#"{"value":[],}"#,
            r#"{"value":[]"a":1}"#,
            r#"{"value" []}"#,
            r#"{"value":}"#,
            r"{value:[]}",
            r#"{"value":[{"id":"p"},]}"#,
            r#"{"value":[,{"id":"p"}]}"#,
            r#"{"value":[{"id":"p"} {"id":"q"}]}"#,
            r#"{"value":[{"id":"p"]}"#,
            r#"{"value":[{"id":"p"}}"#,
            r#"{"value":[{"id":"p",}]}"#,
            r#"{"value":[{"id":7}]}"#,
            r#"{"value":[{"state":"active"}]}"#,
            r#"{"value":[3]}"#,
            r#"{"value":[null]}"#,
            r#"{"value":[nul]}"#,
            r#"{"value":[]},"#,
            r#"{"value":[],"value":[]}"#,
            r#"{"value":[],"odata.nextLink":3}"#,
            r#"{"value":[],"odata.nextLink":"a","odata.nextLink":"b"}"#,
            r#"{"value":[],"a":tru}"#,
            r#"{"value":[],"a":01}"#,
            r#"{"value":[],"a":{"b":]}}"#,
            r#"{"value":[],"\x":1}"#,
        ] {
            assert!(whole::<Pool>(text).is_none(), "{text}");
            for piece in 1..=text.len().max(1) {
                let trouble = read::<Pool>(text, piece).unwrap_err();
                assert!(matches!(trouble, PageTrouble::Form { .. }), "{text}: {trouble}");
            }
        }
    }

    #[test]
    fn the_place_of_a_mistake_is_that_in_the_page() {
        for (text, said) in [
            (
                "{\"value\":[\n{\"id\":\"p\"},\n  {\"id\":7}\n]}",
                "a member is missing or of the wrong type, at line 3 column 9",
            ),
            ("{\n \"value\":[],,", "it is not JSON, at line 2 column 12"),
            ("{\"value\":[{\"id\":\n", "it ends too soon, at line 2 column 0"),
        ] {
            for piece in 1..text.len() {
                let trouble = read::<Pool>(text, piece).unwrap_err().to_string();
                assert!(trouble.ends_with(said), "{text}: {trouble}");
            }
        }
    }

    #[test]
    fn an_empty_page_may_have_a_next_one() {
        let text = "{\r\n  \"value\": [],\r\n  \"odata.nextLink\": \"https://e/pools?x\"\r\n}";
        let page = read::<Pool>(text, 5).unwrap();
        assert!(page.items.is_empty());
        assert_eq!(page.next, Some(PageLink("https://e/pools?x".into())));
    }

    #[test]
    fn a_page_has_a_thousand_items_at_most_and_no_id_beyond_all_measure() {
        let pools = |count: usize| {
            let items: Vec<_> = (0..count).map(|pool| format!("{{\"id\":\"p-{pool}\"}}")).collect();
            read::<Pool>(&format!("{{\"value\":[{}]}}", items.join(",")), 100)
        };
        assert_eq!(pools(1000).unwrap().items.len(), 1000);
        assert_eq!(pools(1001).unwrap_err(), OddPage::TooManyItems.into());
        let named = |length: usize| {
            read::<Pool>(&format!("{{\"value\":[{{\"id\":\"{}\"}}]}}", "p".repeat(length)), 4096)
        };
        assert_eq!(named(256).unwrap().items.len(), 1);
        assert_eq!(named(10 << 20).unwrap_err(), OddPage::LongId("p".repeat(64)).into());
    }

    /// After the thousandth item nothing more is read, and what was read of a page is one item at most.
    #[test]
    fn no_more_text_is_held_than_that_of_one_item() {
        let mut reader = PageReader::<Node>::default();
        let _ = reader.read_on(b"{\"value\":[");
        let node = format!("{{\"id\":\"n\",\"more\":\"{}\"}}", "x".repeat(1000));
        for _ in 0..MOST_ITEMS {
            let (one, other) = node.as_bytes().split_at(500);
            assert!(reader.read_on(one).is_continue() && reader.read_on(other).is_continue());
            assert!(reader.read_on(b",").is_continue());
            assert!(reader.begun.capacity() <= 2 * node.len(), "{}", reader.begun.capacity());
        }
        assert!(reader.read_on(node.as_bytes()).is_break());
        assert!(reader.read_on(node.as_bytes()).is_break());
        assert_eq!(reader.finish().unwrap_err(), OddPage::TooManyItems.into());
    }

    #[test]
    fn equal_facts_of_neighbours_share_their_memory() {
        let page = read::<Node>(&format!("{{\"value\":[{}]}}", nodes(6)), 50).unwrap();
        let image = |at: usize| page.items[at].facts.image.clone().unwrap();
        assert!(std::sync::Arc::ptr_eq(&image(0), &image(2)));
        assert_ne!(image(2), image(3));
    }
}
