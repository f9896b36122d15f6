//! Takes secrets out of text: the one scrubber, for every text that comes from outside and for all that is given away.
//!
//! It knows the secrets of this process in all their spellings ([`learn`]), and what secrets of others look like. It
//! reads a text with its escapes decoded, so that `sig=`, `sig%253D` and `sig\u003d` are one mark, and replaces the
//! original spelling. If in doubt it hides; names of pools and nodes, GUIDs and hashes stay readable.

mod known;
mod looks;
mod spelling;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use self::looks::Hashes;
use self::spelling::Decoded;

/// What stands in place of a secret.
pub const HIDDEN: &str = "<redacted>";

/// The most bytes that a secret of this process takes in any spelling.
pub const LONGEST_KNOWN: usize = known::LONGEST_FORM * spelling::LONGEST_ESCAPE;

/// From now on, hides a secret of this process in every text, in every spelling. Of a URL or a connection string,
/// only what is secret in it is hidden.
///
/// [`Secret`](crate::secret::Secret) and [`SasUrl`](crate::sas::SasUrl) do this when they are made. A secret of less
/// than eight characters occurs in ordinary texts, too, and is not learned.
pub fn learn(secret: &str) {
    known::learn(secret);
}

/// The same for what signs one request only: the latest few are known, and keys of accounts do not give way to them.
pub fn learn_for_now(secret: &str) {
    known::learn_for_now(secret);
}

/// Forgets all that was learned.
#[cfg(feature = "fuzzing")]
pub(crate) fn forget() {
    known::forget();
}

/// The text without secrets.
#[must_use]
pub fn hide(text: &str) -> Cow<'_, str> {
    replace(text, secrets_in(text.as_bytes()))
}

/// The same for a name that the service is asked for again, such as a directory. It changes only for what is a secret
/// beyond doubt: a short secret may well be a word that names have in them.
#[must_use]
pub fn hide_in_name(name: &str) -> Cow<'_, str> {
    replace(name, found_in(name.as_bytes(), Hashes::Shown, known::Least::Long))
}

/// Where the secrets in a text are, in ascending order. Bytes that are no text are allowed between them.
#[must_use]
pub fn secrets_in(text: &[u8]) -> Vec<Range<usize>> {
    found_in(text, Hashes::Hidden, known::Least::Any)
}

/// Whether a byte may continue a secret that is longer than the text in which its begin was found.
#[must_use]
pub fn may_continue(byte: u8) -> bool {
    !looks::is_delimiter(byte)
}

/// What is known and what looks like a secret, in positions of the original text.
fn found_in(text: &[u8], hashes: Hashes, least: known::Least) -> Vec<Range<usize>> {
    let decoded = Decoded::of(text);
    let mut found = known::found_in(decoded.bytes(), least);
    looks::find(decoded.bytes(), hashes, &mut found);
    let mut found: Vec<_> = joined(found).into_iter().map(|range| decoded.original(range)).collect();
    if decoded.has_escapes() {
        // An escape that ends where a secret begins may have taken its first letters.
        let as_written = known::found_in(text, least);
        if !as_written.is_empty() {
            found.extend(as_written);
            found = joined(found);
        }
    }
    found
}

/// Ranges in ascending order, with those that overlap or touch made one.
fn joined(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| range.start);
    let mut ranges: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for range in found {
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
    ranges
}

fn replace(text: &str, ranges: Vec<Range<usize>>) -> Cow<'_, str> {
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for Range { mut start, mut end } in ranges {
        // A secret that was cut off may end within a character.
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        // It may reach into the next one.
        start = start.max(at);
        end = end.max(at);
        shown.push_str(&text[at..start]);
        shown.push_str(HIDDEN);
        at = end;
    }
    shown.push_str(&text[at..]);
    Cow::Owned(shown)
}

/// Reads a text without secrets.
///
/// # Errors
/// It is not a text.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(hide(&Cow::<'de, str>::deserialize(deserializer)?).into_owned())
}

/// The same for a text that may be absent.
///
/// # Errors
/// It is not a text.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.map(|text| hide(&text).into_owned()))
}

/// The same for one that is shared.
///
/// # Errors
/// It is not a text.
pub fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    optional(deserializer).map(|text| text.map(Into::into))
}

#[cfg(test)]
mod tests;
