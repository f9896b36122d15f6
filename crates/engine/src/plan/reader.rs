//! Reading lists of the service to their end.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::retry::{RetryPolicy, persistently};
use fleetlogs_model::service::{Page, PageLink};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// A list with more pages than this (10 million nodes) is taken for a loop whose links change.
const MOST_PAGES: u32 = 10_000;

/// Why a link is not followed.
pub(crate) const LIST_LOOPS: &str = "the service's list loops: a page links to one that was already read";

/// If an account does not answer at all, it is given up after this time, however many attempts are left: the others
/// wait for the plan. The service itself gives up a list call after the same time.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// After this many pages in a row without anything new, the list has no end. The service does send an occasional empty
/// page with a link.
const MOST_BARREN_PAGES: u32 = 100;

/// A page that got no answer at all is requested once more, and no more often: the others wait.
const MOST_UNANSWERED: u32 = 2;

/// What was in a list so far, by id without regard to case: for each id its hash without case, and with it. Hashes,
/// because a list may have very many. Their key is random, and even of ten million ids two with the same hash occur in
/// three runs of a million.
#[derive(Default)]
pub(crate) struct SeenIds {
    hashes: HashMap<u64, u64>,
    hasher: RandomState,
}

/// Whether an id was in the list before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It was not.
    First,
    /// It was: the list moves while it is read, and repeats items.
    Again,
    /// An id that differs from it only in case was.
    InOtherCase,
}

impl SeenIds {
    pub(crate) fn see(&mut self, id: &str) -> Sight {
        let (hash, of_any_case) = (self.hasher.hash_one(id), self.hasher.hash_one(id.to_ascii_lowercase()));
        match self.hashes.entry(of_any_case) {
            Entry::Vacant(first) => {
                first.insert(hash);
                Sight::First
            }
            Entry::Occupied(first) if *first.get() == hash => Sight::Again,
            Entry::Occupied(_) => Sight::InOtherCase,
        }
    }
}

/// The links, or markers, of a list so far, as hashes: links can be long, and a list can have [`MOST_PAGES`] of them. Of
/// so few, two with the same hash do not occur.
#[derive(Default)]
pub(crate) struct SeenLinks {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl SeenLinks {
    /// Whether a link may be followed: it is new, and the list has not too many pages.
    pub(crate) fn is_new(&mut self, link: &impl Hash) -> bool {
        self.hashes.len() < MOST_PAGES as usize && self.hashes.insert(self.hasher.hash_one(link))
    }
}

/// Reads lists to their end, page by page, and retries calls whose failure may pass.
pub(crate) struct Reader<'plan> {
    account: &'plan AccountName,
    retry: &'plan RetryPolicy,
    random: Mutex<fastrand::Rng>,
    calls: AtomicU32,
    /// Whether the account has answered at all, well or not.
    heard: AtomicBool,
    started: Instant,
}

impl<'plan> Reader<'plan> {
    pub(crate) fn new(account: &'plan AccountName, retry: &'plan RetryPolicy, random: fastrand::Rng) -> Self {
        Self {
            account,
            retry,
            random: Mutex::new(random),
            calls: AtomicU32::new(0),
            heard: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// List calls sent so far.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) async fn all<T, F>(&self, list: impl Fn(Option<PageLink>) -> F) -> Result<Vec<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut items = Vec::new();
        let push = |item| {
            items.push(item);
            true
        };
        self.each(list, push).await?;
        Ok(items)
    }

    /// Hands out the items of all pages, as the pages come in. `item` says whether it is new.
    pub(crate) async fn each<T, F>(
        &self,
        list: impl Fn(Option<PageLink>) -> F,
        mut item: impl FnMut(T) -> bool,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut next: Option<PageLink> = None;
        let mut seen = SeenLinks::default();
        let mut barren = 0;
        loop {
            let page = self.page(&list, next).await?;
            let new = page.items.into_iter().map(&mut item).filter(|is_new| *is_new).count();
            barren = if new == 0 { barren + 1 } else { 0 };
            let Some(link) = page.next else { return Ok(()) };
            if barren >= MOST_BARREN_PAGES {
                let message = format!("the service's list has no end: {barren} pages brought nothing new");
                return Err(Failure::new(FailureClass::Config, message));
            }
            if !seen.is_new(&link) {
                return Err(Failure::new(FailureClass::Config, LIST_LOOPS));
            }
            next = Some(link);
        }
    }

    async fn page<T, F>(
        &self,
        list: &impl Fn(Option<PageLink>) -> F,
        page: Option<PageLink>,
    ) -> Result<Page<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut unanswered = 0;
        let call = || async {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let answer = self.heard_in_time(list(page.clone())).await;
            if !matches!(&answer, Err(failure) if failure.status.is_none()) {
                self.heard.store(true, Ordering::Relaxed);
            }
            answer
        };
        let pause = |attempt, failure: &Failure| {
            if failure.status.is_none() && failure.class == FailureClass::Transient {
                unanswered += 1;
            }
            let is_silent = !self.heard.load(Ordering::Relaxed) && self.started.elapsed() >= LONGEST_SILENCE;
            if is_silent || unanswered >= MOST_UNANSWERED {
                return None;
            }
            let pause = self.retry.pause(attempt, failure, self.random.lock().f64())?;
            tracing::warn!(account = %self.account, %failure, attempt, "a list cannot be read; retrying");
            Some(pause)
        };
        persistently(call, pause, sleep).await
    }

    async fn heard_in_time<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if self.heard.load(Ordering::Relaxed) {
            return call.await;
        }
        tokio::time::timeout_at(self.started + LONGEST_SILENCE, call).await.unwrap_or_else(|_| {
            let message = format!("no answer at all within {} s", LONGEST_SILENCE.as_secs());
            Err(Failure::new(FailureClass::Transient, message))
        })
    }
}
