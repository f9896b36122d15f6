//! The properties by which each list can be filtered.

use super::expression::{Operator, PropertyKind};

/// The list to filter; each list allows other properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilteredList {
    Pools,
    Nodes,
    Counts,
    Jobs,
    Tasks,
}

/// A property that a list can be filtered by.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) kind: PropertyKind,
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

const fn property(name: &'static str, kind: PropertyKind, operators: &'static [Operator]) -> Property {
    Property { name, kind, operators }
}

const POOLS: [Property; 10] = [
    property("id", PropertyKind::Text, ORDER_AND_START),
    property("state", PropertyKind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", PropertyKind::Time, ORDER),
    property("allocationState", PropertyKind::Text, EQUAL),
    property("allocationStateTransitionTime", PropertyKind::Time, ORDER),
    property("creationTime", PropertyKind::Time, ORDER),
    property("lastModified", PropertyKind::Time, ORDER),
    property("enableAutoScale", PropertyKind::Flag, EQUAL_OR_NOT),
    property("enableInterNodeCommunication", PropertyKind::Flag, EQUAL_OR_NOT),
    property("vmSize", PropertyKind::Text, EQUAL_OR_NOT),
];

const NODES: [Property; 9] = [
    property("state", PropertyKind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", PropertyKind::Time, ORDER),
    property("lastBootTime", PropertyKind::Time, ORDER),
    property("allocationTime", PropertyKind::Time, ORDER),
    property("startTaskInfo/state", PropertyKind::Text, EQUAL),
    property("startTaskInfo/result", PropertyKind::Text, EQUAL_OR_NOT),
    property("startTaskInfo/exitCode", PropertyKind::Number, ORDER),
    property("startTaskInfo/startTime", PropertyKind::Time, ORDER),
    property("startTaskInfo/endTime", PropertyKind::Time, ORDER),
];

const COUNTS: [Property; 1] = [property("poolId", PropertyKind::Text, EQUAL)];

const JOBS: [Property; 8] = [
    property("id", PropertyKind::Text, ORDER_AND_START),
    property("state", PropertyKind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", PropertyKind::Time, ORDER),
    property("creationTime", PropertyKind::Time, ORDER),
    property("lastModified", PropertyKind::Time, ORDER),
    property("executionInfo/startTime", PropertyKind::Time, ORDER),
    property("executionInfo/endTime", PropertyKind::Time, ORDER),
    property("executionInfo/poolId", PropertyKind::Text, ORDER_AND_START),
];

const TASKS: [Property; 9] = [
    property("id", PropertyKind::Text, ORDER_AND_START),
    property("state", PropertyKind::Text, EQUAL_OR_NOT),
    property("stateTransitionTime", PropertyKind::Time, ORDER),
    property("creationTime", PropertyKind::Time, ORDER),
    property("lastModified", PropertyKind::Time, ORDER),
    property("executionInfo/startTime", PropertyKind::Time, ORDER),
    property("executionInfo/endTime", PropertyKind::Time, ORDER),
    property("executionInfo/exitCode", PropertyKind::Number, ORDER),
    property("executionInfo/result", PropertyKind::Text, EQUAL_OR_NOT),
];

impl FilteredList {
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
