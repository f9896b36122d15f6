//! The executor: turns a plan into upload calls, one per node.
//!
//! It decides when to send, when to retry, and when to give up. It does not draw, does not write files, and
//! does not know Azure: it asks a [`BatchService`] and tells the event log.
//!
//! The order of events for one node is always the same, and resume depends on it: for each attempt
//! `UploadRequested`, durable before the first byte is sent; then `UploadWillRetry` or `UploadInDoubt`; at the end
//! `UploadAccepted`, `UploadAdopted` or `UploadFailed`. After `UploadInDoubt` the container is asked before anything
//! is sent again, and `UploadAbsent` or `UploadAdopted` records the answer.
//!
//! Each account has workers of its own, as many as its concurrency allows (and some more to wait for the journal, where
//! speed is wanted), so a slow or refused account leaves the others alone. A node that waits for its next attempt holds
//! no worker.

mod follow;
mod in_doubt;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fleetlogs_model::count::counted;
use fleetlogs_model::event::Event;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountIndex, NodeIndex, PoolId};
use fleetlogs_model::plan::PlannedAccount;
use fleetlogs_model::retry::{RetryPolicy, backoff};
use fleetlogs_model::service::{Accepted, BatchService, LogStore, NodeState, UploadOrder};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::access::Access;
use crate::doubt::naming::Naming;
use crate::doubt::{AccountDirectories, RepeatedCall, ask_time};
use crate::event_log::NotRecorded;
use crate::intent::{Intent, Now};
use crate::pace::Pacer;
use crate::queue::{Step, Work, WorkQueue};
use crate::resume::{Outstanding, lost_with_its_process};
use crate::retry::Next;
use crate::run::Run;
use crate::sas_guard::outlives_upload;
use crate::settings::{Allowed, Budget, Deadlines, Limits};
use crate::stop::{Stop, StopReason};

/// At this rate or above, in calls per second, waiting for the journal would cost speed.
const FAST: f64 = 1000.0;

/// Workers of all fast accounts together that record intents while all permitted calls are in flight. After a crash
/// each of them is one more node in doubt, so they are few.
const MOST_AHEAD: usize = 256;

/// How many of them each of many fast accounts gets at least.
const LEAST_AHEAD: usize = 8;

/// Oldest intent that a call is sent on. An intent that waited longer for another call to end is recorded again,
/// because resume takes its time for the time of the call.
const OLDEST_INTENT: Duration = Duration::from_secs(5);

/// A service that does not tell its time is not asked for it more often.
const ASK_TIME_EVERY: Duration = Duration::from_secs(30);

/// How the calls are made.
#[derive(Clone, Debug)]
pub struct Execution {
    /// What every node is asked for.
    pub access: Access,
    /// How long a node may take to upload after its call.
    pub upload_allowance: Duration,
    /// Per account.
    pub limits: Limits,
    /// When to retry.
    pub retry: RetryPolicy,
    /// When to give up.
    pub deadlines: Deadlines,
    /// How long the directory of an in-doubt call may take to show up.
    pub settle: Duration,
    /// How many nodes may fail.
    pub budget: Budget,
}

