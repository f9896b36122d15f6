//! A look: some listings, side by side, judged page by page. While they run, announcements are still taken; what is
//! announced after a look began is for the next one.

use std::sync::Arc;

use fleetlogs_model::event::Event;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::listing::ListingOrder;
use fleetlogs_model::outcome::Proof;
use fleetlogs_model::service::{BlobPage, LogStore};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::awaited::Contents;
use super::directories::directory_of;
use super::promises::PeerProof;
use super::{Verifier, shortfall};
use crate::event_log::NotRecorded;
use crate::stop::{Stop, StopReason};
use crate::sweep::Listing;

/// Listings made side by side in one look. Each holds a page of several megabytes.
const LISTINGS_AT_ONCE: usize = 3;

/// What a look says about a directory that needs no further look.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Verified(Proof),
    /// Files are there, and no more are expected, but nothing proves that they are all.
    Adopted(PeerProof),
}

/// A listing, as far as it was read.
#[derive(Debug)]
struct Reading {
    listing: Listing,
    pages: u64,
    marker: Option<String>,
    order: ListingOrder,
    /// The directory whose blobs were read last, with a slash at its end; empty if that is not known.
    directory: String,
    /// What it has so far; none if it is not awaited.
    contents: Option<Contents>,
}

impl Reading {
    fn of(listing: Listing) -> Self {
        Self {
            listing,
            pages: 0,
            marker: None,
            order: ListingOrder::default(),
            directory: String::new(),
            contents: None,
        }
    }

    /// Reads the next page when it is its turn.
    async fn turn_page<S: LogStore>(mut self, store: &S, turn: Instant) -> (Self, Result<BlobPage, Failure>) {
        sleep_until(turn).await;
        self.pages += 1;
        let page = store.list(&self.listing.prefix, self.marker.as_deref()).await;
        (self, page)
    }
}

