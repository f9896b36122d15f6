//! The forms in which fleetlogs stores and publishes things, against their locks in `tests/fixtures/lock/`: schemas of
//! documents, and what stands in journals, plans and messages. The crates hold their own forms in the same way.
//!
//! The rule, and what to do when a test fails here: docs/design/stored-files.md.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod events;
mod lock;
mod names;
mod schemas;