/// Does the outstanding work of a plan. `services` holds each account's service, by the account's position in
/// the plan; accounts without one have no nodes in the plan. `store` answers for calls in doubt; without one they are
/// repeated and marked as such.
///
/// Ends when every node has its answer, or when the run drains and what was in flight is answered. Returns the nodes
/// whose call was repeated, for [`look_for_duplicates`](crate::doubt::look_for_duplicates). `random` is for the jitter
/// of backoff and pace.
pub async fn execute<B: BatchService, S: LogStore>(
    run: &Run,
    services: &[Option<Arc<B>>],
    store: Option<Arc<S>>,
    how: Execution,
    outstanding: Outstanding,
    mut random: fastrand::Rng,
) -> Vec<RepeatedCall> {
    for (node, attempt) in &outstanding.lost {
        let event = Event::UploadInDoubt { attempt: *attempt, cause: lost_with_its_process() };
        if run.log.note(Some(*node), event).is_err() {
            return vec![];
        }
    }
    let run_failures = Arc::new(Failures::allowing(how.budget.run, run.plan.nodes.len()));
    let (accounts, repeated) = share_out(run, outstanding);
    let repeated = Arc::new(Mutex::new(repeated));
    let how = Arc::new(how);
    let mut workers = JoinSet::new();
    // They end with the workers: dropping them ends them.
    let mut followers = JoinSet::new();
    let most_ahead = (MOST_AHEAD / run.plan.accounts.len().max(1)).max(LEAST_AHEAD);
    for ((index, service), share) in (0..).map(AccountIndex).zip(services).zip(accounts) {
        let Some(service) = service else { continue };
        let calls = how.limits.concurrency;
        let is_fast = how.limits.rate.is_none_or(|rate| rate >= FAST);
        let ahead = if is_fast { (calls * 4).min(most_ahead) } else { 0 };
        let count = (calls + ahead).min(share.fresh.len() + share.later.len() + share.in_doubt.len());
        let follow = how.limits.relist.filter(|_| !share.fresh.is_empty());
        let account = Arc::new(AccountRun {
            run: run.clone(),
            index,
            service: service.clone(),
            store: store.clone(),
            how: how.clone(),
            pacer: Pacer::new(how.limits.rate, random.fork()),
            calls: Semaphore::new(calls),
            queue: WorkQueue::new(share.fresh, share.later, share.in_doubt.len()),
            nodes: share.nodes,
            directories: share.directories,
            is_ready: OnceCell::new(),
            asked_in_vain: tokio::sync::Mutex::default(),
            repeated: repeated.clone(),
            gone_pools: Mutex::default(),
            has_accepted: AtomicBool::new(false),
            failures: Failures::allowing(how.budget.account, share.planned),
            run_failures: run_failures.clone(),
            random: Mutex::new(random.fork()),
        });
        if let Some(every) = follow {
            let account = account.clone();
            followers.spawn(async move { account.follow_order(every).await });
        }
        // The channel needs no bound: a node is in it at most once.
        let (lost, taken) = unbounded_channel();
        for work in share.in_doubt {
            // The receiver is right here.
            let _ = lost.send(work);
        }
        if count > 0 {
            let account = account.clone();
            workers.spawn(async move { account.look_for_lost(taken).await });
        }
        for _ in 0..count {
            let (account, lost) = (account.clone(), lost.clone());
            workers.spawn(async move { account.work(lost).await });
        }
    }
    let all_end = async {
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    };
    tokio::select! {
        () = all_end => {}
        // What was sent and not answered stays on record as such, and is in doubt.
        () = run.stop.reached(Stop::Abort) => workers.shutdown().await,
    }
    std::mem::take(&mut *repeated.lock())
}

/// Counts failed nodes against what is allowed.
struct Failures {
    allowed: Option<u64>,
    failed: AtomicU64,
}

impl Failures {
    fn allowing(allowed: Option<Allowed>, planned: usize) -> Self {
        Self { allowed: allowed.map(|allowed| allowed.of(planned)), failed: AtomicU64::new(0) }
    }

    /// Counts one. Returns both numbers if that was one too many.
    fn one_more(&self) -> Option<(u64, u64)> {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        self.allowed.filter(|allowed| failed > *allowed).map(|allowed| (failed, allowed))
    }
}

/// One account's share of the outstanding work.
struct Share {
    /// Nodes of the plan, whether anything is left to do about them or not.
    planned: usize,
    /// Positions that hold all of them.
    nodes: Range<u32>,
    fresh: Vec<NodeIndex>,
    later: Vec<(Work, Instant)>,
    in_doubt: Vec<Work>,
    directories: Arc<AccountDirectories>,
}

/// The outstanding work by account, in the plan's order, and the nodes whose call an earlier process repeated.
fn share_out(run: &Run, outstanding: Outstanding) -> (Vec<Share>, Vec<RepeatedCall>) {
    let account_of = run.plan.accounts_of_nodes();
    let claims = &run.claims;
    let share = |account: &PlannedAccount| Share {
        planned: 0,
        nodes: 0..0,
        fresh: vec![],
        later: vec![],
        in_doubt: vec![],
        directories: Arc::new(AccountDirectories::new(Naming::of(&account.name), claims.clone())),
    };
    let mut shares: Vec<Share> = run.plan.accounts.iter().map(share).collect();
    for (at, account) in (0..).zip(&account_of) {
        let share = &mut shares[account.get()];
        if share.planned == 0 {
            share.nodes.start = at;
        }
        share.nodes.end = at + 1;
        share.planned += 1;
    }
    for node in outstanding.fresh {
        shares[account_of[node.get()].get()].fresh.push(node);
    }
    for work in outstanding.work {
        let share = &mut shares[account_of[work.node.get()].get()];
        for directory in &work.known {
            claims.claim(directory, work.node);
        }
        match work.step {
            Step::AskContainer => share.in_doubt.push(work),
            Step::Send | Step::Look | Step::Adopt => share.later.push((work, Instant::now())),
        }
    }
    for (node, directory) in &outstanding.directories {
        let directories = &shares[account_of[node.get()].get()].directories;
        directories.naming.learn(run.plan.node(*node).pool(), directory);
        claims.claim(directory, *node);
    }
    let repeated = outstanding.repeated.into_iter().map(|(node, first)| {
        let account = account_of[node.get()];
        let directories = shares[account.get()].directories.clone();
        RepeatedCall { node, account, first, clock_moved: false, directories }
    });
    let repeated = repeated.collect();
    (shares, repeated)
}

