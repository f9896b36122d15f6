//! The watcher: looks for nodes that enter a state, and puts runs that capture them into the queue.
//!
//! Each account is looked at on its own, so that one that is slow or fails holds up no other. What a look brings goes to
//! [`occurrences`], where it is decided what is new; once nodes were gathered for long enough, they are claimed. Nothing
//! is in memory only: the watcher may be dropped at any moment and started anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::home::HomeError;
use fleetlogs_model::ids::{AccountName, PoolId, SnapshotName};
use fleetlogs_model::retry::{RetryPolicy, persistently};
use fleetlogs_model::service::{BatchService, Node, NodeState, Page, PageLink, Pool};
use futures::StreamExt as _;
use futures::future::Either;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::state::occurrences::{self, Round, Sighting};
use super::state::{StateError, Store};
use crate::clock::Clock;
use crate::pace::Pacer;
use crate::plan::reader::MOST_PAGES;
use crate::select::{NodeFilter, Selection};

/// List calls that wait for an answer at the same time, over all accounts.
const CALLS_AT_ONCE: usize = 32;

/// How a page is tried again within a look.
const RETRY: RetryPolicy =
    RetryPolicy { attempts: 3, base_delay: Duration::from_secs(2), max_delay: Duration::from_secs(60) };

/// An account that fails is looked at no less often than this, where `every` is not longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// The state is looked at no less often than this: the clock of this machine may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Nodes of which states are captured, for one snapshot.
#[derive(Clone, Debug)]
pub struct WatchRule {
    /// The snapshot whose runs capture them.
    pub snapshot: SnapshotName,
    /// The states.
    pub states: Vec<NodeState>,
    /// Between the beginnings of two looks at an account.
    pub every: Duration,
    /// How long nodes are gathered into one run, from the first that was seen.
    pub gather: Duration,
    /// How long after a capture of a node no other of the same state begins; zero for never.
    pub quiet: Duration,
    /// Nodes that were in the state for longer when they are first seen are left alone.
    pub max_age: Duration,
    /// Which pools and nodes of which accounts. Their states, samples and jobs do not count here.
    pub selections: Vec<(AccountName, Selection)>,
}

/// Everything that is watched.
#[derive(Debug)]
pub struct Watch<B> {
    /// Accounts by name, each with what it is asked through.
    pub accounts: Vec<(AccountName, Arc<B>)>,
    /// What is watched for.
    pub rules: Vec<WatchRule>,
    /// Where it is put on record.
    pub store: Store,
    /// Tells the time.
    pub clock: Clock,
    /// List calls per second and account, at most.
    pub poll_rate: f64,
    /// Counts what happens.
    pub counters: Arc<WatchCounters>,
    /// For the pace of calls.
    pub random: fastrand::Rng,
}

/// What the watcher did since its start, for metrics.
#[derive(Debug, Default)]
pub struct WatchCounters {
    /// Looks at an account for a snapshot, good and bad.
    pub rounds: AtomicU64,
    /// List calls.
    pub list_calls: AtomicU64,
    /// List calls that failed.
    pub failures: AtomicU64,
    /// Occurrences that were too old to be captured.
    pub old: AtomicU64,
    /// Occurrences that were held and then damped.
    pub damped: AtomicU64,
    /// Occurrences that were claimed by a run.
    pub claimed: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Watches for ever. Returns only when another machine owns the state. An account that a rule names and that is not there is
/// not watched.
///
/// Cancel safety: may be dropped at any time.
pub async fn watch<B: BatchService>(watch: Watch<B>) -> StateError {
    let Watch { accounts, rules, store, clock, poll_rate, counters, mut random } = watch;
    let permits = Semaphore::new(CALLS_AT_ONCE);
    let accounts: Vec<_> = accounts
        .into_iter()
        .map(|(name, service)| (name, service, Pacer::new(Some(poll_rate), random.fork())))
        .collect();
    let news: Vec<_> = rules.iter().map(|_| Notify::new()).collect();
    let mut all = FuturesUnordered::new();
    for (rule, news) in rules.iter().zip(&news) {
        let shared = RuleWatch { rule, news, store: &store, clock, counters: &counters };
        all.push(Either::Left(shared.gather()));
        for (account, selection) in &rule.selections {
            let Some((name, service, pacer)) = accounts.iter().find(|(name, ..)| name == account) else {
                continue;
            };
            let nodes = NodeFilter { states: Some(rule.states.clone()), ..selection.nodes.clone() };
            let selection = Selection { nodes, ..selection.clone() };
            let lookout = Lookout { shared, name, service: &**service, pacer, permits: &permits, selection };
            all.push(Either::Right(lookout.go()));
        }
    }
    match all.next().await {
        Some(error) => error,
        None => std::future::pending().await,
    }
}

/// What all accounts that are watched for a snapshot have in common.
#[derive(Clone, Copy)]
struct RuleWatch<'a> {
    rule: &'a WatchRule,
    /// Something waits to be claimed.
    news: &'a Notify,
    store: &'a Store,
    clock: Clock,
    counters: &'a WatchCounters,
}

