//! Parses a `$filter`: tests joined by `and` and `or`, with parentheses.

use super::expression::{Expression, FilterValue, Operator};
use super::properties::FilteredList;
use crate::clock::parse_iso;

/// Deepest nesting of parentheses. It is a limit of the simulator, because filters are parsed recursively.
const DEEPEST: u32 = 32;

/// Parses a filter from left to right.
pub(super) struct FilterParser<'a> {
    rest: &'a str,
    list: FilteredList,
    depth: u32,
}

type FilterResult<T> = Result<T, String>;

impl<'a> FilterParser<'a> {
    pub(super) fn parse(text: &'a str, list: FilteredList) -> FilterResult<Expression> {
        let mut parser = Self { rest: text.trim(), list, depth: 0 };
        let expression = parser.any()?;
        if parser.rest.is_empty() {
            return Ok(expression);
        }
        Err(format!("The filter can't be understood from here on: {}", parser.rest))
    }

    fn any(&mut self) -> FilterResult<Expression> {
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        Ok(join_parts(parts, Expression::Any))
    }

    fn all(&mut self) -> FilterResult<Expression> {
        let mut parts = vec![self.test()?];
        while self.take_word("and") {
            parts.push(self.test()?);
        }
        Ok(join_parts(parts, Expression::All))
    }

    fn test(&mut self) -> FilterResult<Expression> {
        if self.take('(') {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err("The filter is nested too deeply".to_owned());
            }
            let inner = self.any()?;
            self.expect(')')?;
            self.depth -= 1;
            return Ok(inner);
        }
        let name = self.word();
        if name == "startswith" {
            self.expect('(')?;
            let name = self.word();
            self.expect(',')?;
            let value = self.value()?;
            self.expect(')')?;
            return self.checked(name, Operator::StartsWith, value);
        }
        let word = self.word();
        let operator = match word {
            "eq" => Operator::Equal,
            "ne" => Operator::NotEqual,
            "ge" => Operator::GreaterOrEqual,
            "gt" => Operator::Greater,
            "le" => Operator::LessOrEqual,
            "lt" => Operator::Less,
            _ => return Err(format!("'{word}' is not an operator")),
        };
        let value = self.value()?;
        self.checked(name, operator, value)
    }

    fn checked(
        &self,
        name: &str,
        operator: Operator,
        value: FilterValue<'static>,
    ) -> FilterResult<Expression> {
        let Some(property) = self.list.property(name) else {
            return Err(format!("This list can't be filtered by '{name}'"));
        };
        if !property.operators.contains(&operator) {
            return Err(format!("'{name}' can't be compared in this way"));
        }
        if !property.kind.fits(&value) {
            return Err(format!("The value is not of the type of '{name}'"));
        }
        Ok(Expression::Test { property: property.name, operator, value })
    }

    fn value(&mut self) -> FilterResult<FilterValue<'static>> {
        if self.rest.starts_with('\'') {
            return self.quoted().map(FilterValue::text);
        }
        let word = self.word();
        if word.eq_ignore_ascii_case("datetime") && self.rest.starts_with('\'') {
            let text = self.quoted()?;
            return parse_iso(&text).map(FilterValue::Time).ok_or_else(|| format!("'{text}' is not a time"));
        }
        match word {
            "true" => Ok(FilterValue::Flag(true)),
            "false" => Ok(FilterValue::Flag(false)),
            _ => word.parse().map(FilterValue::Number).map_err(|_| format!("'{word}' is not a value")),
        }
    }

    /// `'it''s'` is `it's`.
    fn quoted(&mut self) -> FilterResult<String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            if c != '\'' {
                text.push(c);
            } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
                text.push('\'');
            } else {
                self.rest = self.rest[at + 1..].trim_start();
                return Ok(text);
            }
        }
        Err("A quote is not closed".to_owned())
    }

    /// A name, an operator or a number, with the space after it.
    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-')))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn take_word(&mut self, word: &str) -> bool {
        let mut ahead = Self { rest: self.rest, ..*self };
        let found = ahead.word() == word;
        if found {
            self.rest = ahead.rest;
        }
        found
    }

    fn take(&mut self, c: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(c) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn expect(&mut self, c: char) -> FilterResult<()> {
        if self.take(c) { Ok(()) } else { Err(format!("'{c}' is expected before: {}", self.rest)) }
    }
}

/// A single part needs no expression around it.
fn join_parts(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}
