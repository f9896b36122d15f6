//! The soak: two daemons with one schedule, for an hour, in bad weather. What they wrote must be what the simulated service
//! saw, and they may not grow.
//!
//! - [`hour`]: the tests. How it is run, and its figures: docs/design/soak.md.
//! - [`ground`]: the fleet, the storage and the machines that it happens on.
//! - [`weather`]: what happens to them.
//! - [`samples`]: what the daemons use, and whether it grows.
//! - [`records`]: what the daemons left, kept before retention removes it.
//! - [`books`]: the comparison of what was written with what happened.
#![cfg(unix)]

mod books;
mod ground;
mod hour;
mod records;
mod samples;
mod weather;
