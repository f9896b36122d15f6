use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};

use fleetlogs_model::failure::FailureClass;
use tokio::time::timeout;

use super::*;
use crate::stop::StopReason;
use crate::testing::NOW;

const LEASE: Duration = Duration::from_secs(60);

/// A home of several machines, as storage keeps it: who has the lease until when, and the state.
#[derive(Default)]
struct Shared {
    owner: Option<(u32, Instant)>,
    state: Vec<u8>,
}

/// A machine's way to the home. While `broken` is not empty its calls fail so.
struct Machine {
    number: u32,
    shared: Arc<Mutex<Shared>>,
    broken: Mutex<VecDeque<HomeError>>,
    /// What each acquisition takes.
    slow: Duration,
}

impl Machine {
    fn new(number: u32, shared: &Arc<Mutex<Shared>>) -> Arc<Self> {
        Arc::new(Self { number, shared: shared.clone(), broken: Mutex::default(), slow: Duration::ZERO })
    }

    fn fails(&self, times: usize) {
        let failure = || Failure::new(FailureClass::Transient, "no answer").into();
        self.broken.lock().extend(std::iter::repeat_with(failure).take(times));
    }

    fn under_lease<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> Result<T, HomeError> {
        if let Some(error) = self.broken.lock().pop_front() {
            return Err(error);
        }
        let mut shared = self.shared.lock();
        match shared.owner {
            Some((owner, _)) if owner == self.number => Ok(act(&mut shared)),
            _ => Err(HomeError::Lost),
        }
    }
}

impl StateHome for Machine {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async {
            if let Some(error) = self.broken.lock().pop_front() {
                return Err(error);
            }
            {
                let mut shared = self.shared.lock();
                if shared.owner.is_some_and(|(owner, until)| owner != self.number && Instant::now() < until) {
                    return Err(HomeError::Held);
                }
                shared.owner = Some((self.number, Instant::now() + LEASE));
            }
            sleep(self.slow).await;
            Ok(Some(self.shared.lock().state.clone()))
        })
    }

    fn renew(&self) -> Answer<'_, ()> {
        let renewed = self.under_lease(|shared| shared.owner = Some((self.number, Instant::now() + LEASE)));
        Box::pin(async { renewed })
    }

    fn publish(&self, state: Vec<u8>) -> Answer<'_, ()> {
        let published = self.under_lease(|shared| shared.state = state);
        Box::pin(async { published })
    }

    fn release(&self) -> Answer<'_, ()> {
        let released = self.under_lease(|shared| shared.owner = None);
        Box::pin(async { released })
    }

    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(Some(self.shared.lock().state.clone())) })
    }

    fn lease(&self) -> Duration {
        LEASE
    }
}

fn clock() -> Clock {
    Clock::Since(NOW, Instant::now())
}

