//! Text in which some words are code (names of files, keys, members), rendered for each medium.

use std::borrow::Cow;

use crate::text::{for_html, for_markdown, for_terminal, number};

/// Names that are listed; more are counted.
const MOST_NAMES: usize = 3;

/// A phrase without a full stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phrase(Vec<Span>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Span {
    Text(Cow<'static, str>),
    Code(Cow<'static, str>),
    /// A name from outside.
    Name(String),
}

impl Phrase {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self::default().text(text)
    }

    /// A text in which code stands in backticks.
    pub(crate) fn marked(text: &'static str) -> Self {
        let spans = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
        Self(
            spans
                .map(|(at, part)| if at % 2 == 0 { Span::Text(part.into()) } else { Span::Code(part.into()) })
                .collect(),
        )
    }

    pub(crate) fn text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.0.push(Span::Text(text.into()));
        self
    }

    pub(crate) fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.push(Span::Code(code.into()));
        self
    }

    /// Names from outside: `a, b and 3 more`.
    pub(crate) fn names<'a>(mut self, names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let hidden = names.len().saturating_sub(MOST_NAMES) as u64;
        for (at, name) in names.take(MOST_NAMES).enumerate() {
            if at > 0 {
                self = self.text(", ");
            }
            self.0.push(Span::Name(name.to_owned()));
        }
        if hidden > 0 { self.text(format!(" and {} more", number(hidden))) } else { self }
    }

    /// One phrase behind another.
    pub(crate) fn append(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For a terminal, where code looks like any other text.
    pub(crate) fn plain(&self) -> String {
        self.0
            .iter()
            .map(|span| match span {
                Span::Text(text) | Span::Code(text) => Cow::Borrowed(&**text),
                Span::Name(name) => for_terminal(name),
            })
            .collect()
    }

    pub(crate) fn markdown(&self) -> String {
        self.0
            .iter()
            .map(|span| match span {
                Span::Text(text) => Cow::Borrowed(&**text),
                Span::Code(code) => Cow::Owned(format!("`{code}`")),
                Span::Name(name) => Cow::Owned(for_markdown(name)),
            })
            .collect()
    }

    /// For the page: with a capital letter at its start.
    pub(crate) fn html(&self) -> String {
        let mut phrase = self.clone();
        if let Some(Span::Text(text)) = phrase.0.first_mut() {
            *text = capitalized(text).into();
        }
        phrase.html_inside()
    }

    /// For the page, inside a sentence.
    pub(crate) fn html_inside(&self) -> String {
        let mut html = String::new();
        for span in &self.0 {
            match span {
                Span::Text(text) => html.push_str(&for_html(text)),
                Span::Code(code) => html.extend(["<code>", &for_html(code), "</code>"]),
                Span::Name(name) => html.extend(["<b>", &for_html(name), "</b>"]),
            }
        }
        html
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_looks_as_it_does_in_each_medium() {
        let phrase = Phrase::new("lower ").code("limits.rate").text(" & retry");
        assert_eq!(Phrase::marked("lower `limits.rate` & retry"), phrase);
        assert_eq!(phrase.plain(), "lower limits.rate & retry");
        assert_eq!(phrase.markdown(), "lower `limits.rate` & retry");
        assert_eq!(phrase.html(), "Lower <code>limits.rate</code> &amp; retry");
        let names = Phrase::new("for ").names(["a`b", "<c>", "d", "e"].into_iter());
        assert_eq!(names.plain(), "for a`b, <c>, d and 1 more");
        assert_eq!(names.markdown(), "for a\\`b, &lt;c&gt;, d and 1 more");
        assert_eq!(names.html(), "For <b>a`b</b>, <b>&lt;c&gt;</b>, <b>d</b> and 1 more");
    }
}
