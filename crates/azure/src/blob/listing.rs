//! A page of a listing, as storage writes it. The SDK's own model lacks `ResourceType`, and fails on a page with one
//! bad date.

use std::fmt;
use std::marker::PhantomData;

use fleetlogs_model::service::{Blob, BlobDetails, BlobPage, DetailsPage};
use percent_encoding::percent_decode_str;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::http_date;
use crate::redact::verbatim_if_harmless;

/// One page, with as much of each blob as `P` reads.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListingAnswer<P> {
    /// Always present, though it may be empty. Without it this is some other page, which must not be taken for an
    /// empty container: an upload in doubt would be sent again.
    blobs: BlobItems<P>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
struct BlobItems<P> {
    #[serde(rename = "Blob", default = "Items::none")]
    items: Items<BlobItem<P>>,
}

/// The most blobs that the service puts on a page; more than these are not kept.
const MOST_ITEMS: usize = 5000;

/// In bytes; a marker of the service has some hundred.
const LONGEST_MARKER: usize = 8 << 10;

/// Why a page is not one of the service. Nothing of it is taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OddListing {
    #[error("a page of the listing has more than {MOST_ITEMS} blobs, which is the most that storage sends")]
    TooManyItems,
    #[error("the marker of the listing's next page is longer than any marker of storage")]
    LongMarker,
}

impl<P> ListingAnswer<P> {
    /// Refuses a page that storage would not send.
    pub(super) fn checked(self) -> Result<Self, OddListing> {
        if self.blobs.items.has_more {
            return Err(OddListing::TooManyItems);
        }
        if self.next_marker.as_ref().is_some_and(|marker| marker.len() > LONGEST_MARKER) {
            return Err(OddListing::LongMarker);
        }
        Ok(self)
    }
}

/// The items of a page, up to the most that a page can have.
struct Items<T> {
    first: Vec<T>,
    has_more: bool,
}

