//! A second look at the nodes that were asked: whether each is still the node that was planned.
//!
//! A node can be re-imaged, rebooted or replaced under the same id between the list and its upload; its logs are then
//! not those of the incident. So the pools are listed once more, a thousand nodes a call, when every call is answered;
//! the files may still be on their way then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleetlogs_model::event::{Event, EventSink, NodeIdentity, Recorded};
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId};
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::plan::PlannedNode;
use fleetlogs_model::service::{BatchService, Node, PageLink};

use futures::StreamExt;

use crate::run::Run;
use crate::stop::Stop;

/// Pools that are listed side by side.
const POOLS_AT_ONCE: usize = 8;

/// How long all of it may take: the files are what the run is for.
const LONGEST: Duration = Duration::from_secs(120);

/// More pages than this are not read: an account that lists for ever must not keep the run from its end.
const MOST_PAGES: usize = 2_000;

/// Looks at `taken`, the nodes that accepted a call, and puts on record those that are no longer what they were. A pool
/// that cannot be listed is left out: the run has its files already.
pub async fn look_again<B: BatchService>(run: &Run, services: &[Option<Arc<B>>], taken: &[NodeIndex]) {
    let mut pools: HashMap<(&AccountName, &PoolId), HashMap<String, NodeIndex>> = HashMap::new();
    for index in taken {
        let node = run.plan.node(*index);
        let of_pool = pools.entry((&node.account, &node.pool)).or_default();
        of_pool.insert(node.node.as_str().to_ascii_lowercase(), *index);
    }
    let look = |((account, pool), nodes)| async move {
        let service = run.plan.account_index(account).and_then(|at| services.get(at.get())?.as_ref());
        let Some(service) = service else { return };
        if !compare(run, &**service, pool, nodes).await {
            tracing::warn!(%account, %pool, "whether its nodes are still the same is not known: they cannot be listed again");
        }
    };
    tokio::select! {
        () = futures::stream::iter(pools).for_each_concurrent(POOLS_AT_ONCE, look) => {}
        () = run.stop.reached(Stop::Drain) => {}
        () = tokio::time::sleep(LONGEST) => {
            tracing::warn!("whether all nodes are still the same is not known: listing them again takes too long");
        }
    }
}

/// The nodes that accepted a call, as the run goes on.
#[derive(Clone, Default)]
pub struct Taken(Arc<Mutex<Vec<NodeIndex>>>);

impl Taken {
    /// Begins with those that an earlier process had.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let has_directory = |status| {
            matches!(
                status,
                NodeStatus::Accepted | NodeStatus::Verified | NodeStatus::Incomplete | NodeStatus::Empty
            )
        };
        let nodes = (0..u32::try_from(ledger.outcomes().total()).unwrap_or(u32::MAX)).map(NodeIndex);
        Self(Arc::new(Mutex::new(nodes.filter(|node| has_directory(ledger.status(*node))).collect())))
    }

    /// Those known by now.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeIndex> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for Taken {
    fn hear(&mut self, events: &[Recorded], _: &Ledger) {
        let taken = events.iter().filter(|recorded| {
            matches!(recorded.event, Event::UploadAccepted { .. } | Event::UploadAdopted { .. })
        });
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(taken.filter_map(|recorded| recorded.node));
    }
}

