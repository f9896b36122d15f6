//! The digest of a text while it is written.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::hex::hex;

/// Passes on what is written to it, and computes its SHA-256. Many small pieces take much longer than a few large ones:
/// put a buffer in front.
pub struct Hashed<W> {
    target: W,
    digest: Sha256,
}

impl<W> Hashed<W> {
    /// Nothing is written yet. `target` is [`io::sink`] where only the digest is wanted.
    pub fn new(target: W) -> Self {
        Self { target, digest: Sha256::new() }
    }

    /// What was written to, and the digest in hex.
    pub fn finish(self) -> (W, String) {
        (self.target, hex(&self.digest.finalize()))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.target.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time.
    #[derive(Default)]
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(&bytes[..bytes.len().min(3)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_byte_counts_once_even_if_the_target_takes_only_some() {
        let mut hashed = Hashed::new(Slow::default());
        hashed.write_all(b"twelve bytes").unwrap();
        let (target, digest) = hashed.finish();
        assert_eq!(target.0, b"twelve bytes");
        assert_eq!(digest, hex(&Sha256::digest(b"twelve bytes")));
    }
}
