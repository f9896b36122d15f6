//! Keeps the order of a long run up to date: the lists are read again from time to time, and the nodes not called yet
//! are put in the order that the plan would give them now.
//!
//! The plan itself stays as it is. Nodes that appeared since are reported, not called.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fleetlogs_model::event::Event;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{NodeId, NodeIndex, PoolId};
use fleetlogs_model::planned::Priority;
use fleetlogs_model::retry::{CallError, persistently};
use fleetlogs_model::service::{BatchService, LogStore, Page, PageLink, Pool};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::AccountRun;
use crate::event_log::NotRecorded;
use crate::plan::priority;
use crate::roster::Roster;

/// Shortest time between two pages. They are also read no faster than a tenth of the pace of the uploads. Each takes a turn
/// of the pace before all uploads that wait for theirs, which may be minutes' worth.
const PAGE_EVERY: Duration = Duration::from_secs(1);

/// Uploads for each page that is read.
const UPLOADS_PER_PAGE: f64 = 10.0;

/// Pages in one round, at most: a list without an end must not be read forever.
const MOST_PAGES: u32 = 1_000;

/// Nodes that appeared after the plan was made and are already reported.
type Reported = HashSet<(PoolId, NodeId)>;

impl<B: BatchService, S: LogStore> AccountRun<B, S> {
    /// Reads the lists every so often while nodes wait for their first call. Never fails: a list that cannot be read
    /// leaves the order as it is.
    pub(super) async fn follow_order(&self, every: Duration) {
        let mut reported = Reported::default();
        let mut urgency = HashMap::new();
        loop {
            sleep(every).await;
            if self.queue.waiting().is_empty() || self.follow_once(&mut urgency, &mut reported).await.is_err()
            {
                return;
            }
        }
    }

    /// Reads the lists once. What they say counts as soon as it is read: a round over many pools takes long.
    async fn follow_once(
        &self,
        urgency: &mut HashMap<NodeIndex, Priority>,
        reported: &mut Reported,
    ) -> Result<(), NotRecorded> {
        let pages = Pages { account: self, last: Mutex::default(), read: AtomicU32::new(0) };
        let mut wanted: HashSet<&PoolId> =
            self.queue.waiting().iter().map(|node| self.run.plan.node(*node).pool()).collect();
        let mut pools = Vec::new();
        let listed = pages
            .each(
                |page| async move { self.service.list_pools(page.as_ref()).await },
                |pool: Pool| {
                    if wanted.remove(&pool.id) {
                        pools.push(pool);
                    }
                },
            )
            .await?;
        if let Err(failure) = listed {
            self.not_followed(None, &failure);
            return Ok(());
        }
        let losing: HashSet<&PoolId> =
            pools.iter().filter(|pool| pool.deleting || pool.shrinking).map(|pool| &pool.id).collect();
        for node in self.queue.waiting() {
            let planned = self.run.plan.node(node);
            // A pool that is gone has nothing to collect; its calls will say so.
            if wanted.contains(planned.pool()) {
                urgency.insert(node, Priority::OutOfReach);
            } else if losing.contains(planned.pool()) {
                let known = urgency.entry(node).or_insert(planned.priority);
                *known = Priority::PoolShrinking.min(*known);
            }
        }
        self.reorder(urgency)?;
        // Pools whose nodes are about to vanish come first.
        pools.sort_by_key(|pool| !(pool.deleting || pool.shrinking));
        for pool in &pools {
            let waiting = self.queue.waiting();
            let first = waiting.iter().find(|node| *self.run.plan.node(**node).pool() == pool.id);
            let Some(first) = first else { continue };
            let mut roster = Roster::of(&self.run.plan, self.run.plan.node(*first).place, self.nodes.clone());
            let id = &pool.id;
            let listed = pages
                .each(
                    |page| async move { self.service.list_nodes(id, page.as_ref()).await },
                    |node| {
                        if let Some(index) = roster.see(&node.id) {
                            urgency.insert(index, priority(pool, &node));
                        }
                    },
                )
                .await?;
            match listed {
                Ok(()) => {}
                Err(failure) if failure.class == FailureClass::Gone => continue,
                Err(failure) => {
                    self.not_followed(Some(id), &failure);
                    continue;
                }
            }
            for node in roster.missing() {
                urgency.insert(node, Priority::OutOfReach);
            }
            self.reorder(urgency)?;
            self.report(pool.id.clone(), roster.into_appeared(), reported)?;
        }
        Ok(())
    }

