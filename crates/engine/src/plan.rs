//! The planner: lists pools and nodes, selects, orders, and freezes the result.
//!
//! Accounts are listed side by side, and so are the pools of an account. An account that cannot be listed stands in the
//! plan with the reason; the others are planned. A list may repeat a node across pages (the list moves while it is
//! read), so ids are compared without regard to case and each is taken once.

mod account;
mod merge;
mod priority;
pub(crate) mod reader;
mod sorting;

pub use account::PlanListener;
pub use merge::{
    AccountToPlan, LISTED_AT_ONCE, PlanRequest, PlannedFleet, PlanningError, UnlistedAccount, plan_fleet,
};
pub(crate) use priority::priority;

#[cfg(test)]
mod tests;
