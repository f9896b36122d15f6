//! Reads a page of a listing while it arrives.
//!
//! A page of 5,000 blobs has some megabytes of text. So each blob is read as soon as its last byte is there, and its text
//! is dropped. What is in an element is read by `plain_blob` or the SDK's XML; this file only knows where elements begin and end, and how
//! a page is put together: one element, in which `Blobs` has the list, and `NextMarker` the place of the next page.

use std::ops::ControlFlow;

use azure_core::xml;

use super::listing::{BlobItem, ListedBlob, Marker, OddListing};
use super::plain_blob;
use crate::answer::BodyReader;

/// Reads one page, whose text it gets in pieces.
pub(super) struct ListingReader<U> {
    /// The tag that is being read, and what comes before it of the element that is being read.
    text: Vec<u8>,
    /// Where the tag begins in it; none between tags.
    tag: Option<usize>,
    /// The quote that a value of an attribute ends with.
    quote: Option<u8>,
    /// The element that is being read, and how many elements it is in.
    element: Option<(Element, u32)>,
    open: u32,
    /// The name of the outermost element.
    root: Vec<u8>,
    in_blobs: bool,
    is_over: bool,
    /// How many blobs came, directories included.
    count: usize,
    blobs: Option<Vec<U>>,
    next: Option<String>,
    trouble: Option<ListingTrouble>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Blob,
    NextMarker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Start,
    End,
    Empty,
    /// A comment, an instruction, or text in a form of its own.
    Other,
}

/// A page of a listing, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListingPage<U> {
    pub(super) blobs: Vec<U>,
    pub(super) next: Option<String>,
}

/// Why a page cannot be used. Nothing of it is taken: the listing would have gaps.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListingTrouble {
    /// It has another form than a page; it may arrive whole the next time.
    #[error("the answer is not a whole page of a listing")]
    Form,
    /// Storage would not send it.
    #[error(transparent)]
    Odd(#[from] OddListing),
}

use ListingTrouble::Form;

impl<U> Default for ListingReader<U> {
    fn default() -> Self {
        Self {
            text: vec![],
            tag: None,
            quote: None,
            element: None,
            open: 0,
            root: vec![],
            in_blobs: false,
            is_over: false,
            count: 0,
            blobs: None,
            next: None,
            trouble: None,
        }
    }
}