    fn not_followed(&self, pool: Option<&PoolId>, failure: &Failure) {
        let account = &self.run.plan.accounts[self.index.get()].name;
        let pool = pool.map(tracing::field::display);
        tracing::warn!(%account, pool, %failure, "a list cannot be read again; the order of calls stays as it is");
    }

    /// Sorts the nodes not called yet by how urgent they are now, and records how many moved.
    fn reorder(&self, now: &HashMap<NodeIndex, Priority>) -> Result<(), NotRecorded> {
        let planned = |node: NodeIndex| self.run.plan.node(node).priority;
        let moved = self.queue.sort_waiting(|node| now.get(&node).copied().unwrap_or_else(|| planned(node)));
        if !moved {
            return Ok(());
        }
        let waiting = self.queue.waiting();
        let count = |is: fn(&Priority, &Priority) -> bool| {
            let nodes =
                waiting.iter().filter(|node| now.get(node).is_some_and(|now| is(now, &planned(**node))));
            u32::try_from(nodes.count()).unwrap_or(u32::MAX)
        };
        let (raised, lowered) = (count(Priority::lt), count(Priority::gt));
        let account = self.run.plan.accounts[self.index.get()].name.clone();
        self.run.log.note(None, Event::OrderFollowed { account, raised, lowered })
    }

    fn report(
        &self,
        pool: PoolId,
        mut nodes: Vec<NodeId>,
        reported: &mut Reported,
    ) -> Result<(), NotRecorded> {
        nodes.retain(|node| reported.insert((pool.clone(), node.clone())));
        if nodes.is_empty() {
            return Ok(());
        }
        let account = self.run.plan.accounts[self.index.get()].name.clone();
        self.run.log.note(None, Event::NodesAppeared { account, pool, nodes })
    }
}

/// Reads pages at a low rate.
struct Pages<'run, B, S> {
    account: &'run AccountRun<B, S>,
    last: Mutex<Option<Instant>>,
    read: AtomicU32,
}

impl<B: BatchService, S: LogStore> Pages<'_, B, S> {
    async fn each<T, F>(
        &self,
        list: impl Fn(Option<PageLink>) -> F,
        mut item: impl FnMut(T),
    ) -> Result<Result<(), Failure>, NotRecorded>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut next: Option<PageLink> = None;
        loop {
            let page = match self.page(&list, next).await {
                Ok(page) => page,
                Err(PageError::Failed(failure)) => return Ok(Err(failure)),
                Err(PageError::NotRecorded) => return Err(NotRecorded),
            };
            page.items.into_iter().for_each(&mut item);
            match page.next {
                Some(link) => next = Some(link),
                None => return Ok(Ok(())),
            }
        }
    }

    async fn page<T, F>(
        &self,
        list: &impl Fn(Option<PageLink>) -> F,
        link: Option<PageLink>,
    ) -> Result<Page<T>, PageError>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let account = self.account;
        let call = || async {
            self.turn().await?;
            let sent_at = Instant::now();
            *self.last.lock() = Some(sent_at);
            let answer = list(link.clone()).await;
            if let Err(failure) = &answer
                && failure.class == FailureClass::Throttled
            {
                account.slow_down(failure, sent_at)?;
            }
            answer.map_err(PageError::Failed)
        };
        let pause = |attempt, failure: &Failure| {
            // An account that cannot be reached has worse troubles than its order; the next round reads the lists
            // again.
            let is_reached = failure.class != FailureClass::NotSent;
            is_reached.then(|| account.how.retry.pause(attempt, failure, account.random())).flatten()
        };
        persistently(call, pause, sleep).await
    }

    /// Waits until another page may be read.
    async fn turn(&self) -> Result<(), PageError> {
        let pacer = &self.account.pacer;
        let last = *self.last.lock();
        if let Some(last) = last {
            let pace =
                pacer.rate().map_or(Duration::ZERO, |rate| Duration::from_secs_f64(UPLOADS_PER_PAGE / rate));
            tokio::time::sleep_until(last + pace.max(PAGE_EVERY)).await;
        }
        pacer.turn_ahead().await;
        // The call before may have left after its turn, and this one must not follow it too closely.
        pacer.gate().await;
        if self.read.fetch_add(1, Ordering::Relaxed) >= MOST_PAGES {
            let message = "the lists have too many pages";
            return Err(PageError::Failed(Failure::new(FailureClass::Config, message)));
        }
        Ok(())
    }
}

