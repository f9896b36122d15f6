//! Text that must not be shown: account keys, tokens.

use std::fmt;

use zeroize::Zeroizing;

use crate::scrub;

/// A secret text. Debug output hides it, it has no Display, its memory is cleared when dropped, and [`scrub`]
/// hides it in every text from outside.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        scrub::learn(&text);
        Self(Zeroizing::new(text))
    }

    /// The text itself: for the request, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2".into()))), "Some(Secret(<redacted>))");
    }
}
