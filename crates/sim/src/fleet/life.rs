//! How a node changes over time. Pure: a state is a function of the scenario and of the time since the start.

use std::ops::Range;
use std::time::Duration;

use crate::clock::micros;
use crate::roll::Roll;
use crate::scenario::{Life, NodeState, PoolScenario};

/// The state of a node at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NodeMoment {
    pub(crate) state: NodeState,
    /// When it entered this state; none if it is the initial state.
    pub(crate) since: Option<Duration>,
    /// When the machine last booted; none if it has not booted since the simulator started.
    pub(crate) booted: Option<Duration>,
    /// When the pool was given a new machine for the node; none if that has not happened since the simulator started.
    pub(crate) allocated: Option<Duration>,
}

impl NodeMoment {
    /// Whether the machine has never come up. One that starts again has come up before, and says so (seen in a recording).
    pub(crate) fn has_never_booted(&self) -> bool {
        self.state.is_before_boot() && (self.since.is_none() || self.state == NodeState::Creating)
    }
}

/// The initial states of all nodes of a pool, and the lives of the nodes.
#[derive(Debug)]
pub(crate) struct PoolLives {
    beginning: Vec<NodeState>,
    scripted: Vec<ScriptedLife>,
    departure: Departure,
}

/// When the nodes of a pool leave it for good.
#[derive(Debug)]
struct Departure {
    places: Range<u32>,
    /// In microseconds after the start; each node has its own time within the range.
    earliest: u64,
    latest: u64,
    notice: Duration,
    roll: Roll,
}

#[derive(Debug)]
struct ScriptedLife {
    /// Positions of the nodes of this life, ascending.
    places: Vec<u32>,
    at: Duration,
    becomes: NodeState,
    /// How it ends, and how long after it happened.
    end: Option<(LifeEnd, Duration)>,
    /// With which period it happens again, and how often in total.
    again: Option<(Duration, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LifeEnd {
    /// Booted, on a new machine unless it only rebooted.
    Back,
    /// On the same machine as before.
    Recovered,
    Gone,
}

impl PoolLives {
    pub(crate) fn new(pool: &PoolScenario, roll: Roll) -> Self {
        let beginning = beginning_states(pool, roll);
        let mut next = 0;
        let scripted = pool
            .lives
            .iter()
            .map(|life| {
                let scripted = ScriptedLife::new(life, &beginning, life.from.unwrap_or(next));
                if life.from.is_none() && life.of.is_none() {
                    next = scripted.places.last().map_or(next, |last| last + 1);
                }
                scripted
            })
            .collect();
        Self { beginning, scripted, departure: Departure::new(pool, roll) }
    }

    /// Whether any node ever leaves.
    pub(crate) fn may_lose_nodes(&self) -> bool {
        let gone = |life: &ScriptedLife| {
            life.becomes == NodeState::Gone || matches!(life.end, Some((LifeEnd::Gone, _)))
        };
        !self.departure.places.is_empty() || self.scripted.iter().any(gone)
    }

    /// The state of the node at `place` at `now`.
    pub(crate) fn moment(&self, place: u32, now: Duration) -> NodeMoment {
        let moment = self.scripted_moment(place, now);
        match self.departure.at(place) {
            // A node that is already gone does not leave a second time.
            Some(_) if moment.state == NodeState::Gone => moment,
            Some(at) if now >= at => NodeMoment { state: NodeState::Gone, since: Some(at), ..moment },
            Some(at) if now >= at.saturating_sub(self.departure.notice) => {
                let since = Some(at.saturating_sub(self.departure.notice));
                NodeMoment { state: NodeState::LeavingPool, since, ..moment }
            }
            _ => moment,
        }
    }

    fn scripted_moment(&self, place: u32, now: Duration) -> NodeMoment {
        let beginning = self.beginning[place as usize];
        let mut moment = NodeMoment { state: beginning, since: None, booted: None, allocated: None };
        for life in &self.scripted {
            if now < life.at || life.places.binary_search(&place).is_err() {
                continue;
            }
            for turn in life.turns(now) {
                moment = life.lead(moment, beginning, turn, now);
            }
        }
        moment
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.beginning.len()).unwrap_or(u32::MAX)
    }
}

impl Departure {
    fn new(pool: &PoolScenario, roll: Roll) -> Self {
        let (earliest, latest) =
            pool.leaves_after.map_or((0, 0), |after| (micros(after.min.0), micros(after.max.0)));
        let places = pool.leaving();
        Self { places, earliest, latest, notice: pool.notice.0, roll: roll.text("leaves") }
    }