/// What becomes of a node after a step.
enum NodeStep {
    /// It needs nothing more, or the run no longer wants it.
    Done,
    /// It is due again at a time.
    Again(Work, Instant),
    /// The answer was lost, and the container is to be searched.
    InDoubt(Work),
}

struct AccountRun<B, S> {
    run: Run,
    index: AccountIndex,
    service: Arc<B>,
    store: Option<Arc<S>>,
    how: Arc<Execution>,
    pacer: Pacer,
    /// Calls that may be in flight.
    calls: Semaphore,
    queue: WorkQueue,
    /// Positions in the plan that hold all nodes of the account.
    nodes: Range<u32>,
    directories: Arc<AccountDirectories>,
    /// Set once what must be known before the first call is known.
    is_ready: OnceCell<()>,
    /// When the service was last asked for its time and did not tell it.
    asked_in_vain: tokio::sync::Mutex<Option<Instant>>,
    repeated: Arc<Mutex<Vec<RepeatedCall>>>,
    /// Pools the service said are gone: their other nodes need no call.
    gone_pools: Mutex<HashSet<PoolId>>,
    /// Whether the account accepted any call in this process.
    has_accepted: AtomicBool,
    failures: Failures,
    run_failures: Arc<Failures>,
    random: Mutex<fastrand::Rng>,
}

impl<B: BatchService, S: LogStore> AccountRun<B, S> {
    async fn work(&self, lost: UnboundedSender<Work>) {
        while let Some(work) = self.queue.next(&self.run.stop).await {
            match self.step(work).await {
                Ok(NodeStep::Done) => self.queue.done(),
                Ok(NodeStep::Again(work, due)) => self.queue.put_back(work, due),
                // Whoever looks for it gives it back. The receiver is gone if the run drains.
                Ok(NodeStep::InDoubt(work)) => drop(lost.send(work)),
                // The log already told the run to drain.
                Err(NotRecorded) => return,
            }
        }
    }

    async fn step(&self, work: Work) -> Result<NodeStep, NotRecorded> {
        match work.step {
            Step::Send => self.send(work).await,
            Step::Look => Box::pin(self.look(work)).await,
            Step::AskContainer => Ok(NodeStep::InDoubt(work)),
            Step::Adopt => self.adopt(work).await,
        }
    }

    /// All clocks now.
    fn now(&self) -> Now {
        Now::read(self.run.clock, self.service.time())
    }

    /// Learns what must be known before a call is made: the service's time, and what is in the container already.
    async fn get_ready(&self, node: NodeIndex) {
        if !self.is_ready.initialized() {
            // Boxed, so that idle workers need no room for it.
            let learn = async || {
                if self.service.time().is_none() {
                    ask_time(&self.run, &*self.service, node).await;
                    *self.asked_in_vain.lock().await = self.service.time().is_none().then(Instant::now);
                }
                if let Some(store) = &self.store {
                    self.directories.look_before(&**store).await;
                }
            };
            Box::pin(self.is_ready.get_or_init(learn)).await;
        }
        if self.service.time().is_none() {
            Box::pin(self.ask_time_again(node)).await;
        }
    }

    /// This machine's clock was set a moment ago, and no call was answered since. One worker asks, and the others wait
    /// for the answer.
    async fn ask_time_again(&self, node: NodeIndex) {
        let mut in_vain = self.asked_in_vain.lock().await;
        if self.service.time().is_none() && in_vain.is_none_or(|asked| asked.elapsed() > ASK_TIME_EVERY) {
            ask_time(&self.run, &*self.service, node).await;
            *in_vain = self.service.time().is_none().then(Instant::now);
        }
    }