async fn own(machine: &Arc<Machine>) -> Ownership {
    let owned = Ownership::acquire(machine.clone(), clock(), &StopHandle::default(), random()).await;
    owned.unwrap().unwrap().0
}

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(3)
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_dies_is_followed_when_its_lease_ends() {
    let shared = Arc::default();
    let first = own(&Machine::new(1, &shared)).await;
    first.home().publish(b"of the first".to_vec()).await.unwrap();
    sleep(seconds(100)).await;
    // As a process that is killed: nothing is given back.
    drop(first);
    let died = Instant::now();

    let second = Machine::new(2, &shared);
    let (second, fetched) =
        Ownership::acquire(second, clock(), &StopHandle::default(), random()).await.unwrap().unwrap();

    assert!(second.is_valid());
    assert_eq!(fetched.as_deref(), Some(&b"of the first"[..]));
    assert!(died.elapsed() <= LEASE + STANDBY + STANDBY_JITTER, "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_owner_stays_for_as_long_as_it_lives() {
    let shared = Arc::default();
    let owner = own(&Machine::new(1, &shared)).await;
    let stop = StopHandle::default();
    let other = Ownership::acquire(Machine::new(2, &shared), clock(), &stop, random());
    assert!(timeout(seconds(1200), other).await.is_err());
    assert!(owner.is_valid());
}

#[tokio::test(start_paused = true)]
async fn renewals_may_fail_for_a_while() {
    let shared = Arc::default();
    let machine = Machine::new(1, &shared);
    let owner = own(&machine).await;
    machine.fails(20);
    assert!(timeout(seconds(600), owner.lost()).await.is_err());
    assert!(owner.is_valid() && machine.broken.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_renew_gives_up_before_another_can_follow() {
    let shared = Arc::default();
    let machine = Machine::new(1, &shared);
    let owner = own(&machine).await;
    sleep(seconds(100)).await;
    machine.fails(usize::MAX >> 40);
    let second = Machine::new(2, &shared);
    let mut waiting = Box::pin(async {
        Ownership::acquire(second, clock(), &StopHandle::default(), random()).await.unwrap()
    });

    tokio::select! {
        biased;
        () = owner.lost() => {}
        _ = &mut waiting => panic!("two owners"),
    }
    assert!(!owner.is_valid());
    assert!(matches!(owner.home().publish(b"late".to_vec()).await, Err(HomeError::Lost)));
    let gave_up = Instant::now();
    let (second, fetched) = waiting.await.unwrap();
    assert!(second.is_valid() && fetched != Some(b"late".to_vec()));
    assert!(gave_up.elapsed() >= LEASE / 20, "{:?}", gave_up.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_gives_up_at_once() {
    let shared = Arc::default();
    let machine = Machine::new(1, &shared);
    let slept = Arc::new(AtomicI64::new(0));
    let (began, wall) = (Instant::now(), slept.clone());
    let now = Box::new(move || NOW + began.elapsed() + time::Duration::seconds(wall.load(Ordering::SeqCst)));
    let acquired = Ownership::acquire_by(machine, now, &StopHandle::default(), random()).await.unwrap();
    let owner = acquired.unwrap().0;
    sleep(seconds(100)).await;
    assert!(owner.is_valid());

    // The monotonic clock stood still.
    slept.store(3600, Ordering::SeqCst);

    assert!(!owner.is_valid());
    assert!(matches!(owner.home().publish(b"late".to_vec()).await, Err(HomeError::Lost)));
    timeout(LONGEST_TICK * 2, owner.lost()).await.expect("told");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_put_back_changes_nothing() {
    let shared = Arc::default();
    let put_back = Arc::new(AtomicI64::new(0));
    let (began, wall) = (Instant::now(), put_back.clone());
    let now = Box::new(move || NOW + began.elapsed() - time::Duration::seconds(wall.load(Ordering::SeqCst)));
    let machine = Machine::new(1, &shared);
    let acquired =
        Ownership::acquire_by(machine.clone(), now, &StopHandle::default(), random()).await.unwrap();
    let owner = acquired.unwrap().0;
    put_back.store(3600, Ordering::SeqCst);
    assert!(timeout(seconds(600), owner.lost()).await.is_err());
    machine.fails(usize::MAX >> 40);
    timeout(LEASE, owner.lost()).await.expect("the monotonic clock tells");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_gives_it_back_is_followed_at_once() {
    let shared = Arc::default();
    let first = own(&Machine::new(1, &shared)).await;
    let second = Machine::new(2, &shared);
    let stop = StopHandle::default();
    let mut waiting = Box::pin(Ownership::acquire(second, clock(), &stop, random()));
    assert!(timeout(seconds(30), &mut waiting).await.is_err());
    let released = Instant::now();
    first.release().await;
    assert!(waiting.await.unwrap().is_some());
    assert!(released.elapsed() <= STANDBY + STANDBY_JITTER, "{:?}", released.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_refused_has_lost_it() {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let owner = own(&Machine::new(1, &shared)).await;
    shared.lock().owner = Some((2, Instant::now() + LEASE));
    assert!(matches!(owner.home().publish(b"late".to_vec()).await, Err(HomeError::Lost)));
    timeout(Duration::ZERO, owner.lost()).await.expect("known at once");
    owner.release().await;
    assert_eq!(shared.lock().owner.map(|(owner, _)| owner), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_comes_slowly_is_owned_all_the_same() {
    let shared = Arc::default();
    let machine = Arc::new(Machine {
        number: 1,
        shared: Arc::clone(&shared),
        broken: Mutex::default(),
        slow: LEASE * 2,
    });
    let owner = own(&machine).await;
    assert!(owner.is_valid());
    assert!(timeout(seconds(600), owner.lost()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_waiting_does_not_cure_is_told_at_once_and_what_it_does_is_not() {
    let shared = Arc::default();
    let machine = Machine::new(1, &shared);
    machine.broken.lock().push_back(Failure::new(FailureClass::Auth, "no right").into());
    let refused = Ownership::acquire(machine.clone(), clock(), &StopHandle::default(), random()).await;
    assert_eq!(refused.unwrap_err().class, FailureClass::Auth);
    machine.fails(3);
    machine.broken.lock().push_back(Failure::new(FailureClass::Auth, "rotated").into());
    assert!(own(&machine).await.is_valid());
}

#[tokio::test(start_paused = true)]
async fn who_waits_can_be_told_to_stop() {
    let shared = Arc::default();
    let _owner = own(&Machine::new(1, &shared)).await;
    let stop = StopHandle::default();
    let waiting = Ownership::acquire(Machine::new(2, &shared), clock(), &stop, random());
    let (owned, ()) = tokio::join!(waiting, async {
        sleep(seconds(30)).await;
        stop.stop(Stop::Drain, StopReason::Signal);
    });
    assert!(owned.unwrap().is_none());
}
