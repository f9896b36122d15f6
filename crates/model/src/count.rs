//! A number with its noun.

/// `1 pool`, `2 pools`.
#[must_use]
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_no_s() {
        assert_eq!(
            [counted(0, "node"), counted(1_u32, "node"), counted(2_usize, "node")],
            ["0 nodes", "1 node", "2 nodes"]
        );
    }
}
