//! Looks for the directories of an account's calls in doubt: presence shows at once, absence needs the whole wait.
//!
//! One task per account looks for all its nodes together, at growing intervals and for a small part of the time. It
//! gives each node back to the workers when its directory is found, or when the call may be repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetlogs_model::event::Event;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::retry::backoff;
use fleetlogs_model::service::{BatchService, LogStore};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::{AccountRun, NodeStep, OLDEST_INTENT};
use crate::doubt::claims::{Shown, directory_key};
use crate::doubt::listing::{Searcher, SeenNode, Sought};
use crate::doubt::{Finding, LostCall, RepeatedCall, Why, ask_time};
use crate::event_log::NotRecorded;
use crate::intent::{Age, Now};
use crate::queue::{FoundDirectories, Step, Work};
use crate::stop::Stop;
use crate::sweep::Outlook;

/// Time from the loss of an answer to the first look.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Longest time between two looks for a node.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// A look is followed by a pause this many times as long.
const PAUSE: u32 = 20;

/// Shortest time between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Nodes of an account that are in doubt.
struct Doubts {
    nodes: BTreeMap<NodeIndex, Doubt>,
    outlook: Outlook,
    /// No look before this.
    paused_until: Instant,
}

struct Doubt {
    work: Work,
    since: Instant,
    next_look: Instant,
    /// What a whole look showed.
    shown: Option<Shown>,
}