impl RuleWatch<'_> {
    /// Claims what was gathered for long enough.
    async fn gather(self) -> StateError {
        let mut trouble = Trouble::default();
        loop {
            let wait = match self.claim_what_is_due().await {
                Ok(wait) => {
                    trouble.ends();
                    wait
                }
                Err(error) if is_lost(&error) => return error,
                Err(error) => {
                    if trouble.begins() {
                        let snapshot = &self.rule.snapshot;
                        tracing::warn!(%snapshot, %error, "a capture cannot be put on record; trying again");
                    }
                    LONGEST_WAIT
                }
            };
            let _ = timeout(wait, self.news.notified()).await;
        }
    }

    /// Returns when to come again, unless there is news before.
    async fn claim_what_is_due(&self) -> Result<Duration, StateError> {
        let Self { rule: WatchRule { snapshot, gather, .. }, store, counters, .. } = self;
        let first = store.read(|state| occurrences::waiting_since(state, snapshot)).await?;
        let Some(first) = first else { return Ok(LONGEST_WAIT) };
        let now = self.clock.now();
        let due = first + *gather;
        // A first one from the future was seen before the clock was set back: it waits no longer.
        if (first..due).contains(&now) {
            return Ok((due - now).unsigned_abs().min(LONGEST_WAIT));
        }
        let claim = store.change(|state| occurrences::claim(state, snapshot, now)).await?;
        if let Some(claim) = claim {
            add(&counters.claimed, claim.occurrences);
            let (occurrences, job) = (claim.occurrences, claim.job.0);
            tracing::info!(%snapshot, occurrences, job, "nodes entered a state that is watched for");
        }
        Ok(LONGEST_WAIT)
    }
}

fn is_lost(error: &StateError) -> bool {
    matches!(error, StateError::Home(HomeError::Lost | HomeError::Held))
}

/// Whether something fails, so that it is told once and not each time.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    /// Whether it is new.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }

    /// Whether there was any.
    fn ends(&mut self) -> bool {
        std::mem::take(&mut self.0)
    }
}

/// Looks at one account for one snapshot.
struct Lookout<'a, B> {
    shared: RuleWatch<'a>,
    name: &'a AccountName,
    service: &'a B,
    pacer: &'a Pacer,
    permits: &'a Semaphore,
    selection: Selection,
}

/// What a look at an account brought.
#[derive(Default)]
struct LookResult {
    sightings: Vec<Sighting>,
    unread: Vec<PoolId>,
    /// The first, of the account or of one of its pools.
    failure: Option<Failure>,
    /// Whether the account is left alone for longer than usual: it does not answer, or refuses everything.
    back_off: bool,
    /// How long calls waited for their turn.
    waited: Mutex<Duration>,
}

