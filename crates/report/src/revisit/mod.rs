//! The reports of a later look at the container: `verify.json` and `files.csv`, with coverage also `coverage.json`, and the
//! last lines on the terminal.
//!
//! Nodes are handed over one by one, in whichever order the look came by them; what stays in memory are counts by pool and
//! a few examples.

mod finding;
mod inventory;
mod report;
mod spelling;
mod tally;
mod terminal;

pub use self::finding::{NodeFinding, RevisitFacts};
pub use self::inventory::{EarlierInventory, InventoryError};
pub use self::report::{RevisitReports, RevisitResult};
