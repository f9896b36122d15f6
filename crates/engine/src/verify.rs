//! The verifier: what the nodes announced against what the container holds.
//!
//! It runs beside the executor and hears from the event log of every accepted call. `verified` means that the
//! promised number of files is there and that their sizes stayed the same over two listings; a blob is visible only
//! when it is committed, but nothing says that an agent commits it only once. Where the promise was lost with the answer
//! to the call, the promises of the node's peers can take its place, once all of them are known; otherwise the node is
//! `adopted`. It does not know Azure: it asks a [`LogStore`].

mod announcements;
mod awaited;
mod directories;
mod look;
mod promises;
mod shortfall;
mod when;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::Event;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::outcome::Shortfall;
use fleetlogs_model::service::LogStore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use self::announcements::{Announcements, Feed, announcements};
use self::awaited::{AwaitedDirectory, Contents, SinceStart};
use self::directories::Directories;
use self::promises::{PeerProof, Promises};
use self::when::{ListRate, Phase, Spent};
use crate::directory_name;
use crate::event_log::{LogMark, NotRecorded};
use crate::resume;
use crate::run::Run;
use crate::settings::VerifySettings;
use crate::stop::Stop;
use crate::sweep::{Choice, Listing, Outlook, Wanted, Way};

/// How long the last look may take.
const LAST_LOOK: Duration = Duration::from_secs(30);

/// How long accepted uploads are still verified after a signal, at most.
const GRACE: Duration = Duration::from_secs(30);

/// Events that a look notes before it sees to it that the log follows.
const NOTED_AT_ONCE: usize = 4096;

/// How long after the last accepted call files are awaited once a run is stopped. `deadline` is that of a run that goes
/// on.
#[must_use]
pub fn patience_once_stopped(deadline: Duration) -> Duration {
    deadline.min(GRACE)
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
    let awaited = Directories::new(run.plan.clone());
    let mut promises = Promises::default();
    for (node, files) in feed.promises {
        promises.add(&run.plan, node, files);
    }
    let mut verifier = Verifier {
        run,
        settings,
        store,
        uploads: feed.uploads,
        outlook: Outlook::default(),
        last_accepted: awaited.began(),
        last_look: LastLook::before_the_first(&awaited),
        awaited,
        list_calls: 0,
        rate: ListRate::new(),
        spent: Spent::default(),
        quickest: None,
        promises,
        delivering: HashSet::new(),
        told: None,
        noted: 0,
        mark: None,
    };
    // An error means that the log refuses events: the run ends, and there is nothing to do here.
    let _ = verifier.work(&mut sending).await;
    VerifyCost { list_calls: verifier.list_calls }
}

struct Verifier<'run, S> {
    run: &'run Run,
    settings: &'run VerifySettings,
    store: &'run S,
    uploads: UnboundedReceiver<resume::AwaitedUpload>,
    awaited: Directories,
    outlook: Outlook,
    last_accepted: Instant,
    last_look: LastLook,
    list_calls: u64,
    rate: ListRate,
    spent: Spent,
    /// The least time that an upload took, as far as looks showed.
    quickest: Option<Duration>,
    /// Pools from which any file arrived, by their addresses: distinguishes a blocked pool from a single failure.
    delivering: HashSet<usize>,
    /// What nodes promised: those of the earlier processes, and those of the calls accepted so far.
    promises: Promises,
    /// Why listings failed, as far as it was logged.
    told: Option<Failure>,
    /// Events since the last mark.
    noted: usize,
    /// Behind those of which at most as many more may be noted.
    mark: Option<LogMark>,
}

#[derive(Clone, Copy, Debug)]
struct LastLook {
    began: SinceStart,
    ended: Instant,
    /// When the last list call was made.
    listed: Instant,
    took: Duration,
    /// Whether a listing failed, or news were not worth their calls: the next look need not come soon.
    fell_short: bool,
}

impl LastLook {
    fn before_the_first(awaited: &Directories) -> Self {
        let (began, ended) = (awaited.now(), awaited.began());
        Self { began, ended, listed: ended, took: Duration::ZERO, fell_short: false }
    }
}

/// When a look at a directory is wanted.
#[derive(Clone, Copy, Debug)]
struct Wish {
    at: SinceStart,
    /// About how many files it is expected to tell something new.
    news: u32,
}

