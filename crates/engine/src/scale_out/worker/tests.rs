use std::collections::HashMap;

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::PlannedNodes;

use super::*;
use crate::clock::SetClock;
use crate::recorded_run::{RecordedRun, RunClaim};
use crate::run_record::RunRecord;
use crate::scale_out::standing::is_over;
use crate::scale_out::testing::{Life, MemoryQueue, Records, SETTINGS, items, part_of, work_on};
use crate::settings::Limits;
use crate::simulation::{Deed, World};
use crate::testing::{NOW, plan_over};

/// A worker on a fleet in which every call is taken, at one call per second and account. Some partitions are special.
struct Bench {
    plan: Plan,
    worlds: HashMap<AccountName, Arc<World>>,
    records: Records,
    queue: MemoryQueue,
    clock: &'static SetClock,
}

struct Hand<'a> {
    bench: &'a Bench,
    life: Arc<Life>,
    /// Kills the worker as soon as it works on this partition.
    deadly: Option<&'static str>,
    /// Cannot be worked on here.
    unreachable: Option<&'static str>,
    /// Is of a run that this worker is not set up for.
    foreign: Option<&'static str>,
}

impl Bench {
    async fn new(accounts: &[(&str, u32)]) -> Self {
        Self::planned(accounts, |_| true).await
    }

    /// The same; some partitions have no plan yet.
    async fn planned(accounts: &[(&str, u32)], is_planned: impl Fn(&AccountName) -> bool) -> Self {
        let plan = plan_over(accounts);
        let taken = |_, _| Deed::takes(1, Duration::from_millis(100), Duration::from_secs(1));
        let worlds = plan
            .accounts
            .iter()
            .map(|account| (account.name.clone(), Arc::new(World::new(account.nodes as usize, taken))));
        let worlds = worlds.collect();
        let records = Records::with(&plan, true, is_planned).await;
        let queue = MemoryQueue::default();
        items(&plan).for_each(|item| queue.put(&item));
        Self { plan, worlds, records, queue, clock: SetClock::start(NOW) }
    }

    fn hand(&self) -> Hand<'_> {
        Hand { bench: self, life: Arc::default(), deadly: None, unreachable: None, foreign: None }
    }

    /// A worker to its end, or to its death.
    async fn worker(&self, hand: &Hand<'_>, stop: &StopHandle) -> Option<WorkerEnd> {
        let clock = Clock::Set(self.clock);
        tokio::select! {
            biased;
            () = hand.death() => None,
            end = work(&self.queue, hand, &SETTINGS, clock, stop) => Some(end.unwrap()),
        }
    }

    /// Every node was called once, and no other was.
    fn is_collected(&self, partition: &str) -> bool {
        self.worlds[&AccountName::new(partition)].taken().iter().all(|taken| taken.len() == 1)
    }

    async fn is_over(&self, partition: &str) -> bool {
        is_over(&*self.records.store(&AccountName::new(partition), &Arc::default())).await.unwrap()
    }

    async fn record(&self) -> RunRecord {
        let run = RecordedRun::open(&self.records.merged(&self.plan), RunClaim::Watch).await.unwrap();
        RunRecord::of(&run.journal.run_events().unwrap())
    }
}

