//! A blob of a listing, as storage writes it. The SDK's own model lacks `ResourceType`, and fails on a page with one bad
//! date.

use fleetlogs_model::service::{Blob, BlobDetails};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::plain_blob::{PlainProperties, take_number, take_text};
use crate::http_date;
use crate::redact::verbatim_if_harmless;

/// The most blobs that the service puts on a page; more than these are not kept.
pub(super) const MOST_ITEMS: usize = 5000;

/// In bytes; a marker of the service has some hundred.
pub(super) const LONGEST_MARKER: usize = 8 << 10;

/// Why a page is not one of the service. Nothing of it is taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OddListing {
    #[error("a page of the listing has more than {MOST_ITEMS} blobs, which is the most that storage sends")]
    TooManyItems,
    #[error("the marker of the listing's next page is longer than any marker of storage")]
    LongMarker,
}

/// A blob of a listing, with as much as it needs of what the listing says of it.
pub(super) trait ListedBlob: Sized {
    /// What is read.
    type Properties: PlainProperties + DeserializeOwned;

    /// None for a directory.
    fn of(item: BlobItem<Self::Properties>) -> Option<Self>;
}

/// Where the next page begins; empty if there is none.
#[derive(Deserialize)]
pub(super) struct Marker {
    #[serde(rename = "$text", default)]
    pub(super) text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BlobItem<P> {
    name: BlobName,
    properties: Option<P>,
}

impl<P> BlobItem<P> {
    /// Of a name in plain text.
    pub(super) fn plain(name: String, properties: Option<P>) -> Self {
        Self { name: BlobName { encoded: false, text: name }, properties }
    }
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

impl PlainProperties for SweepProperties {
    fn take(&mut self, name: &str, text: &str) -> Option<()> {
        match name {
            "Content-Length" => take_number(&mut self.length, text),
            "Creation-Time" => take_text(&mut self.created, text),
            "ResourceType" => take_text(&mut self.resource_type, text),
            _ => Some(()),
        }
    }
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

impl PlainProperties for DetailProperties {
    fn take(&mut self, name: &str, text: &str) -> Option<()> {
        match name {
            "Content-Length" => take_number(&mut self.length, text),
            "Creation-Time" => take_text(&mut self.created, text),
            "Last-Modified" => take_text(&mut self.modified, text),
            "Etag" => take_text(&mut self.etag, text),
            "Content-MD5" => take_text(&mut self.md5, text),
            "ResourceType" => take_text(&mut self.resource_type, text),
            _ => Some(()),
        }
    }
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

impl ListedBlob for Blob {
    type Properties = SweepProperties;

    fn of(BlobItem { name, properties }: BlobItem<SweepProperties>) -> Option<Self> {
        let properties = properties.unwrap_or_default();
        if properties.resource_type.as_deref() == Some(DIRECTORY) {
            return None;
        }
        Some(Self {
            name: name.decoded(),
            size: properties.length.unwrap_or(0),
            created_at: properties.created.as_deref().and_then(http_date::parse),
        })
    }
}

impl ListedBlob for BlobDetails {
    type Properties = DetailProperties;

    fn of(BlobItem { name, properties }: BlobItem<DetailProperties>) -> Option<Self> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty()).map(verbatim_if_harmless);
        let time = |text: Option<String>| text.as_deref().and_then(http_date::parse);
        let properties = properties.unwrap_or_default();
        if properties.resource_type.as_deref() == Some(DIRECTORY) {
            return None;
        }
        Some(Self {
            name: name.decoded(),
            size: properties.length.unwrap_or(0),
            created_at: time(properties.created),
            last_modified: time(properties.modified),
            // Some servers write the quotes of the header, others leave them out.
            etag: said(properties.etag).map(|etag| etag.trim_matches('"').into()),
            content_md5: said(properties.md5).map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use azure_core::xml;

    use super::*;

    fn read<U: ListedBlob>(blob: &str) -> U {
        U::of(xml::from_xml(blob).unwrap()).unwrap()
    }

    #[test]
    fn encoded_names_are_decoded_and_bad_dates_are_no_dates() {
        let blob: Blob = read(
            "<Blob><Name Encoded=\"true\">a%EF%BF%BE/b</Name>\
             <Properties><Creation-Time>soon</Creation-Time></Properties></Blob>",
        );
        assert_eq!(blob, Blob { name: "a\u{fffe}/b".into(), size: 0, created_at: None });
    }

    #[test]
    fn a_time_that_cannot_be_counted_with_is_none() {
        let blob: BlobDetails = read(
            "<Blob><Name>a</Name><Properties><Creation-Time>Fri, 31 Dec 9999 23:59:59 GMT</Creation-Time>\
             <Last-Modified>Fri, 31 Dec 9999 23:59:59 GMT</Last-Modified></Properties></Blob>",
        );
        assert_eq!((blob.created_at, blob.last_modified), (None, None));
    }
}
