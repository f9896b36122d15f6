//! Owning the schedule: one machine at a time, if several machines share the home of its state.
//!
//! An owner renews four times during a lease, and knows by itself when the lease is over: it counts from the moment
//! before a renewal was sent, by the monotonic clock and by the wall clock, because the monotonic clock stands still
//! while a machine is suspended. A little before another machine can become the owner, this one gives up, and tells
//! those who have to stop.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::home::{Answer, HomeError, StateHome};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::stop::{Stop, StopHandle};

/// Shortest pause between two attempts to become the owner.
const STANDBY: Duration = Duration::from_secs(2);

/// Random addition to the pause, so that waiting machines do not ask in step.
const STANDBY_JITTER: Duration = Duration::from_secs(2);

/// A change of the wall clock is noticed within this time.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// The ownership of the schedule.
#[derive(Debug)]
pub struct Ownership {
    lease: Arc<Lease>,
    keeper: JoinHandle<()>,
}

/// The ownership, and the state when it began: none if nothing was published yet.
pub type OwnedState = (Ownership, Option<Vec<u8>>);

struct Lease {
    home: Arc<dyn StateHome>,
    now: Box<dyn Fn() -> OffsetDateTime + Send + Sync>,
    since: Mutex<ClockReading>,
    given_up: watch::Sender<bool>,
}

/// The same moment by both clocks.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    instant: Instant,
    time: OffsetDateTime,
}

impl Ownership {
    /// Waits until this machine is the owner, however long another one is; none if it is told to stop before. If the
    /// first attempt fails in a way that waiting does not cure, such as a missing right, the failure is returned.
    ///
    /// Cancel safety: a dropped call may leave a lease that nobody uses, which expires on its own.
    pub async fn acquire(
        home: Arc<dyn StateHome>,
        clock: Clock,
        stop: &StopHandle,
        random: fastrand::Rng,
    ) -> Result<Option<OwnedState>, Failure> {
        Self::acquire_by(home, Box::new(move || clock.now()), stop, random).await
    }

    async fn acquire_by(
        home: Arc<dyn StateHome>,
        now: Box<dyn Fn() -> OffsetDateTime + Send + Sync>,
        stop: &StopHandle,
        random: fastrand::Rng,
    ) -> Result<Option<OwnedState>, Failure> {
        let since = Mutex::new(ClockReading::of(&*now));
        let lease = Arc::new(Lease { home, now, since, given_up: watch::Sender::new(false) });
        let fetched = tokio::select! {
            fetched = lease.acquire(random) => fetched?,
            () = stop.reached(Stop::Drain) => {
                // An attempt that was in progress may have succeeded.
                lease.release().await;
                return Ok(None);
            }
        };
        let keeper = tokio::spawn({
            let lease = lease.clone();
            async move {
                tokio::select! {
                    () = lease.over() => {}
                    () = lease.renew_always() => {}
                }
                lease.give_up();
            }
        });
        Ok(Some((Self { lease, keeper }, fetched)))
    }

    /// Whether this machine is still the owner. If it is not, nothing may be started or sent.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// Waits until this machine is no longer the owner, and everything has to stop.
    ///
    /// Cancel safety: may be dropped at any time.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// The home for the [`Store`](super::state::Store). It takes no state from a machine that gave up, and when it
    /// refuses one this machine has given up.
    #[must_use]
    pub fn home(&self) -> Arc<dyn StateHome> {
        Arc::new(OwnedHome(self.lease.clone()))
    }

    /// Lets another machine become the owner at once. Call it after the last change was published and all runs have
    /// ended.
    pub async fn release(self) {
        self.keeper.abort();
        let valid = self.is_valid();
        self.lease.give_up();
        if valid {
            self.lease.release().await;
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.keeper.abort();
        self.lease.give_up();
    }
}

impl Lease {
    /// Tries until this machine is the owner. If the first attempt fails in a way that waiting does not cure, that is
    /// final.
    async fn acquire(&self, mut random: fastrand::Rng) -> Result<Option<Vec<u8>>, Failure> {
        let mut told = None;
        loop {
            let error = match self.try_take().await {
                Ok(fetched) => {
                    tracing::info!("this machine owns the schedule");
                    return Ok(fetched);
                }
                Err(error) => error,
            };
            match error {
                HomeError::Failed(failure) if told.is_none() && !failure.class.is_passing() => {
                    return Err(failure);
                }
                HomeError::Failed(failure) if told != Some(false) => {
                    tracing::warn!("the shared state of the schedule: {failure}; retrying");
                    told = Some(false);
                }
                HomeError::Held | HomeError::Lost if told != Some(true) => {
                    tracing::info!("another machine owns the schedule; standing by");
                    told = Some(true);
                }
                error => tracing::debug!(%error, "this machine does not own the schedule yet"),
            }
            sleep(STANDBY + STANDBY_JITTER.mul_f64(random.f64())).await;
        }
    }

