//! The secrets of this process, and the search for all of them at once.
//!
//! A text is compared with what eight bytes of it begin, so the number of secrets does not matter. Letters are compared
//! without regard to case, and the two alphabets of Base64 count as one: `-` is `+`, `_` is `/`, and a space is what a
//! `+` in a form becomes.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use parking_lot::RwLock;
use url::Url;
use zeroize::Zeroizing;

use super::spelling::Decoded;
use crate::hex::hex;

/// How many bytes begin a search. A shorter secret is not learned.
const START: usize = 8;

/// The longest part of a secret that is searched for: what follows it looks like a secret anyway.
pub(super) const LONGEST_FORM: usize = 6 * 1024;

/// How many secrets are kept: keys of some hundred accounts, and the latest of those that are renewed.
const MOST_SECRETS: usize = 1024;

/// So many bytes of something random are a secret even if the rest was cut off.
const CUT_OFF: usize = 16;

/// From this length on, nobody takes a secret for a word.
const LONG: usize = 20;

/// Bits of the filter that rules out most positions of a text.
const FILTER_BITS: u32 = 15;

/// Which secrets to search for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// All.
    Any,
    /// Those that cannot be words.
    Long,
}

static KNOWN: RwLock<Option<Known>> = RwLock::new(None);

/// What signs single requests, as many as can be in flight when one of them is echoed.
static KNOWN_FOR_NOW: RwLock<Option<Known>> = RwLock::new(None);

/// How many of those are kept.
const MOST_FOR_NOW: usize = 256;

#[derive(Default)]
struct Known {
    /// Each secret with its forms, oldest first.
    secrets: VecDeque<(Zeroizing<String>, Vec<Form>)>,
    /// How many secrets were dropped: the number of the first in `secrets`.
    dropped: usize,
    /// The first bytes of forms: the numbers of their secrets.
    starts: HashMap<u64, Vec<usize>>,
    filter: Vec<u64>,
}

/// One way to write a secret, as it is compared.
struct Form {
    bytes: Zeroizing<Vec<u8>>,
    /// How many of its first bytes must be there.
    least: usize,
}

/// Base64 as people and programs write it: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) fn learn(text: &str) {
    for secret in secret_parts(text.trim()) {
        if secret.len() < START || KNOWN.read().as_ref().is_some_and(|known| known.has(&secret)) {
            continue;
        }
        let forms = forms(&secret);
        KNOWN.write().get_or_insert_default().add(secret, forms, MOST_SECRETS);
    }
}

pub(super) fn learn_for_now(text: &str) {
    if text.len() >= CUT_OFF {
        let forms = forms(text);
        KNOWN_FOR_NOW.write().get_or_insert_default().add(
            Zeroizing::new(text.to_owned()),
            forms,
            MOST_FOR_NOW,
        );
    }
}

/// What is secret in a text. A container or a host in it may be shown.
fn secret_parts(text: &str) -> Vec<Zeroizing<String>> {
    let mut parts = Vec::new();
    let mut add = |part: &str| parts.push(Zeroizing::new(part.to_owned()));
    let value_of = |key: &str| {
        let begin = text.to_ascii_lowercase().find(key)? + key.len();
        let value = &text[begin..];
        Some(&value[..value.find(['&', ';', '#', '"', '\'']).unwrap_or(value.len())])
    };
    let signature = ["?sig=", "&sig="].into_iter().find_map(value_of);
    let url = Url::parse(text).ok().filter(|_| text.contains("://"));
    if let Some(signature) = signature {
        // Words are no signatures.
        if signature.len() >= CUT_OFF {
            add(signature);
        }
    } else if let Some(url) = &url {
        // The URL of a webhook: its last segment or a member of its query admits who knows it.
        let last = url.path().rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
        if last.len() >= LONG && is_random(last.as_bytes()) {
            add(last);
        }
        for (_, value) in url.query_pairs().filter(|(_, value)| value.len() >= CUT_OFF) {
            add(&value);
        }
    }
    if let Some(password) = url.as_ref().and_then(Url::password) {
        add(password);
    }
    let key = ["accountkey=", "sharedaccesskey="].into_iter().find_map(value_of);
    match key {
        Some(key) => add(key),
        None if url.is_none() && signature.is_none() => add(text),
        None => {}
    }
    parts
}

/// All ways to write a secret that decoding escapes does not make one.
fn forms(secret: &str) -> Vec<Form> {
    let plain = Decoded::of(secret.as_bytes());
    let plain = plain.bytes();
    let mut forms = vec![form(plain)];
    let mut texts = vec![plain, secret.as_bytes()];
    let encoded = percent_encoded(plain);
    texts.push(&encoded);
    texts.dedup();
    for text in texts {
        forms.push(form(hex(text).as_bytes()));
        // Base64 of a text that has the secret in it: what precedes it has any of three lengths, and the characters
        // that the neighbours share are left out.
        for shift in 0..3 {
            let padded = Zeroizing::new([&b"\0\0"[..shift], text].concat());
            let encoded = Zeroizing::new(BASE64.encode(&padded));
            let begin = (shift * 8).div_ceil(6);
            let end = padded.len() * 8 / 6;
            forms.push(form(&encoded.as_bytes()[begin..end]));
        }
    }
    // Of a key or a signature: its bytes as hex.
    let folded: Zeroizing<Vec<u8>> = Zeroizing::new(
        plain
            .iter()
            .map(|byte| match byte {
                b'-' | b' ' => b'+',
                b'_' => b'/',
                byte => *byte,
            })
            .collect(),
    );
    if let Ok(bytes) = BASE64.decode(&*folded).map(Zeroizing::new)
        && bytes.len() >= CUT_OFF
    {
        forms.push(form(Zeroizing::new(hex(&bytes)).as_bytes()));
    }
    forms.retain(|form| form.bytes.len() >= START);
    forms
}