    async fn send(&self, mut work: Work) -> Result<NodeStep, NotRecorded> {
        let planned = self.run.plan.node(work.node);
        if let Some(cause) = self.known_gone(planned.pool()) {
            return self.fail(&work, cause);
        }
        // Waiting here must end when the run stops sending.
        tokio::select! {
            // In this order, so that nothing waits for a stop if there is no other wait.
            biased;
            () = self.turn() => {}
            () = self.run.stop.reached(Stop::Drain) => return Ok(NodeStep::Done),
        }
        self.get_ready(work.node).await;
        let now = self.now();
        if self.order(&now).is_none() {
            self.run.slots.give_back();
            return Ok(NodeStep::Done);
        }
        work.attempt += 1;
        let client_request_id = Uuid::new_v4();
        let intent = Intent::new(&now);
        work.first_intent.get_or_insert(intent);
        work.last_intent = Some(intent);
        let attempt = work.attempt;
        let requested = |intent: Intent| {
            let service_ahead_ms = intent.service_ahead_ms();
            Event::UploadRequested { attempt, client_request_id, service_ahead_ms }
        };
        self.run.log.record(Some(work.node), requested(intent)).await?;
        let permit = self.calls.acquire().await;
        tokio::select! {
            biased;
            () = async { self.pacer.gate().await; self.guard_opens().await } => {}
            // The checks below see that the run is stopped.
            () = self.run.stop.reached(Stop::Drain) => {}
        }
        self.crash_before_send();
        // Much may have happened since: the run or the account may have been stopped, the pool be gone, the SAS be
        // over.
        let known_gone = self.known_gone(planned.pool());
        let stopped = self.run.stop.level() >= Stop::Drain || self.queue.is_closed();
        let mut now = self.now();
        let order = self.order(&now).filter(|_| !stopped && known_gone.is_none());
        let Some(order) = order else {
            self.run.slots.give_back();
            self.run.log.note(Some(work.node), Event::UploadCancelled { attempt })?;
            work.attempt -= 1;
            return match known_gone {
                Some(cause) => self.fail(&work, cause),
                None => Ok(NodeStep::Done),
            };
        };
        let order = match planned.window {
            Some(window) => Arc::new(UploadOrder { window, access: order.access.clone() }),
            None => order,
        };
        if intent.is_older_than(OLDEST_INTENT, &now) {
            self.run.log.note(Some(work.node), Event::UploadCancelled { attempt })?;
            self.run.log.record(Some(work.node), requested(Intent::new(&now))).await?;
            now = self.now();
        }
        if !self.run.guard.allows(self.how.deadlines.call) {
            // Recording the intent took too long. It waits, and is recorded again.
            self.run.slots.give_back();
            self.run.log.note(Some(work.node), Event::UploadCancelled { attempt })?;
            work.attempt -= 1;
            return Ok(NodeStep::Again(work, now.instant));
        }
        work.last_intent = Some(Intent::new(&now));
        let sent_at = now.instant;
        work.deadline.get_or_insert_with(|| sent_at + self.how.deadlines.node);
        let limit = self.how.deadlines.call;
        let node = planned.node();
        // On the heap, where only a call in flight takes its room: most workers wait for their turn or for the journal.
        let call =
            Box::pin(self.service.upload_logs(planned.pool(), &node, &order, client_request_id, limit));
        // The service client keeps the limit itself; this is the bound in case it does not.
        let answer = tokio::time::timeout(limit + Duration::from_secs(5), call).await.unwrap_or_else(|_| {
            Err(Failure::new(FailureClass::InDoubt, format!("no answer within {limit:?}")))
        });
        self.crash_after_answer();
        let step = self.answered(work, answer, sent_at);
        // Its connection is free a moment after the answer. A call that begins before would open another one.
        tokio::task::yield_now().await;
        drop(permit);
        step
    }

