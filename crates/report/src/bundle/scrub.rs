//! The last line of defence: everything in a bundle is copied through here, without secrets.
//!
//! fleetlogs never writes a secret into its files, but a bundle is given away and contains texts from outside: logs, and
//! reports of earlier versions. The copy is a stream and needs no more memory than a buffer.

use std::io::{self, Read, Write};

use fleetlogs_model::scrub::{self, HIDDEN};

const BUFFER: usize = 256 * 1024;

/// How far a secret that begins before the end of the buffer may reach.
const LOOKAHEAD: usize = scrub::LONGEST_KNOWN;

/// How much of what was copied is kept: a mark, such as `sig=`, in any spelling.
const LOOKBEHIND: usize = 1024;

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The source. What was read before the error is copied.
    Source(io::Error),
    /// The target.
    Target(io::Error),
}

/// Copies everything except secrets. Returns how many secrets were left out.
pub(super) fn copy(mut source: impl Read, mut target: impl Write) -> Result<u64, CopyError> {
    let mut buffer = vec![0; BUFFER];
    let (mut filled, mut ended, mut removed) = (0, false, 0);
    // Up to here the buffer has been copied. What precedes it tells what follows it.
    let mut at = 0;
    // Whether a secret goes on there.
    let mut hiding = false;
    loop {
        while !ended && filled < buffer.len() {
            match source.read(&mut buffer[filled..]) {
                Ok(0) => ended = true,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CopyError::Source(error)),
            }
        }
        let bytes = &buffer[..filled];
        if hiding {
            at += bytes[at..].iter().take_while(|byte| scrub::may_continue(**byte)).count();
        }
        hiding = hiding && at == filled;
        // What begins after this may not be complete yet.
        let decided = if ended { filled } else { filled.saturating_sub(LOOKAHEAD).max(at) };
        for secret in scrub::secrets_in(bytes) {
            if secret.end <= at {
                continue;
            }
            if secret.start >= decided {
                break;
            }
            target
                .write_all(&bytes[at..secret.start.max(at)])
                .and_then(|()| target.write_all(HIDDEN.as_bytes()))
                .map_err(CopyError::Target)?;
            removed += 1;
            at = secret.end;
            hiding = at == filled;
        }
        let keep = decided.max(at);
        target.write_all(&bytes[at..keep]).map_err(CopyError::Target)?;
        if ended {
            return Ok(removed);
        }
        let context = keep.saturating_sub(LOOKBEHIND);
        buffer.copy_within(context..filled, 0);
        filled -= context;
        at = keep - context;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    fn scrubbed(text: &str) -> (String, u64) {
        let mut out = vec![];
        let removed = copy(Trickle(text.as_bytes(), 7), &mut out).unwrap();
        (String::from_utf8(out).unwrap(), removed)
    }

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        for (text, expected) in [
            ("x?sp=w&sig=U3fMjMlgLHo%2FAs1=&se=1", "x?sp=w&sig=<redacted>&se=1"),
            ("{\"u\":\"a\\u0026SIG=SECRETSECRET\"}", "{\"u\":\"a\\u0026SIG=<redacted>\"}"),
            ("sig%3DSECRETSECRET", "sig%3D<redacted>"),
            ("AccountKey=AAAABBBBCCCC==;x", "AccountKey=<redacted>;x"),
            (
                "Authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.x.y\n",
                "Authorization: Bearer <redacted>\n",
            ),
        ] {
            assert_eq!(scrubbed(text), (expected.to_owned(), 1));
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "sig=<redacted>", "sig=...", "design=5 ", "the bearer of this", "Bearer <redacted>"]
        {
            assert_eq!(scrubbed(text), (text.to_owned(), 0));
        }
    }

    #[test]
    fn a_secret_is_found_wherever_the_buffer_ends() {
        let secret = "sig=SECRETSECRETSECRET&";
        let edges = [BUFFER - LOOKAHEAD, BUFFER];
        for before in edges.into_iter().flat_map(|edge| (edge - 28..edge + 4).step_by(2)) {
            let text = format!("{}{secret}{}", " ".repeat(before), "y".repeat(BUFFER));
            let (shown, removed) = scrubbed(&text);
            assert_eq!(removed, 1, "{before}");
            assert!(!shown.contains("SECRET"), "{before}");
            assert_eq!(shown.len(), text.len() - "SECRETSECRETSECRET".len() + HIDDEN.len());
        }
    }

    #[test]
    fn a_known_signature_is_found_without_its_mark_and_in_every_spelling() {
        scrub::learn("pQ4v+Tz/8fWm1NHc2Rz0TtbVb7uXyA4sEoPj9LdGiK5=");
        for text in [
            "pQ4v+Tz/8fWm1NHc2Rz0TtbVb7uXyA4sEoPj9LdGiK5",
            "pQ4v-Tz_8fWm1NHc2Rz0TtbVb7uXyA4sEoPj9LdGiK5",
            "pQ4v%252BTz%252F8fWm1NHc2Rz0TtbVb7uXyA4sEoPj9LdGiK5%253D",
            "pQ4v\\u002bTz\\/8fWm1NHc2Rz0TtbVb7uXyA4sEoPj9LdGiK5\\u003d",
            "pQ4v&#43;Tz&#x2F;8fWm1NHc2Rz0TtbVb7uXyA4sEoPj9LdGiK5",
        ] {
            assert_eq!(scrubbed(&format!("a {text} b")), ("a <redacted> b".to_owned(), 1));
        }
    }

    #[test]
    fn a_secret_longer_than_the_buffer_is_one() {
        let (shown, removed) = scrubbed(&format!("sig={} end", "A".repeat(BUFFER * 3)));
        assert_eq!((shown.as_str(), removed), ("sig=<redacted> end", 1));
    }
}
