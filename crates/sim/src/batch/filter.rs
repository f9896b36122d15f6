//! `$filter`: which properties a list can be filtered by, and how. What the service does not know, it refuses.
//!
//! Names are told by their case, values are not. A comparison with a member that is absent holds for `ne` only.

use std::borrow::Cow;
use std::cmp::Ordering;

use time::OffsetDateTime;

use super::filter_text::Parser;

/// Which list is filtered; they allow different properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtered {
    Pools,
    Nodes,
    Counts,
    Jobs,
    Tasks,
}

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

/// What a property holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Time(OffsetDateTime),
    Number(i64),
    Flag(bool),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// None if the two are not of one kind.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase())),
            (Self::Time(a), Self::Time(b)) => {
                // As precise as lists tell them: what was read from a list must be equal to itself.
                let ticks = |date: &OffsetDateTime| date.unix_timestamp_nanos().div_euclid(100);
                Some(ticks(a).cmp(&ticks(b)))
            }
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::Flag(a), Self::Flag(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// The kinds of [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Time,
    Number,
    Flag,
}

impl Kind {
    pub(super) fn fits(self, value: &Value<'_>) -> bool {
        matches!(
            (self, value),
            (Self::Text, Value::Text(_))
                | (Self::Time, Value::Time(_))
                | (Self::Number, Value::Number(_))
                | (Self::Flag, Value::Flag(_))
        )
    }
}

/// A property that a list can be filtered by.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) operators: &'static [Operator],
}

const EQUAL: &[Operator] = &[Operator::Equal];
const EQUAL_OR_NOT: &[Operator] = &[Operator::Equal, Operator::NotEqual];
const ORDER: &[Operator] = &[
    Operator::Equal,
    Operator::NotEqual,
    Operator::GreaterOrEqual,
    Operator::Greater,
    Operator::LessOrEqual,
    Operator::Less,
];
const ORDER_AND_START: &[Operator] = &[
    Operator::Equal,
    Operator::NotEqual,
    Operator::GreaterOrEqual,
    Operator::Greater,
    Operator::LessOrEqual,
    Operator::Less,
    Operator::StartsWith,
];

const fn property(name: &'static str, kind: Kind, operators: &'static [Operator]) -> Property {
    Property { name, kind, operators }
}

const POOLS: [Property; 10] = [
    property("id", Kind::Text, ORDER_AND_START),
    property("state", Kind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", Kind::Time, ORDER),
    property("allocationState", Kind::Text, EQUAL),
    property("allocationStateTransitionTime", Kind::Time, ORDER),
    property("creationTime", Kind::Time, ORDER),
    property("lastModified", Kind::Time, ORDER),
    property("enableAutoScale", Kind::Flag, EQUAL_OR_NOT),
    property("enableInterNodeCommunication", Kind::Flag, EQUAL_OR_NOT),
    property("vmSize", Kind::Text, EQUAL_OR_NOT),
];

const NODES: [Property; 9] = [
    property("state", Kind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", Kind::Time, ORDER),
    property("lastBootTime", Kind::Time, ORDER),
    property("allocationTime", Kind::Time, ORDER),
    property("startTaskInfo/state", Kind::Text, EQUAL),
    property("startTaskInfo/result", Kind::Text, EQUAL_OR_NOT),
    property("startTaskInfo/exitCode", Kind::Number, ORDER),
    property("startTaskInfo/startTime", Kind::Time, ORDER),
    property("startTaskInfo/endTime", Kind::Time, ORDER),
];

const COUNTS: [Property; 1] = [property("poolId", Kind::Text, EQUAL)];

const JOBS: [Property; 8] = [
    property("id", Kind::Text, ORDER_AND_START),
    property("state", Kind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", Kind::Time, ORDER),
    property("creationTime", Kind::Time, ORDER),
    property("lastModified", Kind::Time, ORDER),
    property("executionInfo/startTime", Kind::Time, ORDER),
    property("executionInfo/endTime", Kind::Time, ORDER),
    property("executionInfo/poolId", Kind::Text, ORDER_AND_START),
];

const TASKS: [Property; 9] = [
    property("id", Kind::Text, ORDER_AND_START),
    property("state", Kind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", Kind::Time, ORDER),
    property("creationTime", Kind::Time, ORDER),
    property("lastModified", Kind::Time, ORDER),
    property("executionInfo/startTime", Kind::Time, ORDER),
    property("executionInfo/endTime", Kind::Time, ORDER),
    property("executionInfo/exitCode", Kind::Number, ORDER),
    property("executionInfo/result", Kind::Text, EQUAL_OR_NOT),
];

impl Filtered {
    pub(super) fn property(self, name: &str) -> Option<&'static Property> {
        let properties: &[Property] = match self {
            Self::Pools => &POOLS,
            Self::Nodes => &NODES,
            Self::Counts => &COUNTS,
            Self::Jobs => &JOBS,
            Self::Tasks => &TASKS,
        };
        properties.iter().find(|property| property.name == name)
    }
}

/// A filter that was understood; without one, everything passes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter(Option<Expression>);

/// `and` binds more tightly than `or`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Test { property: &'static str, operator: Operator, value: Value<'static> },
}

impl Filter {
    /// The error says why the service would refuse the filter.
    pub(crate) fn parse(text: Option<&str>, list: Filtered) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::default()) };
        Parser::parse(text, list).map(|expression| Self(Some(expression)))
    }

    /// Whether that passes of which `value_of` tells the properties; it tells nothing of those that are absent.
    pub(super) fn holds<'a>(&self, value_of: impl Fn(&'static str) -> Option<Value<'a>>) -> bool {
        self.0.as_ref().is_none_or(|expression| expression.holds(&value_of))
    }
}

