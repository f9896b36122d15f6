//! What secrets of others look like, in a decoded text.

use std::ops::Range;

/// Keys whose value is a secret, in lower case.
const KEYS: [&str; 7] = [
    "sig",
    "accountkey",
    "sharedaccesskey",
    "client_secret",
    "client_assertion",
    "access_token",
    "refresh_token",
];

/// A shorter value after `sig=` is no signature.
const SHORTEST_VALUE: usize = 6;

/// In front of a colon, `sig` may be a word.
const SHORTEST_AFTER_COLON: usize = 20;

/// The shortest hash that is hidden without a mark: 32 bytes have 43 characters.
const SHORTEST_HASH: usize = 40;

/// How far from its mark the begin or the end of a login or of a token is looked for, so that no text takes long.
const NEAR: usize = 1024;

/// What may be a secret by its look alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashes {
    /// Every padded hash: no text needs one.
    Hidden,
    /// None: a path whose last part begins with `=` looks like one.
    Shown,
}

/// Whether a byte may be the mark by which a secret is recognised.
fn is_mark(byte: u8) -> bool {
    matches!(byte, b'=' | b':' | b' ' | b'+' | b'J')
}

/// Where the next mark is, from here on.
fn next_mark(text: &[u8], mut from: usize) -> Option<usize> {
    while let Some(chunk) = text.get(from..)?.first_chunk::<16>() {
        // All at once: most texts have few marks.
        if chunk.iter().fold(false, |any, byte| any | is_mark(*byte)) {
            break;
        }
        from += chunk.len();
    }
    text[from..].iter().position(|byte| is_mark(*byte)).map(|mark| from + mark)
}

/// Names of schemes in an `Authorization` header, in lower case.
const SCHEMES: [&str; 4] = ["bearer", "basic", "sharedkey", "sharedkeylite"];

/// What keys and schemes end with: other texts in front of a mark, which are very many, are told by one byte.
const ENDS_OF_KEYS: [bool; 256] = last_bytes(&KEYS);
const ENDS_OF_SCHEMES: [bool; 256] = last_bytes(&SCHEMES);

/// Bytes that end a secret.
const DELIMITERS: [bool; 256] = {
    let mut table = table_of(b"&\"'`<>,;()[]{}?\\\x7f");
    let mut byte = 0;
    while byte <= b' ' as usize {
        table[byte] = true;
        byte += 1;
    }
    table
};

