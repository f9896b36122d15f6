//! A text as one word of a command line.

use std::borrow::Cow;

/// The text in quotes if a shell needs them.
#[must_use]
pub fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |char: char| char.is_alphanumeric() || "/\\_-.:@%+=,".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_interpret_is_quoted() {
        assert_eq!(quoted("runs/20261122T093000Z-4f2a"), "runs/20261122T093000Z-4f2a");
        assert_eq!(quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$HOME"), "'$HOME'");
    }
}