impl<T> Items<T> {
    fn none() -> Self {
        Self { first: vec![], has_more: false }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("blobs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
                let mut items = Items::none();
                while items.first.len() < MOST_ITEMS {
                    let Some(item) = list.next_element()? else { return Ok(items) };
                    items.first.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items.has_more = true;
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobItem<P> {
    name: BlobName,
    properties: Option<P>,
}

#[derive(Deserialize)]
struct BlobName {
    /// Whether the name is percent-encoded, because it contains characters that XML cannot.
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

#[derive(Default, Deserialize)]
pub(super) struct SweepProperties {
    #[serde(rename = "Content-Length")]
    length: Option<u64>,
    #[serde(rename = "Creation-Time")]
    created: Option<String>,
    #[serde(rename = "ResourceType")]
    resource_type: Option<String>,
}

/// Everything useful about a single file. Each member takes memory for every blob of a page, so the verifier does
/// without.
#[derive(Default, Deserialize)]
pub(super) struct DetailProperties {
    #[serde(rename = "Content-Length")]
    length: Option<u64>,
    #[serde(rename = "Creation-Time")]
    created: Option<String>,
    #[serde(rename = "Last-Modified")]
    modified: Option<String>,
    #[serde(rename = "Etag")]
    etag: Option<String>,
    #[serde(rename = "Content-MD5")]
    md5: Option<String>,
    #[serde(rename = "ResourceType")]
    resource_type: Option<String>,
}

/// In an account with a hierarchical namespace, a listing contains directories as well; they are not files.
const DIRECTORY: &str = "directory";

impl BlobName {
    fn decoded(self) -> String {
        let name = if self.encoded {
            percent_decode_str(&self.text).decode_utf8_lossy().into_owned()
        } else {
            self.text
        };
        verbatim_if_harmless(name)
    }
}

impl From<ListingAnswer<SweepProperties>> for BlobPage {
    fn from(listing: ListingAnswer<SweepProperties>) -> Self {
        let blobs = listing.blobs.items.first.into_iter().filter_map(|BlobItem { name, properties }| {
            let properties = properties.unwrap_or_default();
            if properties.resource_type.as_deref() == Some(DIRECTORY) {
                return None;
            }
            Some(Blob {
                name: name.decoded(),
                size: properties.length.unwrap_or(0),
                created_at: properties.created.as_deref().and_then(http_date::parse),
            })
        });
        let next = listing.next_marker.filter(|marker| !marker.is_empty());
        Self { blobs: blobs.collect(), next, date: None }
    }
}

impl From<ListingAnswer<DetailProperties>> for DetailsPage {
    fn from(listing: ListingAnswer<DetailProperties>) -> Self {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty()).map(verbatim_if_harmless);
        let time = |text: Option<String>| text.as_deref().and_then(http_date::parse);
        let blobs = listing.blobs.items.first.into_iter().filter_map(|BlobItem { name, properties }| {
            let properties = properties.unwrap_or_default();
            if properties.resource_type.as_deref() == Some(DIRECTORY) {
                return None;
            }
            Some(BlobDetails {
                name: name.decoded(),
                size: properties.length.unwrap_or(0),
                created_at: time(properties.created),
                last_modified: time(properties.modified),
                // Some servers write the quotes of the header, others leave them out.
                etag: said(properties.etag).map(|etag| etag.trim_matches('"').into()),
                content_md5: said(properties.md5).map(Into::into),
            })
        });
        Self { blobs: blobs.collect(), next: listing.next_marker.filter(|marker| !marker.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use azure_core::xml;

    use super::*;

    #[test]
    fn encoded_names_are_decoded_and_bad_dates_are_no_dates() {
        let listing = "<EnumerationResults><Blobs><Blob><Name Encoded=\"true\">a%EF%BF%BE/b</Name>\
            <Properties><Creation-Time>soon</Creation-Time></Properties></Blob></Blobs><NextMarker/></EnumerationResults>";
        let page: BlobPage =
            xml::from_xml::<_, ListingAnswer<SweepProperties>>(listing.as_bytes()).unwrap().into();
        assert_eq!(page.blobs, [Blob { name: "a\u{fffe}/b".into(), size: 0, created_at: None }]);
        assert_eq!(page.next, None);

        let empty: BlobPage = xml::from_xml::<_, ListingAnswer<SweepProperties>>(
            b"<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>",
        )
        .unwrap()
        .into();
        assert!(empty.blobs.is_empty() && empty.next.is_none());
    }

    #[test]
    fn a_page_has_five_thousand_blobs_at_most_and_a_short_marker() {
        let page = |blobs: usize, marker: usize| {
            let (blobs, marker) = ("<Blob><Name>a</Name></Blob>".repeat(blobs), "m".repeat(marker));
            let text = format!(
                "<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
            );
            let page = xml::from_xml::<_, ListingAnswer<SweepProperties>>(text.as_bytes()).unwrap().checked();
            page.map(|page| BlobPage::from(page).blobs.len())
        };
        assert_eq!(page(5000, 92), Ok(5000));
        assert_eq!(page(5001, 92), Err(OddListing::TooManyItems));
        assert_eq!(page(1, 9000), Err(OddListing::LongMarker));
    }

    #[test]
    fn a_time_that_cannot_be_counted_with_is_none() {
        let listing = "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties>\
            <Creation-Time>Fri, 31 Dec 9999 23:59:59 GMT</Creation-Time>\
            <Last-Modified>Fri, 31 Dec 9999 23:59:59 GMT</Last-Modified></Properties></Blob></Blobs><NextMarker/>\
            </EnumerationResults>";
        let page: DetailsPage =
            xml::from_xml::<_, ListingAnswer<DetailProperties>>(listing.as_bytes()).unwrap().into();
        assert_eq!((page.blobs[0].created_at, page.blobs[0].last_modified), (None, None));
    }
}