/// As in a URL: of such a text, Base64 and hex are other ones.
fn percent_encoded(plain: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(plain.len() * 3));
    for byte in plain {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}

fn form(text: &[u8]) -> Form {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let text = &text[..end.min(LONGEST_FORM)];
    let bytes = Zeroizing::new(text.iter().map(|byte| fold(*byte)).collect::<Vec<_>>());
    let least = if text.len() >= 2 * CUT_OFF && is_random(&text[..CUT_OFF]) { CUT_OFF } else { bytes.len() };
    Form { bytes, least }
}

/// Whether a text has capitals, small letters and digits, as something random does and a word does not.
fn is_random(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_uppercase)
        && text.iter().any(u8::is_ascii_lowercase)
        && text.iter().any(u8::is_ascii_digit)
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'-' | b' ' => b'+',
        b'_' => b'/',
        byte => byte.to_ascii_lowercase(),
    }
}

fn start(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<START>().map(|bytes| u64::from_be_bytes(*bytes))
}

fn filter_bit(start: u64) -> (usize, u64) {
    let bit = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - FILTER_BITS);
    let bit = usize::try_from(bit).unwrap_or_default();
    (bit / 64, 1 << (bit % 64))
}

impl Known {
    fn has(&self, secret: &str) -> bool {
        self.secrets.iter().any(|(known, _)| known.as_str() == secret)
    }

    fn add(&mut self, secret: Zeroizing<String>, forms: Vec<Form>, most: usize) {
        if self.has(&secret) {
            return;
        }
        if self.secrets.len() >= most && self.secrets.pop_front().is_some() {
            let gone = self.dropped;
            self.dropped += 1;
            self.starts.retain(|_, numbers| {
                numbers.retain(|number| *number != gone);
                !numbers.is_empty()
            });
            if self.dropped.is_multiple_of(most) {
                // It knows too many that are gone.
                self.filter.fill(0);
                for start in self.starts.keys() {
                    let (word, bit) = filter_bit(*start);
                    self.filter[word] |= bit;
                }
            }
        }
        self.filter.resize(1 << (FILTER_BITS - 6), 0);
        let number = self.dropped + self.secrets.len();
        for start in forms.iter().filter_map(|form| start(&form.bytes)) {
            let (word, bit) = filter_bit(start);
            self.filter[word] |= bit;
            let numbers = self.starts.entry(start).or_default();
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        self.secrets.push_back((secret, forms));
    }

    /// How many bytes at the begin of a text are one of the secrets whose forms begin so; 0 if none.
    fn length_at(&self, text: &[u8], begin: u64, least: Least) -> usize {
        let (word, bit) = filter_bit(begin);
        if self.filter[word] & bit == 0 {
            return 0;
        }
        let numbers = self.starts.get(&begin).into_iter().flatten();
        let forms = numbers.filter_map(|number| self.secrets.get(number - self.dropped));
        forms
            .flat_map(|(_, forms)| forms)
            .filter(|form| least == Least::Any || form.bytes.len() >= LONG)
            .map(|form| {
                let alike = form.bytes.iter().zip(text).take_while(|(have, byte)| **have == fold(**byte));
                let alike = alike.count();
                if alike >= form.least { alike } else { 0 }
            })
            .max()
            .unwrap_or(0)
    }

    fn found_in(&self, text: &[u8], least: Least) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let (mut window, mut at, mut read) = (0_u64, 0, 0);
        while at < text.len() {
            window = window << 8 | u64::from(fold(text[at]));
            at += 1;
            read += 1;
            if read < START {
                continue;
            }
            let begin = at - START;
            let length = self.length_at(&text[begin..], window, least);
            if length > 0 {
                let padding = text[begin + length..].iter().take_while(|byte| **byte == b'=').count();
                at = begin + length + padding;
                read = 0;
                found.push(begin..at);
            }
        }
        found
    }
}

/// Where the secrets of this process are in a decoded text.
pub(super) fn found_in(text: &[u8], least: Least) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for known in [&KNOWN, &KNOWN_FOR_NOW] {
        if let Some(known) = known.read().as_ref() {
            found.extend(known.found_in(text, least));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_secrets_are_found_and_the_oldest_are_forgotten_first() {
        let mut known = Known::default();
        let name = |number: usize| format!("A1b-secret-number-{number:05}-of-many");
        for number in 0..MOST_SECRETS + 100 {
            known.add(Zeroizing::new(name(number)), forms(&name(number)), MOST_SECRETS);
        }
        let found = |number| known.found_in(format!("x {} y", name(number)).as_bytes(), Least::Any);
        let all = 2..2 + name(0).len();
        assert_eq!(found(MOST_SECRETS + 99), std::slice::from_ref(&all));
        assert_eq!(found(100), std::slice::from_ref(&all));
        assert_eq!(found(99), []);
        assert_eq!(known.secrets.len(), MOST_SECRETS);

        let (key, mac) = ("A1b-a-key-that-stays-0123456789", |number: usize| {
            format!("A1b-signature-{number:05}-of-one-request")
        });
        learn(key);
        for number in 0..MOST_FOR_NOW * 9 {
            learn_for_now(&mac(number));
        }
        let shown = super::super::hide(&format!("{key}, {}", mac(MOST_FOR_NOW * 9 - 1))).into_owned();
        assert_eq!(shown, "<redacted>, <redacted>");
    }
}
