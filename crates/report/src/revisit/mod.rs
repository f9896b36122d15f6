//! The reports of `fleetlogs verify`, which checks the files of a run later: `verify.json`, `files.csv`, with
//! coverage also `coverage.json`, and the last lines on the terminal.
//!
//! Nodes are passed one by one, in any order; only counts by pool and a few examples stay in memory.

mod finding;
mod inventory;
mod report;
mod spelling;
mod tally;
mod terminal;

pub use self::finding::{NodeFinding, RevisitFacts};
pub use self::inventory::{EarlierInventory, InventoryError};
pub use self::report::{RevisitReports, RevisitResult};
