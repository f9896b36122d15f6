//! Numbers for people, and with their nouns.

/// `1,234,567`.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 pool`, `1,234 pools`.
#[must_use]
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_no_s_and_thousands_are_set_apart() {
        assert_eq!(
            [counted(0, "node"), counted(1_u32, "node"), counted(2_usize, "node"), counted(4_804, "node")],
            ["0 nodes", "1 node", "2 nodes", "4,804 nodes"]
        );
    }
}
