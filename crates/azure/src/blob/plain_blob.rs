//! Reads a blob of a listing in the form in which storage writes it: elements that have elements or text, without
//! attributes, escapes or blanks between them. That is several times faster than XML in general, of which a look at a
//! large container has millions. Whatever has another form is none here, and left to the SDK's XML.

/// What is read of the properties of a blob.
pub(super) trait PlainProperties: Default {
    /// Takes the text of a property; none if it is not as usual.
    fn take(&mut self, name: &str, text: &str) -> Option<()>;
}

/// Takes a text that was not there before.
pub(super) fn take_text(member: &mut Option<String>, text: &str) -> Option<()> {
    if text.is_empty() || member.is_some() {
        return None;
    }
    *member = Some(text.to_owned());
    Some(())
}

/// Takes a number that was not there before.
pub(super) fn take_number(member: &mut Option<u64>, text: &str) -> Option<()> {
    if member.is_some() {
        return None;
    }
    *member = Some(text.parse().ok()?);
    Some(())
}

/// A name and properties of an element `Blob`.
pub(super) fn read<P: PlainProperties>(text: &[u8]) -> Option<(String, Option<P>)> {
    // An escape; and blanks at the ends of a text, and ends of lines, are not what they seem.
    if text.iter().any(|byte| *byte == b'&' || *byte < b' ') {
        return None;
    }
    let mut tags = Tags(std::str::from_utf8(text).ok()?);
    let (mut name, mut properties) = (None, None);
    if tags.next()? != Tag::Start("Blob") {
        return None;
    }
    loop {
        match tags.next()? {
            Tag::End("Blob") => break,
            Tag::Start("Name") => take_text(&mut name, tags.text_of("Name")?)?,
            Tag::Start("Properties") if properties.is_none() => {
                properties = Some(read_properties(&mut tags)?);
            }
            Tag::Start("Properties") | Tag::Empty("Name" | "Properties") | Tag::End(_) => return None,
            Tag::Start(other) => drop(tags.text_of(other)?),
            Tag::Empty(_) => {}
        }
    }
    tags.0.is_empty().then_some((name?, properties))
}

fn read_properties<P: PlainProperties>(tags: &mut Tags<'_>) -> Option<P> {
    let mut properties = P::default();
    loop {
        match tags.next()? {
            Tag::End("Properties") => return Some(properties),
            Tag::Start(name) => properties.take(name, tags.text_of(name)?)?,
            Tag::Empty(name) => properties.take(name, "")?,
            Tag::End(_) => return None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag<'a> {
    Start(&'a str),
    End(&'a str),
    Empty(&'a str),
}

/// What is left of the text.
struct Tags<'a>(&'a str);

impl<'a> Tags<'a> {
    /// The tag with which the rest begins.
    fn next(&mut self) -> Option<Tag<'a>> {
        let (tag, rest) = self.0.strip_prefix('<')?.split_once('>')?;
        self.0 = rest;
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let (kind, name): (fn(&'a str) -> Tag<'a>, _) = if let Some(name) = tag.strip_prefix('/') {
            (Tag::End, name)
        } else if let Some(name) = tag.strip_suffix('/') {
            (Tag::Empty, name.strip_suffix(' ').unwrap_or(name))
        } else {
            (Tag::Start, tag)
        };
        is_name(name).then(|| kind(name))
    }

    /// The text of the element whose start was the last tag; it has no other elements.
    fn text_of(&mut self, name: &str) -> Option<&'a str> {
        let (text, _) = self.0.split_once('<')?;
        self.0 = &self.0[text.len()..];
        (self.next()? == Tag::End(name) && text.trim() == text).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use azure_core::xml;
    use fleetlogs_model::service::{Blob, BlobDetails};

    use super::super::listing::{BlobItem, ListedBlob};
    use super::*;

    const USUAL: &str = "<Blob><Name>acct-0F/pool-1/tvm_d/0e9d/é.log</Name><Properties>\
        <Creation-Time>Sun, 22 Nov 2026 09:30:00 GMT</Creation-Time>\
        <Last-Modified>Sun, 22 Nov 2026 09:30:01 GMT</Last-Modified><Etag>0x8D1</Etag>\
        <Content-Length>1024</Content-Length><Content-Encoding /><Content-MD5>AAAA==</Content-MD5><Cache-Control/>\
        <ResourceType>file</ResourceType></Properties><OrMetadata /></Blob>";

    fn both<U: ListedBlob + PartialEq + std::fmt::Debug>(text: &str) -> bool {
        let plain = read::<U::Properties>(text.as_bytes());
        let is_plain = plain.is_some();
        if let Some((name, properties)) = plain {
            let general = xml::from_xml::<_, BlobItem<U::Properties>>(text.as_bytes());
            let general = general.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(U::of(BlobItem::plain(name, properties)), U::of(general), "{text}");
        }
        is_plain
    }

    #[test]
    fn the_usual_form_is_read_as_by_xml() {
        for text in [
            USUAL,
            "<Blob><Name>a</Name></Blob>",
            "<Blob><Name>a b</Name><Properties></Properties></Blob>",
            "<Blob><Name>a</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>",
        ] {
            assert!(both::<Blob>(text) && both::<BlobDetails>(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_in_the_usual_form_is_none_or_the_same() {
        let mut others = 0;
        for (at, byte) in USUAL.bytes().enumerate().filter(|(_, byte)| byte.is_ascii()) {
            for piece in
                ["", "<", ">", "/", "&", " ", "a", "\"", "=", "0", "+", "\r", "<a>", "<!-- -->", "]]>"]
            {
                for cut in [at, at + 1] {
                    let text = [&USUAL[..at], piece, &USUAL[cut..]].concat();
                    others += usize::from(!both::<Blob>(&text)) + usize::from(!both::<BlobDetails>(&text));
                }
            }
            assert!(!both::<Blob>(&USUAL[..at]), "a part of one, before {byte}");
        }
        assert!(others > 5000, "{others}");
        for text in [
            "<Blob><Name Encoded=\"true\">a</Name></Blob>",
            "<Blob><Name>a</Name><Name>b</Name></Blob>",
            "<Blob><Name>a</Name><Properties/></Blob>",
            "<Blob><Name/></Blob>",
            "<Blob><Name>a<b/></Name></Blob>",
            "<Blob></Blob>",
            "<Blob> <Name>a</Name></Blob>",
            "<Blob><Name>a</Name></Blob><Blob><Name>a</Name></Blob>",
        ] {
            assert!(!both::<Blob>(text), "{text}");
        }
    }
}
