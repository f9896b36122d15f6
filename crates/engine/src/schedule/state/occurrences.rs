//! Nodes that entered a watched state: what was seen, and what happened to it.
//!
//! An occurrence is a node, a state, and the time since when the node is in it. Each ends in one fate: one run claims
//! it, it is suppressed (`damped`), or it is too old. Until then it is `seen` and waits to be gathered with others, or
//! it is on hold (`held`), because the node was captured a short time ago. At most one occurrence of a node and a state
//! is on hold: the current one.

use std::collections::HashSet;
use std::time::Duration;

use fleetlogs_model::ids::{AccountName, NodeId, NodeRef, PoolId, SnapshotName};
use fleetlogs_model::service::{Node, NodeState};
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use fleetlogs_model::timestamp;
use rusqlite::{Connection, OptionalExtension as _, ToSql, Transaction, params};
use time::OffsetDateTime;

use super::error::StateError;
use super::runs;
use super::stored_time::stored_time;
use crate::schedule::job::JobId;

/// Rows of nodes that are no longer in the state are forgotten after this.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Stands for a time that the service did not report.
const UNKNOWN: &str = "unknown";

/// A node in a watched state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its pool.
    pub pool: PoolId,
    /// Its id.
    pub node: NodeId,
    /// The state.
    pub state: NodeState,
    /// Distinguishes this stay in the state from others.
    since: String,
    /// Since when it is in the state, if the service reports it.
    state_since: Option<OffsetDateTime>,
}

impl Sighting {
    /// A listed node; none if the list does not report its state.
    #[must_use]
    pub fn of(pool: &PoolId, node: Node) -> Option<Self> {
        let since = node.state_since.or(node.allocation_time).map_or(UNKNOWN.to_owned(), timestamp::text);
        let (pool, state_since) = (pool.clone(), node.state_since);
        Some(Self { pool, node: node.id, state: node.facts.state?, since, state_since })
    }
}

/// What one look at the nodes of an account found.
#[derive(Debug)]
pub struct Round<'a> {
    /// For which snapshot.
    pub snapshot: &'a SnapshotName,
    /// The account.
    pub account: &'a AccountName,
    /// Nodes that are in one of the states.
    pub sightings: &'a [Sighting],
    /// Pools that could not be listed: nothing is known of their nodes.
    pub unread: &'a [PoolId],
    /// When it was made.
    pub now: OffsetDateTime,
    /// The quiet time: how long after a capture of a node it is not captured again in the same state.
    pub quiet: Duration,
    /// If a node was in the state for longer than this when it is first seen, it is not captured.
    pub max_age: Duration,
}

/// What a look changed, in numbers of occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundResult {
    /// New, and waiting to be claimed.
    pub seen: u64,
    /// New, and on hold because the node was captured a short time ago.
    pub held: u64,
    /// New, and too old.
    pub old: u64,
    /// On hold until now, and suppressed for good.
    pub damped: u64,
    /// On hold until now, and waiting to be claimed.
    pub released: u64,
}

/// A change that a look asks for. A key is pool, node, state and since.
enum StateChange<'a> {
    Insert(&'a Sighting, &'static str),
    /// From on hold to another status.
    Turn([String; 4], &'static str),
    Forget([String; 4]),
}

/// Whether a look would change anything: a change has to be published, and most looks find nothing.
pub fn has_news(state: &Connection, round: &Round<'_>) -> Result<bool, StateError> {
    Ok(!steps(state, round)?.is_empty())
}

/// Records what a look found.
pub fn take_in(state: &Transaction<'_>, round: &Round<'_>) -> Result<RoundResult, StateError> {
    let mut taken = RoundResult::default();
    let (snapshot, account) = (round.snapshot.as_str(), round.account.as_str());
    for step in steps(state, round)? {
        match step {
            StateChange::Insert(sighting, status) => {
                let Sighting { pool, node, state: is, since, .. } = sighting;
                state
                    .prepare_cached(
                        "INSERT INTO occurrence (snapshot, account, pool, node, state, since, seen_at, status)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![
                        snapshot,
                        account,
                        pool.as_str(),
                        node.as_str(),
                        is.as_str(),
                        since,
                        timestamp::text(round.now),
                        status
                    ])?;
                match status {
                    "seen" => taken.seen += 1,
                    "held" => taken.held += 1,
                    _ => taken.old += 1,
                }
            }
            StateChange::Turn([pool, node, is, since], status) => {
                state
                    .prepare_cached(
                        "UPDATE occurrence SET status = ?7 WHERE snapshot = ?1 AND account = ?2 AND pool = ?3
                         AND node = ?4 AND state = ?5 AND since = ?6",
                    )?
                    .execute(params![snapshot, account, pool, node, is, since, status])?;
                if status == "damped" { taken.damped += 1 } else { taken.released += 1 }
            }
            StateChange::Forget([pool, node, is, since]) => {
                state
                    .prepare_cached(
                        "DELETE FROM occurrence WHERE snapshot = ?1 AND account = ?2 AND pool = ?3
                         AND node = ?4 AND state = ?5 AND since = ?6",
                    )?
                    .execute(params![snapshot, account, pool, node, is, since])?;
            }
        }
    }
    Ok(taken)
}