    fn at(&self, place: u32) -> Option<Duration> {
        self.places.contains(&place).then(|| {
            Duration::from_micros(self.roll.number(u64::from(place)).between(self.earliest, self.latest))
        })
    }
}

impl ScriptedLife {
    fn new(life: &Life, beginning: &[NodeState], from: u32) -> Self {
        let wanted = match (life.nodes, life.share) {
            (Some(nodes), _) => nodes as usize,
            (None, Some(share)) => part_of(beginning.len(), share),
            (None, None) => usize::MAX,
        };
        let places = (from..)
            .zip(beginning.iter().skip(from as usize))
            .filter(|(_, state)| life.of.is_none_or(|of| of == **state))
            .map(|(place, _)| place)
            .take(wanted)
            .collect();
        let ends = [
            (LifeEnd::Back, life.back_after),
            (LifeEnd::Recovered, life.recovers_after),
            (LifeEnd::Gone, life.gone_after),
        ];
        Self {
            places,
            at: life.at.0,
            becomes: life.becomes,
            end: ends.into_iter().find_map(|(end, after)| Some((end, after?.0))),
            again: life.every.map(|every| (every.0, life.times.unwrap_or(u32::MAX))),
        }
    }

    /// The last time it happened, preceded by the time before, because that one left traces.
    fn turns(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let (every, times) = self.again.unwrap_or((Duration::MAX, 1));
        let before = now.saturating_sub(self.at).as_nanos() / every.as_nanos();
        let last = u32::try_from(before).unwrap_or(u32::MAX).min(times - 1);
        (last.saturating_sub(1)..=last).map(move |turn| self.at + every.saturating_mul(turn))
    }

