//! A fingerprint of the files in a directory, in eight bytes: two that differ belong to files with different names or
//! sizes.
//!
//! Journals contain it, so the algorithm never changes. It does not depend on the order of the files: storage with a
//! hierarchical namespace lists them in another order than storage without. It proves nothing against a forger.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Fingerprint of the names and sizes of files. As text it is 16 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Adds a file by its full name.
    pub fn add(&mut self, name: &str, size: u64) {
        let mut state = mix(size ^ (name.len() as u64).rotate_left(32));
        for chunk in name.as_bytes().chunks(8) {
            let mut word = [0_u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            state = mix(state ^ u64::from_le_bytes(word));
        }
        // A sum, so that the order does not matter.
        self.0 = self.0.wrapping_add(mix(state ^ 0x9e37_79b9_7f4a_7c15));
    }
}

/// The finalizer of `SplitMix64`.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, u64)]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (name, size) in files {
            fingerprint.add(name, *size);
        }
        fingerprint
    }

    #[test]
    fn it_is_the_same_in_every_version_and_in_every_order() {
        let files = [("d/agent.log", 4096), ("d/start.log", 12)];
        assert_eq!(of(&files).to_string(), "eaa3a7d36180e5fb");
        assert_eq!(of(&[files[1], files[0]]), of(&files));
    }

    #[test]
    fn another_name_or_size_makes_another_one() {
        let first = of(&[("d/a", 1), ("d/b", 2)]);
        for other in [&[("d/a", 2), ("d/b", 1)][..], &[("d/a", 1), ("d/c", 2)], &[("d/a", 1)], &[]] {
            assert_ne!(of(other), first, "{other:?}");
        }
    }

    #[test]
    fn in_json_it_is_text() {
        let fingerprint = of(&[("d/a", 1)]);
        let text = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(text, format!("\"{fingerprint}\""));
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), fingerprint);
        serde_json::from_str::<Fingerprint>("\"no hex\"").unwrap_err();
    }
}