    /// Records what came of a call, and says what comes next.
    fn answered(
        &self,
        work: Work,
        answer: Result<Accepted, Failure>,
        sent_at: Instant,
    ) -> Result<NodeStep, NotRecorded> {
        match answer {
            Ok(accepted) => {
                self.pacer.answered_well(sent_at);
                self.directories.naming.learn(self.run.plan.node(work.node).pool(), &accepted.directory);
                self.directories.claims.claim(&accepted.directory, work.node);
                self.has_accepted.store(true, Ordering::Relaxed);
                if accepted.files == Some(0) {
                    self.run.slots.give_back();
                }
                let Accepted { directory, files, request_id } = accepted;
                let attempt = work.attempt;
                let event = Event::UploadAccepted { attempt, directory, files, request_id };
                self.run.log.note(Some(work.node), event)?;
                Ok(NodeStep::Done)
            }
            Err(cause) => {
                self.run.slots.give_back();
                self.failed(work, cause, sent_at)
            }
        }
    }

    /// Waits for the turn of a call: a slot, the pace of the account, and the guard.
    async fn turn(&self) {
        self.run.slots.take().await;
        self.pacer.turn().await;
        self.guard_opens().await;
    }

    /// Waits until a call may be sent that ends while this process may work on the run.
    async fn guard_opens(&self) {
        self.run.guard.opens(self.how.deadlines.call, &self.run.stop).await;
    }