impl<S: LogStore> Verifier<'_, S> {
    async fn work(&mut self, sending: &mut watch::Receiver<bool>) -> Result<(), NotRecorded> {
        loop {
            if !self.listen(sending).await? {
                return Ok(());
            }
            let over = !*sending.borrow();
            // Every promise must be known before one node's promise proves another node's files.
            self.take_announced()?;
            if self.deadline(over).is_some_and(|deadline| Instant::now() >= deadline) {
                // A last look, so that the result reflects what is there now.
                self.look_in_time().await?;
                return self.finish().await;
            }
            self.free_overdue_slots();
            let listings = self.worthwhile(over);
            if listings.is_empty() {
                self.last_look.ended = Instant::now();
                continue;
            }
            let run = self.run;
            let cut_off = cut_off(run, self.settings.deadline, sending.clone());
            tokio::select! {
                looked = self.look(listings, over) => looked?,
                // A listing that does not end must not keep the run from ending.
                () = cut_off => {
                    self.unseen_in_last_look("the listing did not end before the verification deadline");
                    return self.finish().await;
                }
                () = run.stop.reached(Stop::Abort) => return Ok(()),
            };
            if over && self.awaited.is_empty() && self.uploads.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes announcements until it is time for a look. Returns whether anything is left to do.
    async fn listen(&mut self, sending: &mut watch::Receiver<bool>) -> Result<bool, NotRecorded> {
        let mut over = !*sending.borrow_and_update();
        self.take_announced()?;
        let mut until = self.next_look(over);
        loop {
            if !over && !*sending.borrow_and_update() {
                over = true;
                self.take_announced()?;
                // The wait was chosen while there was time.
                until = until.min(self.next_look(over));
            }
            if over && self.awaited.is_empty() {
                return Ok(false);
            }
            tokio::select! {
                // In this order, so that a simulation tells the same story twice.
                biased;
                () = sleep_until(until), if !self.awaited.is_empty() => return Ok(true),
                announced = self.uploads.recv() => match announced {
                    Some(announced) => self.expect(announced)?,
                    None => return Ok(!self.awaited.is_empty()),
                },
                changed = sending.changed() => if changed.is_err() { return Ok(!self.awaited.is_empty()) },
                () = self.run.stop.reached(Stop::Abort) => return Ok(false),
            }
        }
    }

    fn take_announced(&mut self) -> Result<(), NotRecorded> {
        while let Ok(announced) = self.uploads.try_recv() {
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
        let names = |node| directory_name::names(&directory, self.run.plan.node(node));
        if names(node) && self.run.claims.claim_own(&directory, node, names) {
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
        if !self.run.slots.are_limited() {
            return;
        }
        let (now, allowance) = (self.awaited.now(), self.settings.upload_allowance);
        let overdue = self.awaited.iter_mut().filter(|awaited| awaited.accepted_at().until(now) >= allowance);
        for awaited in overdue {
            if std::mem::take(&mut awaited.holds_slot) {
                self.run.slots.give_back();
            }
        }
    }

    /// Stops waiting for a directory.
    fn settle(&mut self, awaited: &AwaitedDirectory, event: Event) -> Result<(), NotRecorded> {
        self.noted += 1;
        if awaited.holds_slot {
            self.run.slots.give_back();
        }
        self.run.log.note(Some(awaited.node), event)
    }

    /// Waits until the log has recorded what was noted, except for the last of it. A look finds files faster than
    /// they are recorded, and a million events that wait take more memory than the plan.
    async fn let_the_log_follow(&mut self) -> Result<(), NotRecorded> {
        if self.noted < NOTED_AT_ONCE {
            return Ok(());
        }
        self.noted = 0;
        match self.mark.replace(self.run.log.mark()?) {
            Some(last) => last.passed().await,
            None => Ok(()),
        }
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

    fn phase(&self, over: bool) -> Phase {
        if over {
            Phase::Over { age: self.last_accepted.elapsed() }
        } else {
            Phase::Sending { age: self.awaited.began().elapsed(), slots: self.run.slots.are_limited() }
        }
    }

    /// When to look next. At the end it is as soon as the look can be the last one.
    fn next_look(&self, over: bool) -> Instant {
        let (phase, last) = (self.phase(over), &self.last_look);
        let mut next = last.ended + phase.interval(last.took);
        if over && !last.fell_short {
            let wishes = || self.awaited.iter().filter_map(|(_, awaited)| self.wish(awaited, over));
            let last_news = wishes().filter(|wish| wish.news > 0).map(|wish| wish.at).max();
            let all_are_there = || self.awaited.iter().all(|(_, awaited)| awaited.is_enough());
            if let Some(at) = last_news.map(|at| self.awaited.instant(at))
                && (at <= next || all_are_there())
            {
                next = at.max(last.ended + phase.shortest());
            }
        }
        self.deadline(over).map_or(next, |deadline| next.min(deadline))
    }

    /// When a look at a directory is wanted; none if it can tell nothing before the phase ends.
    fn wish(&self, awaited: &AwaitedDirectory, over: bool) -> Option<Wish> {
        let again = || {
            let (phase, seen_at) = (self.phase(over), awaited.seen_at());
            let since =
                if over { self.awaited.since_start(self.last_accepted) } else { awaited.accepted_at() };
            Wish { at: seen_at.after(phase.again(since.until(seen_at))), news: 0 }
        };
        let promised = awaited.promised.map_or(1, std::num::NonZeroU32::get);
        if !awaited.was_seen() {
            let at = awaited.accepted_at().after(self.quickest.unwrap_or_default());
            return Some(Wish { at, news: promised });
        }
        if !awaited.is_enough() {
            return Some(again());
        }
        // Files that change again and again are no news.
        let news = if awaited.has_changed() { 0 } else { awaited.seen.files };
        let at = match (awaited.promised, over) {
            (Some(_), _) => awaited.stable_at(),
            // The proof waits for the end; a slot must not.
            (None, false) if awaited.holds_slot => awaited.stable_at(),
            (None, false) => return None,
            (None, true) => match self.promises.prove(&self.run.plan, awaited.node, awaited.seen.files) {
                PeerProof::Given => awaited.stable_at(),
                PeerProof::Fewer(_) => return Some(again()),
                PeerProof::TooFewKnown => awaited.rests_at(),
            },
        };
        Some(Wish { at, news })
    }

    /// The listings that are worth their calls now.
    fn worthwhile(&mut self, over: bool) -> Vec<Listing> {
        let now = self.awaited.now();
        let due = |awaited: &AwaitedDirectory| self.wish(awaited, over).filter(|wish| wish.at <= now);
        let choices = self.choose(due);
        let any = !choices.is_empty();
        let since_listed = self.last_look.listed.elapsed();
        let mut spent = self.spent;
        let chosen = spent.affordable(self.phase(over), choices, self.last_look.fell_short, since_listed);
        let listings = self.listings(chosen, |awaited| due(awaited).is_some());
        self.spent = spent;
        self.last_look.fell_short = any && listings.is_empty();
        listings
    }

    /// The cheapest way to look at some of the awaited directories.
    fn choose(&self, wish: impl Fn(&AwaitedDirectory) -> Option<Wish>) -> Vec<Choice<'_>> {
        let mut pools: BTreeMap<&str, Wanted> = BTreeMap::new();
        // Those of a pool come one after the other.
        let (mut current, mut wanted) = ("", Wanted::default());
        for (pool, awaited) in self.awaited.iter() {
            if pool != current {
                *pools.entry(std::mem::replace(&mut current, pool)).or_default() +=
                    std::mem::take(&mut wanted);
            }
            if let Some(wish) = wish(awaited) {
                wanted += Wanted { directories: 1, news: wish.news.into() };
            }
        }
        *pools.entry(current).or_default() += wanted;
        self.outlook.choose(pools.into_iter().filter(|(_, wanted)| wanted.directories > 0))
    }

    fn listings(&self, chosen: Vec<Choice<'_>>, wanted: impl Fn(&AwaitedDirectory) -> bool) -> Vec<Listing> {
        let listings = chosen.into_iter().flat_map(|choice| match choice.way {
            Way::Sweep(listing) => vec![listing],
            Way::Each(pool) => {
                self.awaited.names(pool, &wanted).map(|directory| Listing::of_one(&directory)).collect()
            }
        });
        listings.collect()
    }

    /// Looks at everything awaited once more, at the deadline.
    async fn look_in_time(&mut self) -> Result<(), NotRecorded> {
        let everything = |awaited: &AwaitedDirectory| Some(Wish { at: awaited.accepted_at(), news: 0 });
        let listings = self.listings(self.choose(everything), |_| true);
        if let Ok(looked) = timeout(LAST_LOOK, self.look(listings, true)).await {
            looked?;
        } else {
            self.unseen_in_last_look(&format!("the listing took longer than {} s", LAST_LOOK.as_secs()));
        }
        Ok(())
    }

    /// What the last look did not show could not be listed.
    fn unseen_in_last_look(&mut self, why: &str) {
        let failure = Failure::new(FailureClass::Transient, why);
        let began = self.last_look.began;
        let unseen = self.awaited.iter().filter(|(_, awaited)| !awaited.was_seen_since(began));
        let nodes: Vec<NodeIndex> = unseen.map(|(_, awaited)| awaited.node).collect();
        self.awaited.set_trouble(nodes, failure);
    }

    /// The time is over. Files that are all there and were seen only once get their second look first: on a slow machine
    /// nothing else may be wrong with them.
    async fn finish(&mut self) -> Result<(), NotRecorded> {
        let now = self.awaited.now();
        let unconfirmed = |awaited: &&AwaitedDirectory| awaited.is_enough() && !awaited.is_stable(now);
        let awaited = self.awaited.iter().map(|(_, awaited)| awaited);
        let stable_at = awaited.filter(unconfirmed).map(AwaitedDirectory::stable_at).max();
        if let Some(stable_at) = stable_at
            && self.run.stop.level() < Stop::Drain
        {
            let (run, soonest) = (self.run, Instant::now() + self.phase(true).shortest());
            tokio::select! {
                looked = async {
                    sleep_until(self.awaited.instant(stable_at).max(soonest)).await;
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
        for (awaited, trouble) in self.awaited.take_all() {
            let planned = self.run.plan.node(awaited.node);
            let pool_delivers = self.delivering.contains(&Arc::as_ptr(planned.place).addr());
            let event = if awaited.promised.is_none() && awaited.is_enough() && awaited.is_confirmed() {
                let proof = self.promises.prove(&self.run.plan, awaited.node, awaited.seen.files);
                shortfall::adopted(awaited.seen, proof)
            } else {
                shortfall::incomplete(&awaited, trouble.as_deref(), planned.pool(), pool_delivers)
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

#[cfg(test)]
mod tests;
