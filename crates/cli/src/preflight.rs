//! What is checked before the first upload call, by `check` and before every run: each finding with where it is and what
//! to do about it.

mod accounts;
mod container;
mod finding;

pub(crate) use self::accounts::{clocks, identities, listings, tokens, windows};
pub(crate) use self::container::{early, listing, open_store, probe, sas};
pub(crate) use self::finding::{Finding, Findings, Level};