fn steps<'a>(state: &Connection, round: &Round<'a>) -> Result<Vec<StateChange<'a>>, StateError> {
    let mut steps = Vec::new();
    let mut current = HashSet::with_capacity(round.sightings.len());
    for sighting in round.sightings {
        // A list that moves while it is read may have a node twice.
        if !current.insert(key(&sighting.pool, &sighting.node, &sighting.state, &sighting.since)) {
            continue;
        }
        match status_of(state, round, sighting)?.as_deref() {
            None => steps.push(StateChange::Insert(sighting, first_status(state, round, sighting)?)),
            Some("held") if !is_quiet(state, round, sighting)? => {
                steps.push(StateChange::Turn(sighting.key(), "seen"));
            }
            Some(_) => {}
        }
    }
    let is_over = |[pool, node, is, since]: &[String; 4]| {
        let (pool, is) = (PoolId::new(pool.as_str()), NodeState::from(is.clone()));
        let unread = round.unread.iter().any(|other| other.as_str().eq_ignore_ascii_case(pool.as_str()));
        !unread && !current.contains(&key(&pool, &NodeId::new(node.as_str()), &is, since))
    };
    let (snapshot, account) = (round.snapshot.as_str(), round.account.as_str());
    let held = "SELECT pool, node, state, since FROM occurrence WHERE snapshot = ?1 AND account = ?2 AND status = 'held'";
    for held in keys(state, held, params![snapshot, account])? {
        if is_over(&held) {
            steps.push(StateChange::Turn(held, "damped"));
        }
    }
    let past = "SELECT pool, node, state, since FROM occurrence WHERE snapshot = ?1 AND account = ?2 AND seen_at < ?3
                AND status NOT IN ('seen', 'held')";
    for past in keys(state, past, params![snapshot, account, timestamp::text(round.now - KEPT)])? {
        if is_over(&past) {
            steps.push(StateChange::Forget(past));
        }
    }
    Ok(steps)
}

impl Sighting {
    fn key(&self) -> [String; 4] {
        [self.pool.as_str(), self.node.as_str(), self.state.as_str(), &self.since].map(str::to_owned)
    }
}

/// The same for every spelling of an id.
fn key(pool: &PoolId, node: &NodeId, state: &NodeState, since: &str) -> [String; 4] {
    let lower = |id: &str| id.to_ascii_lowercase();
    [lower(pool.as_str()), lower(node.as_str()), lower(state.as_str()), since.to_owned()]
}