/// Reads the pool's nodes page by page. False if it could not be read to its end.
async fn compare<B: BatchService>(
    run: &Run,
    service: &B,
    pool: &PoolId,
    mut nodes: HashMap<String, NodeIndex>,
) -> bool {
    let mut page: Option<PageLink> = None;
    for _ in 0..MOST_PAGES {
        let Ok(read) = service.list_nodes(pool, page.as_ref()).await else { return false };
        for node in read.items {
            let Some(index) = nodes.remove(&key(&node.id)) else { continue };
            let planned = run.plan.node(index);
            if is_another(planned, &node) {
                let now = NodeIdentity {
                    state: node.state,
                    allocation_time: node.allocation_time,
                    last_boot_time: node.last_boot_time,
                };
                if run.log.note(Some(index), Event::IdentityChanged { now: Some(now) }).is_err() {
                    return true;
                }
            }
        }
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    if page.is_some() {
        return false;
    }
    for index in nodes.into_values() {
        if run.log.note(Some(index), Event::IdentityChanged { now: None }).is_err() {
            break;
        }
    }
    true
}

fn key(node: &NodeId) -> String {
    node.as_str().to_ascii_lowercase()
}

/// Whether a node of the same id was allocated or booted anew. What the service does not say does not count.
fn is_another(planned: &PlannedNode, now: &Node) -> bool {
    let differs = |then: Option<time::OffsetDateTime>, now: Option<time::OffsetDateTime>| {
        then.zip(now).is_some_and(|(then, now)| then != now)
    };
    differs(planned.allocation_time, now.allocation_time)
        || differs(planned.last_boot_time, now.last_boot_time)
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::failure::{Failure, FailureClass};
    use fleetlogs_model::service::{Accepted, Page, Pool, UploadOrder};

    use super::*;
    use crate::clock::Clock;
    use crate::event_log::{EventLog, Heard};
    use crate::run::UploadSlots;
    use crate::stop::StopHandle;
    use crate::testing::{NOW, VolatileJournal, plan_of};

    /// A pool as it is now; fails where there is none, and does not answer where it is empty.
    struct Now(Option<Vec<Node>>);

    impl BatchService for Now {
        async fn list_pools(&self, _: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
            unreachable!("only nodes are listed")
        }

        async fn list_nodes(&self, _: &PoolId, page: Option<&PageLink>) -> Result<Page<Node>, Failure> {
            let all = self.0.clone().ok_or_else(|| Failure::new(FailureClass::Transient, "down"))?;
            if all.is_empty() {
                std::future::pending::<()>().await;
            }
            // One a page, to see that pages are followed.
            let at: usize = page.map_or(0, |link| link.0.parse().unwrap());
            let next = (at + 1 < all.len()).then(|| PageLink((at + 1).to_string()));
            Ok(Page { items: all[at..=at].to_vec(), next })
        }

        async fn get_node(&self, _: &PoolId, _: &NodeId) -> Result<Node, Failure> {
            unreachable!("only nodes are listed")
        }

        async fn upload_logs(
            &self,
            _: &PoolId,
            _: &NodeId,
            _: &UploadOrder,
            _: uuid::Uuid,
            _: Duration,
        ) -> Result<Accepted, Failure> {
            unreachable!("no call is sent")
        }
    }

    async fn changes(now: Option<Vec<Node>>) -> Vec<(u32, Option<NodeIdentity>)> {
        let mut plan = plan_of(4);
        for node in &mut plan.nodes {
            node.allocation_time = Some(NOW - time::Duration::days(1));
            node.last_boot_time = Some(NOW - time::Duration::hours(1));
        }
        let heard = Heard::default();
        let clock = Clock::Since(NOW, tokio::time::Instant::now());
        let stop = StopHandle::default();
        let listeners: Vec<Box<dyn EventSink>> = vec![Box::new(heard.clone())];
        let log =
            EventLog::inline(Box::new(VolatileJournal), Ledger::new(&plan), listeners, clock, stop.clone());
        let run = Run { plan: Arc::new(plan), log, stop, clock, slots: UploadSlots::new(None) };
        look_again(&run, &[Some(Arc::new(Now(now)))], &[0, 1, 2, 3].map(NodeIndex)).await;
        let change = |recorded: Recorded| match recorded.event {
            Event::IdentityChanged { now } => (recorded.node.unwrap().0, now),
            other => panic!("{other:?}"),
        };
        let mut changes: Vec<_> = heard.events().into_iter().map(change).collect();
        changes.sort_by_key(|(node, _)| *node);
        changes
    }

    fn node(id: &str, booted_hours_ago: i64) -> Node {
        Node {
            allocation_time: Some(NOW - time::Duration::days(1)),
            last_boot_time: Some(NOW - time::Duration::hours(booted_hours_ago)),
            ..Node::bare(NodeId::new(id))
        }
    }

    #[tokio::test]
    async fn nodes_that_booted_anew_or_are_gone_are_put_on_record_and_no_others() {
        let mut silent = node("n2", 1);
        silent.last_boot_time = None;
        let found = changes(Some(vec![node("n0", 1), node("N1", 0), silent, node("other", 0)])).await;
        assert_eq!(found.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(found[0].1.as_ref().unwrap().last_boot_time, Some(NOW));
        assert_eq!(found[1].1, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_does_not_come_keeps_no_run_from_its_end() {
        let started = tokio::time::Instant::now();
        assert_eq!(changes(Some(vec![])).await, []);
        assert_eq!(started.elapsed(), LONGEST);
    }

    #[tokio::test]
    async fn a_pool_that_cannot_be_listed_says_nothing_of_its_nodes() {
        assert_eq!(changes(None).await, []);
    }
}