impl<U: ListedBlob + Send> BodyReader for ListingReader<U> {
    /// Breaks if nothing that follows could make it a page.
    fn read_on(&mut self, text: &[u8]) -> ControlFlow<()> {
        if self.trouble.is_none()
            && let Err(trouble) = self.read(text)
        {
            self.trouble = Some(trouble);
        }
        if self.trouble.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl<U: ListedBlob> ListingReader<U> {
    /// The page, if it was one. Without `Blobs`, though they may be empty, this is some other page, which must not be
    /// taken for an empty container: an upload in doubt would be sent again.
    pub(super) fn finish(self) -> Result<ListingPage<U>, ListingTrouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let blobs = self.blobs.filter(|_| self.is_over && self.tag.is_none()).ok_or(Form)?;
        Ok(ListingPage { blobs, next: self.next.filter(|marker| !marker.is_empty()) })
    }

    fn read(&mut self, mut text: &[u8]) -> Result<(), ListingTrouble> {
        while !text.is_empty() {
            let Some(begins) = self.tag else {
                let before = text.iter().position(|byte| *byte == b'<');
                let (between, rest) = text.split_at(before.unwrap_or(text.len()));
                // Around the page there are only blanks, and in front of it a byte order mark.
                let is_around = |byte: &u8| {
                    byte.is_ascii_whitespace() || (!self.is_over && b"\xEF\xBB\xBF".contains(byte))
                };
                if self.open == 0 && !between.iter().all(is_around) {
                    return Err(Form);
                }
                if self.element.is_some() {
                    self.text.extend_from_slice(between);
                }
                if before.is_some() {
                    self.tag = Some(self.text.len());
                }
                text = rest;
                continue;
            };
            let stop = |byte: &u8| match self.quote {
                Some(quote) => *byte == quote,
                None => matches!(byte, b'>' | b'"' | b'\''),
            };
            let Some(at) = text.iter().position(stop) else {
                self.text.extend_from_slice(text);
                return Ok(());
            };
            self.text.extend_from_slice(&text[..=at]);
            let tag = &self.text[begins..];
            let has_attributes = !matches!(tag.get(1), Some(b'!' | b'?'));
            match (self.quote, text[at]) {
                (Some(_), _) => self.quote = None,
                (None, b'>') => {
                    if let Some(kind) = kind_of(tag)? {
                        self.tag = None;
                        self.pass(kind, begins)?;
                        if self.element.is_none() {
                            self.text.clear();
                        }
                    }
                }
                (None, quote) => self.quote = Some(quote).filter(|_| has_attributes),
            }
            text = &text[at + 1..];
        }
        Ok(())
    }

    /// Passes the tag that begins here in the text, and ends there.
    fn pass(&mut self, kind: Tag, begins: usize) -> Result<(), ListingTrouble> {
        match kind {
            Tag::Other => Ok(()),
            Tag::Start | Tag::Empty => {
                self.open += 1;
                if self.element.is_none() {
                    self.enter(begins)?;
                }
                if kind == Tag::Empty { self.leave(begins) } else { Ok(()) }
            }
            Tag::End => self.leave(begins),
        }
    }

    fn enter(&mut self, begins: usize) -> Result<(), ListingTrouble> {
        let name = name_of(&self.text[begins..]);
        match (self.open, name) {
            (1, _) if self.is_over => return Err(Form),
            (1, name) => self.root = name.to_vec(),
            (2, b"Blobs") => {
                if self.blobs.replace(vec![]).is_some() {
                    return Err(Form);
                }
                self.in_blobs = true;
            }
            (2, b"NextMarker") => self.element = Some((Element::NextMarker, 2)),
            (3, b"Blob") if self.in_blobs => self.element = Some((Element::Blob, 3)),
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self, begins: usize) -> Result<(), ListingTrouble> {
        let name = name_of(&self.text[begins..]);
        match (self.open, self.element) {
            (open, Some((element, opened))) if open == opened => {
                self.element = None;
                self.take(element)?;
            }
            (0, _) => return Err(Form),
            (1, _) if name != self.root => return Err(Form),
            (1, _) => self.is_over = true,
            (2, None) if self.in_blobs => {
                if name != b"Blobs" {
                    return Err(Form);
                }
                self.in_blobs = false;
            }
            _ => {}
        }
        self.open -= 1;
        Ok(())
    }

    /// Takes an element that has all its text.
    fn take(&mut self, element: Element) -> Result<(), ListingTrouble> {
        match element {
            Element::Blob => {
                self.count += 1;
                if self.count > super::listing::MOST_ITEMS {
                    return Err(OddListing::TooManyItems.into());
                }
                let blob = match plain_blob::read(&self.text) {
                    Some((name, properties)) => BlobItem::plain(name, properties),
                    None => xml::from_xml(&self.text).map_err(|_| Form)?,
                };
                self.blobs.get_or_insert_default().extend(U::of(blob));
            }
            Element::NextMarker => {
                let Marker { text } = xml::from_xml(&self.text).map_err(|_| Form)?;
                if self.next.is_some() {
                    return Err(Form);
                }
                if text.len() > super::listing::LONGEST_MARKER {
                    return Err(OddListing::LongMarker.into());
                }
                self.next = Some(text);
            }
        }
        Ok(())
    }
}

/// What ends with a `>`; none if it goes on.
fn kind_of(tag: &[u8]) -> Result<Option<Tag>, ListingTrouble> {
    let other =
        |ends: &[u8], shortest: usize| (tag.len() >= shortest && tag.ends_with(ends)).then_some(Tag::Other);
    Ok(if tag.starts_with(b"<!--") {
        other(b"-->", 7)
    } else if tag.starts_with(b"<![CDATA[") {
        other(b"]]>", 12)
    } else if tag.starts_with(b"<?") {
        other(b"?>", 4)
    } else if tag.starts_with(b"<!") {
        // A definition, which storage never sends.
        return Err(Form);
    } else if tag.starts_with(b"</") {
        Some(Tag::End)
    } else if tag.ends_with(b"/>") {
        Some(Tag::Empty)
    } else {
        Some(Tag::Start)
    })
}

fn name_of(tag: &[u8]) -> &[u8] {
    let tag = tag.strip_prefix(b"</").or_else(|| tag.strip_prefix(b"<")).unwrap_or(tag);
    let ends = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'));
    &tag[..ends.unwrap_or(tag.len())]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use fleetlogs_model::service::Blob;
    use time::macros::datetime;

    use super::super::listing::MOST_ITEMS;
    use super::*;

    fn read(text: &str, piece: usize) -> Result<ListingPage<Blob>, ListingTrouble> {
        let mut reader = ListingReader::default();
        for piece in text.as_bytes().chunks(piece) {
            if reader.read_on(piece).is_break() {
                break;
            }
        }
        reader.finish()
    }

    fn blobs(count: usize) -> String {
        (0..count).fold(String::new(), |mut blobs, blob| {
            let _ = write!(
                blobs,
                "<Blob >\r\n<Name>a&lt;/n{blob}/&#62;é.log</Name><!-- </Blob> --><Snapshot a=\"/>\" b='>'/><Properties>\
                 <Creation-Time>Sun, 22 Nov 2026 09:30:00 GMT</Creation-Time><Content-Length>{blob}</Content-Length>\
                 <Blob>inner</Blob><More><![CDATA[</Blob>]] > \"]]></More></Properties></Blob>"
            );
            blobs
        })
    }

    #[test]
    fn a_page_in_pieces_is_the_page_as_a_whole_and_a_part_of_it_is_none() {
        let text = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<EnumerationResults ServiceEndpoint=\"https://h/>\" C='\"'>\
             <Prefix>a</Prefix><Blob><Name>not listed</Name></Blob><MaxResults>5000</MaxResults><Blobs>{}</Blobs>\
             <NextMarker>2!76!a&amp;b=/+</NextMarker></EnumerationResults>\r\n",
            blobs(5)
        );
        let expected = ListingPage {
            blobs: (0..5)
                .map(|blob| Blob {
                    name: format!("a</n{blob}/>é.log"),
                    size: blob,
                    created_at: Some(datetime!(2026-11-22 09:30:00 UTC)),
                })
                .collect(),
            next: Some("2!76!a&b=/+".into()),
        };
        for piece in (1..90).chain([text.len()]) {
            assert_eq!(read(&text, piece).as_ref(), Ok(&expected), "in pieces of {piece}");
        }
        let page = text.trim_end();
        for end in (0..page.len()).filter(|end| page.is_char_boundary(*end)) {
            assert_eq!(read(&page[..end], 7), Err(Form), "{}", &page[..end]);
        }
    }

    #[test]
    fn what_is_no_listing_is_none() {
        for text in [
            "",
            "{}",
            "<html><body>Blobs</body></html>",
            "<EnumerationResults></EnumerationResults>",
            "<EnumerationResults/>",
            "<Blobs/>",
            "<R><Blobs>",
            "<R><Blobs/>",
            "<R><Blobs></R>",
            "<R><Blobs/></S>",
            "<R><Blobs></Other></R>",
            "<R><Blobs/></R></R>",
            "<R><Blobs/></R>x",
            "<R><Blobs/></R>{}>",
            "HTTP/1.1 200 OK\r\n\r\n<R><Blobs/></R>",
            "<R><Blobs/></R><R><Blobs/></R>",
            "<R><Blobs/><Blobs/></R>",
            "<R><Blobs/><NextMarker>a</NextMarker><NextMarker>b</NextMarker></R>",
            "<R><Blobs><Blob/></Blobs></R>",
            "<R><Blobs><Blob><Name>a</Nam></Blob></Blobs></R>",
            "<R><Blobs><Blob><Name>a</Name><Properties><Content-Length>x</Content-Length></Properties></Blob></Blobs></R>",
            "<R><Blobs><Blob><Name>&unknown;</Name></Blob></Blobs></R>",
            "<!DOCTYPE R [<!ENTITY a \"b\">]><R><Blobs/></R>",
        ] {
            for piece in 1..=text.len().max(1) {
                assert_eq!(read(text, piece), Err(Form), "{text}");
            }
        }
    }

    #[test]
    fn an_empty_container_has_an_empty_page() {
        for text in [
            "<R><Blobs/></R>",
            "<R><Blobs /><NextMarker /></R>",
            "<R><NextMarker></NextMarker><Blobs>\n</Blobs></R>",
            "<R><Blobs><BlobPrefix><Name>a/</Name></BlobPrefix></Blobs></R>",
        ] {
            assert_eq!(read(text, 3), Ok(ListingPage { blobs: vec![], next: None }), "{text}");
        }
    }

    #[test]
    fn a_page_has_five_thousand_blobs_at_most_and_a_short_marker() {
        let page = |blobs: usize, marker: usize| {
            let (blobs, marker) = ("<Blob><Name>a</Name></Blob>".repeat(blobs), "m".repeat(marker));
            let text = format!("<R><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></R>");
            read(&text, 4096).map(|page| page.blobs.len())
        };
        assert_eq!(page(MOST_ITEMS, 92), Ok(5000));
        assert_eq!(page(MOST_ITEMS + 1, 92), Err(OddListing::TooManyItems.into()));
        assert_eq!(page(1, 9000), Err(OddListing::LongMarker.into()));
    }

    #[test]
    fn no_more_text_is_held_than_that_of_one_blob() {
        let mut reader = ListingReader::<Blob>::default();
        let _ = reader.read_on(b"<R><Blobs>");
        let blob = blobs(1);
        for _ in 0..MOST_ITEMS {
            let (one, other) = blob.as_bytes().split_at(99);
            assert!(reader.read_on(one).is_continue() && reader.read_on(other).is_continue());
            assert!(reader.text.capacity() <= 2 * blob.len(), "{}", reader.text.capacity());
        }
        assert!(reader.read_on(b"</Blobs></R>").is_continue());
        assert_eq!(reader.finish().unwrap().blobs.len(), MOST_ITEMS);
    }
}
