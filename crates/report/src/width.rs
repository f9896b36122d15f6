//! The width of text on a terminal, and text shortened to fit into it.

use std::borrow::Cow;

/// Columns that a text takes on a terminal: an ideograph takes two.
pub(crate) fn columns(text: &str) -> usize {
    textwrap::core::display_width(text)
}

/// Shortened in the middle to at most `width` columns: ids differ at their end as often as at their start.
pub(crate) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let kept = width.saturating_sub(1);
    let tail = kept / 2;
    let mut short = head_of(text.chars(), kept - tail);
    short.push('…');
    let end = head_of(text.chars().rev(), tail);
    short.extend(end.chars().rev());
    Cow::Owned(short)
}

/// Cut at its end to at most `width` columns: for sentences, which say the most at their start.
pub(crate) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut short = head_of(text.chars(), width.saturating_sub(1));
    short.push('…');
    Cow::Owned(short)
}

/// As many leading characters as fit into `width` columns.
fn head_of(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut taken = 0;
    chars
        .take_while(|char| {
            taken += columns(char.encode_utf8(&mut [0; 4]));
            taken <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_their_width() {
        assert_eq!(shortened("tvmps_0123456789_d", 9), "tvmp…89_d");
        assert_eq!(cut("the quick brown fox", 9), "the quic…");
        assert_eq!(shortened("short", 9), "short");
        // An ideograph takes two columns.
        assert_eq!(
            (shortened("節点節点節点", 7), cut("節点節点節点", 7)),
            ("節…点".into(), "節点節…".into())
        );
    }
}
