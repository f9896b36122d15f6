//! One pool, its nodes, and their state at a given moment.

use std::net::Ipv4Addr;
use std::time::Duration;

use time::OffsetDateTime;

use super::life::{NodeMoment, PoolLives};
use super::node_id::NodeNames;
use crate::clock::{Clock, microseconds};
use crate::roll::Roll;
use crate::scenario::{NodeState, PoolScenario, PoolState};

/// One pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) scenario: PoolScenario,
    /// Every random choice about this pool starts here.
    pub(crate) roll: Roll,
    pub(crate) names: NodeNames,
    /// The spelling in upload directories.
    pub(crate) lower_id: String,
    /// Nodes were allocated at least this long before the start, unless the scenario says otherwise.
    pub(crate) least_age: time::Duration,
    lives: PoolLives,
}

/// The dates that a node shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeDates {
    pub(crate) allocated: OffsetDateTime,
    pub(crate) booted: OffsetDateTime,
    pub(crate) changed: OffsetDateTime,
}

impl Pool {
    /// `oldest_job` is how long before the start the first of its jobs began.
    pub(crate) fn new(scenario: PoolScenario, account: Roll, oldest_job: Duration) -> Self {
        let roll = account.text(&scenario.id);
        Self {
            roll,
            names: NodeNames::new(roll, scenario.nodes, scenario.spot, &scenario.node_suffix),
            least_age: time::Duration::hours(1) + time::Duration::try_from(oldest_job).unwrap_or_default(),
            lower_id: scenario.id.to_ascii_lowercase(),
            lives: PoolLives::new(&scenario, roll),
            scenario,
        }
    }

    pub(crate) fn is_there(&self, now: Duration) -> bool {
        self.scenario.vanishes_at.is_none_or(|at| now < at.0)
    }

    pub(crate) fn is_deleting(&self, now: Duration) -> bool {
        self.scenario.state == PoolState::Deleting || self.scenario.deleting_at.is_some_and(|at| now >= at.0)
    }

    /// Number of positions; some may be empty by now.
    pub(crate) fn places(&self) -> u32 {
        self.lives.len()
    }

    /// Number of nodes that are there: dedicated, then low priority.
    pub(crate) fn present(&self, now: Duration) -> (u32, u32) {
        let (nodes, spot) = (self.scenario.nodes, self.scenario.spot);
        if !self.lives.may_lose_nodes() {
            return (nodes - spot, spot);
        }
        let there = |places: std::ops::Range<u32>| {
            places.filter(|place| self.node(*place, now).is_some()).fold(0, |sum, _| sum + 1)
        };
        (there(spot..nodes), there(0..spot))
    }

    /// When the node at `place` left; none while it is there.
    pub(crate) fn left(&self, place: u32, now: Duration) -> Option<Duration> {
        let vanished = self.scenario.vanishes_at.map(|at| at.0).filter(|at| now >= *at);
        let moment = self.lives.moment(place, vanished.unwrap_or(now));
        if moment.state == NodeState::Gone { moment.since } else { vanished }
    }

    /// Whether its nodes ever leave, one by one or all with the pool.
    pub(crate) fn may_lose_nodes(&self) -> bool {
        self.scenario.vanishes_at.is_some() || self.lives.may_lose_nodes()
    }

    /// Whether the node at `place` gets no new tasks.
    pub(crate) fn is_disabled(&self, place: u32, moment: NodeMoment) -> bool {
        moment.state == NodeState::Offline || place < self.scenario.scheduling_disabled
    }

    /// The node at `place`, or none if it is gone.
    pub(crate) fn node(&self, place: u32, now: Duration) -> Option<NodeMoment> {
        let moment = self.lives.moment(place, now);
        (moment.state != NodeState::Gone).then_some(moment)
    }

    /// The dice of one node.
    pub(crate) fn node_roll(&self, place: u32) -> Roll {
        self.roll.number(u64::from(place))
    }

    /// Half of the unusable nodes report an error; the others have lost their agent (see the wire notes on states).
    pub(crate) fn tells_errors(&self, place: u32) -> bool {
        self.node_roll(place).text("errors").happens(0.5)
    }

    pub(crate) fn dates(&self, place: u32, moment: NodeMoment, clock: &Clock) -> NodeDates {
        let roll = self.node_roll(place);
        let age = if moment.has_never_booted() {
            time::Duration::seconds(20)
        } else {
            self.least_age + microseconds(roll.text("age").between(0, 9 * 86_400_000_000))
        };
        let allocated = moment.allocated.map_or(clock.started_at() - age, |at| clock.date_at(at));
        let booted = moment
            .booted
            .map_or(allocated + microseconds(roll.text("boot").between(60_000_000, 300_000_000)), |at| {
                clock.date_at(at)
            });
        let changed = moment
            .since
            .map_or(allocated + microseconds(roll.text("change").between(300_000_001, 900_000_000)), |at| {
                clock.date_at(at)
            });
        let changed = if moment.has_never_booted() { allocated } else { changed };
        NodeDates { allocated, booted, changed }
    }
}

/// The address of the node at `place`, in the network of its pool. Azure keeps the first four of each network.
pub(crate) fn node_address(place: u32) -> Ipv4Addr {
    let [_, high, middle, low] = place.saturating_add(4).to_be_bytes();
    Ipv4Addr::new(10, high, middle, low)
}