fn keys(state: &Connection, query: &str, params: &[&dyn ToSql]) -> Result<Vec<[String; 4]>, StateError> {
    let mut select = state.prepare_cached(query)?;
    let keys = select.query_map(params, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn status_of(
    state: &Connection,
    round: &Round<'_>,
    sighting: &Sighting,
) -> Result<Option<String>, StateError> {
    let Sighting { pool, node, state: is, since, .. } = sighting;
    let mut select = state.prepare_cached(
        "SELECT status FROM occurrence WHERE snapshot = ?1 AND account = ?2 AND pool = ?3 AND node = ?4
         AND state = ?5 AND since = ?6",
    )?;
    let (snapshot, account) = (round.snapshot.as_str(), round.account.as_str());
    let key = params![snapshot, account, pool.as_str(), node.as_str(), is.as_str(), since];
    Ok(select.query_row(key, |row| row.get(0)).optional()?)
}

fn first_status(
    state: &Connection,
    round: &Round<'_>,
    sighting: &Sighting,
) -> Result<&'static str, StateError> {
    let is_old = sighting.state_since.is_some_and(|since| round.now - since > round.max_age);
    Ok(match is_old {
        true => "old",
        false if is_quiet(state, round, sighting)? => "held",
        false => "seen",
    })
}

/// Whether the node was captured in the same state a short time ago: counted from when that run began.
fn is_quiet(state: &Connection, round: &Round<'_>, sighting: &Sighting) -> Result<bool, StateError> {
    if round.quiet.is_zero() {
        return Ok(false);
    }
    let Sighting { pool, node, state: is, .. } = sighting;
    let mut select = state.prepare_cached(
        "SELECT max(coalesce(run.started_at, run.due)) FROM occurrence JOIN run ON run.id = occurrence.run
         WHERE occurrence.snapshot = ?1 AND account = ?2 AND pool = ?3 AND node = ?4 AND state = ?5",
    )?;
    let key =
        params![round.snapshot.as_str(), round.account.as_str(), pool.as_str(), node.as_str(), is.as_str()];
    let captured: Option<String> = select.query_row(key, |row| row.get(0))?;
    Ok(match captured {
        Some(captured) => round.now < stored_time(&captured)? + round.quiet,
        None => false,
    })
}

/// When the first occurrence that waits to be claimed was seen.
pub fn waiting_since(
    state: &Connection,
    snapshot: &SnapshotName,
) -> Result<Option<OffsetDateTime>, StateError> {
    let mut select = state
        .prepare_cached("SELECT min(seen_at) FROM occurrence WHERE snapshot = ?1 AND status = 'seen'")?;
    let first: Option<String> = select.query_row([snapshot.as_str()], |row| row.get(0))?;
    first.map(|first| stored_time(&first)).transpose()
}

/// A run that captures occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureClaim {
    /// Its row in the queue.
    pub job: JobId,
    /// Whether it was queued for them; otherwise it was waiting already.
    pub is_new: bool,
    /// How many occurrences it captures in addition to earlier ones.
    pub occurrences: u64,
}

