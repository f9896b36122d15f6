//! `$filter`: which properties a list can be filtered by, and how. What the service does not know, it refuses.
//!
//! Names are told by their case, values are not. A comparison with a member that is absent holds for `ne` only.

mod condition;
mod expression;
mod properties;
mod text;

pub(super) use condition::Filter;
pub(super) use expression::FilterValue;
pub(super) use properties::FilteredList;
