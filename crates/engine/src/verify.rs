//! The verifier: what the nodes announced against what the container holds.
//!
//! It runs beside the executor and hears from the event log of every accepted call. `verified` means that the
//! promised number of files is there and that their sizes stayed the same over two listings; a blob is visible only
//! when it is committed, but nothing says that an agent commits it only once. Where the promise was lost with the answer
//! to the call, the promises of the node's peers can take its place, once all of them are known; otherwise the node is
//! `adopted`. It does not know Azure: it asks a [`LogStore`].

mod awaited;
mod promises;
mod shortfall;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeIndex, PoolId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::listing::ListingOrder;
use fleetlogs_model::outcome::{Proof, Shortfall};
use fleetlogs_model::service::LogStore;
use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::awaited::{AwaitedDirectory, Contents, Directories, LONGEST_STABLE, SinceStart};
use self::promises::{PeerProof, Promises};
use crate::directory_name;
use crate::doubt::claims::Claims;
use crate::event_log::NotRecorded;
use crate::resume::{self, Outstanding};
use crate::run::Run;
use crate::settings::VerifySettings;
use crate::stop::{Stop, StopReason};
use crate::sweep::{Listing, Outlook};

/// Shortest time between two looks.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// Longest time between two looks.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// Listings made side by side in one look. Each holds a page of several megabytes.
const LISTINGS_AT_ONCE: usize = 3;

/// Listings whose results are held until they are judged.
const JUDGED_AT_ONCE: usize = 16;

/// How long the last look may take.
const LAST_LOOK: Duration = Duration::from_secs(30);

/// How long accepted uploads are still verified after a signal, at most.
const GRACE: Duration = Duration::from_secs(30);

/// How long after the last accepted call files are awaited once a run is stopped. `deadline` is that of a run that goes
/// on.
#[must_use]
pub fn patience_once_stopped(deadline: Duration) -> Duration {
    deadline.min(GRACE)
}

/// Listens to the event log and tells the verifier of accepted uploads.
pub struct Announcements(UnboundedSender<resume::AwaitedUpload>);

/// The verifier's end of [`Announcements`].
pub struct Feed {
    uploads: UnboundedReceiver<resume::AwaitedUpload>,
    /// What earlier processes were promised.
    promises: Vec<(NodeIndex, u32)>,
    /// What earlier processes were given.
    given: Claims,
}

/// A pair of listener and feed; the feed begins with what was accepted before. The channel needs no bound: it holds at
/// most one entry per planned node, and less than the ledger does.
#[must_use]
pub fn announcements(outstanding: &mut Outstanding) -> (Announcements, Feed) {
    let (sender, receiver) = unbounded_channel();
    for awaited in outstanding.awaited.drain(..) {
        // The receiver is right here.
        let _ = sender.send(awaited);
    }
    let given = Claims::default();
    for (node, directory) in &outstanding.directories {
        given.claim(directory, *node);
    }
    let promises = std::mem::take(&mut outstanding.promises);
    (Announcements(sender), Feed { uploads: receiver, promises, given })
}

impl EventSink for Announcements {
    fn hear(&mut self, events: &[Recorded], _ledger: &Ledger) {
        for recorded in events {
            let Some(node) = recorded.node else { continue };
            let announced = match &recorded.event {
                Event::UploadAccepted { directory, files, .. } if *files != Some(0) => {
                    resume::AwaitedUpload { node, directory: directory.clone(), files: *files, slot: true }
                }
                Event::UploadAdopted { directory, .. } => {
                    resume::AwaitedUpload { node, directory: directory.clone(), files: None, slot: true }
                }
                // None of these announces files.
                Event::UploadAccepted { .. }
                | Event::RunStarted { .. }
                | Event::UploadRequested { .. }
                | Event::UploadCancelled { .. }
                | Event::UploadWillRetry { .. }
                | Event::UploadInDoubt { .. }
                | Event::UploadAbsent { .. }
                | Event::DirectoriesFound { .. }
                | Event::IdentityChanged { .. }
                | Event::NodeSeenAgain { .. }
                | Event::PoolSeenAgain { .. }
                | Event::NodesAppeared { .. }
                | Event::OrderFollowed { .. }
                | Event::UploadFailed { .. }
                | Event::FilesVerified { .. }
                | Event::FilesAdopted { .. }
                | Event::FilesIncomplete { .. }
                | Event::AccountThrottled { .. }
                | Event::AccountStopped { .. }
                | Event::RunDraining { .. }
                | Event::RunEnded { .. } => continue,
            };
            // The receiver is gone if verification ended early.
            let _ = self.0.send(announced);
        }
    }
}

