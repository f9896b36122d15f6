//! `$filter`: which properties a list can be filtered by, and how. Whatever the service does not support is refused.
//!
//! Names are compared with case, values without. A comparison with an absent member holds for `ne` only.

mod condition;
mod expression;
mod properties;
mod text;

pub(super) use condition::Filter;
pub(super) use expression::FilterValue;
pub(super) use properties::FilteredList;