impl<B: BatchService> Lookout<'_, B> {
    async fn go(self) -> StateError {
        let (mut trouble, mut failures, mut is_slow) = (Trouble::default(), 0_u32, false);
        let every = self.shared.rule.every;
        loop {
            let started = Instant::now();
            let mut found = LookResult::default();
            let listed = self.look(&mut found).await;
            let taken = match listed {
                Ok(()) => self.take_in(&found).await,
                Err(failure) => {
                    found.failure = Some(failure);
                    found.back_off = true;
                    Ok(())
                }
            };
            match taken {
                Err(error) if is_lost(&error) => return error,
                taken => self.tell(&mut trouble, found.failure.as_ref(), taken.err()),
            }
            let took = started.elapsed();
            if took > every && took.saturating_sub(*found.waited.lock()) <= every && !is_slow {
                is_slow = true;
                let (account, snapshot) = (self.name, &self.shared.rule.snapshot);
                tracing::warn!(
                    %account, %snapshot,
                    "a look takes {} s at this `poll_rate`, which is longer than `every`", took.as_secs()
                );
            }
            failures = if found.back_off { failures.saturating_add(1) } else { 0 };
            let pause = every.saturating_mul(1 << failures.saturating_sub(1).min(16));
            let asked = found.failure.and_then(|failure| failure.retry_after()).unwrap_or_default();
            let next = started + pause.min(LONGEST_BACKOFF.max(every));
            sleep_until(next.max(Instant::now() + asked.min(LONGEST_BACKOFF))).await;
        }
    }

    /// The state of an account is told when it changes, and not each time.
    fn tell(&self, trouble: &mut Trouble, failure: Option<&Failure>, error: Option<StateError>) {
        let RuleWatch { rule: WatchRule { snapshot, .. }, counters, .. } = self.shared;
        let account = self.name;
        add(&counters.rounds, 1);
        match (failure, error) {
            (Some(failure), _) if trouble.begins() => {
                tracing::warn!(%account, %snapshot, %failure, "nodes cannot be watched; trying again");
            }
            (None, Some(error)) if trouble.begins() => {
                tracing::warn!(%account, %snapshot, %error, "what was seen cannot be put on record; trying again");
            }
            (None, None) if trouble.ends() => {
                tracing::info!(%account, %snapshot, "nodes are watched again");
            }
            _ => {}
        }
    }

    async fn take_in(&self, found: &LookResult) -> Result<(), StateError> {
        let RuleWatch { rule, news, store, clock, counters } = self.shared;
        let round = Round {
            snapshot: &rule.snapshot,
            account: self.name,
            sightings: &found.sightings,
            unread: &found.unread,
            now: clock.now(),
            quiet: rule.quiet,
            max_age: rule.max_age,
        };
        if !store.read(|state| occurrences::has_news(state, &round)).await? {
            return Ok(());
        }
        let taken = store.change(|state| occurrences::take_in(state, &round)).await?;
        add(&counters.old, taken.old);
        add(&counters.damped, taken.damped);
        if taken.seen + taken.released > 0 {
            news.notify_one();
        }
        Ok(())
    }

    /// Lists the pools that are wanted, and their nodes that are in one of the states. Fails only where nothing is known.
    async fn look(&self, found: &mut LookResult) -> Result<(), Failure> {
        let (service, states) = (self.service, &self.shared.rule.states);
        let mut pools = Vec::new();
        let list = |page: Option<PageLink>| async move { service.list_pools(page.as_ref()).await };
        let wanted = |pool: Pool| {
            if self.selection.pools.wants(&pool) {
                pools.push(pool.id);
            }
        };
        self.each(&found.waited, list, wanted).await?;
        let mut rest = pools.into_iter();
        while let Some(pool) = rest.next() {
            let mut sightings = Vec::new();
            let id = &pool;
            let list = |page: Option<PageLink>| async move {
                service.list_nodes_in(id, states, page.as_ref()).await
            };
            let sight = |node: Node| {
                if self.selection.nodes.unwanted(&node, self.shared.clock.now()).is_none() {
                    sightings.extend(Sighting::of(id, node));
                }
            };
            match self.each(&found.waited, list, sight).await {
                Ok(()) => found.sightings.append(&mut sightings),
                Err(failure) if failure.class == FailureClass::Gone => {}
                Err(failure) => {
                    found.back_off = is_of_account(&failure);
                    found.failure.get_or_insert(failure);
                    found.unread.push(pool);
                    if found.back_off {
                        found.unread.extend(rest);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a list to its end. Of a list that is filtered, many pages in a row may be empty.
    async fn each<T, F>(
        &self,
        waited: &Mutex<Duration>,
        list: impl Fn(Option<PageLink>) -> F,
        mut item: impl FnMut(T),
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut next = None;
        let mut seen = HashSet::new();
        loop {
            let page = self.page(waited, || list(next.clone())).await?;
            page.items.into_iter().for_each(&mut item);
            let Some(link) = page.next else { return Ok(()) };
            if seen.len() >= MOST_PAGES as usize || !seen.insert(link.clone()) {
                let message = "the service's list goes in a circle: a page links to one already read";
                return Err(Failure::new(FailureClass::Refused, message));
            }
            next = Some(link);
        }
    }

    async fn page<T, F>(&self, waited: &Mutex<Duration>, list: impl Fn() -> F) -> Result<Page<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let counters = self.shared.counters;
        let call = || async {
            let from = Instant::now();
            self.pacer.turn().await;
            *waited.lock() += from.elapsed();
            let permit = self.permits.acquire().await;
            add(&counters.list_calls, 1);
            let sent_at = Instant::now();
            let answer = list().await;
            drop(permit);
            match &answer {
                Ok(_) => self.pacer.answered_well(sent_at.elapsed()),
                Err(failure) => {
                    add(&counters.failures, 1);
                    if failure.class == FailureClass::Throttled {
                        self.pacer.throttled(sent_at, failure.retry_after());
                    }
                }
            }
            answer
        };
        // Nothing else calls the account at this pace, so there is nothing to get out of step with: no jitter.
        persistently(call, |attempt, failure| RETRY.pause(attempt, failure, 1.0), sleep).await
    }
}

/// Whether a failure of one pool is one of all its account.
fn is_of_account(failure: &Failure) -> bool {
    match failure.class {
        FailureClass::Auth | FailureClass::NotSent => true,
        FailureClass::Transient => failure.status.is_none(),
        FailureClass::Throttled
        | FailureClass::Wait
        | FailureClass::WaitBriefly
        | FailureClass::Gone
        | FailureClass::Config
        | FailureClass::InDoubt
        | FailureClass::Refused => false,
    }
}

#[cfg(test)]
mod tests;