/// Why a page was not read.
enum PageError {
    Failed(Failure),
    /// That the account throttles could not be recorded.
    NotRecorded,
}

impl From<NotRecorded> for PageError {
    fn from(_: NotRecorded) -> Self {
        Self::NotRecorded
    }
}

impl CallError for PageError {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::NotRecorded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::event::Recorded;
    use fleetlogs_model::service::{Node, NodeState};

    use super::*;
    use crate::testing::{Bench, End, ScriptedAccount};

    /// 300 nodes at one call a second, lists read every minute.
    fn long_run() -> Bench {
        let account = ScriptedAccount::new("contoso");
        let node = |number| Node::in_state(NodeId::new(format!("n{number}")), NodeState::Idle);
        *account.nodes.lock() = (0..300).map(node).collect();
        *account.pool.lock() = Some(Pool::bare(PoolId::new("Pool")));
        let mut bench = Bench::over([(account, 300)]);
        bench.limits.rate = Some(1.0);
        bench.limits.relist = Some(Duration::from_secs(60));
        bench
    }

    /// From 30 s on the list is `later`.
    async fn followed(later: impl FnOnce(&mut Option<Pool>, &mut Vec<Node>) + Send + 'static) -> End {
        let bench = long_run();
        let account = bench.account(0);
        tokio::spawn(async move {
            sleep(Duration::from_secs(30)).await;
            later(&mut account.pool.lock(), &mut account.nodes.lock());
        });
        bench.execute().await
    }