/// Claims all that wait, for a new run in the queue or for one that waits there: its plan is not made yet. None if
/// nothing waits.
pub fn claim(
    state: &Transaction<'_>,
    snapshot: &SnapshotName,
    now: OffsetDateTime,
) -> Result<Option<CaptureClaim>, StateError> {
    if waiting_since(state, snapshot)?.is_none() {
        return Ok(None);
    }
    let queued: Option<i64> = state
        .query_row(
            "SELECT id FROM run WHERE snapshot = ?1 AND cause = ?2 AND status = 'queued' ORDER BY id LIMIT 1",
            [snapshot.as_str(), Trigger::State.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    let job = if let Some(id) = queued {
        JobId(id)
    } else {
        runs::enqueue(state, &SnapshotRef { name: snapshot.clone(), trigger: Trigger::State, due: now }, now)?
    };
    let occurrences = state.execute(
        "UPDATE occurrence SET status = 'claimed', run = ?2 WHERE snapshot = ?1 AND status = 'seen'",
        params![snapshot.as_str(), job.0],
    )?;
    Ok(Some(CaptureClaim { job, is_new: queued.is_none(), occurrences: occurrences as u64 }))
}

/// The run that claimed these occurrences captured nothing, as far as this machine knows. They are put on hold: if a
/// node is still in its state when its quiet time is over, another run claims it.
pub fn release(state: &Transaction<'_>, JobId(job): JobId) -> Result<(), StateError> {
    state.execute("UPDATE occurrence SET status = 'held' WHERE run = ?1 AND status = 'claimed'", [job])?;
    Ok(())
}

/// An occurrence that a run captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The node.
    pub node: NodeRef,
    /// The state it entered.
    pub state: NodeState,
    /// When, or when it was allocated if the service did not report that; none if it reported neither.
    pub since: Option<OffsetDateTime>,
}

/// The occurrences that a run captures. A node may have entered several states, or one of them several times.
pub fn of_run(state: &Connection, JobId(job): JobId) -> Result<Vec<Occurrence>, StateError> {
    let mut select = state.prepare_cached(
        "SELECT account, pool, node, state, since FROM occurrence WHERE run = ?1
         ORDER BY account, pool, node, since, state",
    )?;
    let texts = select.query_map([job], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, String>(4)?])
    })?;
    texts
        .map(|texts| {
            let [account, pool, node, is, since] = texts?;
            Ok(Occurrence {
                node: NodeRef {
                    account: AccountName::new(account),
                    pool: PoolId::new(pool),
                    node: NodeId::new(node),
                },
                state: NodeState::from(is),
                since: if since == UNKNOWN { None } else { Some(stored_time(&since)?) },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::state::Store;
    use crate::testing::NOW;

    fn sighting(pool: &str, node: &str, since: Option<OffsetDateTime>) -> Sighting {
        let node = Node { state_since: since, ..Node::in_state(NodeId::new(node), NodeState::Unusable) };
        Sighting::of(&PoolId::new(pool), node).unwrap()
    }

    struct Bench {
        store: Store,
        snapshot: SnapshotName,
        account: AccountName,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("schedule.db"), None).unwrap();
            let (snapshot, account) = (SnapshotName::new("bad"), AccountName::new("contoso"));
            Self { store, snapshot, account, _dir: dir }
        }

        async fn look(&self, minute: i64, sightings: &[Sighting]) -> RoundResult {
            let round = Round {
                snapshot: &self.snapshot,
                account: &self.account,
                sightings,
                unread: &[],
                now: NOW + time::Duration::minutes(minute),
                quiet: Duration::from_secs(15 * 60),
                max_age: Duration::from_secs(24 * 3600),
            };
            let has_news = self.store.read(|state| has_news(state, &round)).await.unwrap();
            let taken = self.store.change(|state| take_in(state, &round)).await.unwrap();
            assert_eq!(has_news, taken != RoundResult::default());
            taken
        }

        async fn claim(&self) -> Option<CaptureClaim> {
            self.store.change(|state| claim(state, &self.snapshot, NOW)).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_node_is_the_same_in_every_spelling_of_its_ids() {
        let bench = Bench::new();
        let seen = RoundResult { seen: 1, ..RoundResult::default() };
        let later = Some(NOW + time::Duration::minutes(2));
        let held = RoundResult { held: 1, ..RoundResult::default() };

        assert_eq!(bench.look(0, &[sighting("Pool", "N1", Some(NOW))]).await, seen);
        let again = [sighting("pool", "n1", Some(NOW)), sighting("POOL", "N1", Some(NOW))];
        assert_eq!(bench.look(1, &again).await, RoundResult::default());
        assert_eq!(bench.claim().await.unwrap().occurrences, 1);
        assert_eq!(bench.look(2, &[sighting("Pool", "N1", later)]).await, held);
        assert_eq!(bench.look(3, &[sighting("pool", "n1", later)]).await, RoundResult::default());
        let released = RoundResult { released: 1, ..RoundResult::default() };
        assert_eq!(bench.look(15, &[sighting("pool", "n1", later)]).await, released);
    }

    #[tokio::test]
    async fn what_came_to_nothing_is_captured_again_when_the_quiet_time_is_over_and_the_node_is_still_so() {
        let bench = Bench::new();
        let both = [sighting("pool", "n1", Some(NOW)), sighting("pool", "n2", Some(NOW))];
        bench.look(0, &both).await;
        let first = bench.claim().await.unwrap();
        bench
            .store
            .change(|state| {
                runs::start_row(state, first.job, "machine", NOW)?;
                runs::close_row(state, first.job, runs::Status::Lost, "its machine is gone", NOW)?;
                release(state, first.job)
            })
            .await
            .unwrap();
        assert_eq!(bench.look(1, &both).await, RoundResult::default(), "it is held");
        assert_eq!(bench.claim().await, None);
        // One of them has recovered.
        let one = RoundResult { released: 1, damped: 1, ..RoundResult::default() };
        assert_eq!(bench.look(15, &both[..1]).await, one);
        let second = bench.claim().await.unwrap();
        assert!(second.is_new && second.occurrences == 1 && second.job != first.job);
    }

    #[tokio::test]
    async fn a_node_of_which_no_time_is_told_is_captured_once() {
        let bench = Bench::new();
        let node = [sighting("pool", "n1", None)];

        assert_eq!(bench.look(0, &node).await.seen, 1);
        let claim = bench.claim().await.unwrap();
        assert_eq!(bench.look(100, &node).await, RoundResult::default());
        assert_eq!(bench.claim().await, None);

        let occurrences = bench.store.read(|state| of_run(state, claim.job)).await.unwrap();
        assert_eq!(occurrences.len(), 1);
        assert_eq!(occurrences[0].node.to_string(), "contoso/pool/n1");
        assert_eq!(occurrences[0].since, None);
    }
}
