//! The last line of defence: everything in a bundle is copied through here, without what looks like a secret.
//!
//! fleetlogs never writes a secret into its files, but a bundle is given away and contains texts from outside. The
//! copy is a stream and needs no more memory than a buffer.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

/// What precedes a secret, and the minimum length of the word after it; shorter words are ordinary text.
const MARKS: [(&str, usize, Alphabet); 9] = [
    ("sig=", 8, Alphabet::Base64),
    ("sig%3d", 8, Alphabet::Base64),
    ("sig%253d", 8, Alphabet::Base64),
    ("sig\\u003d", 8, Alphabet::Base64),
    ("accountkey=", 8, Alphabet::Base64),
    ("accountkey%3d", 8, Alphabet::Base64),
    ("accountkey\\u003d", 8, Alphabet::Base64),
    ("bearer ", 20, Alphabet::Token),
    ("bearer%20", 20, Alphabet::Token),
];

const HIDDEN: &[u8] = b"<redacted>";

const BUFFER: usize = 64 * 1024;

/// Length of the longest mark plus the shortest word after it, rounded up.
const LOOKAHEAD: usize = 64;

#[derive(Clone, Copy)]
enum Alphabet {
    /// Base64, also as encoded in URLs, and characters of words that people make up.
    Base64,
    /// Characters of bearer tokens.
    Token,
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || match self {
                Self::Base64 => b"+/%_-=.~".contains(&byte),
                Self::Token => b"+/_-.~".contains(&byte),
            }
    }
}

static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostFirst)
        .build(MARKS.map(|(mark, ..)| mark))
        .expect("a few short words make an automaton")
});

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
    // The alphabet of the secret that the position is in.
    let mut hiding: Option<Alphabet> = None;
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
        let mut at = 0;
        if let Some(alphabet) = hiding {
            at = bytes.iter().take_while(|byte| alphabet.has(**byte)).count();
            if at == filled && !ended {
                filled = 0;
                continue;
            }
            hiding = None;
        }
        // A mark that begins after this may not be complete yet.
        let decided = if ended { filled } else { filled - LOOKAHEAD.min(filled - at) };
        while let Some(found) = next_secret(&bytes[at..]).filter(|found| at + found.mark < decided) {
            let (from, word) = (at + found.word, found.alphabet);
            target
                .write_all(&bytes[at..from])
                .and_then(|()| target.write_all(HIDDEN))
                .map_err(CopyError::Target)?;
            removed += 1;
            at = from + bytes[from..].iter().take_while(|byte| word.has(**byte)).count();
            if at == filled {
                hiding = Some(word);
                break;
            }
        }
        let keep = decided.max(at);
        target.write_all(&bytes[at..keep]).map_err(CopyError::Target)?;
        if ended {
            return Ok(removed);
        }
        buffer.copy_within(keep..filled, 0);
        filled -= keep;
    }
}

struct FoundSecret {
    /// Where its mark begins.
    mark: usize,
    /// Where the secret itself begins.
    word: usize,
    alphabet: Alphabet,
}

fn next_secret(bytes: &[u8]) -> Option<FoundSecret> {
    FINDER.find_iter(bytes).find_map(|mark| {
        let (_, shortest, alphabet) = MARKS[mark.pattern().as_usize()];
        let word = bytes.get(mark.end()..mark.end() + shortest)?;
        let found = FoundSecret { mark: mark.start(), word: mark.end(), alphabet };
        word.iter().all(|byte| alphabet.has(*byte)).then_some(found)
    })
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
        for before in (BUFFER - 100..BUFFER + 10).step_by(3) {
            let text = format!("{}{secret}{}", "x".repeat(before), "y".repeat(BUFFER * 2));
            let (shown, removed) = scrubbed(&text);
            assert_eq!(removed, 1, "{before}");
            assert!(!shown.contains("SECRET"), "{before}");
            assert_eq!(shown.len(), text.len() - "SECRETSECRETSECRET".len() + HIDDEN.len());
        }
    }

    #[test]
    fn a_secret_longer_than_the_buffer_is_one() {
        let (shown, removed) = scrubbed(&format!("sig={} end", "A".repeat(BUFFER * 3)));
        assert_eq!((shown.as_str(), removed), ("sig=<redacted> end", 1));
    }
}