    async fn try_take(&self) -> Result<Option<Vec<u8>>, HomeError> {
        let sent = ClockReading::of(&*self.now);
        let fetched = self.home.acquire().await?;
        self.set_since(sent);
        // Fetching the state may take as long as a lease.
        if self.age() >= self.home.lease() / 4
            && let Err(error) = self.renew().await
        {
            self.release().await;
            return Err(error);
        }
        Ok(fetched)
    }

    async fn renew(&self) -> Result<(), HomeError> {
        let sent = ClockReading::of(&*self.now);
        self.home.renew().await?;
        self.set_since(sent);
        Ok(())
    }

    /// Renews until it is refused, or the lease is over before a renewal is sent.
    async fn renew_always(&self) {
        let usual = self.home.lease() / 4;
        let mut pause = usual.saturating_sub(self.age());
        let mut told = false;
        loop {
            sleep(pause).await;
            if !self.is_valid() {
                return;
            }
            match self.renew().await {
                Ok(()) => {
                    if told {
                        tracing::info!("the ownership of the schedule was renewed");
                    }
                    (pause, told) = (usual, false);
                }
                Err(HomeError::Failed(failure)) => {
                    if !told {
                        tracing::warn!(
                            "the ownership of the schedule cannot be renewed: {failure}; retrying"
                        );
                    }
                    (pause, told) = (self.tick(), true);
                }
                Err(HomeError::Held | HomeError::Lost) => return,
            }
        }
    }

    /// Waits until too long has passed since the last renewal.
    async fn over(&self) {
        while self.is_valid() {
            sleep(self.tick()).await;
        }
    }

    async fn release(&self) {
        if let Err(error) = self.home.release().await {
            tracing::debug!(%error, "the ownership of the schedule was not released; it expires on its own");
        }
    }

    fn give_up(&self) {
        self.given_up.send_if_modified(|given_up| !std::mem::replace(given_up, true));
    }

    async fn lost(&self) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.given_up.subscribe().wait_for(|given_up| *given_up).await;
    }

    fn is_valid(&self) -> bool {
        let lease = self.home.lease();
        // A tenth is left for what was started just before, and for clocks that drift.
        !*self.given_up.borrow() && self.age() < lease * 9 / 10
    }

    /// How long ago the last renewal was sent, by the clock that shows the longer time.
    fn age(&self) -> Duration {
        let since = *self.since.lock();
        let by_wall = Duration::try_from((self.now)() - since.time).unwrap_or_default();
        since.instant.elapsed().max(by_wall)
    }

    fn set_since(&self, moment: ClockReading) {
        *self.since.lock() = moment;
    }

    /// Pause between two looks at the clocks.
    fn tick(&self) -> Duration {
        LONGEST_TICK.min(self.home.lease() / 20)
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease(valid: {})", self.is_valid())
    }
}

impl ClockReading {
    fn of(now: &dyn Fn() -> OffsetDateTime) -> Self {
        Self { instant: Instant::now(), time: now() }
    }
}

/// A home as its owner sees it.
struct OwnedHome(Arc<Lease>);

impl StateHome for OwnedHome {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        self.0.home.acquire()
    }

    fn renew(&self) -> Answer<'_, ()> {
        self.0.home.renew()
    }

    fn publish(&self, state: Vec<u8>) -> Answer<'_, ()> {
        Box::pin(async move {
            if !self.0.is_valid() {
                return Err(HomeError::Lost);
            }
            let published = self.0.home.publish(state).await;
            if let Err(HomeError::Lost | HomeError::Held) = published {
                self.0.give_up();
            }
            published
        })
    }

    fn release(&self) -> Answer<'_, ()> {
        self.0.home.release()
    }

    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        self.0.home.read()
    }

    fn lease(&self) -> Duration {
        self.0.home.lease()
    }
}

#[cfg(test)]
mod tests;