    #[expect(
        clippy::unused_self,
        reason = "a crash point returns from its function, which must not be `send`"
    )]
    fn crash_before_send(&self) {
        crash_point!("before-send");
    }

    #[expect(
        clippy::unused_self,
        reason = "a crash point returns from its function, which must not be `send`"
    )]
    fn crash_after_answer(&self) {
        crash_point!("after-answer");
    }

    /// A call failed: what comes next?
    fn failed(&self, mut work: Work, cause: Failure, sent_at: Instant) -> Result<NodeStep, NotRecorded> {
        match cause.class {
            FailureClass::Throttled => self.slow_down(&cause, sent_at)?,
            FailureClass::Auth => self.stop_account(&cause)?,
            // A request that the account accepted once is not wrong for all nodes.
            FailureClass::Config if !self.has_accepted.load(Ordering::Relaxed) => {
                self.stop_account(&cause)?;
            }
            FailureClass::Gone if cause.pool_is_gone => {
                let pool = self.run.plan.node(work.node).pool().clone();
                self.gone_pools.lock().insert(pool);
            }
            FailureClass::NotSent
            | FailureClass::Transient
            | FailureClass::Wait
            | FailureClass::WaitBriefly
            | FailureClass::Gone
            | FailureClass::Config
            | FailureClass::InDoubt
            | FailureClass::Refused => {}
        }
        let next = work.tries.next(&self.how.retry, &cause, self.random());
        let attempt = work.attempt;
        match next {
            Next::GiveUp if cause.class == FailureClass::InDoubt => {
                // No attempt is left, but the answer may still be found; `ask_container` sees that none is left.
                self.doubt(work, cause)
            }
            Next::GiveUp => self.fail(&work, cause),
            Next::AskContainer => self.doubt(work, cause),
            Next::Retry(delay) | Next::Look(delay) => {
                let due = Instant::now() + delay;
                if cause.class == FailureClass::Throttled {
                    // The account has to wait, however long it takes; the node's own deadline has not begun.
                    work.deadline = None;
                }
                if work.deadline.is_some_and(|deadline| due > deadline) {
                    return self.fail(&work, cause);
                }
                work.step = if matches!(next, Next::Look(_)) { Step::Look } else { Step::Send };
                let delay_ms = delay.as_millis().try_into().unwrap_or(u64::MAX);
                self.run.log.note(Some(work.node), Event::UploadWillRetry { attempt, cause, delay_ms })?;
                Ok(NodeStep::Again(work, due))
            }
        }
    }

    /// The answer was lost.
    fn doubt(&self, mut work: Work, cause: Failure) -> Result<NodeStep, NotRecorded> {
        let attempt = work.attempt;
        if self.store.is_none() {
            // There is no container to ask: the call is repeated, and the manifest says that there may be a duplicate.
            if work.tries.counted >= self.how.retry.attempts {
                self.run.log.note(Some(work.node), Event::UploadInDoubt { attempt, cause })?;
                return Ok(NodeStep::Done);
            }
            let delay = backoff(&self.how.retry, work.tries.counted, self.random());
            let delay_ms = delay.as_millis().try_into().unwrap_or(u64::MAX);
            self.run.log.note(Some(work.node), Event::UploadWillRetry { attempt, cause, delay_ms })?;
            work.step = Step::Send;
            return Ok(NodeStep::Again(work, Instant::now() + delay));
        }
        self.run.log.note(Some(work.node), Event::UploadInDoubt { attempt, cause })?;
        work.step = Step::AskContainer;
        Ok(NodeStep::InDoubt(work))
    }

    /// The node's state stood in the way of the last call: is it still worth another?
    async fn look(&self, mut work: Work) -> Result<NodeStep, NotRecorded> {
        let planned = self.run.plan.node(work.node);
        match self.service.get_node(planned.pool(), &planned.node()).await {
            Ok(node) => {
                let state = node.facts.state.unwrap_or(NodeState::Idle);
                if matches!(state, NodeState::Preempted | NodeState::Deallocated | NodeState::Deallocating) {
                    let message = format!("the node is `{}`: no agent runs on it", state.as_str());
                    return self.fail(&work, Failure::new(FailureClass::Gone, message));
                }
            }
            Err(cause) => match cause.class {
                FailureClass::Gone | FailureClass::Refused => return self.fail(&work, cause),
                FailureClass::Auth => {
                    self.stop_account(&cause)?;
                    return self.fail(&work, cause);
                }
                // A node that cannot be read now may still take the call; the call's own answer decides.
                FailureClass::NotSent
                | FailureClass::Throttled
                | FailureClass::Transient
                | FailureClass::Wait
                | FailureClass::WaitBriefly
                | FailureClass::Config
                | FailureClass::InDoubt => {
                    tracing::debug!(node = %planned.at(), failure = %cause, "cannot read the node");
                }
            },
        }
        work.step = Step::Send;
        self.send(work).await
    }

    fn fail(&self, work: &Work, cause: Failure) -> Result<NodeStep, NotRecorded> {
        if cause.class != FailureClass::Gone {
            self.spend_budget(&cause)?;
        }
        self.run.log.note(Some(work.node), Event::UploadFailed { attempt: work.attempt, cause })?;
        Ok(NodeStep::Done)
    }

    fn slow_down(&self, cause: &Failure, sent_at: Instant) -> Result<(), NotRecorded> {
        let Some(slowdown) = self.pacer.throttled(sent_at, cause.retry_after()) else { return Ok(()) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive rate, rounded"
        )]
        let millirate = (slowdown.rate * 1000.0).round() as u64;
        let pause_ms = slowdown.pause.map(|pause| pause.as_millis().try_into().unwrap_or(u64::MAX));
        let account = self.run.plan.accounts[self.index.get()].name.clone();
        self.run.log.note(None, Event::AccountThrottled { account, millirate, pause_ms })
    }

    /// Counts a failed node, and stops the account or the run if its error budget is spent.
    fn spend_budget(&self, cause: &Failure) -> Result<(), NotRecorded> {
        if let Some((failed, allowed)) = self.run_failures.one_more() {
            self.run.stop.stop(Stop::Drain, StopReason::BudgetSpent { failed, allowed });
        }
        if let Some((failed, allowed)) = self.failures.one_more() {
            let message = format!(
                "{} of the account failed, and its error budget allows {allowed}; last: {cause}",
                counted(failed, "node")
            );
            return self.stop_account(&Failure::new(cause.class, message));
        }
        Ok(())
    }

    /// Sends nothing more to the account: it refuses the credential or the request itself, or its error budget is
    /// spent.
    fn stop_account(&self, cause: &Failure) -> Result<(), NotRecorded> {
        if !self.queue.close() {
            return Ok(());
        }
        let account = self.run.plan.accounts[self.index.get()].name.clone();
        self.run.log.note(None, Event::AccountStopped { account, cause: cause.clone() })
    }

    fn known_gone(&self, pool: &PoolId) -> Option<Failure> {
        let gone = self.gone_pools.lock().contains(pool);
        gone.then(|| Failure::new(FailureClass::Gone, "its pool no longer exists"))
    }

    /// The order to send now. None where its SAS would not outlive an upload that is started now; then the run is told
    /// to drain.
    fn order(&self, now: &Now) -> Option<Arc<UploadOrder>> {
        let order = self.how.access.current();
        // Storage checks the SAS by its own clock.
        let now = now.time_of_day();
        match order.access.sas() {
            Some(sas) if !outlives_upload(sas, now, self.how.upload_allowance) => {
                let ends = sas.expires_at.unwrap_or(now);
                self.run.stop.stop(Stop::Drain, StopReason::SasEnds(ends));
                None
            }
            _ => Some(order),
        }
    }

    fn random(&self) -> f64 {
        self.random.lock().f64()
    }
}

#[cfg(test)]
mod tests;
