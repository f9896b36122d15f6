//! Finds where a JSON value ends, in text that arrives in pieces. Whether the value is well-formed is for its reader to
//! say: this only counts brackets outside of strings.

/// A value whose end is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueEnd {
    /// A number, `true`, `false` or `null`: ends before the next delimiter.
    Scalar,
    /// A string, an object or a list.
    Closing {
        /// Brackets that are open.
        open: u32,
        /// Whether the text ended in a string.
        in_string: bool,
        /// Whether it ended behind a backslash.
        escaped: bool,
    },
}

impl ValueEnd {
    /// For a value that starts with this byte, which is yet to be passed to [`find`](Self::find).
    #[must_use]
    pub fn of(first: u8) -> Self {
        match first {
            b'"' | b'{' | b'[' => Self::Closing { open: 0, in_string: false, escaped: false },
            _ => Self::Scalar,
        }
    }

    /// How much of the text still belongs to the value, if it ends in there.
    pub fn find(&mut self, text: &[u8]) -> Option<usize> {
        let Self::Closing { open, in_string, escaped } = self else {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
            return text.iter().position(ends);
        };
        let mut at = 0;
        while at < text.len() {
            if *escaped {
                *escaped = false;
                at += 1;
                continue;
            }
            if *in_string {
                let Some(next) = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                    break;
                };
                at += next + 1;
                if text[at - 1] == b'\\' {
                    *escaped = true;
                } else {
                    *in_string = false;
                    if *open == 0 {
                        return Some(at);
                    }
                }
                continue;
            }
            let byte = text[at];
            at += 1;
            match byte {
                b'"' => *in_string = true,
                b'{' | b'[' => *open = open.saturating_add(1),
                b'}' | b']' => {
                    *open = open.saturating_sub(1);
                    if *open == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_it_does_however_its_text_is_cut() {
        for (value, after) in [
            ("17", ",1"),
            ("null", "}"),
            ("-1.5e3", "\n]"),
            (r#""a\"b\\""#, "\"x"),
            (r#"{"a":"}]","b":[{},"\\\"{"]}"#, "}"),
            (r#"[[1,[2]],"[",{}]"#, "]"),
            ("[]", ",[]"),
        ] {
            let text = [value, after].concat();
            for cut in 1..text.len() {
                let mut end = ValueEnd::of(text.as_bytes()[0]);
                let (first, second) = text.as_bytes().split_at(cut);
                let found = end.find(first).or_else(|| end.find(second).map(|at| cut + at));
                assert_eq!(found, Some(value.len()), "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_value_without_an_end_has_none() {
        for text in ["12", "\"a", "{\"a\":\"}", "[[]", "\"a\\\""] {
            assert_eq!(ValueEnd::of(text.as_bytes()[0]).find(text.as_bytes()), None, "{text}");
        }
    }
}