    /// How a node in `moment` changes by what happened at `at`.
    fn lead(&self, moment: NodeMoment, beginning: NodeState, at: Duration, now: Duration) -> NodeMoment {
        let end = self.end.map(|(end, after)| (end, at + after)).filter(|(_, at)| now >= *at);
        let back = if beginning.is_before_boot() { NodeState::Idle } else { beginning };
        match end {
            Some((LifeEnd::Back, at)) => {
                // A machine that rebooted is still the same machine.
                let same = matches!(self.becomes, NodeState::Rebooting | NodeState::Starting);
                let allocated = if same { moment.allocated } else { Some(at) };
                NodeMoment { state: back, since: Some(at), booted: Some(at), allocated }
            }
            Some((LifeEnd::Recovered, at)) => NodeMoment { state: back, since: Some(at), ..moment },
            Some((LifeEnd::Gone, at)) => NodeMoment { state: NodeState::Gone, since: Some(at), ..moment },
            None => {
                let booted = if beginning.is_before_boot() { Some(self.at) } else { moment.booted };
                NodeMoment { state: self.becomes, since: Some(at), booted, ..moment }
            }
        }
    }
}

/// The initial states of the nodes: exact numbers, in an order that follows from the seed.
fn beginning_states(pool: &PoolScenario, roll: Roll) -> Vec<NodeState> {
    let nodes = pool.nodes as usize;
    let mut states = Vec::with_capacity(nodes);
    let mut share_so_far = 0.0;
    for (state, share) in &pool.states {
        // Rounding the running sum, not each share, gives the right total.
        share_so_far += share;
        let until = part_of(nodes, share_so_far);
        states.resize(until.max(states.len()), *state);
    }
    states.resize(nodes, NodeState::Idle);
    let mut strange = part_of_floor(nodes, pool.unknown_state);
    for state in &mut states {
        if strange > 0 && *state == NodeState::Idle {
            *state = NodeState::Hibernating;
            strange -= 1;
        }
    }
    fastrand::Rng::with_seed(roll.text("states").bits()).shuffle(&mut states);
    for state in states.iter_mut().take(pool.scheduling_disabled as usize) {
        // The service's name for a node that has no task and gets none.
        if *state == NodeState::Idle {
            *state = NodeState::Offline;
        }
    }
    states
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of nodes is far below 2^53, and a share is between 0 and 1"
)]
fn part_of(nodes: usize, share: f64) -> usize {
    ((nodes as f64 * share).round() as usize).min(nodes)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as in `part_of`"
)]
fn part_of_floor(nodes: usize, share: f64) -> usize {
    ((nodes as f64 * share) as usize).min(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn lives(lines: &str) -> PoolLives {
        let text = format!(
            r#"
            [[account]]
            name = "contoso"
            [[account.pool]]
            id = "p"
            {lines}
            "#
        );
        let scenario = Scenario::from_toml(&text).expect("valid");
        PoolLives::new(&scenario.accounts[0].pools[0], Roll::new(1))
    }

    fn count(lives: &PoolLives, state: NodeState, at: u64) -> usize {
        (0..lives.len()).filter(|place| lives.moment(*place, Duration::from_secs(at)).state == state).count()
    }

    #[test]
    fn shares_become_exact_numbers_and_the_rest_is_idle() {
        let lives = lives("nodes = 200\nstates = { running = 0.2, unusable = 0.05, creating = 0.05 }");

        assert_eq!(count(&lives, NodeState::Running, 0), 40);
        assert_eq!(count(&lives, NodeState::Unusable, 0), 10);
        assert_eq!(count(&lives, NodeState::Creating, 0), 10);
        assert_eq!(count(&lives, NodeState::Idle, 0), 140);
    }

    #[test]
    fn lives_take_the_next_nodes_in_line() {
        let lives = lives(
            r#"
            nodes = 10
            [[account.pool.life]]
            nodes = 2
            at = "1s"
            becomes = "gone"
            [[account.pool.life]]
            share = 0.3
            at = "2s"
            becomes = "rebooting"
            back_after = "4s"
            "#,
        );

        assert_eq!(count(&lives, NodeState::Gone, 0), 0);
        assert_eq!(count(&lives, NodeState::Gone, 1), 2);
        assert_eq!(count(&lives, NodeState::Rebooting, 3), 3);
        assert_eq!(count(&lives, NodeState::Rebooting, 6), 0);
        assert_eq!(count(&lives, NodeState::Idle, 6), 8);
    }

    #[test]
    fn a_preempted_node_comes_back_as_a_new_allocation_and_a_rebooted_one_does_not() {
        let lives = lives(
            r#"
            nodes = 2
            [[account.pool.life]]
            nodes = 1
            at = "1s"
            becomes = "preempted"
            back_after = "2s"
            [[account.pool.life]]
            nodes = 1
            at = "1s"
            becomes = "rebooting"
            back_after = "2s"
            "#,
        );
        let back = Duration::from_secs(3);

        assert_eq!(lives.moment(0, Duration::from_secs(2)).state, NodeState::Preempted);
        assert_eq!(lives.moment(0, back).allocated, Some(back));
        assert_eq!(lives.moment(1, back).allocated, None);
        assert_eq!(lives.moment(1, back).booted, Some(back));
    }

    #[test]
    fn a_node_can_flap_and_is_the_same_machine_all_along() {
        let lives = lives(
            r#"
            nodes = 2
            [[account.pool.life]]
            nodes = 1
            at = "10s"
            becomes = "unusable"
            recovers_after = "4s"
            every = "10s"
            times = 3
            [[account.pool.life]]
            nodes = 1
            at = "10s"
            becomes = "preempted"
            back_after = "4s"
            every = "10s"
            "#,
        );
        let seconds = Duration::from_secs;
        let at = |place, second| lives.moment(place, seconds(second));

        for (second, state, since) in [
            (9, NodeState::Idle, None),
            (10, NodeState::Unusable, Some(10)),
            (15, NodeState::Idle, Some(14)),
            (20, NodeState::Unusable, Some(20)),
            (33, NodeState::Unusable, Some(30)),
            (34, NodeState::Idle, Some(34)),
            (41, NodeState::Idle, Some(34)),
        ] {
            let expected = NodeMoment { state, since: since.map(seconds), booted: None, allocated: None };
            assert_eq!(at(0, second), expected, "after {second} s");
        }
        let again = at(1, 1_000_001);
        assert_eq!((again.state, again.since), (NodeState::Preempted, Some(seconds(1_000_000))));
        assert_eq!(again.allocated, Some(seconds(999_994)), "it was allocated when it last came back");
    }

    #[test]
    fn a_leaving_node_is_gone_in_the_end() {
        let lives = lives(
            r#"
            nodes = 1
            [[account.pool.life]]
            at = "1s"
            becomes = "leavingpool"
            gone_after = "2s"
            "#,
        );

        assert_eq!(lives.moment(0, Duration::from_secs(1)).state, NodeState::LeavingPool);
        assert_eq!(lives.moment(0, Duration::from_secs(3)).state, NodeState::Gone);
    }

    #[test]
    fn every_node_leaves_in_its_own_time_and_says_so_before() {
        let lives = lives("nodes = 100\nleaves_after = { min = \"10s\", max = \"20s\" }\nnotice = \"4s\"");

        assert_eq!(count(&lives, NodeState::Idle, 5), 100);
        assert_eq!(
            count(&lives, NodeState::LeavingPool, 10),
            (0..100)
                .filter(|place| {
                    lives.departure.at(*place).is_some_and(|at| at <= Duration::from_secs(14))
                })
                .count()
        );
        assert!((20..80).contains(&count(&lives, NodeState::Gone, 15)));
        assert_eq!(count(&lives, NodeState::Gone, 20), 100);
    }

    #[test]
    fn of_a_pool_that_shrinks_only_the_last_nodes_leave() {
        let lives = lives("nodes = 10\nleaves_after = \"5s\"\nshrinking = 3");

        assert_eq!(count(&lives, NodeState::LeavingPool, 4), 3);
        assert_eq!(count(&lives, NodeState::Gone, 60), 3);
        assert_eq!(lives.moment(6, Duration::from_secs(60)).state, NodeState::Idle);
    }

    #[test]
    fn an_idle_node_without_scheduling_is_offline_and_a_busy_one_goes_on() {
        let lives = lives("nodes = 40\nstates = { running = 0.5 }\nscheduling_disabled = 40");

        assert_eq!((count(&lives, NodeState::Offline, 0), count(&lives, NodeState::Running, 0)), (20, 20));
    }

    #[test]
    fn nodes_that_are_created_can_be_told_to_come_up() {
        let lives = lives(
            r#"
            nodes = 10
            states = { creating = 0.5 }
            [[account.pool.life]]
            of = "creating"
            at = "2s"
            becomes = "idle"
            "#,
        );

        assert_eq!(count(&lives, NodeState::Creating, 1), 5);
        assert_eq!(count(&lives, NodeState::Idle, 2), 10);
    }
}
