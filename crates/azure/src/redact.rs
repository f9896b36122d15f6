//! Makes foreign text fit to be shown: one line, of limited length, without anything that could be a signature or a
//! token.
//!
//! If in doubt it hides: a text that only looks like a signature is hidden, too.

use std::borrow::Cow;
use std::error::Error;

use parking_lot::Mutex;
use zeroize::Zeroizing;

/// Longest message kept from a foreign text, in characters. The error of a Shared Key mismatch quotes the whole
/// string-to-sign, which fits.
pub(crate) const LONGEST: usize = 1000;

const HIDDEN: &str = "<redacted>";

/// How a SAS signature begins: plain, in a URL within a URL, and in JSON that was not decoded. Lower case.
const SIGNATURE_KEYS: [&str; 4] = ["sig=", "sig%3d", "sig%253d", "sig\\u003d"];

/// The text as one line of at most `longest` characters, without signatures and tokens.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let mut line = String::with_capacity(text.len().min(longest));
    let without_known = KNOWN.hide_in(text);
    let mut rest = without_known.trim();
    // The word after `Bearer` is a token, whatever it looks like.
    let mut is_token = false;
    while !rest.is_empty() {
        let end = rest.find(is_delimiter).unwrap_or(rest.len());
        let word = &rest[..end];
        if is_token && !word.is_empty() {
            line.push_str(HIDDEN);
        } else {
            push_word(&mut line, word);
        }
        if !word.is_empty() {
            is_token = word.eq_ignore_ascii_case("bearer");
        }
        let mut after = rest[end..].chars();
        if let Some(delimiter) = after.next() {
            let shown = if delimiter.is_whitespace() || delimiter.is_control() { ' ' } else { delimiter };
            if shown != ' ' || !line.ends_with(' ') {
                line.push(shown);
            }
        }
        rest = after.as_str();
    }
    if let Some((cut, _)) = line.char_indices().nth(longest) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// From now on, hides a secret of this process in every foreign text, whatever the secret looks like.
pub fn never_show(secret: &str) {
    KNOWN.add(secret);
}

/// A text that may quote what a user put in the wrong place, without anything that looks like a secret.
#[must_use]
pub fn safe(text: &str) -> String {
    one_line(text, usize::MAX)
}

/// The text unchanged; if it contains what could be a secret, without that.
pub(crate) fn verbatim_if_harmless(text: String) -> String {
    let shown = safe(&text);
    if shown.contains(HIDDEN) { shown } else { text }
}

/// Secrets of this process that have no recognizable form.
struct KnownSecrets(Mutex<Vec<Zeroizing<String>>>);

static KNOWN: KnownSecrets = KnownSecrets(Mutex::new(Vec::new()));

/// How many secrets are kept: tokens come and go, and only the latest can be echoed.
const MOST_KNOWN: usize = 64;

impl KnownSecrets {
    fn add(&self, secret: &str) {
        // A text this short occurs in ordinary texts, too.
        if secret.len() < 8 {
            return;
        }
        let mut known = self.0.lock();
        if known.iter().any(|text| text.as_str() == secret) {
            return;
        }
        if known.len() >= MOST_KNOWN {
            known.remove(0);
        }
        known.push(Zeroizing::new(secret.to_owned()));
    }

    fn hide_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for secret in self.0.lock().iter() {
            if shown.contains(secret.as_str()) {
                shown = Cow::Owned(shown.replace(secret.as_str(), HIDDEN));
            }
        }
        shown
    }
}

/// An error and all its causes, as one line.
///
/// A `reqwest::Error` shows its URL with the query, so its own text is never used; the texts of its causes are.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = match error.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => "timed out".to_owned(),
            Some(error) if error.is_connect() => "cannot connect".to_owned(),
            Some(error) if error.is_body() || error.is_decode() => "the answer broke off".to_owned(),
            Some(_) => "the request failed".to_owned(),
            None => error.to_string(),
        };
        // Layers tend to repeat the text of the layer below with small changes.
        if parts.last().is_some_and(|last| part.contains(last.as_str())) {
            parts.pop();
        }
        let said = parts.iter().any(|earlier| earlier.contains(&part));
        let says_nothing =
            part.starts_with("client error (") || part == "failed to execute `reqwest` request";
        if !said && !says_nothing {
            parts.push(part);
        }
        next = error.source();
    }
    one_line(&parts.join(": "), LONGEST)
}

