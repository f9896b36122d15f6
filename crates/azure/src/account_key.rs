//! The key of an account, from the text that a person copied.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use fleetlogs_model::scrub;
use zeroize::Zeroizing;

/// As lenient as .NET's decoder, which users know: leftover bits in the last character are ignored.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Keys of Azure have 64 bytes, which is this many characters without padding. Any other text without padding may be
/// a key that was cut off.
const LENGTH_WITHOUT_PADDING: usize = 86;

/// The text is not an account key. It is not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not Base64.
    #[error("the account key is not Base64")]
    NotBase64,
    /// A whole connection string.
    #[error("this is a connection string, not an account key: keep only the part after `AccountKey=`")]
    ConnectionString,
    /// It is empty.
    #[error("the account key is empty")]
    Empty,
}

/// The bytes of a key. Line breaks in it and missing `=` at its end are mended.
pub(crate) fn key_bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    let mut key = Zeroizing::new(String::with_capacity(text.len() + 2));
    key.extend(text.chars().filter(|character| !character.is_whitespace()));
    if key.to_ascii_lowercase().contains("accountkey=") {
        return Err(InvalidKey::ConnectionString);
    }
    if key.len() == LENGTH_WITHOUT_PADDING && !key.contains('=') {
        key.push_str("==");
    }
    if *key != text {
        scrub::learn(&key);
    }
    let bytes = Zeroizing::new(BASE64.decode(key.as_str()).map_err(|_| InvalidKey::NotBase64)?);
    if bytes.is_empty() { Err(InvalidKey::Empty) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_people_copy_it() {
        let key = BASE64.encode([7; 64]);
        let (first, last) = key.split_at(40);
        for text in [
            key.clone(),
            format!(" {key}\r\n"),
            format!("{first}\r\n{last}\n"),
            key.trim_end_matches('=').to_owned(),
        ] {
            assert_eq!(key_bytes(&text).as_deref(), Ok(&vec![7; 64]), "{text:?}");
        }
        // 88 characters less some: cut off, not without padding.
        assert_eq!(key_bytes(&key[..85]), Err(InvalidKey::NotBase64));
        assert_eq!(key_bytes(&key[..83]), Err(InvalidKey::NotBase64));
        assert_eq!(key_bytes("%"), Err(InvalidKey::NotBase64));
        assert_eq!(key_bytes("  "), Err(InvalidKey::Empty));
        let connection = format!("DefaultEndpointsProtocol=https;AccountName=logs;AccountKey={key}");
        assert_eq!(key_bytes(&connection), Err(InvalidKey::ConnectionString));
    }
}
