//! The key behind Shared Key, SAS and tokens: HMAC-SHA256, in Base64.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A key that signs texts and checks signatures. HMAC is set up once, because that costs as much as signing.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// Base64(HMAC-SHA256(text)).
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    }

    /// Compares in constant time: a good habit that costs nothing, even in a simulator.
    pub(crate) fn verify(&self, text: &str, signature: &str) -> bool {
        let Ok(bytes) = BASE64_STANDARD.decode(signature) else { return false };
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        mac.verify_slice(&bytes).is_ok()
    }
}