impl<S: LogStore> Verifier<'_, S> {
    /// Makes some listings. `over` says that no more calls are sent.
    pub(super) async fn look(&mut self, listings: Vec<Listing>, over: bool) -> Result<(), NotRecorded> {
        let (began, before) = (Instant::now(), self.list_calls);
        self.awaited.begin_look();
        // Looks are told apart by the time when they began.
        self.last_look.began =
            self.awaited.now().max(self.last_look.began.after(std::time::Duration::from_millis(1)));
        self.last_look.fell_short = false;
        let store = self.store;
        let (mut waiting, mut reading) = (listings.into_iter(), FuturesUnordered::new());
        let mut announcing = true;
        loop {
            while reading.len() < LISTINGS_AT_ONCE
                && let Some(listing) = waiting.next()
            {
                self.list_calls += 1;
                reading.push(Reading::of(listing).turn_page(store, self.rate.turn()));
            }
            if reading.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some((listing, page)) = reading.next() => {
                    if let Some(listing) = self.read(listing, page, over)? {
                        self.list_calls += 1;
                        reading.push(listing.turn_page(store, self.rate.turn()));
                    }
                    self.let_the_log_follow().await?;
                }
                announced = self.uploads.recv(), if announcing => match announced {
                    Some(announced) => self.expect(announced)?,
                    None => announcing = false,
                },
            }
        }
        self.awaited.end_look();
        if !self.last_look.fell_short {
            self.told = None;
        }
        let ended = Instant::now();
        let (took, calls) = (ended - began, self.list_calls - before);
        (self.last_look.ended, self.last_look.listed, self.last_look.took) = (ended, ended, took);
        tracing::debug!(list_calls = calls, ?took, awaited = self.awaited.len(), "listed the container");
        Ok(())
    }

    /// Judges a page of a listing. Returns the listing if it has more.
    ///
    /// A directory is judged when a page shows a name behind it. If a later page fails, that was seen all the same.
    fn read(
        &mut self,
        mut listing: Reading,
        page: Result<BlobPage, Failure>,
        over: bool,
    ) -> Result<Option<Reading>, NotRecorded> {
        let page = match page {
            Ok(page) => page,
            Err(failure) => {
                self.failed(&listing, failure);
                return Ok(None);
            }
        };
        for blob in &page.blobs {
            if listing.directory.is_empty() || !blob.name.starts_with(&*listing.directory) {
                self.close(&mut listing, over)?;
                let awaited = self.awaited.of_blob(&blob.name);
                listing.contents = awaited.map(|_| Contents::default());
                listing.directory.push_str(awaited.or_else(|| directory_of(&blob.name)).unwrap_or_default());
            }
            let Some(contents) = &mut listing.contents else { continue };
            match listing.order.is_new(&blob.name) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    self.failed(&listing, Failure::new(FailureClass::Transient, why.to_string()));
                    return Ok(None);
                }
            }
            contents.files = contents.files.saturating_add(1);
            contents.bytes = contents.bytes.saturating_add(blob.size);
            contents.fingerprint.add(&blob.name, blob.size);
        }
        let pages = listing.pages;
        if page.next.is_none() {
            self.close(&mut listing, over)?;
            self.outlook.swept(&listing.listing.prefix, pages);
            self.note_absent(&listing.listing.prefix);
            return Ok(None);
        }
        if page.next == listing.marker {
            self.failed(&listing, Failure::new(FailureClass::Transient, "the listing's pages loop"));
            return Ok(None);
        }
        if pages >= listing.listing.most_pages {
            // What it did not show is listed in another way by the next look.
            self.outlook.gave_up(&listing.listing.prefix, pages);
            return Ok(None);
        }
        listing.marker = page.next;
        Ok(Some(listing))
    }

    /// All blobs of a directory were read.
    fn close(&mut self, listing: &mut Reading, over: bool) -> Result<(), NotRecorded> {
        if let Some(contents) = listing.contents.take() {
            self.judge(&listing.directory, contents, over)?;
        }
        listing.directory.clear();
        Ok(())
    }

    /// Compares what a listing showed of a directory with what is awaited.
    fn judge(&mut self, directory: &str, contents: Contents, over: bool) -> Result<(), NotRecorded> {
        let (now, run, began) = (self.awaited.now(), self.run, self.last_look.began);
        let Some(awaited) = self.awaited.get_mut(directory) else { return Ok(()) };
        // One look is not two, whatever its listings show.
        if awaited.was_seen_since(began) {
            return Ok(());
        }
        if contents.files > 0 && awaited.seen.files == 0 {
            self.delivering.insert(Arc::as_ptr(run.plan.node(awaited.node).place).addr());
        }
        awaited.note(contents, began, now);
        let mut verdict = None;
        if awaited.is_enough() && awaited.is_stable(now) {
            verdict = if awaited.promised.is_some() {
                Some(Verdict::Verified(Proof::Promise))
            } else {
                // The proof waits until no more calls are sent. Its slot must not, or no call would be sent.
                if std::mem::take(&mut awaited.holds_slot) {
                    run.slots.give_back();
                }
                match self.promises.prove(&run.plan, awaited.node, awaited.seen.files) {
                    _ if !over => None,
                    PeerProof::Given => Some(Verdict::Verified(Proof::Peers)),
                    PeerProof::Fewer(_) => None,
                    proof @ PeerProof::TooFewKnown => {
                        awaited.has_come_to_rest(now).then_some(Verdict::Adopted(proof))
                    }
                }
            };
        }
        let awaited = *awaited;
        self.awaited.clear_trouble(awaited.node);
        let Some(verdict) = verdict else { return Ok(()) };
        self.awaited.settle(directory);
        let took = awaited.took();
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        let Contents { files, bytes, fingerprint } = awaited.seen;
        let event = match verdict {
            Verdict::Verified(proof) => {
                Event::FilesVerified { files, bytes, fingerprint: Some(fingerprint), proof: Some(proof) }
            }
            Verdict::Adopted(proof) => shortfall::adopted(awaited.seen, proof),
        };
        self.settle(&awaited, event)
    }

    /// A whole listing did not show these directories: they have no files.
    fn note_absent(&mut self, prefix: &str) {
        let (began, now) = (self.last_look.began, self.awaited.now());
        let mut listed = vec![];
        self.awaited.below(prefix, |awaited| {
            if !awaited.was_seen_since(began) && awaited.accepted_at() <= began {
                awaited.note(Contents::default(), began, now);
                listed.push(awaited.node);
            }
        });
        for node in listed {
            self.awaited.clear_trouble(node);
        }
    }

    /// A listing failed: what it did not show by then could not be listed.
    fn failed(&mut self, listing: &Reading, failure: Failure) {
        if self.told.as_ref() != Some(&failure) {
            tracing::warn!(%failure, "cannot list the container; retrying until the verification deadline");
        }
        if failure.class == FailureClass::Gone {
            self.run.stop.stop(Stop::Drain, StopReason::ContainerGone(failure.clone()));
        }
        self.last_look.fell_short = true;
        self.told = Some(failure.clone());
        let (began, mut nodes) = (self.last_look.began, Vec::<NodeIndex>::new());
        self.awaited.below(&listing.listing.prefix, |awaited| {
            if !awaited.was_seen_since(began) {
                nodes.push(awaited.node);
            }
        });
        self.awaited.set_trouble(nodes, failure);
    }
}
