//! The watcher: looks for nodes that enter a watched state, and queues runs that capture them.
//!
//! Each account is watched on its own, so that a slow or failing one does not hold up the others. What a look finds
//! goes to [`occurrences`], which decides what is new; once nodes were gathered for long enough, they are claimed.
//! Nothing is kept in memory only: the watcher may be dropped and restarted at any moment.

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
use crate::plan::reader::{LIST_LOOPS, SeenLinks};
use crate::select::{NodeFilter, Selection};

/// List calls that wait for an answer at the same time, over all accounts.
const CALLS_AT_ONCE: usize = 32;

/// How a page is retried within a look.
const RETRY: RetryPolicy =
    RetryPolicy { attempts: 3, base_delay: Duration::from_secs(2), max_delay: Duration::from_secs(60) };

/// Longest pause between two looks at an account that fails, unless `every` is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Longest pause between two looks at the state: the clock of this machine may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Which nodes one snapshot captures.
#[derive(Clone, Debug)]
pub struct WatchRule {
    /// The snapshot whose runs capture them.
    pub snapshot: SnapshotName,
    /// The watched states.
    pub states: Vec<NodeState>,
    /// Time between the starts of two looks at an account.
    pub every: Duration,
    /// How long nodes are gathered into one run, from the first that was seen.
    pub gather: Duration,
    /// The quiet time: how long after a capture of a node it is not captured again in the same state; zero for none.
    pub quiet: Duration,
    /// If a node was in the state for longer than this when it is first seen, it is not captured.
    pub max_age: Duration,
    /// Which pools and nodes of which accounts. The states, samples and jobs of these selections do not count here.
    pub selections: Vec<(AccountName, Selection)>,
}

/// Everything that is watched.
#[derive(Debug)]
pub struct Watch<B> {
    /// Accounts by name, each with its service.
    pub accounts: Vec<(AccountName, Arc<B>)>,
    /// What to watch for.
    pub rules: Vec<WatchRule>,
    /// Where occurrences are recorded.
    pub store: Store,
    /// Where the time of day comes from.
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
    /// Looks at an account for a snapshot, successful or not.
    pub rounds: AtomicU64,
    /// List calls.
    pub list_calls: AtomicU64,
    /// List calls that failed.
    pub failures: AtomicU64,
    /// Occurrences that were too old to be captured.
    pub old: AtomicU64,
    /// Occurrences that were on hold and then suppressed.
    pub damped: AtomicU64,
    /// Occurrences that were claimed by a run.
    pub claimed: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Watches forever. Returns only when another machine owns the state. An account that a rule names but that does not
/// exist is not watched.
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
    /// Notified when something waits to be claimed.
    news: &'a Notify,
    store: &'a Store,
    clock: Clock,
    counters: &'a WatchCounters,
}

impl RuleWatch<'_> {
    /// Claims nodes that were gathered for long enough.
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
                        tracing::warn!(%snapshot, %error, "a capture cannot be recorded; retrying");
                    }
                    LONGEST_WAIT
                }
            };
            let _ = timeout(wait, self.news.notified()).await;
        }
    }

    /// Returns how long to wait until the next look, unless there is news before.
    async fn claim_what_is_due(&self) -> Result<Duration, StateError> {
        let Self { rule: WatchRule { snapshot, gather, .. }, store, counters, .. } = self;
        let first = store.read(|state| occurrences::waiting_since(state, snapshot)).await?;
        let Some(first) = first else { return Ok(LONGEST_WAIT) };
        let now = self.clock.now();
        let due = first + *gather;
        // If the first was seen in the future, the clock was set back since: it waits no longer.
        if (first..due).contains(&now) {
            return Ok((due - now).unsigned_abs().min(LONGEST_WAIT));
        }
        let claim = store.change(|state| occurrences::claim(state, snapshot, now)).await?;
        if let Some(claim) = claim {
            add(&counters.claimed, claim.occurrences);
            let (occurrences, job) = (claim.occurrences, claim.job.0);
            tracing::info!(%snapshot, occurrences, job, "nodes entered a watched state");
        }
        Ok(LONGEST_WAIT)
    }
}

fn is_lost(error: &StateError) -> bool {
    matches!(error, StateError::Home(HomeError::Lost | HomeError::Held))
}

/// Whether something fails, so that it is logged once and not each time.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    /// Notes a failure. Returns whether it is the first.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }

    /// Notes a success. Returns whether there was a failure before.
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

/// What a look at an account found.
#[derive(Default)]
struct LookResult {
    sightings: Vec<Sighting>,
    unread: Vec<PoolId>,
    /// The first failure, of the account or of one of its pools.
    failure: Option<Failure>,
    /// Whether to back off, because the account does not answer or refuses everything.
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

    /// Logs the state of an account when it changes, and not each time.
    fn tell(&self, trouble: &mut Trouble, failure: Option<&Failure>, error: Option<StateError>) {
        let RuleWatch { rule: WatchRule { snapshot, .. }, counters, .. } = self.shared;
        let account = self.name;
        add(&counters.rounds, 1);
        match (failure, error) {
            (Some(failure), _) if trouble.begins() => {
                tracing::warn!(%account, %snapshot, %failure, "nodes cannot be watched; retrying");
            }
            (None, Some(error)) if trouble.begins() => {
                tracing::warn!(%account, %snapshot, %error, "occurrences cannot be recorded; retrying");
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

    /// Lists the wanted pools, and their nodes that are in one of the states. Fails only if the pools cannot be listed.
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

    /// Reads a list to its end. In a filtered list many pages in a row may be empty.
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
        let mut seen = SeenLinks::default();
        loop {
            let page = self.page(waited, || list(next.clone())).await?;
            page.items.into_iter().for_each(&mut item);
            let Some(link) = page.next else { return Ok(()) };
            if !seen.is_new(&link) {
                return Err(Failure::new(FailureClass::Refused, LIST_LOOPS));
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
                Ok(_) => self.pacer.answered_well(sent_at),
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

/// Whether a failure of one pool concerns its whole account.
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
