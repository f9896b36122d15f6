//! A filter as a tree: comparisons, joined by `and` and `or`.

use std::borrow::Cow;
use std::cmp::Ordering;

use time::OffsetDateTime;

/// How a property is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
    StartsWith,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FilterValue<'a> {
    Text(Cow<'a, str>),
    Time(OffsetDateTime),
    Number(i64),
    Flag(bool),
}

impl<'a> FilterValue<'a> {
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// None if the two values have different types.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase())),
            (Self::Time(a), Self::Time(b)) => {
                // With the precision of lists: a value read from a list must be equal to itself.
                let ticks = |date: &OffsetDateTime| date.unix_timestamp_nanos().div_euclid(100);
                Some(ticks(a).cmp(&ticks(b)))
            }
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::Flag(a), Self::Flag(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// The types of [`FilterValue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PropertyKind {
    Text,
    Time,
    Number,
    Flag,
}

impl PropertyKind {
    pub(super) fn fits(self, value: &FilterValue<'_>) -> bool {
        matches!(
            (self, value),
            (Self::Text, FilterValue::Text(_))
                | (Self::Time, FilterValue::Time(_))
                | (Self::Number, FilterValue::Number(_))
                | (Self::Flag, FilterValue::Flag(_))
        )
    }
}

/// `and` binds more tightly than `or`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Test { property: &'static str, operator: Operator, value: FilterValue<'static> },
}

impl Expression {
    pub(super) fn holds<'a>(&self, value_of: &dyn Fn(&'static str) -> Option<FilterValue<'a>>) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(value_of)),
            Self::All(parts) => parts.iter().all(|part| part.holds(value_of)),
            Self::Test { property, operator, value } => {
                let Some(actual) = value_of(property) else { return *operator == Operator::NotEqual };
                if let (Operator::StartsWith, FilterValue::Text(actual), FilterValue::Text(start)) =
                    (operator, &actual, value)
                {
                    return actual.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
                }
                actual.compare(value).is_some_and(|order| match operator {
                    Operator::Equal => order.is_eq(),
                    Operator::NotEqual => order.is_ne(),
                    Operator::GreaterOrEqual => order.is_ge(),
                    Operator::Greater => order.is_gt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Less => order.is_lt(),
                    Operator::StartsWith => false,
                })
            }
        }
    }
}
