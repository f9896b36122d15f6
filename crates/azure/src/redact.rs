//! Makes foreign text fit to be shown: one line, of limited length, without secrets.

use std::borrow::Cow;
use std::error::Error;

use fleetlogs_model::scrub;

/// Longest message kept from a foreign text, in characters. The error of a Shared Key mismatch quotes the whole
/// string-to-sign, which fits.
pub(crate) const LONGEST: usize = 1000;

/// The text as one line of at most `longest` characters, without secrets.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let mut line = Cow::Borrowed(text);
    // Most are ids.
    if !text.bytes().fold(true, |all, byte| all & byte.is_ascii_graphic()) {
        let mut words = String::with_capacity(text.len());
        for character in text.trim().chars() {
            let blank = character.is_whitespace() || character.is_control();
            if !blank {
                words.push(character);
            } else if !words.ends_with(' ') {
                words.push(' ');
            }
        }
        line = words.into();
    }
    // Only now: a secret may be in the line after the word that gives it away.
    let mut line = scrub::hide(&line).into_owned();
    if let Some((cut, _)) = line.char_indices().nth(longest) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// A text that may quote what a user put in the wrong place, without secrets.
#[must_use]
pub fn safe(text: &str) -> String {
    one_line(text, usize::MAX)
}

/// A name that the service is asked for again: unchanged, unless there is a secret in it.
pub(crate) fn verbatim_if_harmless(name: String) -> String {
    match scrub::hide_in_name(&name) {
        Cow::Borrowed(_) => name,
        Cow::Owned(shown) => shown,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_no_secret_in_it() {
        assert_eq!(
            one_line(
                "bad url https://a.example/c?sp=w&sig=SECRET%3D&se=1\nauthorization: Bearer OPAQUE-1~x, next",
                LONGEST
            ),
            "bad url https://a.example/c?sp=w&sig=<redacted>&se=1 authorization: Bearer <redacted>, next"
        );
        scrub::learn("q8Q~made.up-client_secret");
        assert_eq!(safe("you sent 'q8Q~made.up-client_secret'"), "you sent '<redacted>'");
    }

    #[test]
    fn a_secret_in_the_line_after_its_mark_is_hidden() {
        for text in [
            "sig=\r\n\0 MADE-UP-SIGNATURE-NO-1",
            "Authorization: Bearer\n\tOPAQUE-1~x",
            "Bearer\u{a0}OPAQUE-1~x",
        ] {
            let shown = one_line(text, LONGEST);
            assert!(shown.ends_with(scrub::HIDDEN), "{shown}");
        }
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