impl<B: BatchService, S: LogStore> AccountRun<B, S> {
    /// Takes nodes in doubt from the workers until the last worker has ended.
    pub(super) async fn look_for_lost(&self, mut lost: UnboundedReceiver<Work>) {
        let mut doubts =
            Doubts { nodes: BTreeMap::new(), outlook: Outlook::default(), paused_until: Instant::now() };
        loop {
            let next = doubts.nodes.values().map(|doubt| doubt.next_look).min();
            let next = next.map(|next| next.max(doubts.paused_until));
            tokio::select! {
                // In this order, so that a simulation tells the same story twice.
                biased;
                work = lost.recv() => match work {
                    Some(work) => doubts.take(work),
                    None => return,
                },
                () = sleep_until(next.unwrap_or(doubts.paused_until)), if next.is_some() => {
                    let looked = tokio::select! {
                        biased;
                        looked = self.look_for(&mut doubts) => looked,
                        // They stay in doubt until the run is resumed.
                        () = self.run.stop.reached(Stop::Drain) => return,
                    };
                    // The log already told the run to drain.
                    if looked.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Looks once for all whose look is due.
    async fn look_for(&self, doubts: &mut Doubts) -> Result<(), NotRecorded> {
        let due_at = Instant::now();
        let Some(first) = doubts.nodes.keys().next().copied() else { return Ok(()) };
        ask_time(&self.run, &*self.service, first).await;
        let now = self.now();
        let wait = |doubt: &Doubt| self.wait_left(&doubt.work, &now);
        let sought = |(node, doubt): (&NodeIndex, &Doubt)| {
            // Those that are due soon are looked for along with the others.
            let is_due = doubt.next_look <= due_at + (due_at - doubt.since) / 4;
            let is_thorough = is_due && wait(doubt).is_zero();
            Sought { node: *node, at: self.run.plan.node(*node).at(), is_due, is_thorough }
        };
        let sought: Vec<Sought> = doubts.nodes.iter().map(sought).collect();
        let (mut sightings, trouble) = match &self.store {
            Some(store) => {
                let (naming, outlook) = (&self.directories.naming, &mut doubts.outlook);
                Searcher { store: &**store, naming, outlook, now }.look(&sought).await
            }
            None => Default::default(),
        };
        if let Some(failure) = &trouble {
            tracing::warn!(%failure, "cannot search the container for calls in doubt; retrying");
        }
        let ended = Instant::now();
        for Sought { node, is_due, is_thorough, .. } in sought {
            let sighting = sightings.remove(&node).unwrap_or_default();
            let Some(mut doubt) = doubts.nodes.remove(&node) else { continue };
            let finding = self.judge(&doubt, &sighting, &now);
            match finding {
                Finding::Found { directory, others } => {
                    for directory in others.iter().chain([&directory]) {
                        self.directories.claims.claim(directory, node);
                    }
                    self.directories.naming.learn(self.run.plan.node(node).pool(), &directory);
                    doubt.work.step = Step::Adopt;
                    doubt.work.found = Some(Box::new(FoundDirectories { directory, others }));
                    self.queue.put_back(doubt.work, ended);
                }
                Finding::Absent | Finding::Unknown(_) if is_thorough && self.is_conclusive(&sighting) => {
                    match self.not_found(doubt.work, &finding, &now)? {
                        NodeStep::Again(work, due) => self.queue.put_back(work, due),
                        NodeStep::Done | NodeStep::InDoubt(_) => self.queue.done(),
                    }
                }
                Finding::Absent | Finding::Unknown(_) => {
                    if is_due {
                        let interval = (ended - doubt.since).clamp(FIRST_LOOK, LONGEST_INTERVAL);
                        let left = self.wait_left(&doubt.work, &now).saturating_sub(ended - now.instant);
                        let retry = backoff(&self.how.retry, 4, f64::midpoint(1.0, self.random()));
                        let interval = if is_thorough { retry } else { interval.min(left) };
                        doubt.next_look = ended + interval;
                    }
                    if sighting.is_whole {
                        let directories = sighting.directories.keys();
                        let directories = directories.map(|directory| directory_key(directory)).collect();
                        doubt.shown = Some(Shown { directories, is_whole: true });
                    }
                    doubts.nodes.insert(node, doubt);
                }
            }
        }
        let took = ended - now.instant;
        doubts.paused_until = ended + (took * PAUSE).clamp(SHORTEST_PAUSE, LONGEST_INTERVAL).max(took);
        Ok(())
    }

    /// How long until the call may be repeated: the service may still take it until its deadline, and then the node
    /// needs time for its first file. Zero when it may.
    fn wait_left(&self, work: &Work, now: &Now) -> Duration {
        let Some(last) = &work.last_intent else { return Duration::ZERO };
        let lateness = if last.is_ours() { Duration::ZERO } else { OLDEST_INTENT };
        (self.how.deadlines.call + self.how.settle + lateness).saturating_sub(last.age(now).least)
    }

    /// Whether a look can say that there is no directory. Without a container it is never known.
    fn is_conclusive(&self, sighting: &SeenNode) -> bool {
        self.store.is_none() || sighting.is_whole
    }

    fn judge(&self, doubt: &Doubt, sighting: &SeenNode, now: &Now) -> Finding {
        let (Some(first), Some(_)) = (&doubt.work.first_intent, &self.store) else {
            // The earlier process could list the container; this one lacks the permission.
            return Finding::Unknown(Why::Naming);
        };
        let lost = LostCall { first, age: first.age(now), shown: doubt.shown.as_ref() };
        self.directories.judge(&lost, &sighting.directories)
    }

    /// The wait is over, and no directory of the call was found.
    fn not_found(&self, mut work: Work, finding: &Finding, now: &Now) -> Result<NodeStep, NotRecorded> {
        let attempt = work.attempt;
        if work.tries.counted >= self.how.retry.attempts {
            if *finding != Finding::Absent {
                // It is recorded as in doubt and stays so: nothing can tell.
                return Ok(NodeStep::Done);
            }
            let message = if attempt == 1 {
                "the call was not answered, and the container holds no directory from it".to_owned()
            } else {
                format!(
                    "none of {attempt} calls was answered, and the container holds no directory from them"
                )
            };
            return self.fail(&work, Failure::new(FailureClass::Refused, message));
        }
        if let Some(first) = work.first_intent {
            let Age { moved, .. } = first.age(now);
            self.repeated.lock().push(RepeatedCall {
                node: work.node,
                account: self.index,
                first,
                clock_moved: moved || *finding == Finding::Unknown(Why::Clock),
                directories: self.directories.clone(),
            });
        }
        let event = match finding {
            Finding::Unknown(why) => {
                // The call is repeated without knowing, and the manifest says so.
                let message = match why {
                    Why::Naming => "whether the container has a directory of this call is unknown",
                    Why::Clock => {
                        "whether the container has a directory of this call is unknown: a clock was set since"
                    }
                };
                let cause = Failure::new(FailureClass::InDoubt, message);
                Event::UploadWillRetry { attempt, cause, delay_ms: 0 }
            }
            Finding::Absent | Finding::Found { .. } => Event::UploadAbsent { attempt },
        };
        self.run.log.note(Some(work.node), event)?;
        work.step = Step::Send;
        work.deadline = None;
        Ok(NodeStep::Again(work, Instant::now()))
    }

    /// The directory of a call in doubt was found.
    pub(super) async fn adopt(&self, work: Work) -> Result<NodeStep, NotRecorded> {
        let Some(found) = work.found else { return Ok(NodeStep::Done) };
        tokio::select! {
            () = self.run.slots.take() => {}
            () = self.run.stop.reached(Stop::Drain) => {}
        }
        let FoundDirectories { directory, others } = *found;
        let event = Event::UploadAdopted { attempt: work.attempt, directory, others };
        self.run.log.note(Some(work.node), event)?;
        Ok(NodeStep::Done)
    }
}

impl Doubts {
    fn take(&mut self, work: Work) {
        let since = Instant::now();
        // A call of an earlier process had time to show.
        let is_ours = work.last_intent.is_none_or(|intent| intent.is_ours());
        let next_look = if is_ours { since + FIRST_LOOK } else { since };
        self.nodes.insert(work.node, Doubt { work, since, next_look, shown: None });
    }
}