/// What verification cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyCost {
    /// List calls made.
    pub list_calls: u64,
}

/// Verifies what the feed announces until everything has arrived or the time is over. `sending` turns false when no
/// further call will be accepted and everything accepted has been announced.
pub async fn verify<S: LogStore>(
    run: &Run,
    store: &S,
    settings: &VerifySettings,
    mut feed: Feed,
    mut sending: watch::Receiver<bool>,
) -> VerifyCost {
    let awaited = Directories::new();
    let mut promises = Promises::default();
    for (node, files) in std::mem::take(&mut feed.promises) {
        promises.add(&run.plan, node, files);
    }
    let mut verifier = Verifier {
        run,
        settings,
        store,
        outlook: Outlook::default(),
        last_accepted: awaited.began(),
        awaited,
        list_calls: 0,
        promises,
        given: std::mem::take(&mut feed.given),
        arrived_by_pool: HashMap::new(),
        told: None,
    };
    // An error means that the log refuses events: the run ends, and there is nothing to do here.
    let _ = verifier.work(feed, &mut sending).await;
    VerifyCost { list_calls: verifier.list_calls }
}

struct Verifier<'run, S> {
    run: &'run Run,
    settings: &'run VerifySettings,
    store: &'run S,
    awaited: Directories,
    outlook: Outlook,
    last_accepted: Instant,
    list_calls: u64,
    /// How many nodes of a pool had any file arrive: distinguishes a blocked pool from a single failure.
    arrived_by_pool: HashMap<(AccountName, PoolId), u32>,
    /// What nodes promised: those of the earlier processes, and those of the calls accepted so far.
    promises: Promises,
    given: Claims,
    /// Why listings failed, as far as it was logged.
    told: Option<Failure>,
}

/// What a look says about a directory that needs no further look.
enum Verdict {
    Verified(Proof),
    /// Files are there, and no more are expected, but nothing proves that they are all.
    Adopted(PeerProof),
}

