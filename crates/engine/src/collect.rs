//! The pipeline of a run: execute beside verify, look at the nodes again, search for duplicates, end.
//!
//! To start or resume a run, bring its parts together in a [`Collection`] and call [`collect`]. The binary, the daemon,
//! the scripted tests and the simulation of crashes all do so. It prints nothing, notifies nobody and reads no config;
//! listeners hear what happens.
//!
//! The order at the end matters. Every accepted call must reach the verifier before it hears that no more will come, so
//! the event log settles in between. Duplicates are searched for when executor and verifier are done, as a call may be
//! repeated until then. `RunEnded` is the last event; a journal without it is that of a process that was killed.

use std::sync::Arc;

use fleetlogs_model::event::Event;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::Journal;
use fleetlogs_model::service::{BatchService, LogStore};
use fleetlogs_model::stop_cause::Unverified;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::access::Access;
use crate::clock::Clock;
use crate::clock_jump::warn_of_jumps;
use crate::doubt::claims::Claims;
use crate::doubt::look_for_duplicates;
use crate::event_log::{EventLog, LogMode, Written};
use crate::execute::{Execution, execute};
use crate::resume::Outstanding;
use crate::run::{Run, UploadSlots};
use crate::second_look::{AcceptedNodes, look_again};
use crate::settings::RunSettings;
use crate::stop::{Stop, StopHandle, StopReason};
use crate::tenure_guard::TenureGuard;
use crate::verify::{Feed, VerifyCost, announcements, verify};

/// Everything that one process needs to work on a run.
pub struct Collection<B, L> {
    /// The frozen plan.
    pub plan: Arc<Plan>,
    /// Where the run stands; [`Ledger::new`] for a new run.
    pub ledger: Ledger,
    /// What is left to do; [`Outstanding::all`] for a new run.
    pub outstanding: Outstanding,
    /// Where events are made durable.
    pub journal: Box<dyn Journal>,
    /// Hear every event after it is durable.
    pub listeners: Vec<Box<dyn EventSink>>,
    /// How events reach the journal.
    pub log_mode: LogMode,
    /// Each account's service, by the account's position in the plan; none for an account without nodes in the plan.
    pub services: Vec<Option<Arc<B>>>,
    /// The container; none where arrival is not verified.
    pub store: Option<Arc<L>>,
    /// What nodes write with. The holder of the other end may renew it during the run.
    pub access: Access,
    /// The numbers that steer the run.
    pub settings: RunSettings,
    /// What is recorded of this process.
    pub process: ProcessFacts,
    /// Where the time of day comes from.
    pub clock: Clock,
    /// Ends the run early.
    pub stop: StopHandle,
    /// For the jitter of backoff and pace.
    pub random: fastrand::Rng,
}

/// What is recorded of a process when it begins to work on a run.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    /// Its version of fleetlogs.
    pub tool_version: String,
    /// Why it does not verify, if it does not.
    pub unverified: Option<Unverified>,
    /// Whether it simulates the fleet.
    pub simulated: bool,
}

/// Does what is outstanding in a run, until all of it is done or the run is stopped. Returns where the run stands then,
/// and the journal, still open: no other process can resume the run before the caller drops it.
///
/// # Cancel safety
/// When dropped, calls in flight stay on record as intents, and `resume` finds out what became of them.
pub async fn collect<B: BatchService, L: LogStore>(collection: Collection<B, L>) -> Written {
    let Collection { plan, ledger, mut outstanding, journal, mut listeners, log_mode, .. } = collection;
    let Collection { services, store, access, settings, process, clock, stop, random, .. } = collection;
    let (announcements, feed) = announcements(&mut outstanding);
    let taken = AcceptedNodes::of(&ledger);
    listeners.push(Box::new(taken.clone()));
    #[cfg(any(test, feature = "transitions"))]
    listeners.push(Box::new(crate::transitions::TransitionNotes::of(&ledger)));
    if store.is_some() {
        listeners.push(Box::new(announcements));
    }
    let guard = TenureGuard::of(&*journal);
    let (log, log_end) = EventLog::open(log_mode, journal, ledger, listeners, clock, stop.clone());
    // Without verification nothing would release the slots.
    let slots = UploadSlots::new(settings.limits.max_uploads_in_flight.filter(|_| store.is_some()));
    let claims = Claims::of(&outstanding.directories);
    let run = Run { plan, log, stop, clock, slots, guard, claims: Arc::new(claims) };
    let pipeline = Pipeline { run: &run, services: &services, store, settings, taken };
    pipeline.carry_out(access, process, outstanding, feed, random).await;
    drop(run);
    log_end.wait()
}

