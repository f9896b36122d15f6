//! The secrets of this process, and the search for all of them at once.
//!
//! A text is compared with what eight bytes of it begin, so the number of secrets does not matter. Most positions are
//! not even looked at: where four bytes occur in the begin of no secret, none begins at any position that has them in
//! its eight. Letters are compared without regard to case, and the two alphabets of Base64 count as one: `-` is `+`, `_`
//! is `/`, and a space is what a `+` in a form becomes.

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

/// How many bytes are looked at to rule out all positions before them.
const BLOCK: usize = 4;

/// Positions that one block rules out: those of a begin that it is part of.
const SKIPPED: usize = START - BLOCK + 1;

/// Bits of the filter of blocks. A begin has [`SKIPPED`] of them.
const BLOCK_BITS: u32 = 17;

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
    filter: Filter,
    blocks: Filter,
}

/// Which numbers were added, with some others.
#[derive(Default)]
struct Filter {
    bits: u32,
    words: Vec<u64>,
}

impl Filter {
    fn clear(&mut self, bits: u32) {
        self.bits = bits;
        self.words.clear();
        self.words.resize(1 << (bits - 6), 0);
    }

    fn place(&self, number: u64) -> (usize, u64) {
        let bit = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - self.bits);
        (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
    }

    fn add(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.words[word] |= bit;
    }

    fn may_have(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.words[word] & bit != 0
    }
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

#[cfg(feature = "fuzzing")]
pub(super) fn forget() {
    *KNOWN.write() = None;
    *KNOWN_FOR_NOW.write() = None;
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

/// A block of a text as the filter has it. Letters count as the small ones, and other bytes are not told apart well.
fn block(bytes: [u8; BLOCK]) -> u64 {
    u64::from(u32::from_le_bytes(bytes) | 0x2020_2020)
}

/// Calls `add` with every spelling of a folded block that [`block`] tells apart.
fn each_spelling(folded: [u8; BLOCK], from: usize, add: &mut impl FnMut(u64)) {
    let Some(byte) = folded.get(from) else { return add(block(folded)) };
    let spellings: &[u8] = match byte {
        b'+' => b"+- ",
        b'/' => b"/_",
        _ => std::slice::from_ref(byte),
    };
    for spelling in spellings {
        let mut spelled = folded;
        spelled[from] = *spelling;
        each_spelling(spelled, from + 1, add);
    }
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
                // They know too many that are gone.
                self.clear_filters();
                for start in self.starts.keys() {
                    add_start(&mut self.filter, &mut self.blocks, *start);
                }
            }
        }
        if self.secrets.is_empty() {
            self.clear_filters();
        }
        let number = self.dropped + self.secrets.len();
        for start in forms.iter().filter_map(|form| start(&form.bytes)) {
            add_start(&mut self.filter, &mut self.blocks, start);
            let numbers = self.starts.entry(start).or_default();
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        self.secrets.push_back((secret, forms));
    }

    fn clear_filters(&mut self) {
        self.filter.clear(FILTER_BITS);
        self.blocks.clear(BLOCK_BITS);
    }

    /// How many bytes at the begin of a text are one of the secrets whose forms begin so; 0 if none.
    fn length_at(&self, text: &[u8], begin: u64, least: Least) -> usize {
        if !self.filter.may_have(begin) {
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
        let mut at = 0;
        while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk::<START>) {
            let [.., fifth, sixth, seventh, eighth] = *window;
            if !self.blocks.may_have(block([fifth, sixth, seventh, eighth])) {
                at += SKIPPED;
                continue;
            }
            let begin = u64::from_be_bytes(window.map(fold));
            let length = self.length_at(&text[at..], begin, least);
            if length == 0 {
                at += 1;
                continue;
            }
            let padding = text[at + length..].iter().take_while(|byte| **byte == b'=').count();
            let end = at + length + padding;
            found.push(at..end);
            at = end;
        }
        found
    }
}

/// Adds the begin of a form to the filters.
fn add_start(filter: &mut Filter, blocks: &mut Filter, start: u64) {
    filter.add(start);
    for window in start.to_be_bytes().windows(BLOCK) {
        if let Some(folded) = window.first_chunk::<BLOCK>() {
            each_spelling(*folded, 0, &mut |block| blocks.add(block));
        }
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
    /// What [`Known::found_in`] must find, position by position.
    fn found_slowly(known: &Known, text: &[u8]) -> Vec<Range<usize>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at + START <= text.len() {
            let begin = start(&text[at..].iter().copied().map(fold).collect::<Vec<_>>()).unwrap();
            let length = known.length_at(&text[at..], begin, Least::Any);
            let padding = text[at + length..].iter().take_while(|byte| **byte == b'=').count();
            let end = if length > 0 { at + length + padding } else { at + 1 };
            found.extend((length > 0).then_some(at..end));
            at = end;
        }
        found
    }

    const SECRETS: [&str; 4] = ["Ab+/c-_dE f1Z9xYq3+/", "a-b_c d+e/f-g_h", "eightbyt", "++++////"];

    proptest::proptest! {
        #[test]
        fn a_secret_is_found_at_every_position_and_in_every_spelling(
            before in "[aAbB+_/ =.1-]{0,40}",
            after in "[aAbB+_/ =.1-]{0,40}",
            which in 0..SECRETS.len(),
            spelling in proptest::prelude::any::<u64>(),
        ) {
            let mut known = Known::default();
            for secret in SECRETS {
                known.add(Zeroizing::new(secret.to_owned()), forms(secret), MOST_SECRETS);
            }
            let spelled = SECRETS[which].bytes().zip(0..).map(|(byte, at)| {
                let choice = usize::try_from(spelling >> (2 * at) & 3).unwrap();
                match fold(byte) {
                    b'+' => b"+- +"[choice],
                    b'/' => b"/_/_"[choice],
                    byte if choice > 1 => byte.to_ascii_uppercase(),
                    byte => byte,
                }
            });
            let text: Vec<u8> = before.bytes().chain(spelled).chain(after.bytes()).collect();
            let found = known.found_in(&text, Least::Any);
            proptest::prop_assert_eq!(&found, &found_slowly(&known, &text));
            proptest::prop_assert!(!found.is_empty());
        }
    }
}