impl Expression {
    fn holds<'a>(&self, value_of: &dyn Fn(&'static str) -> Option<Value<'a>>) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(value_of)),
            Self::All(parts) => parts.iter().all(|part| part.holds(value_of)),
            Self::Test { property, operator, value } => {
                let Some(actual) = value_of(property) else { return *operator == Operator::NotEqual };
                if let (Operator::StartsWith, Value::Text(actual), Value::Text(start)) =
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

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn holds(text: &str, list: Filtered) -> bool {
        let filter = Filter::parse(Some(text), list).unwrap_or_else(|error| panic!("{text}: {error}"));
        filter.holds(|name| match name {
            "id" => Some(Value::text("Render-1")),
            "state" => Some(Value::text("active")),
            "allocationTime" | "creationTime" => Some(Value::Time(datetime!(2024-05-01 00:00:00 UTC))),
            "startTaskInfo/exitCode" => Some(Value::Number(3)),
            "enableAutoScale" => Some(Value::Flag(true)),
            _ => None,
        })
    }

    #[test]
    fn a_filter_holds_for_what_it_says() {
        for (text, expected) in [
            ("startswith(id, 'render')", true),
            ("startswith(id,'Render-1-and-more')", false),
            ("id eq 'RENDER-1' and state ne 'deleting'", true),
            ("id gt 'a' and id lt 'r'", false),
            ("state eq 'deleting' or id ge 'r'", true),
            ("id eq 'x and y' or (state eq 'active' and id eq 'it''s')", false),
            ("state eq 'deleting' and id eq 'x' or state eq 'active'", true),
            ("state eq 'deleting' and (id eq 'x' or state eq 'active')", false),
            ("creationTime ge DateTime'2024-05-01T00:00:00Z'", true),
            ("creationTime gt datetime'2024-05-01T00:00:00.000Z'", false),
            ("enableAutoScale eq true", true),
            ("enableAutoScale ne true", false),
            ("vmSize eq 'a'", false),
            ("vmSize ne 'a'", true),
        ] {
            assert_eq!(holds(text, Filtered::Pools), expected, "{text}");
        }
        assert!(holds("startTaskInfo/exitCode ge 3 and startTaskInfo/exitCode lt 4", Filtered::Nodes));
        assert!(!holds("startTaskInfo/endTime lt DateTime'2030-01-01T00:00:00Z'", Filtered::Nodes));
    }

    #[test]
    fn what_the_service_would_refuse_is_refused() {
        for (list, text) in [
            (Filtered::Pools, "id eq a"),
            (Filtered::Pools, "id eq 'a"),
            (Filtered::Pools, "state gt 'active'"),
            (Filtered::Pools, "State eq 'active'"),
            (Filtered::Pools, "state EQ 'active'"),
            (Filtered::Pools, "state eq 'active' xor id eq 'a'"),
            (Filtered::Pools, "(state eq 'active'"),
            (Filtered::Pools, "state eq 'active')"),
            (Filtered::Pools, "state eq 'active' and"),
            (Filtered::Pools, "not state eq 'active'"),
            (Filtered::Pools, "allocationState ne 'steady'"),
            (Filtered::Pools, "startswith(state, 'a')"),
            (Filtered::Pools, "creationTime ge '2024-05-01T00:00:00Z'"),
            (Filtered::Pools, "creationTime ge DateTime'yesterday'"),
            (Filtered::Pools, "enableAutoScale eq 'true'"),
            (Filtered::Pools, ""),
            (Filtered::Pools, "x"),
            (Filtered::Nodes, "id eq 'a'"),
            (Filtered::Nodes, "vmSize eq 'a'"),
            (Filtered::Nodes, "schedulingState eq 'enabled'"),
            (Filtered::Nodes, "startTaskInfo/state ne 'completed'"),
            (Filtered::Nodes, "startTaskInfo/exitCode eq '1'"),
            (Filtered::Counts, "poolId ne 'a'"),
            (Filtered::Tasks, "nodeInfo/nodeId eq 'a'"),
        ] {
            assert!(Filter::parse(Some(text), list).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}id eq 'a'{}", "(".repeat(20_000), ")".repeat(20_000));

        assert!(Filter::parse(Some(&deep), Filtered::Pools).is_err());
    }
}
