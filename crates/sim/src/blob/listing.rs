//! Listings as XML: List Blobs and List Containers.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use uuid::Uuid;

use super::container::{Container, Entry, Page};
use super::errors::BlobError;
use super::xml::escape;
use crate::clock::rfc1123;
use crate::http::Query;
use crate::scenario::{StorageFault, StorageFaultKind};

/// The largest page, and the default.
const LARGEST_PAGE: usize = 5000;

/// Lists the container `name` as `query` asks. The caller has already been authorized.
pub(super) fn list_blobs(
    container: &Container,
    (name, endpoint): (&str, &str),
    query: &Query,
    fault: Option<&StorageFault>,
) -> Result<String, BlobError> {
    let most = match query.get("maxresults") {
        None => LARGEST_PAGE,
        Some(text) => match text.parse::<u64>() {
            Ok(0) => return Err(BlobError::out_of_range_query()),
            // Asking for more than the largest page is not an error; the page is only not larger.
            Ok(most) => usize::try_from(most).unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE),
            Err(_) => return Err(BlobError::bad_query()),
        },
    };
    let prefix = query.get("prefix").unwrap_or("");
    let delimiter = query.get("delimiter").filter(|text| !text.is_empty());
    let marker = query.get("marker").filter(|text| !text.is_empty());
    let from = match marker {
        None => None,
        Some(marker) => Some(name_of_marker(marker).ok_or(BlobError::out_of_range_query())?),
    };
    let mut page = container.list(prefix, delimiter, from.as_deref(), most);
    let mut times = None;
    if let Some(fault) = fault {
        bend(&mut page, fault.kind, from.as_deref());
        times = fault.text.as_deref().filter(|_| fault.kind == StorageFaultKind::Times);
    }
    Ok(listing_xml(name, endpoint, query, (&page, times)))
}

/// Applies a fault to a good page.
fn bend(page: &mut Page, fault: StorageFaultKind, from: Option<&str>) {
    // No name of a blob is behind these, so the pages that they lead to are empty.
    let endless = |text: &str| format!("{}{text}", char::MAX);
    match fault {
        StorageFaultKind::Twice => {
            page.entries = page.entries.drain(..).flat_map(|entry| [entry.clone(), entry]).collect();
        }
        StorageFaultKind::Unordered => page.entries.reverse(),
        StorageFaultKind::MarkerTurn if page.next.is_none() => {
            let turn = if from.is_some_and(|from| from == endless("a")) { "b" } else { "a" };
            page.next = Some(endless(turn));
        }
        StorageFaultKind::MarkerNew if page.next.is_none() => {
            page.next = Some(endless(&Uuid::new_v4().to_string()));
        }
        _ => {}
    }
}

/// Opaque to clients, like the real ones.
fn marker_of_name(name: &str) -> String {
    let text = BASE64_URL_SAFE_NO_PAD.encode(name);
    format!("2!{}!{text}--", text.len())
}

fn name_of_marker(marker: &str) -> Option<String> {
    let (length, text) = marker.strip_prefix("2!")?.split_once('!')?;
    let text = text.strip_suffix("--")?;
    if length.parse() != Ok(text.len()) {
        return None;
    }
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn listing_xml(
    container: &str,
    endpoint: &str,
    query: &Query,
    (page, times): (&Page, Option<&str>),
) -> String {
    let mut out = String::with_capacity(512 + page.entries.len() * 800);
    // The real service begins with a byte order mark, which an XML parser must skip.
    out.push_str("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"");
    escape(&mut out, endpoint);
    out.push_str("/\" ContainerName=\"");
    escape(&mut out, container);
    out.push_str("\">");
    for (name, tag) in
        [("prefix", "Prefix"), ("marker", "Marker"), ("maxresults", "MaxResults"), ("delimiter", "Delimiter")]
    {
        if let Some(value) = query.get(name).filter(|value| !value.is_empty()) {
            element(&mut out, tag, value);
        }
    }
    out.push_str("<Blobs>");
    for entry in &page.entries {
        push_entry(&mut out, entry, times);
    }
    out.push_str("</Blobs>");
    match &page.next {
        Some(next) => element(&mut out, "NextMarker", &marker_of_name(next)),
        None => out.push_str("<NextMarker />"),
    }
    out.push_str("</EnumerationResults>");
    out
}

/// List Containers: those whose names begin with the `prefix` of `query`, on one page.
pub(super) fn list_containers(all: &[(String, Arc<Container>)], endpoint: &str, query: &Query) -> String {
    let prefix = query.get("prefix").unwrap_or("");
    let mut out = String::from(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"",
    );
    escape(&mut out, endpoint);
    out.push_str("/\"><Containers>");
    for (name, container) in all.iter().filter(|(name, _)| name.starts_with(prefix)) {
        out.push_str("<Container>");
        element(&mut out, "Name", name);
        out.push_str("<Properties>");
        element(&mut out, "Last-Modified", &rfc1123(container.created));
        out.push_str("</Properties></Container>");
    }
    out.push_str("</Containers><NextMarker /></EnumerationResults>");
    out
}

fn push_entry(out: &mut String, entry: &Entry, times: Option<&str>) {
    let (name, blob) = match entry {
        Entry::Prefix(prefix) => {
            out.push_str("<BlobPrefix>");
            element(out, "Name", prefix);
            out.push_str("</BlobPrefix>");
            return;
        }
        Entry::Blob(name, blob) => (name, blob),
    };
    out.push_str("<Blob>");
    element(out, "Name", name);
    out.push_str("<Properties>");
    let time = |date| times.map_or_else(|| rfc1123(date), str::to_owned);
    element(out, "Creation-Time", &time(blob.created));
    element(out, "Last-Modified", &time(blob.modified));
    element(out, "Etag", blob.etag().trim_matches('"'));
    let written = write!(out, "<Content-Length>{}</Content-Length>", blob.content.len());
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    element(out, "Content-Type", &blob.content_type);
    out.push_str("<Content-Encoding /><Content-Language /><Content-CRC64 />");
    match blob.md5 {
        Some(md5) => element(out, "Content-MD5", &BASE64_STANDARD.encode(md5)),
        None => out.push_str("<Content-MD5 />"),
    }
    out.push_str(
        "<Cache-Control /><Content-Disposition /><BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier>\
         <AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>\
         <LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties><OrMetadata /></Blob>",
    );
}

fn element(out: &mut String, tag: &str, text: &str) {
    out.push('<');
    out.push_str(tag);
    out.push('>');
    escape(out, text);
    out.push_str("</");
    out.push_str(tag);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_leads_back_to_its_name_and_a_made_up_one_nowhere() {
        let marker = marker_of_name("a/b&c.log");

        assert_eq!(name_of_marker(&marker).as_deref(), Some("a/b&c.log"));
        assert_eq!(name_of_marker("a/b&c.log"), None);
        assert_eq!(name_of_marker(&marker.replace("2!", "2!9")), None);
    }

    #[test]
    fn names_are_escaped() {
        let mut out = String::new();
        element(&mut out, "Name", "<a & \"b\">");

        assert_eq!(out, "<Name>&lt;a &amp; &quot;b&quot;&gt;</Name>");
    }
}
