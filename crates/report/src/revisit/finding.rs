//! What `fleetlogs verify` found, for the whole run and for each node.

use fleetlogs_model::inventory::{NodeCoverage, NodeLook};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::planned::NodeAt;
use time::{Duration, OffsetDateTime};

/// Facts about a whole verification after the run.
#[derive(Clone, Copy, Debug)]
pub struct RevisitFacts {
    /// When it began.
    pub at: OffsetDateTime,
    /// Whether an earlier verification left an inventory to compare with.
    pub has_earlier: bool,
    /// Whether a run with this config verifies its files.
    pub verification: bool,
    /// Time without lines up to this length is not a gap; none if coverage was not checked.
    pub tolerance: Option<Duration>,
}

/// What was found for a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeFinding<'a> {
    /// Which node.
    pub node: NodeAt<'a>,
    /// Its directory; none if it never had one.
    pub directory: Option<&'a str>,
    /// Its outcome in the run.
    pub outcome: Outcome,
    /// How many files the run verified, and their bytes.
    pub verified: Option<(u32, u64)>,
    /// What is in the container now.
    pub look: &'a NodeLook,
    /// The time range that its lines cover, if that was checked.
    pub coverage: Option<&'a NodeCoverage>,
}
