//! What a later look found: of the run as a whole, and of each node.

use fleetlogs_model::inventory::{NodeCoverage, NodeLook};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::planned::NodeAt;
use time::{Duration, OffsetDateTime};

/// What is true of a later look as a whole.
#[derive(Clone, Copy, Debug)]
pub struct RevisitFacts {
    /// When it began.
    pub at: OffsetDateTime,
    /// Whether an earlier look left an inventory to compare with.
    pub has_earlier: bool,
    /// Whether a run with this config looks for its files.
    pub verification: bool,
    /// Stretches without lines up to this long are no holes; none where coverage was not looked at.
    pub tolerance: Option<Duration>,
}

/// What a later look found of a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeFinding<'a> {
    /// Which node.
    pub node: NodeAt<'a>,
    /// Its directory; none if it never had one.
    pub directory: Option<&'a str>,
    /// Where the run left it.
    pub outcome: Outcome,
    /// How many files the run verified, and their bytes.
    pub verified: Option<(u32, u64)>,
    /// What there is now.
    pub look: &'a NodeLook,
    /// Which time its lines cover, where somebody looked.
    pub coverage: Option<&'a NodeCoverage>,
}