/// The parts that the stages share.
struct Pipeline<'run, B, L> {
    run: &'run Run,
    services: &'run [Option<Arc<B>>],
    store: Option<Arc<L>>,
    settings: RunSettings,
    /// The nodes that accepted a call.
    taken: AcceptedNodes,
}

impl<B: BatchService, L: LogStore> Pipeline<'_, B, L> {
    async fn carry_out(
        self,
        access: Access,
        process: ProcessFacts,
        outstanding: Outstanding,
        feed: Feed,
        random: fastrand::Rng,
    ) {
        let run = self.run;
        let ProcessFacts { tool_version, unverified, simulated } = process;
        let verification = self.store.is_some();
        let started = Event::RunStarted {
            tool_version,
            verification,
            arrival_deadline_ms: self.arrival_deadline_ms(),
            unverified: unverified.filter(|_| !verification),
            simulated,
        };
        if run.log.record(None, started).await.is_err() {
            return;
        }
        let cost = tokio::select! {
            cost = self.execute_beside_verify(access, outstanding, feed, random) => cost,
            never = self.keep_deadline() => never,
            never = warn_of_jumps(run.clock) => never,
        };
        if let Some(reason) = run.stop.reason() {
            let (outcome, cause) = (Some(reason.outcome()), Some(reason.cause()));
            let _ =
                run.log.note(None, Event::RunDraining { reason: reason.to_string().into(), outcome, cause });
        }
        let _ = run.log.record(None, Event::RunEnded { list_calls: cost.list_calls }).await;
    }

    async fn execute_beside_verify(
        &self,
        access: Access,
        outstanding: Outstanding,
        feed: Feed,
        mut random: fastrand::Rng,
    ) -> VerifyCost {
        let (run, services, settings) = (self.run, self.services, &self.settings);
        let how = Execution {
            access,
            upload_allowance: settings.verify.upload_allowance,
            limits: settings.limits.clone(),
            retry: settings.retry.clone(),
            deadlines: settings.deadlines.clone(),
            settle: settings.verify.settle,
            budget: settings.budget,
        };
        let (over, sending) = watch::channel(true);
        let for_second_look = random.fork();
        let executing = async {
            let repeated = execute(run, services, self.store.clone(), how, outstanding, random).await;
            // Every accepted call is announced before the verifier hears that no more will come.
            let _ = run.log.settled().await;
            over.send_replace(false);
            if run.stop.level() == Stop::No {
                // Beside the verifier, which waits for files most of the time.
                look_again(run, services, &settings.retry, self.taken.nodes(), for_second_look).await;
            }
            repeated
        };
        let verifying = async {
            match &self.store {
                Some(store) => verify(run, &**store, &settings.verify, feed, sending).await,
                None => VerifyCost::default(),
            }
        };
        let (repeated, cost) = tokio::join!(executing, verifying);
        if let Some(store) = &self.store {
            look_for_duplicates(run, services, &**store, repeated).await;
        }
        cost
    }

    /// For the record: how long files are awaited after the last accepted call.
    fn arrival_deadline_ms(&self) -> Option<u64> {
        self.store.as_ref()?;
        u64::try_from(self.settings.verify.deadline.as_millis()).ok()
    }

    /// Drains the run when its deadline is over. Never ends.
    async fn keep_deadline(&self) -> ! {
        sleep(self.settings.deadlines.run).await;
        self.run.stop.stop(Stop::Drain, StopReason::RunDeadline);
        std::future::pending().await
    }
}
