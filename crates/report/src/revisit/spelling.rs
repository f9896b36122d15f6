//! How a name is spelled in the inventory: safe in a spreadsheet and on a terminal, and read back as it was.
//!
//! Some characters are written as `\u{…}` with their hexadecimal number: those that a terminal interprets, those that
//! turn a cell into a formula, and the backslash itself.

use std::borrow::Cow;

use crate::text::is_unprintable;

/// The name as the inventory has it.
pub(super) fn spelled(name: &str) -> Cow<'_, str> {
    let is_plain = |(at, char): (usize, char)| {
        char != '\\' && !(at == 0 && begins_formula(char)) && !is_unprintable(char)
    };
    if name.char_indices().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut text = String::with_capacity(name.len() + 8);
    for (at, char) in name.char_indices() {
        if is_plain((at, char)) {
            text.push(char);
        } else {
            text.extend(char.escape_unicode());
        }
    }
    Cow::Owned(text)
}

/// The name that a cell of the inventory spells; none if the cell is not a spelled name.
pub(super) fn unspelled(cell: &str) -> Option<String> {
    let mut parts = cell.split('\\');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.strip_prefix("u{")?.split_once('}')?;
        name.push(char::from_u32(u32::from_str_radix(number, 16).ok()?)?);
        name.push_str(rest);
    }
    Some(name)
}

/// Whether a spreadsheet runs or changes a cell that begins with this character.
fn begins_formula(char: char) -> bool {
    matches!(char, '=' | '+' | '-' | '@' | '\'')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::for_terminal;

    #[test]
    fn names_that_look_alike_are_told_apart() {
        for (name, cell) in [
            ("agent-000.log", "agent-000.log"),
            ("=f", "\\u{3d}f"),
            ("'=f", "\\u{27}=f"),
            ("a b.log", "a b.log"),
            ("a\nb.log", "a\\u{a}b.log"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\\u{a}b", "a\\u{5c}u{a}b"),
            ("x\u{202e}gol", "x\\u{202e}gol"),
            ("節点 +1-2@3'", "節点 +1-2@3'"),
            ("", ""),
        ] {
            assert_eq!(spelled(name), cell);
            assert_eq!(unspelled(cell).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_was_not_spelled_here_is_no_name() {
        for cell in ["\\", "a\\b", "\\u{}", "\\u{a", "\\u{d800}", "\\u{110000}", "\\u{g}", "\\\\"] {
            assert_eq!(unspelled(cell), None, "{cell}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_read_back_as_it_was(name in prop_oneof![any::<String>(), "[=+@'\\\\u{}a0\t\r\n\u{1b}\u{202e} -]{0,12}"]) {
            let cell = spelled(&name);
            prop_assert_eq!(unspelled(&cell), Some(name.clone()));
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\'']));
            prop_assert!(matches!(for_terminal(&cell), Cow::Borrowed(_)));
        }
    }
}