    fn events(end: &End) -> Vec<Event> {
        let is_of_lists =
            |event: &Event| matches!(event, Event::OrderFollowed { .. } | Event::NodesAppeared { .. });
        end.heard.iter().map(|recorded| recorded.event.clone()).filter(is_of_lists).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_about_to_vanish_are_called_next_and_those_that_are_gone_last() {
        let end = followed(|_, nodes| {
            nodes[200].facts.state = Some(NodeState::LeavingPool);
            nodes[250].facts.dedicated = Some(false);
            nodes.remove(100);
        })
        .await;
        let called = end.account(0).called.lock().clone();
        let place = |id: &str| called.iter().position(|node| node == id).unwrap();
        assert!((75..105).contains(&place("n200")), "{}", place("n200"));
        assert_eq!(place("n250"), place("n200") + 1);
        assert_eq!(place("n100"), 299);
        let account = end.plan_account(0);
        assert_eq!(events(&end)[0], Event::OrderFollowed { account, raised: 2, lowered: 1 });
        assert_eq!(events(&end).len(), 1, "an order that stays is not told again");
        assert_eq!(end.ledger_counts().total(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_appears_is_reported_once_and_not_called() {
        let end = followed(|_, nodes| nodes.push(Node::bare(NodeId::new("n999")))).await;
        let (account, pool) = (end.plan_account(0), PoolId::new("Pool"));
        assert_eq!(events(&end), [Event::NodesAppeared { account, pool, nodes: vec![NodeId::new("n999")] }]);
        assert!(!end.account(0).called.lock().contains(&"n999".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_true_of_all_nodes_moves_none() {
        let end = followed(|pool, _| pool.as_mut().unwrap().shrinking = true).await;
        assert_eq!(events(&end), []);
        let end = followed(|pool, _| *pool = None).await;
        assert_eq!(events(&end), []);
    }

    /// A hundred of the nodes are in a pool that loses nodes, which the list of pools says.
    fn run_with_a_shrinking_pool() -> Bench {
        let mut bench = long_run();
        bench.in_other_pool = 100;
        let other = Pool { shrinking: true, ..Pool::bare(PoolId::new("Other")) };
        *bench.account(0).other_pool.lock() = Some(other);
        bench
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_shrinks_is_called_next_even_if_its_nodes_cannot_be_listed() {
        let bench = run_with_a_shrinking_pool();
        *bench.account(0).refuses_nodes.lock() = Some(Failure::new(FailureClass::Refused, "scripted"));
        let end = bench.execute().await;
        let called = end.account(0).called.lock().clone();
        let places = called.iter().enumerate().filter(|(_, node)| node[1..].parse::<u32>().unwrap() >= 200);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        assert!(places[0] < 105 && places[99] == places[0] + 99, "{places:?}");
        let account = end.plan_account(0);
        assert_eq!(events(&end), [Event::OrderFollowed { account, raised: 100, lowered: 0 }]);
        let asked = end.account(0).listed_pools.lock().clone();
        assert_eq!(asked[..2], ["Other", "Pool"], "one list that cannot be read does not end the round");
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_of_a_pool_that_shrinks_is_read_before_the_others() {
        let end = run_with_a_shrinking_pool().execute().await;
        assert_eq!(end.account(0).listed_pools.lock()[..4], ["Other", "Other", "Pool", "Pool"]);
    }

    /// The first list call of a run fails; the list has one node about to vanish. Between that call and the next.
    async fn until_the_list_is_read_again(class: FailureClass) -> (Duration, End) {
        let bench = long_run();
        let account = bench.account(0);
        account.refuses_lists.lock().push(Failure::new(class, "scripted"));
        account.nodes.lock()[299].facts.state = Some(NodeState::LeavingPool);
        let end = bench.execute().await;
        let listed = end.account(0).listed.lock().clone();
        (listed[1] - listed[0], end)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_for_a_moment_is_read_again_and_followed() {
        let (after, end) = until_the_list_is_read_again(FailureClass::Transient).await;
        assert!(after < Duration::from_secs(30), "{after:?}");
        let place = end.account(0).called.lock().iter().position(|node| node == "n299").unwrap();
        assert!(place < 120, "{place}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_cannot_be_reached_is_listed_again_in_the_next_round_only() {
        let (after, _) = until_the_list_is_read_again(FailureClass::NotSent).await;
        assert!(after >= Duration::from_secs(60), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_call_that_is_throttled_slows_the_account_down_and_another_failure_does_not() {
        for (class, slows) in [(FailureClass::Throttled, true), (FailureClass::Transient, false)] {
            let (_, end) = until_the_list_is_read_again(class).await;
            let slower = |heard: &Recorded| matches!(heard.event, Event::AccountThrottled { .. });
            assert_eq!(end.heard.iter().any(slower), slows, "{class:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lists_are_read_at_a_low_rate() {
        let end = followed(|_, _| {}).await;
        let listed = end.account(0).listed.lock().clone();
        // A round is three pages, ten seconds apart at one upload a second; five minutes of calls have three rounds.
        assert!((9..=12).contains(&listed.len()), "{}", listed.len());
        for pair in listed.windows(2) {
            assert!(pair[1] - pair[0] >= 10 * PAGE_EVERY, "{:?}", pair[1] - pair[0]);
        }
        assert_eq!(events(&end), []);
    }
}
