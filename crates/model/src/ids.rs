//! Names of things: accounts, pools, nodes, runs. Each has its own type, so that a pool cannot be passed where a node
//! belongs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name unchanged; names from the service are opaque.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name, verbatim.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Name of a Batch account in the config; unique in a config.
    AccountName
}
name! {
    /// Id of a pool, as the service spells it. Pool ids compare without regard to case.
    PoolId
}
name! {
    /// Id of a compute node: opaque, unique within its pool only, and reused by later nodes.
    NodeId
}

name! {
    /// Name of a snapshot in the config; unique in a config.
    SnapshotName
}

/// The place of a node: a node id alone says nothing without its pool and account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRef {
    /// The Batch account.
    pub account: AccountName,
    /// The pool in that account.
    pub pool: PoolId,
    /// The node in that pool.
    pub node: NodeId,
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.pool, self.node)
    }
}

/// A node's position in the frozen plan: the journal and the ledger refer to nodes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// The position as an index into a slice.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// An account's position in the frozen plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountIndex(pub u16);

impl AccountIndex {
    /// The position as an index into a slice.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// Id of a run, for example `20261122T093000Z-4f2a`: sorts by time, and is a safe file and blob name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// The text is not a run id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a run id (expected the form 20261122T093000Z-4f2a)")]
pub struct InvalidRunId(String);

impl RunId {
    /// A new id; `random` distinguishes runs of the same second.
    #[must_use]
    pub fn new(now: OffsetDateTime, random: u16) -> Self {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let stamp = crate::timestamp::in_utc(now).format(format).expect("a UTC time can be written so");
        Self(format!("{stamp}-{random:04x}"))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the id was made; none if its digits are no time.
    #[must_use]
    pub fn time(&self) -> Option<OffsetDateTime> {
        let stamp = self.0.split_once('Z')?.0;
        let format = format_description!("[year][month][day]T[hour][minute][second]");
        Some(PrimitiveDateTime::parse(stamp, format).ok()?.assume_utc())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let form = "00000000T000000Z-ffff";
        let fits = text.len() == form.len()
            && text.chars().zip(form.chars()).all(|(have, want)| match want {
                '0' => have.is_ascii_digit(),
                'f' => have.is_ascii_hexdigit() && !have.is_ascii_uppercase(),
                fixed => have == fixed,
            });
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidRunId(text.to_owned())) }
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidRunId;

    fn try_from(text: String) -> Result<Self, InvalidRunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn run_ids_sort_by_time_and_survive_a_round_trip() {
        let early = RunId::new(datetime!(2026-11-22 09:30:00 UTC), 0xffff);
        let late = RunId::new(datetime!(2026-11-22 10:30:01 +1), 0);
        assert_eq!(early.as_str(), "20261122T093000Z-ffff");
        assert_eq!(late.as_str(), "20261122T093001Z-0000");
        assert!(early < late);
        assert_eq!(early.as_str().parse::<RunId>().unwrap(), early);
        assert_eq!(late.time(), Some(datetime!(2026-11-22 09:30:01 UTC)));
        assert_eq!("20261322T093000Z-ffff".parse::<RunId>().unwrap().time(), None);
    }

    #[test]
    fn a_path_is_not_a_run_id() {
        for text in
            ["", "../../etc", "20261122T093000Z-FFFF", "20261122T093000Z-4f2a/", "20261122T09300-4f2a"]
        {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