impl<S: LogStore> Verifier<'_, S> {
    async fn work(&mut self, mut feed: Feed, sending: &mut watch::Receiver<bool>) -> Result<(), NotRecorded> {
        let mut next_look = Instant::now() + SHORTEST_INTERVAL;
        loop {
            if !self.listen_until(next_look, &mut feed, sending).await? {
                return Ok(());
            }
            let over = !*sending.borrow();
            // Every promise must be known before one node's promise proves another node's files.
            self.take_announced(&mut feed)?;
            let deadline = self.deadline(over);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                // A last look, so that the result reflects what is there now.
                self.look_in_time().await?;
                return self.finish().await;
            }
            self.free_overdue_slots();
            let (before, began) = (Instant::now(), self.awaited.now());
            let run = self.run;
            let cut_off = cut_off(run, self.settings.deadline, sending.clone());
            let calls = tokio::select! {
                calls = self.look(over) => calls?,
                // A listing that does not end must not keep the run from ending.
                () = cut_off => {
                    self.unseen_since(began, "the listing did not end before the verification deadline");
                    return self.finish().await;
                }
                () = run.stop.reached(Stop::Abort) => return Ok(()),
            };
            if over && self.awaited.is_empty() && feed.uploads.is_empty() {
                return Ok(());
            }
            let took = before.elapsed();
            next_look = Instant::now() + self.interval(calls, took, over);
            tracing::debug!(list_calls = calls, ?took, awaited = self.awaited.len(), "listed the container");
            if let Some(deadline) = deadline {
                next_look = next_look.min(deadline);
            }
        }
    }

    /// Takes announcements until a time. Returns whether anything is left to do.
    async fn listen_until(
        &mut self,
        until: Instant,
        feed: &mut Feed,
        sending: &mut watch::Receiver<bool>,
    ) -> Result<bool, NotRecorded> {
        loop {
            let over = !*sending.borrow_and_update();
            self.take_announced(feed)?;
            if over && self.awaited.is_empty() {
                return Ok(false);
            }
            tokio::select! {
                // In this order, so that a simulation tells the same story twice.
                biased;
                () = sleep_until(until), if !self.awaited.is_empty() => return Ok(true),
                announced = feed.uploads.recv() => match announced {
                    Some(announced) => self.expect(announced)?,
                    None => return Ok(!self.awaited.is_empty()),
                },
                changed = sending.changed() => if changed.is_err() { return Ok(!self.awaited.is_empty()) },
                () = self.run.stop.reached(Stop::Abort) => return Ok(false),
            }
        }
    }

    fn take_announced(&mut self, feed: &mut Feed) -> Result<(), NotRecorded> {
        while let Ok(announced) = feed.uploads.try_recv() {
            self.expect(announced)?;
        }
        Ok(())
    }

    fn expect(&mut self, announced: resume::AwaitedUpload) -> Result<(), NotRecorded> {
        let resume::AwaitedUpload { node, directory, files, slot } = announced;
        self.last_accepted = Instant::now();
        if let Some(files) = files {
            self.promises.add(&self.run.plan, node, files);
        }
        let is_own =
            directory_name::names(&directory, self.run.plan.node(node)) && self.given.claim(&directory, node);
        if is_own {
            self.outlook.promised(&directory, files.unwrap_or(1));
            self.awaited.insert(&directory, node, files, slot);
            return Ok(());
        }
        if slot {
            self.run.slots.give_back();
        }
        let event =
            shortfall::event(Contents::default(), Shortfall::ForeignDirectory, shortfall::FOREIGN_DIRECTORY);
        self.run.log.note(Some(node), event)
    }

    /// Frees the slots of uploads that took longer than they may.
    fn free_overdue_slots(&mut self) {
        for _ in 0..self.awaited.take_slots_after(self.settings.upload_allowance) {
            self.run.slots.give_back();
        }
    }

    /// Stops waiting for a directory.
    fn settle(&mut self, awaited: &AwaitedDirectory, event: Event) -> Result<(), NotRecorded> {
        if awaited.holds_slot {
            self.run.slots.give_back();
        }
        self.run.log.note(Some(awaited.node), event)
    }

    /// When waiting ends; none while calls are still being accepted.
    fn deadline(&self, over: bool) -> Option<Instant> {
        if !over {
            return None;
        }
        let interrupted = self.run.stop.level() >= Stop::Drain;
        let deadline = self.settings.deadline;
        let patience = if interrupted { patience_once_stopped(deadline) } else { deadline };
        Some(self.last_accepted + patience)
    }

    /// How long to wait for the next look: longer as the run gets older, as looks get more expensive, and as calls add
    /// up. Because of the last term the calls grow with the square root of time. Once no more calls are sent and all
    /// files are there, they only have to stay unchanged, and the next look comes as early as it can confirm that.
    fn interval(&self, calls: u64, took: Duration, over: bool) -> Duration {
        let now = self.awaited.now();
        let confirms = self
            .awaited
            .iter()
            .map(|awaited| self.confirmed_in(awaited, now))
            .try_fold(Duration::ZERO, |longest, wait| wait.map(|wait| wait.max(longest)));
        if let (true, Some(wait)) = (over, confirms) {
            return wait.max(SHORTEST_INTERVAL);
        }
        // While calls are sent there is time; when only files are awaited, somebody waits for the result.
        let (age, took) = if over {
            (self.last_accepted.elapsed() / 20, took)
        } else {
            (self.awaited.began().elapsed() / 100, took * 4)
        };
        let total = Duration::from_micros(500)
            .saturating_mul(u32::try_from(calls.saturating_mul(self.list_calls)).unwrap_or(u32::MAX));
        age.max(took).max(total).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
    }

    /// When the next look can be the last at a directory; none while files are missing. Holds once no more calls are sent.
    fn confirmed_in(&self, awaited: &AwaitedDirectory, now: SinceStart) -> Option<Duration> {
        if !awaited.is_enough() {
            return None;
        }
        if awaited.promised.is_some() {
            return Some(awaited.stable_in(now));
        }
        match self.promises.prove(&self.run.plan, awaited.node, awaited.seen.files) {
            PeerProof::Given => Some(awaited.stable_in(now)),
            PeerProof::Fewer(_) => None,
            PeerProof::TooFewKnown => Some(LONGEST_STABLE),
        }
    }

    /// Looks at everything awaited once more, at the deadline.
    async fn look_in_time(&mut self) -> Result<(), NotRecorded> {
        let began = self.awaited.now();
        if let Ok(looked) = timeout(LAST_LOOK, self.look(true)).await {
            looked?;
        } else {
            let took_too_long = format!("the listing took longer than {} s", LAST_LOOK.as_secs());
            self.unseen_since(began, &took_too_long);
        }
        Ok(())
    }

    /// What was not seen since a time could not be listed.
    fn unseen_since(&mut self, began: SinceStart, why: &str) {
        let failure = Arc::new(Failure::new(FailureClass::Transient, why));
        for awaited in self.awaited.below("").filter(|awaited| !awaited.was_seen_since(began)) {
            awaited.trouble = Some(failure.clone());
        }
    }

    /// Looks at everything awaited once, and returns how many list calls it took. `over` says that no more calls are
    /// sent.
    async fn look(&mut self, over: bool) -> Result<u64, NotRecorded> {
        let listings = self.outlook.choose(self.awaited.names());
        let before = self.list_calls;
        let mut failed = false;
        for listings in listings.chunks(JUDGED_AT_ONCE) {
            // Uploads announced while the listings ran are judged at the next look.
            let (store, awaited) = (self.store, &self.awaited);
            let found: Vec<_> = futures::stream::iter(listings)
                .map(|listing| async move { (list(store, listing, awaited).await, listing) })
                .buffer_unordered(LISTINGS_AT_ONCE)
                .collect()
                .await;
            for (seen, listing) in found {
                self.list_calls += seen.pages;
                self.outlook.swept(listing.prefix.trim_end_matches('/'), seen.pages);
                match seen.end {
                    ListingEnd::Whole => self.judge(&listing.prefix, &seen.directories, over)?,
                    // The outlook has learned the cost, and the next look lists in another way.
                    ListingEnd::TooDear => {}
                    ListingEnd::Failed(failure) => {
                        failed = true;
                        self.trouble(&listing.prefix, failure);
                    }
                }
            }
        }
        if !failed {
            self.told = None;
        }
        Ok(self.list_calls - before)
    }

    /// Compares what a complete listing showed with what is awaited below its prefix.
    fn judge(
        &mut self,
        prefix: &str,
        shown: &HashMap<NodeIndex, Contents>,
        over: bool,
    ) -> Result<(), NotRecorded> {
        let (now, run, by_pool) = (self.awaited.now(), self.run, &mut self.arrived_by_pool);
        let promises = &self.promises;
        let decided = self.awaited.take_below(prefix, |awaited| {
            let contents = shown.get(&awaited.node).copied().unwrap_or_default();
            if contents.files > 0 && awaited.seen.files == 0 {
                let planned = run.plan.node(awaited.node);
                *by_pool.entry((planned.account().clone(), planned.pool().clone())).or_default() += 1;
            }
            awaited.note(contents, now);
            if !awaited.is_enough() || !awaited.is_stable(now) {
                return None;
            }
            if awaited.promised.is_some() {
                return Some(Verdict::Verified(Proof::Promise));
            }
            // The proof waits until no more calls are sent. Its slot must not, or no call would be sent.
            if std::mem::take(&mut awaited.holds_slot) {
                run.slots.give_back();
            }
            if !over {
                return None;
            }
            match promises.prove(&run.plan, awaited.node, awaited.seen.files) {
                PeerProof::Given => Some(Verdict::Verified(Proof::Peers)),
                PeerProof::Fewer(_) => None,
                proof @ PeerProof::TooFewKnown => {
                    awaited.has_come_to_rest(now).then_some(Verdict::Adopted(proof))
                }
            }
        });
        for (awaited, verdict) in decided {
            let Contents { files, bytes, fingerprint } = awaited.seen;
            let event = match verdict {
                Verdict::Verified(proof) => {
                    Event::FilesVerified { files, bytes, fingerprint: Some(fingerprint), proof: Some(proof) }
                }
                Verdict::Adopted(proof) => shortfall::adopted(awaited.seen, proof),
            };
            self.settle(&awaited, event)?;
        }
        Ok(())
    }

    fn trouble(&mut self, prefix: &str, failure: Failure) {
        if self.told.as_ref() != Some(&failure) {
            tracing::warn!(%failure, "cannot list the container; retrying until the verification deadline");
        }
        if failure.class == FailureClass::Gone {
            self.run.stop.stop(Stop::Drain, StopReason::ContainerGone(failure.clone()));
        }
        self.told = Some(failure.clone());
        let failure = Arc::new(failure);
        for awaited in self.awaited.below(prefix) {
            awaited.trouble = Some(failure.clone());
        }
    }

    /// The time is over. Files that are all there and were seen only once get their second look first: on a slow machine
    /// nothing else may be wrong with them.
    async fn finish(&mut self) -> Result<(), NotRecorded> {
        let now = self.awaited.now();
        let unconfirmed = |awaited: &&AwaitedDirectory| awaited.is_enough() && !awaited.is_stable(now);
        let wait = self.awaited.iter().filter(unconfirmed).map(|awaited| awaited.stable_in(now)).max();
        if let Some(wait) = wait
            && self.run.stop.level() < Stop::Drain
        {
            let run = self.run;
            tokio::select! {
                looked = async {
                    sleep(wait.max(SHORTEST_INTERVAL)).await;
                    self.look_in_time().await
                } => looked?,
                () = run.stop.reached(Stop::Abort) => return Ok(()),
            }
        }
        self.give_up()
    }

    /// Records for everything that has not arrived how much of it is there, and why.
    ///
    /// An interrupted run records nothing: what was accepted stays accepted, and is verified when the run is resumed.
    fn give_up(&mut self) -> Result<(), NotRecorded> {
        if self.run.stop.level() >= Stop::Drain {
            return Ok(());
        }
        for awaited in self.awaited.take_all() {
            let planned = self.run.plan.node(awaited.node);
            let place = (planned.account().clone(), planned.pool().clone());
            let pool_delivers = self.arrived_by_pool.contains_key(&place);
            let event = if awaited.promised.is_none() && awaited.is_enough() && awaited.is_confirmed() {
                let proof = self.promises.prove(&self.run.plan, awaited.node, awaited.seen.files);
                shortfall::adopted(awaited.seen, proof)
            } else {
                shortfall::incomplete(&awaited, planned.pool(), pool_delivers)
            };
            self.settle(&awaited, event)?;
        }
        Ok(())
    }
}