const fn table_of(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// The last letters of some texts, large and small.
const fn last_bytes(texts: &[&str]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < texts.len() {
        let bytes = texts[at].as_bytes();
        let last = bytes[bytes.len() - 1];
        table[last as usize] = true;
        table[last.to_ascii_uppercase() as usize] = true;
        at += 1;
    }
    table
}

/// Adds the ranges of all that looks like a secret, in any order.
pub(super) fn find(text: &[u8], hashes: Hashes, found: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(at) = next_mark(text, from) {
        let range = match text[at] {
            b'=' => match hashes {
                Hashes::Hidden => value_after(text, at).or_else(|| padded_hash(text, at)),
                Hashes::Shown => value_after(text, at),
            },
            b':' => value_after(text, at).or_else(|| password(text, at)),
            b' ' | b'+' => after_scheme(text, at),
            b'J' => token(text, at),
            _ => None,
        };
        from = at + 1;
        if let Some(range) = range {
            from = from.max(range.end);
            found.push(range);
        }
    }
}

/// A byte that ends a secret. Commas and brackets are among them, as texts quote URLs in them.
pub(super) fn is_delimiter(byte: u8) -> bool {
    DELIMITERS[usize::from(byte)]
}

/// The two alphabets of Base64, but for letters and digits. A path has characters of both.
const ALPHABETS: [&[u8]; 2] = [b"+/", b"-_"];

/// From here to the next delimiter.
fn word(text: &[u8], from: usize) -> Range<usize> {
    let length = text[from..].iter().take_while(|byte| !is_delimiter(**byte)).count();
    from..from + length
}

fn skip(text: &[u8], from: usize, of: &[u8]) -> usize {
    from + text[from..].iter().take_while(|byte| of.contains(byte)).count()
}

fn ends_in(text: &[u8], ends: &[bool; 256]) -> bool {
    text.last().is_some_and(|last| ends[usize::from(*last)])
}

fn ends_with(text: &[u8], end: &str) -> bool {
    text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// The value behind a key and `=` or `:`, with or without quotes.
fn value_after(text: &[u8], at: usize) -> Option<Range<usize>> {
    let before = text[..at].trim_ascii_end();
    let unquoted = before.strip_suffix(b"\"").or(before.strip_suffix(b"'")).unwrap_or(before);
    if !ends_in(unquoted, &ENDS_OF_KEYS) {
        return None;
    }
    let key = KEYS.iter().find(|key| ends_with(unquoted, key))?;
    let exact = text[at] == b'=' && before.len() == at;
    // `design: …` is no signature, `mysig=…` may be.
    let in_a_word = unquoted[..unquoted.len() - key.len()].last().is_some_and(u8::is_ascii_alphanumeric);
    if in_a_word && !exact {
        return None;
    }
    // Also in the next line, where a text was broken to fit.
    let blank = |byte: &&u8| **byte <= b' ' || matches!(byte, b'"' | b'\'');
    let value = word(text, at + 1 + text[at + 1..].iter().take_while(blank).count());
    let shortest = if exact && value.start == at + 1 { SHORTEST_VALUE } else { SHORTEST_AFTER_COLON };
    (value.len() >= shortest).then_some(value)
}

/// The Base64 of a hash, which ends in `=`. A hash with its algorithm in front is of a public file, and `base64,` begins
/// a picture in a page.
fn padded_hash(text: &[u8], at: usize) -> Option<Range<usize>> {
    let in_alphabet = |signs: &[u8]| {
        let of_hash = |byte: &&u8| byte.is_ascii_alphanumeric() || signs.contains(byte);
        text[..at].iter().rev().take_while(of_hash).count()
    };
    let length = ALPHABETS.map(in_alphabet).into_iter().max().unwrap_or(0);
    if length < SHORTEST_HASH {
        return None;
    }
    let hash = &text[at - length..at];
    let public = ["sha256-", "sha384-", "sha512-"]
        .iter()
        .any(|name| hash.starts_with(name.as_bytes()) || text[..at - length].ends_with(name.as_bytes()));
    let random = hash.iter().any(u8::is_ascii_uppercase)
        && hash.iter().any(u8::is_ascii_lowercase)
        && hash.iter().any(u8::is_ascii_digit);
    let hidden = random && !public && !ends_with(&text[..at - length], "base64,");
    // What separates it from the path in front is not part of it.
    let separator = usize::from(length > 43 && hash.starts_with(b"/"));
    hidden.then(|| at - length + separator..skip(text, at, b"="))
}

/// The password of `https://user:password@host`.
fn password(text: &[u8], at: usize) -> Option<Range<usize>> {
    let in_login = |byte: &&u8| !is_delimiter(**byte) && **byte != b'/';
    let user = text[..at].iter().rev().take(NEAR).take_while(in_login).count();
    if !text[..at - user].ends_with(b"://") {
        return None;
    }
    let rest = &text[at + 1..];
    let authority = rest.iter().take(NEAR).take_while(in_login).count();
    let length = rest[..authority].iter().rposition(|byte| *byte == b'@')?;
    (length > 0).then_some(at + 1..at + 1 + length)
}

/// What follows the name of a scheme in an `Authorization` header. A space may have become `+`.
fn after_scheme(text: &[u8], at: usize) -> Option<Range<usize>> {
    let before = &text[..at];
    if !ends_in(before, &ENDS_OF_SCHEMES) {
        return None;
    }
    let scheme = SCHEMES.iter().find(|scheme| ends_with(before, scheme))?;
    let (bearer, basic) = (*scheme == "bearer", *scheme == "basic");
    let value = word(text, skip(text, at, b" +"));
    let shown = &text[value.clone()];
    let some = |of: fn(&u8) -> bool| shown.iter().any(of);
    if bearer {
        let odd = some(u8::is_ascii_digit) || some(u8::is_ascii_uppercase);
        return (value.len() >= 20 || (odd && value.len() >= 8)).then_some(value);
    }
    if basic {
        let random = some(u8::is_ascii_uppercase) && some(u8::is_ascii_lowercase) && some(u8::is_ascii_digit);
        return (value.len() >= 16 && (random || shown.ends_with(b"="))).then_some(value);
    }
    let account = shown.iter().position(|byte| *byte == b':')? + 1;
    (value.len() >= account + 16).then_some(value.start + account..value.end)
}

/// A JSON web token: `eyJ` begins the Base64 of `{"`. Within a word it needs a second part that begins so.
fn token(text: &[u8], at: usize) -> Option<Range<usize>> {
    if !text[..=at].ends_with(b"eyJ") {
        return None;
    }
    let start = at - 2;
    let in_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/_-.=~".contains(*byte);
    let begins_a_word = !text[..start].last().is_some_and(u8::is_ascii_alphanumeric);
    let near = &text[start..text.len().min(start + NEAR)];
    let near = &near[..near.iter().take_while(in_token).count()];
    if !begins_a_word && !near.windows(4).any(|part| part == b".eyJ") {
        return None;
    }
    let length = text[start..].iter().take_while(in_token).count();
    (length >= 20).then_some(start..start + length)
}
