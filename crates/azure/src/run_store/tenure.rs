//! The hold of this process on a run: leases of the run's `owner` and of the blob that it appends to, renewed by a task
//! until they are given up or lost.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fleetlogs_model::failure::Failure;
use fleetlogs_model::run_store::Tenure;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::blobs::RunBlobs;
use super::runtime::wait_for;
use crate::own_blobs::LeaseAnswer;

/// How long giving up the leases may take. After that they end by themselves.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// The leases of this process on a run. All have the same id.
pub(super) struct Leases {
    blobs: Arc<RunBlobs>,
    id: String,
    length: Duration,
    /// The blobs that are leased.
    names: Mutex<Vec<String>>,
    term: Mutex<Term>,
    /// One at a time: the task renews in time, and the journal when storage says that the lease is over.
    renewing: tokio::sync::Mutex<()>,
}

/// When the leases were last renewed, by both clocks: one of them stops while the machine sleeps, the other one can be
/// set.
#[derive(Clone, Copy)]
struct Term {
    since: Instant,
    since_time: SystemTime,
    /// They were given up, or are another process's.
    is_over: bool,
}

impl Term {
    /// To be called before the request that begins the term.
    fn from_now() -> Self {
        Self { since: Instant::now(), since_time: SystemTime::now(), is_over: false }
    }

    fn left(self, length: Duration) -> Duration {
        let passed = self.since.elapsed().max(self.since_time.elapsed().unwrap_or_default());
        if self.is_over { Duration::ZERO } else { length.saturating_sub(passed) }
    }
}

/// The end of an attempt to keep the leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// They are renewed.
    Yes,
    /// Another process has them, or had them meanwhile.
    Lost,
}

impl Leases {
    /// Takes the lease of `owner`; none if another process has it, or if there is no such blob.
    pub(super) async fn take(
        blobs: &Arc<RunBlobs>,
        owner: &str,
        length: Duration,
    ) -> Result<Result<Self, LeaseAnswer>, Failure> {
        let id = Uuid::new_v4().to_string();
        let term = Term::from_now();
        // Repeated by us if its answer is lost: the lease is known by its id.
        let answer = super::blobs::patiently(|| blobs.lease(owner, &id, length)).await?;
        if answer != LeaseAnswer::Ours {
            return Ok(Err(answer));
        }
        Ok(Ok(Self {
            blobs: blobs.clone(),
            id,
            length,
            names: Mutex::new(vec![owner.to_owned()]),
            term: Mutex::new(term),
            renewing: tokio::sync::Mutex::default(),
        }))
    }

    /// The id of all of them.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Takes the lease of a further blob, from whoever has it: the holder of the run's `owner` decides who appends.
    pub(super) async fn extend_to(&self, blob: &str) -> Result<LeaseAnswer, Failure> {
        let mut answer = super::blobs::patiently(|| self.blobs.lease(blob, &self.id, self.length)).await?;
        if answer == LeaseAnswer::Theirs {
            super::blobs::patiently(|| self.blobs.end_lease(blob)).await?;
            answer = super::blobs::patiently(|| self.blobs.lease(blob, &self.id, self.length)).await?;
        }
        if answer == LeaseAnswer::Ours {
            self.names.lock().push(blob.to_owned());
        }
        Ok(answer)
    }

    /// Gives up the lease of one blob: nobody appends to it any more.
    pub(super) async fn leave(&self, blob: &str) {
        self.names.lock().retain(|name| name != blob);
        if let Err(failure) = self.blobs.release(blob, &self.id).await {
            tracing::debug!(%failure, blob, "the lease of a full journal blob ends by itself");
        }
    }

    /// Renews all of them now.
    pub(super) async fn renew(&self) -> Result<Kept, Failure> {
        let _one_at_a_time = self.renewing.lock().await;
        if self.term.lock().is_over {
            return Ok(Kept::Lost);
        }
        let term = Term::from_now();
        let names = self.names.lock().clone();
        for name in names {
            // A blob that was left meanwhile needs no lease.
            if !self.blobs.renew(&name, &self.id).await? && self.names.lock().contains(&name) {
                self.term.lock().is_over = true;
                return Ok(Kept::Lost);
            }
        }
        let mut current = self.term.lock();
        if !current.is_over {
            *current = term;
        }
        Ok(Kept::Yes)
    }

    /// Renews them in time until they are lost.
    async fn keep(&self) {
        let mut pause = self.length / 4;
        loop {
            sleep(pause).await;
            pause = match self.renew().await {
                Ok(Kept::Yes) => self.length / 4,
                Ok(Kept::Lost) => {
                    tracing::warn!(run = self.blobs.dir, "another process took the run over");
                    return;
                }
                Err(failure) => {
                    tracing::warn!(run = self.blobs.dir, %failure, "the lease of the run cannot be renewed; trying again");
                    Duration::from_secs(1)
                }
            };
        }
    }

    async fn give_up(&self) {
        let names = self.names.lock().clone();
        // `owner` is the first, and the last one to be given up.
        for name in names.iter().rev() {
            if let Err(failure) = self.blobs.release(name, &self.id).await {
                tracing::debug!(%failure, name, "a lease of the run ends by itself");
            }
        }
    }
}

impl Tenure for Leases {
    fn left(&self) -> Duration {
        self.term.lock().left(self.length)
    }

    fn length(&self) -> Duration {
        self.length
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leases({}, {:?} left)", self.blobs.dir, self.left())
    }
}

/// Leases that are renewed until this is dropped, and given up then.
#[derive(Debug)]
pub(super) struct KeptLeases {
    pub(super) leases: Arc<Leases>,
    keeper: AbortHandle,
    runtime: Handle,
}

impl KeptLeases {
    /// Has a task of this runtime renew them.
    pub(super) fn keep(leases: Leases) -> Self {
        let (leases, runtime) = (Arc::new(leases), Handle::current());
        let kept = leases.clone();
        let keeper = runtime.spawn(async move { kept.keep().await }).abort_handle();
        Self { leases, keeper, runtime }
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for KeptLeases {
    fn drop(&mut self) {
        self.keeper.abort();
        self.leases.term.lock().is_over = true;
        let leases = self.leases.clone();
        // The next process need not wait then. If this does not work, it waits until they end.
        wait_for(&self.runtime, async move {
            let _ = timeout(RELEASE_LIMIT, leases.give_up()).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_by_whichever_clock_is_ahead() {
        let length = Duration::from_secs(60);
        let now = Term::from_now();
        assert!(now.left(length) > Duration::from_secs(50));
        let slept = Term { since_time: now.since_time - Duration::from_secs(55), ..now };
        assert!(slept.left(length) < Duration::from_secs(6));
        let set_back = Term { since_time: now.since_time + Duration::from_secs(3600), ..now };
        assert!(set_back.left(length) > Duration::from_secs(50));
        let late = Term { since: now.since.checked_sub(length).unwrap(), ..now };
        assert_eq!(late.left(length), Duration::ZERO);
        assert_eq!(Term { is_over: true, ..now }.left(length), Duration::ZERO);
    }
}
