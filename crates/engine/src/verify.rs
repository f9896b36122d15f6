//! The verifier: what the nodes announced against what the container holds.
//!
//! It runs beside the executor and hears from the event log of every accepted call. `verified` means that the
//! promised number of files is there and that their sizes stayed the same over two listings; a blob is visible only
//! when it is committed, but nothing says that an agent commits it only once. It does not know Azure: it asks a
//! [`LogStore`].

mod awaited;

use std::collections::HashMap;
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeIndex, PoolId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::service::LogStore;
use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::awaited::{AwaitedDirectory, Contents, Directories};
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

/// Listens to the event log and tells the verifier of accepted uploads.
pub struct Announcements(UnboundedSender<resume::AwaitedUpload>);

/// The verifier's end of [`Announcements`].
pub struct Feed(UnboundedReceiver<resume::AwaitedUpload>);

/// A pair of listener and feed; the feed begins with what was accepted before. The channel needs no bound: it holds at
/// most one entry per planned node, and less than the ledger does.
#[must_use]
pub fn announcements(outstanding: &mut Outstanding) -> (Announcements, Feed) {
    let (sender, receiver) = unbounded_channel();
    for awaited in outstanding.awaited.drain(..) {
        // The receiver is right here.
        let _ = sender.send(awaited);
    }
    (Announcements(sender), Feed(receiver))
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
    feed: Feed,
    mut sending: watch::Receiver<bool>,
) -> VerifyCost {
    let awaited = Directories::new();
    let mut verifier = Verifier {
        run,
        settings,
        store,
        outlook: Outlook::default(),
        last_accepted: awaited.began(),
        awaited,
        list_calls: 0,
        arrived_by_pool: HashMap::new(),
        last_trouble: None,
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
    /// The last listing that failed: the reason why files could not be seen.
    last_trouble: Option<Failure>,
}

impl<S: LogStore> Verifier<'_, S> {
    async fn work(&mut self, mut feed: Feed, sending: &mut watch::Receiver<bool>) -> Result<(), NotRecorded> {
        let mut next_look = Instant::now() + SHORTEST_INTERVAL;
        loop {
            if !self.listen_until(next_look, &mut feed, sending).await {
                return Ok(());
            }
            let over = !*sending.borrow();
            let deadline = self.deadline(over);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                // A last look, so that the result reflects what is there now.
                if let Ok(looked) = timeout(LAST_LOOK, self.look()).await {
                    looked?;
                }
                return self.give_up();
            }
            self.free_overdue_slots();
            let before = Instant::now();
            let run = self.run;
            let cut_off = cut_off(run, self.settings.deadline, sending.clone());
            let calls = tokio::select! {
                calls = self.look() => calls?,
                // A listing that does not end must not keep the run from ending.
                () = cut_off => return self.give_up(),
                () = run.stop.reached(Stop::Abort) => return Ok(()),
            };
            if over && self.awaited.is_empty() && feed.0.is_empty() {
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
    ) -> bool {
        loop {
            let over = !*sending.borrow_and_update();
            while let Ok(announced) = feed.0.try_recv() {
                self.expect(announced);
            }
            if over && self.awaited.is_empty() {
                return false;
            }
            tokio::select! {
                () = sleep_until(until), if !self.awaited.is_empty() => return true,
                announced = feed.0.recv() => match announced {
                    Some(announced) => self.expect(announced),
                    None => return !self.awaited.is_empty(),
                },
                changed = sending.changed() => if changed.is_err() { return !self.awaited.is_empty() },
                () = self.run.stop.reached(Stop::Abort) => return false,
            }
        }
    }

    fn expect(&mut self, resume::AwaitedUpload { node, directory, files, slot }: resume::AwaitedUpload) {
        self.last_accepted = Instant::now();
        self.outlook.promised(&directory, files.unwrap_or(1));
        let is_first = self.awaited.insert(&directory, node, files, slot);
        // If the service gave one directory to two nodes, its files count for both.
        if !is_first && slot {
            self.run.slots.give_back();
        }
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
        for other in self.awaited.take_others(awaited.node) {
            self.run.log.note(Some(other), event.clone())?;
        }
        self.run.log.note(Some(awaited.node), event)
    }

    /// When waiting ends; none while calls are still being accepted.
    fn deadline(&self, over: bool) -> Option<Instant> {
        if !over {
            return None;
        }
        let interrupted = self.run.stop.level() >= Stop::Drain;
        let patience = if interrupted { self.settings.deadline.min(GRACE) } else { self.settings.deadline };
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
            .map(|awaited| awaited.confirmed_in(now))
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

    /// Looks at everything awaited once, and returns how many list calls it took.
    async fn look(&mut self) -> Result<u64, NotRecorded> {
        let listings = self.outlook.choose(self.awaited.names());
        let before = self.list_calls;
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
                    ListingEnd::Whole => self.judge(&listing.prefix, &seen.directories)?,
                    // The outlook has learned the cost, and the next look lists in another way.
                    ListingEnd::TooDear => {}
                    ListingEnd::Failed(failure) => self.trouble(failure),
                }
            }
        }
        Ok(self.list_calls - before)
    }

    /// Compares what a complete listing showed with what is awaited below its prefix.
    fn judge(&mut self, prefix: &str, shown: &HashMap<NodeIndex, Contents>) -> Result<(), NotRecorded> {
        let (now, plan, by_pool) = (self.awaited.now(), &self.run.plan, &mut self.arrived_by_pool);
        let arrived = self.awaited.take_arrived(prefix, |awaited| {
            let contents = shown.get(&awaited.node).copied().unwrap_or_default();
            if contents.files > 0 && awaited.seen.files == 0 {
                let planned = plan.node(awaited.node);
                *by_pool.entry((planned.account().clone(), planned.pool().clone())).or_default() += 1;
            }
            awaited.look(contents, now)
        });
        for awaited in arrived {
            let Contents { files, bytes, fingerprint } = awaited.seen;
            let fingerprint = Some(fingerprint);
            self.settle(&awaited, Event::FilesVerified { files, bytes, fingerprint })?;
        }
        Ok(())
    }

    fn trouble(&mut self, failure: Failure) {
        if self.last_trouble.as_ref() != Some(&failure) {
            tracing::warn!(%failure, "cannot list the container; retrying until the verification deadline");
        }
        if failure.class == FailureClass::Gone {
            self.run.stop.stop(Stop::Drain, StopReason::ContainerGone(failure.clone()));
        }
        self.last_trouble = Some(failure);
    }

    /// The time is over: records for everything that has not arrived how much of it is there, and why.
    ///
    /// An interrupted run records nothing: what was accepted stays accepted, and is verified when the run is resumed.
    fn give_up(&mut self) -> Result<(), NotRecorded> {
        if self.run.stop.level() >= Stop::Drain {
            return Ok(());
        }
        for awaited in self.awaited.take_all() {
            let planned = self.run.plan.node(awaited.node);
            let Contents { files, bytes, .. } = awaited.seen;
            let pool_got_any =
                self.arrived_by_pool.contains_key(&(planned.account().clone(), planned.pool().clone()));
            let reason = if let (0, Some(failure)) = (files, &self.last_trouble) {
                format!("the container could not be listed: {failure}")
            } else if files == 0 && !pool_got_any {
                format!("storage blocked from pool `{}`: none of its nodes' files arrived", planned.pool())
            } else if files == 0 {
                "no file arrived before the verification deadline".to_owned()
            } else if awaited.promised.is_some_and(|promised| files < promised) {
                format!(
                    "{files} of {} files arrived before the verification deadline",
                    awaited.promised.unwrap_or(0)
                )
            } else {
                "the files were still changing at the verification deadline".to_owned()
            };
            self.settle(&awaited, Event::FilesIncomplete { files, bytes, reason: reason.into() })?;
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
            let contents = seen.directories.entry(awaited.node).or_default();
            contents.files += 1;
            contents.bytes += blob.size;
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