impl Hand<'_> {
    async fn death(&self) {
        while !self.life.is_dead() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl PartitionWork for Hand<'_> {
    fn store(&self, item: &WorkItem) -> Box<dyn RunStore> {
        self.bench.records.store(&item.partition, &self.life)
    }

    async fn plan(&self, item: &WorkItem, given_up: Option<&str>) -> Result<(), Failure> {
        if given_up.is_none() && self.unreachable == Some(item.partition.as_str()) {
            return Err(Failure::new(FailureClass::NotSent, "no route to the account"));
        }
        if given_up.is_none() && self.deadly == Some(item.partition.as_str()) {
            self.life.die();
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_secs(200)).await;
        let mut part = part_of(&self.bench.plan, &item.partition);
        if let Some(reason) = given_up {
            part.nodes = PlannedNodes::default();
            part.accounts[0].nodes = 0;
            part.accounts[0].unlisted = Some(reason.to_owned());
        }
        self.bench.records.lay_out(&part).await;
        Ok(())
    }

    async fn carry_out(
        &self,
        item: &WorkItem,
        run: ResumedRun,
        listener: Box<dyn EventSink>,
        stop: StopHandle,
    ) -> Result<(), Failure> {
        if self.unreachable == Some(item.partition.as_str()) {
            return Err(Failure::new(FailureClass::NotSent, "no route to the account"));
        }
        if self.foreign == Some(item.partition.as_str()) {
            return Err(Failure::new(FailureClass::Config, "another config"));
        }
        if self.deadly == Some(item.partition.as_str()) {
            self.life.die();
            std::future::pending::<()>().await;
        }
        let limits = Limits { rate: Some(1.0), concurrency: 4, max_uploads_in_flight: None, relist: None };
        let world = &self.bench.worlds[&item.partition];
        let random = fastrand::Rng::with_seed(0);
        work_on(world, run, limits, self.bench.clock, listener, stop, random).await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_every_partition_once_and_keeps_its_messages_hidden_meanwhile() {
    // Longer than a message is hidden at first.
    let bench = Bench::new(&[("contoso", 100), ("fabrikam", 100), ("empty", 0), ("woodgrove", 3)]).await;
    let end = bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
    assert_eq!(end, WorkerEnd { done: 3, ..WorkerEnd::default() });
    assert!(["contoso", "fabrikam", "woodgrove"].iter().all(|partition| bench.is_collected(partition)));
    let record = bench.record().await;
    assert!(record.ended_at.is_some() && record.stopped.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_kills_every_worker_is_given_up_and_the_rest_is_done() {
    let bench = Bench::new(&[("contoso", 5), ("deadly", 5), ("fabrikam", 5)]).await;
    let mut deaths = 0;
    let end = loop {
        let hand = Hand { deadly: Some("deadly"), ..bench.hand() };
        match bench.worker(&hand, &StopHandle::default()).await {
            Some(end) => break end,
            None => deaths += 1,
        }
        assert!(deaths < 10, "it is never given up");
    };
    assert_eq!(deaths, 5);
    let reason = "given up after its worker died 5 times without progress";
    assert_eq!(end.buried.len(), 1);
    assert_eq!((end.buried[0].0.partition.as_str(), &*end.buried[0].1), ("deadly", reason));
    assert_eq!(bench.queue.poison(), end.buried);
    assert!(bench.is_over("deadly").await);
    assert!(bench.is_collected("contoso") && bench.is_collected("fabrikam"));
    let record = bench.record().await;
    assert_eq!(record.stopped, Some(format!("partition deadly: {reason}")));
    assert_eq!(record.cut_short, Some(RunOutcome::Interrupted));
    assert!(record.ended_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_no_worker_can_begin_is_given_up_with_the_last_error() {
    let bench = Bench::new(&[("contoso", 5), ("private", 5)]).await;
    let hand = Hand { unreachable: Some("private"), ..bench.hand() };
    let end = bench.worker(&hand, &StopHandle::default()).await.unwrap();
    assert_eq!((end.done, end.failed, end.buried.len()), (1, 5, 1));
    let reason = "given up after it failed 5 times without progress; the last error: no route to the account";
    assert_eq!(end.buried[0].1, reason);
    assert_eq!(bench.record().await.stopped, Some(format!("partition private: {reason}")));
}

#[tokio::test(start_paused = true)]
async fn a_second_message_for_a_partition_at_work_finds_it_busy_and_later_done() {
    let bench = Bench::new(&[("contoso", 300)]).await;
    items(&bench.plan).for_each(|item| bench.queue.put(&item));
    let end = bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
    // More often than a partition may fail.
    assert!(end.busy > 5, "{end:?}");
    assert_eq!((end.done, end.failed, end.buried.len()), (2, 0, 0));
    assert!(bench.is_collected("contoso"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_hands_its_partitions_back_at_once() {
    let bench = Bench::new(&[("contoso", 60), ("fabrikam", 60)]).await;
    let stop = StopHandle::default();
    let hand = bench.hand();
    let (end, ()) = tokio::join!(bench.worker(&hand, &stop), async {
        sleep(Duration::from_secs(20)).await;
        stop.stop(Stop::Drain, StopReason::Signal);
    });
    assert_eq!(end.unwrap(), WorkerEnd { handed_back: 2, ..WorkerEnd::default() });
    assert!(bench.record().await.stopped.is_some());
    assert!(bench.record().await.ended_at.is_some() && !bench.is_over("contoso").await);
    let began = tokio::time::Instant::now();
    let end = bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
    assert_eq!(end.done, 2);
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert!(bench.is_collected("contoso") && bench.is_collected("fabrikam"));
    assert_eq!(bench.record().await.stopped, None);
    assert!(bench.is_over("contoso").await);
}

#[tokio::test(start_paused = true)]
async fn a_worker_outlives_a_queue_that_does_not_answer_for_a_while() {
    let bench = Bench::new(&[("contoso", 100), ("fabrikam", 5), ("woodgrove", 5)]).await;
    let hand = bench.hand();
    let stop = StopHandle::default();
    let (end, ()) = tokio::join!(bench.worker(&hand, &stop), async {
        sleep(Duration::from_secs(3)).await;
        bench.queue.go_down(Duration::from_secs(40));
    });
    let end = end.unwrap();
    assert_eq!((end.failed, end.buried.len()), (0, 0), "{end:?}");
    assert!(["contoso", "fabrikam", "woodgrove"].iter().all(|partition| bench.is_collected(partition)));
}

#[tokio::test(start_paused = true)]
async fn deaths_do_not_count_while_there_is_progress() {
    let bench = Bench::new(&[("contoso", 400)]).await;
    let mut deaths = 0;
    let end = loop {
        let (hand, stop) = (bench.hand(), StopHandle::default());
        let dies = async {
            sleep(Duration::from_secs(40)).await;
            hand.life.die();
        };
        tokio::select! {
            biased;
            () = dies => deaths += 1,
            end = bench.worker(&hand, &stop) => match end {
                Some(end) => break end,
                None => unreachable!("its death is awaited first"),
            },
        }
        if deaths == 8 {
            // From here on the machines are spared.
            break bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
        }
    };
    assert_eq!((deaths, end.done, end.buried.len()), (8, 1, 0));
    assert!(bench.is_collected("contoso"));
}

/// A partition of a site is planned there: by its worker, which says meanwhile that it is at work.
#[tokio::test(start_paused = true)]
async fn a_partition_without_a_plan_is_planned_by_its_worker() {
    let bench = Bench::planned(&[("contoso", 10), ("private", 10)], |name| name.as_str() != "private").await;
    items(&bench.plan).for_each(|item| bench.queue.put(&item));
    let end = bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
    assert_eq!((end.done, end.failed, end.buried.len()), (4, 0, 0), "{end:?}");
    assert!(bench.is_collected("contoso") && bench.is_collected("private"));
    assert_eq!(bench.record().await.stopped, None);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_while_it_plans_hands_the_partition_back() {
    let bench = Bench::planned(&[("private", 10)], |_| false).await;
    let stop = StopHandle::default();
    let hand = bench.hand();
    let (end, ()) = tokio::join!(bench.worker(&hand, &stop), async {
        sleep(Duration::from_secs(20)).await;
        stop.stop(Stop::Drain, StopReason::Signal);
    });
    assert_eq!(end.unwrap(), WorkerEnd { handed_back: 1, ..WorkerEnd::default() });
    let end = bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
    assert_eq!((end.done, bench.is_collected("private")), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_be_planned_is_given_up_as_one_that_is_not_listed() {
    for deadly in [false, true] {
        let bench =
            Bench::planned(&[("contoso", 5), ("private", 5)], |name| name.as_str() != "private").await;
        let name = Some("private");
        let end = loop {
            let hand = if deadly {
                Hand { deadly: name, ..bench.hand() }
            } else {
                Hand { unreachable: name, ..bench.hand() }
            };
            if let Some(end) = bench.worker(&hand, &StopHandle::default()).await {
                break end;
            }
        };
        assert_eq!(end.buried.len(), 1);
        let reason = &end.buried[0].1;
        let run = RecordedRun::open(&bench.records.merged(&bench.plan), RunClaim::Watch).await.unwrap();
        let account = run.plan.accounts.iter().find(|account| account.name.as_str() == "private").unwrap();
        assert_eq!(account.unlisted.as_ref(), Some(reason));
        let record = bench.record().await;
        assert_eq!(record.stopped, None, "the account says it");
        assert!(record.ended_at.is_some() && bench.is_over("private").await && bench.is_collected("contoso"));
    }
}

/// What a worker does with the message of a partition agrees with what others make of its record.
#[test]
fn a_partition_is_over_exactly_if_its_message_is_deleted() {
    for reason in [
        StopReason::Signal,
        StopReason::OwnershipLost,
        StopReason::TenureEnded,
        StopReason::RunDeadline,
        StopReason::BudgetSpent { failed: 1, allowed: 0 },
        StopReason::ContainerGone(Failure::new(FailureClass::Gone, "no such container")),
        StopReason::SasEnds(NOW),
    ] {
        assert_eq!(ended_early(&reason) == PartitionEnd::Done, !is_handed_on(reason.cause()), "{reason}");
    }
}

/// A worker with another config must not spend the chances of a partition that others can work on.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_not_set_up_for_a_run_leaves_it_to_others() {
    let bench = Bench::new(&[("contoso", 5), ("foreign", 5), ("fabrikam", 5)]).await;
    let hand = Hand { foreign: Some("foreign"), ..bench.hand() };
    let end = bench.worker(&hand, &StopHandle::default()).await.unwrap();
    assert_eq!((end.done, end.refused, end.failed, end.buried.len()), (2, 1, 0, 0), "{end:?}");
    assert_eq!(bench.queue.left().await.unwrap(), 1);
    let end = bench.worker(&bench.hand(), &StopHandle::default()).await.unwrap();
    assert_eq!((end.done, bench.is_collected("foreign")), (1, true));
}