fn is_delimiter(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "&\"'`<>,;()[]{}?".contains(character)
}

/// Appends a word, up to the point where something secret begins in it.
fn push_word(line: &mut String, word: &str) {
    match secret_start(word) {
        Some(start) => {
            line.push_str(&word[..start]);
            line.push_str(HIDDEN);
        }
        None => line.push_str(word),
    }
}

/// Where something secret begins in a word. Everything from there on is hidden, because a word contains no `&`.
fn secret_start(word: &str) -> Option<usize> {
    let lower = word.to_ascii_lowercase();
    let sas = SIGNATURE_KEYS.iter().filter_map(|key| lower.find(key).map(|at| at + key.len())).min();
    let token = word.find("eyJ").filter(|at| word.len() - at >= 20);
    [sas, token, long_base64(word)].into_iter().flatten().min()
}

/// Where a run of 40 or more Base64 characters begins that ends in `=`, as the Base64 of a hash does.
fn long_base64(word: &str) -> Option<usize> {
    let in_run = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/%_-".contains(byte);
    let bytes = word.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let length = bytes[start..].iter().take_while(|byte| in_run(byte)).count();
        let end = start + length;
        let padded =
            bytes.get(end) == Some(&b'=') || bytes[start..end].to_ascii_lowercase().ends_with(b"%3d");
        if length >= 40 && padded {
            return Some(start);
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_signature_survives() {
        let hash = "U3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4=";
        for text in [
            "bad url https://a.example/c?sp=w&sig=SECRET%3D&se=1".to_owned(),
            "value '?SIG=SECRET' is wrong".into(),
            "https%3A%2F%2Fa.example%2Fc%3Fsp%3Dw%26sig%3DSECRET%26se%3D1".into(),
            "{\"containerUrl\":\"https://a.example/c?sp=w\\u0026sig=SECRET\"}".into(),
            format!("the MAC signature '{hash}' is wrong").replace("U3f", "SECRET"),
            format!("SharedKey contoso:{hash}").replace("U3f", "SECRET"),
            "Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.SECRET.x".into(),
        ] {
            let shown = one_line(&text, LONGEST);
            assert!(!shown.contains("SECRET"), "{shown}");
            assert!(shown.contains(HIDDEN), "{shown}");
        }
    }

    #[test]
    fn an_opaque_token_and_a_known_secret_do_not_survive() {
        assert_eq!(
            one_line("authorization: Bearer OPAQUE-1~x, next", LONGEST),
            "authorization: Bearer <redacted>, next"
        );
        never_show("q8Q~made.up-client_secret");
        assert_eq!(safe("you sent 'q8Q~made.up-client_secret'"), "you sent '<redacted>'");
    }

    #[test]
    fn a_directory_stays_verbatim_unless_it_holds_a_secret() {
        let directory =
            "contoso-22EC0123456789AB/pool a/tvmps_0123456789  abcdef_d/0e9d2f5a-3c6b-4b1c-9d7e-000000000001";
        assert_eq!(verbatim_if_harmless(directory.into()), directory);
        let hostile = "https://a.example/c?sp=w&sig=SECRET%3D";
        assert!(!verbatim_if_harmless(hostile.into()).contains("SECRET"));
    }

    #[test]
    fn ordinary_text_stays_and_becomes_one_line() {
        let text = "node tvmps_0123456789012345678901234567890123456789012345678901234567890123_d\r\n\tis (not) ready; wait";
        assert_eq!(one_line(text, LONGEST), text.replace("\r\n\t", " "));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(one_line("äöü", 2), "äö…");
        assert_eq!(one_line("äöü", 3), "äöü");
    }
}
