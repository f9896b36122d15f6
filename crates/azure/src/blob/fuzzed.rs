//! What fuzzing calls about listings.

use std::fmt::Debug;

use azure_core::xml;
use fleetlogs_model::service::{Blob, BlobDetails};
use fleetlogs_model::timestamp::{FIRST, LAST};

use super::listing::{BlobItem, LONGEST_MARKER, ListedBlob, MOST_ITEMS};
use super::listing_reader::{ListingPage, ListingReader, ListingTrouble};
use super::plain_blob;
use crate::answer::BodyReader as _;

/// A page in pieces is the page as a whole, with all its times in range; a page that is cut off is none.
pub(crate) fn listing(data: &[u8]) {
    if let Ok(page) = in_any_pieces::<Blob>(data) {
        assert!(page.blobs.len() <= MOST_ITEMS);
        assert!(page.next.is_none_or(|marker| !marker.is_empty() && marker.len() <= LONGEST_MARKER));
        assert!(
            page.blobs.iter().filter_map(|blob| blob.created_at).all(|time| (FIRST..=LAST).contains(&time))
        );
        let last = |begin: &[u8]| data.windows(2).rposition(|pair| pair == begin);
        let end = last(b"</").expect("a page ends with a tag");
        // Comments may follow, and then its end is somewhere before them.
        let is_end = [b"<!", b"<?"].into_iter().all(|other| last(other) < Some(end));
        for end in [end, end + 1, end / 2, end / 3].into_iter().filter(|_| is_end) {
            assert!(read::<Blob>(&data[..end], end).is_err(), "the first {end} of {} bytes", data.len());
        }
    }
    let _ = in_any_pieces::<BlobDetails>(data);
    plain::<Blob>(data);
    plain::<BlobDetails>(data);
}

fn read<U: ListedBlob + Send>(text: &[u8], piece: usize) -> Result<ListingPage<U>, ListingTrouble> {
    let mut reader = ListingReader::default();
    for piece in text.chunks(piece.max(1)) {
        if reader.read_on(piece).is_break() {
            break;
        }
    }
    reader.finish()
}

fn in_any_pieces<U: ListedBlob + Send + PartialEq + Debug>(
    text: &[u8],
) -> Result<ListingPage<U>, ListingTrouble> {
    let whole = read::<U>(text, text.len());
    for piece in [1, 5, 64] {
        assert_eq!(read::<U>(text, piece), whole, "in pieces of {piece}");
    }
    whole
}

/// The fast reader of a blob says what the reader of XML says, or nothing.
fn plain<U: ListedBlob + PartialEq + Debug>(text: &[u8]) {
    let Some((name, properties)) = plain_blob::read::<U::Properties>(text) else { return };
    let general: BlobItem<U::Properties> = xml::from_xml(text).expect("what is plain is XML");
    assert_eq!(U::of(BlobItem::plain(name, properties)), U::of(general));
}
