//! Parsing and applying a filter.

use super::expression::{Expression, FilterValue};
use super::properties::FilteredList;
use super::text::FilterParser;

/// A parsed filter; without a filter, everything matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter(Option<Expression>);

impl Filter {
    /// The error says why the service would refuse the filter.
    pub(crate) fn parse(text: Option<&str>, list: FilteredList) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::default()) };
        FilterParser::parse(text, list).map(|expression| Self(Some(expression)))
    }

    /// Whether the filter matches. `value_of` gives the value of a property, and none if the member is absent.
    pub(crate) fn holds<'a>(&self, value_of: impl Fn(&'static str) -> Option<FilterValue<'a>>) -> bool {
        self.0.as_ref().is_none_or(|expression| expression.holds(&value_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn holds(text: &str, list: FilteredList) -> bool {
        let filter = Filter::parse(Some(text), list).unwrap_or_else(|error| panic!("{text}: {error}"));
        filter.holds(|name| match name {
            "id" => Some(FilterValue::text("Render-1")),
            "state" => Some(FilterValue::text("active")),
            "allocationTime" | "creationTime" => Some(FilterValue::Time(datetime!(2024-05-01 00:00:00 UTC))),
            "startTaskInfo/exitCode" => Some(FilterValue::Number(3)),
            "enableAutoScale" => Some(FilterValue::Flag(true)),
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
            assert_eq!(holds(text, FilteredList::Pools), expected, "{text}");
        }
        assert!(holds("startTaskInfo/exitCode ge 3 and startTaskInfo/exitCode lt 4", FilteredList::Nodes));
        assert!(!holds("startTaskInfo/endTime lt DateTime'2030-01-01T00:00:00Z'", FilteredList::Nodes));
    }

    #[test]
    fn what_the_service_would_refuse_is_refused() {
        for (list, text) in [
            (FilteredList::Pools, "id eq a"),
            (FilteredList::Pools, "id eq 'a"),
            (FilteredList::Pools, "state gt 'active'"),
            (FilteredList::Pools, "State eq 'active'"),
            (FilteredList::Pools, "state EQ 'active'"),
            (FilteredList::Pools, "state eq 'active' xor id eq 'a'"),
            (FilteredList::Pools, "(state eq 'active'"),
            (FilteredList::Pools, "state eq 'active')"),
            (FilteredList::Pools, "state eq 'active' and"),
            (FilteredList::Pools, "not state eq 'active'"),
            (FilteredList::Pools, "allocationState ne 'steady'"),
            (FilteredList::Pools, "startswith(state, 'a')"),
            (FilteredList::Pools, "creationTime ge '2024-05-01T00:00:00Z'"),
            (FilteredList::Pools, "creationTime ge DateTime'yesterday'"),
            (FilteredList::Pools, "enableAutoScale eq 'true'"),
            (FilteredList::Pools, ""),
            (FilteredList::Pools, "x"),
            (FilteredList::Nodes, "id eq 'a'"),
            (FilteredList::Nodes, "vmSize eq 'a'"),
            (FilteredList::Nodes, "schedulingState eq 'enabled'"),
            (FilteredList::Nodes, "startTaskInfo/state ne 'completed'"),
            (FilteredList::Nodes, "startTaskInfo/exitCode eq '1'"),
            (FilteredList::Counts, "poolId ne 'a'"),
            (FilteredList::Tasks, "nodeInfo/nodeId eq 'a'"),
        ] {
            assert!(Filter::parse(Some(text), list).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}id eq 'a'{}", "(".repeat(20_000), ")".repeat(20_000));

        assert!(Filter::parse(Some(&deep), FilteredList::Pools).is_err());
    }
}
