//! A page of a listing, as storage writes it. The SDK's own model lacks `ResourceType`, and fails on a page with one
//! bad date.

use fleetlogs_model::service::{Blob, BlobDetails, BlobPage, DetailsPage};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::http_date;

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
    #[serde(rename = "Blob", default = "Vec::new")]
    items: Vec<BlobItem<P>>,
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
        if self.encoded { percent_decode_str(&self.text).decode_utf8_lossy().into_owned() } else { self.text }
    }
}

impl From<ListingAnswer<SweepProperties>> for BlobPage {
    fn from(listing: ListingAnswer<SweepProperties>) -> Self {
        let blobs = listing.blobs.items.into_iter().filter_map(|BlobItem { name, properties }| {
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
        Self { blobs: blobs.collect(), next: listing.next_marker.filter(|marker| !marker.is_empty()) }
    }
}

impl From<ListingAnswer<DetailProperties>> for DetailsPage {
    fn from(listing: ListingAnswer<DetailProperties>) -> Self {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let time = |text: Option<String>| text.as_deref().and_then(http_date::parse);
        let blobs = listing.blobs.items.into_iter().filter_map(|BlobItem { name, properties }| {
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
}