/// When a look must end, whatever the store does: the verification deadline after the last call, or the grace of a run
/// that is told to stop.
async fn cut_off(run: &Run, deadline: Duration, mut sending: watch::Receiver<bool>) {
    let calls_end = async {
        // If this fails, the sender is gone, which is the end as well.
        let _ = sending.wait_for(|sending| !sending).await;
        sleep(deadline).await;
    };
    let stopped = async {
        run.stop.reached(Stop::Drain).await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = calls_end => {}
        () = stopped => {}
    }
}

enum ListingEnd {
    Whole,
    TooDear,
    Failed(Failure),
}

struct ListingResult {
    /// By the node whose directory it is.
    directories: HashMap<NodeIndex, Contents>,
    pages: u64,
    end: ListingEnd,
}

/// Makes one listing, keeping only what is awaited.
async fn list<S: LogStore>(store: &S, listing: &Listing, awaited: &Directories) -> ListingResult {
    let mut seen = ListingResult { directories: HashMap::new(), pages: 0, end: ListingEnd::Whole };
    let mut marker: Option<String> = None;
    let mut order = ListingOrder::default();
    loop {
        seen.pages += 1;
        if seen.pages > listing.most_pages {
            seen.end = ListingEnd::TooDear;
            return seen;
        }
        let page = match store.list(&listing.prefix, marker.as_deref()).await {
            Ok(page) => page,
            Err(failure) => {
                seen.end = ListingEnd::Failed(failure);
                return seen;
            }
        };
        for blob in &page.blobs {
            let Some(awaited) = awaited.of_blob(&blob.name) else { continue };
            match order.is_new(&blob.name) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    seen.end = ListingEnd::Failed(Failure::new(FailureClass::Transient, why.to_string()));
                    return seen;
                }
            }
            let contents = seen.directories.entry(awaited.node).or_default();
            contents.files = contents.files.saturating_add(1);
            contents.bytes = contents.bytes.saturating_add(blob.size);
            contents.fingerprint.add(&blob.name, blob.size);
        }
        if page.next.is_none() {
            return seen;
        }
        if page.next == marker {
            seen.end = ListingEnd::Failed(Failure::new(FailureClass::Transient, "the listing's pages loop"));
            return seen;
        }
        marker = page.next;
    }
}

#[cfg(test)]
mod tests;
