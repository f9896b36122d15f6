//! Waits until the workers have nothing left to do in a run, shows what they do, and writes its reports.
//!
//! Nobody but the workers changes the run. A message that is missing is sent again: the process that laid the run out may
//! have died before it had sent all.

use std::collections::HashMap;
use std::time::Duration;

use fleetlogs_azure::{BlobRunStore, StoredPartition};
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim, ledger_of};
use fleetlogs_engine::scale_out::is_over;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind, JournalReader, RunStore};
use fleetlogs_model::work_queue::WorkQueue;
use fleetlogs_report::Progress;
use futures::{StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep};

use super::lay_out::send;
use super::workers::worker_command;
use crate::config::Settings;
use crate::error::{CliError, Refusal};
use crate::logging::LogGuard;
use crate::run::{FinishedRun, Reported, Watchers, progress_clock};
use crate::run_dir::{PLAN_FILE, RunDir, write_plan};
use crate::shared_run::SharedRun;
use crate::work_queues::WorkQueues;

/// How often the records are read. Each partition costs some calls.
const EVERY: Duration = Duration::from_secs(1);
const EACH_PARTITION: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Partitions that are asked at the same time.
const AT_ONCE: usize = 16;

/// How long storage may fail before nobody waits any longer.
const LONGEST_FAILURE: Duration = Duration::from_secs(600);

/// A site whose messages nobody takes for this long seems to have no worker.
const UNTAKEN: Duration = Duration::from_secs(30);

/// Half of the pause between two looks for partitions that nobody has, where no config says how workers work.
const NO_HEARTBEAT: Duration = Duration::from_secs(15);

/// The most events that the screen gets at once.
const GROUP: usize = 4096;

/// Whoever waits for the workers of a run.
pub(crate) struct Gathering<'a> {
    /// Where the reports will be.
    pub(crate) dir: RunDir,
    /// None if the workers of the run take no messages.
    pub(crate) queues: Option<&'a WorkQueues>,
    pub(crate) settings: &'a Settings,
    pub(crate) watchers: &'a Watchers,
    pub(crate) stop: &'a StopHandle,
}

/// Why the records are no longer read.
enum Seen {
    /// No worker has anything left to do.
    Over,
    /// A worker has planned a partition: the plan of the run is longer now.
    MorePlans,
    /// Nobody works on these partitions, and nobody comes.
    Abandoned(Vec<AccountName>),
    /// This process was told to stop. The workers were not.
    Stopped,
}

/// Waits for the end of a run, and reports it. None if the run is not shared out.
pub(crate) async fn gather(gathering: Gathering<'_>) -> Result<Option<FinishedRun>, CliError> {
    let dir = &gathering.dir;
    let Some(shared) = dir.shared().await? else { return Ok(None) };
    // Where the run was not laid out, there is no directory yet.
    dir.keep_here(&dir.store.plan().await?.plan)?;
    let log = gathering.watchers.logs.keep_in(dir.log_file()?);
    let partitions = shared.partitions().collect();
    let abandoned = Waiting { of: &gathering, shared, partitions }.wait().await?;
    Ok(Some(gathering.report(&abandoned, log).await?))
}

impl Gathering<'_> {
    async fn report(&self, abandoned: &[AccountName], log: LogGuard) -> Result<FinishedRun, CliError> {
        let dir = &self.dir;
        let RecordedRun { plan, journal, .. } = dir.open(RunClaim::Watch).await?;
        let ledger = ledger_of(&*journal, &plan)?;
        // Workers may have planned partitions since the directory was made.
        write_plan(&dir.path, PLAN_FILE, &plan).map_err(|error| CliError::file(&dir.path, &error))?;
        let unfinished = (!abandoned.is_empty()).then(|| {
            let names: Vec<_> = abandoned.iter().map(AccountName::as_str).collect();
            format!("no worker finishes {}: see the poison queue", names.join(", "))
        });
        let reported = Reported::write(dir.path.clone(), plan, ledger, &*journal, unfinished)
            .map_err(|error| CliError::unreported(&error))?;
        tracing::info!(outcome = %reported.outcome(), "reported");
        Ok(FinishedRun { reported, log })
    }
}

/// A run that workers share, while somebody waits for it.
struct Waiting<'a> {
    of: &'a Gathering<'a>,
    shared: &'a SharedRun,
    partitions: Vec<(&'a StoredPartition, BlobRunStore)>,
}

impl Waiting<'_> {
    /// Waits until the run is over. Returns the partitions that nobody finishes.
    async fn wait(&self) -> Result<Vec<AccountName>, CliError> {
        let mut unattended = Unattended::new();
        let mut failing_since = None;
        loop {
            let error = match self.watch(&mut unattended, &mut failing_since).await {
                Ok(Seen::Over) => return Ok(vec![]),
                Ok(Seen::Abandoned(partitions)) => return Ok(partitions),
                Ok(Seen::MorePlans) => continue,
                Ok(Seen::Stopped) => return Err(self.left_alone()),
                Err(error) => error,
            };
            let since = *failing_since.get_or_insert_with(|| {
                tracing::warn!("{error}; retrying");
                Instant::now()
            });
            if error.kind != JournalErrorKind::Failed || since.elapsed() > LONGEST_FAILURE {
                return Err(error.into());
            }
            tokio::select! {
                () = sleep(self.pause()) => {}
                () = self.of.stop.reached(Stop::Drain) => return Err(self.left_alone()),
            }
        }
    }

    fn pause(&self) -> Duration {
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        EACH_PARTITION.saturating_mul(partitions).clamp(EVERY, LONGEST_PAUSE)
    }

    fn left_alone(&self) -> CliError {
        let what = "no longer waiting for the workers, which continue";
        let help =
            format!("`fleetlogs fan-in {}` waits again, and writes the reports", self.shared.stored.run_id);
        CliError::left_to_others(Refusal::new(what, help))
    }

    /// Opens the run, and shows what happens as long as its plan is the same.
    async fn watch(
        &self,
        unattended: &mut Unattended,
        failing_since: &mut Option<Instant>,
    ) -> Result<Seen, JournalError> {
        let RecordedRun { plan, journal, .. } =
            RecordedRun::open(&*self.of.dir.store, RunClaim::Watch).await?;
        let unplanned = self.unplanned();
        let ledger = Ledger::new(&plan);
        let (mode, verification) = (self.of.watchers.progress.mode(), self.of.settings.verification);
        let mut progress = Progress::new(mode, progress_clock(), plan.clone(), &ledger, verification);
        self.of.watchers.logs.share_screen(Some(progress.clone()));
        let mut watched = WatchedRun { journal, ledger, last: 0 };
        let seen = self.watch_on(&mut watched, &unplanned, &mut progress, unattended, failing_since).await;
        progress.finish();
        self.of.watchers.logs.share_screen(None);
        seen
    }

    async fn watch_on(
        &self,
        run: &mut WatchedRun,
        unplanned: &[&BlobRunStore],
        progress: &mut Progress,
        unattended: &mut Unattended,
        failing_since: &mut Option<Instant>,
    ) -> Result<Seen, JournalError> {
        run.read_on(|recorded, ledger| {
            if !is_of_one_worker(recorded) {
                progress.catch_up(recorded, ledger);
            }
        })
        .await?;
        progress.caught_up(&run.ledger);
        loop {
            *failing_since = None;
            if self.have_all_ended() && self.are_all_over().await? {
                return Ok(Seen::Over);
            }
            for partition in unplanned {
                if partition.find_stored_run().await?.is_some() {
                    return Ok(Seen::MorePlans);
                }
            }
            let abandoned = unattended.look(self, run.last).await?;
            if !abandoned.is_empty() {
                return Ok(Seen::Abandoned(abandoned));
            }
            tokio::select! {
                () = sleep(self.pause()) => {}
                () = self.of.stop.reached(Stop::Drain) => return Ok(Seen::Stopped),
            }
            let mut group = vec![];
            let read = run.read_on(|recorded, ledger| {
                if !is_of_one_worker(recorded) {
                    group.push(recorded.clone());
                }
                if group.len() == GROUP {
                    progress.hear(&group, ledger);
                    group.clear();
                }
            });
            read.await?;
            progress.hear(&group, &run.ledger);
            progress.tick();
        }
    }

    /// The partitions that nobody had planned when the run was opened.
    fn unplanned(&self) -> Vec<&BlobRunStore> {
        let standings = self.shared.standings();
        let unplanned = self.partitions.iter().zip(standings).filter(|(_, standing)| !standing.is_planned);
        unplanned.map(|((_, record), _)| record).collect()
    }

    /// Whether each partition was ended by its last process, as far as was read.
    fn have_all_ended(&self) -> bool {
        self.shared.standings().iter().all(|standing| standing.is_planned && standing.has_ended)
    }

    /// Asks every partition, several at a time, and keeps the order.
    async fn each<T>(
        &self,
        ask: impl AsyncFn(&BlobRunStore) -> Result<T, JournalError>,
    ) -> Result<Vec<T>, JournalError> {
        let asking = self.partitions.iter().map(|(_, record)| ask(record));
        futures::stream::iter(asking).buffered(AT_ONCE).try_collect().await
    }

    /// What is left of some partitions.
    async fn waiting(&self, which: impl Fn(&StoredPartition) -> bool) -> Result<WaitingAt, JournalError> {
        let mut waiting = WaitingAt { of_somebody: false, of_nobody: vec![] };
        for (partition, record) in self.partitions.iter().filter(|(partition, _)| which(partition)) {
            if record.is_held().await? {
                waiting.of_somebody = true;
            } else if !is_over(record).await? {
                waiting.of_nobody.push((*partition).clone());
            }
        }
        Ok(waiting)
    }

    /// Whether no worker has anything left to do.
    async fn are_all_over(&self) -> Result<bool, JournalError> {
        Ok(self.each(async |record| is_over(record).await).await?.into_iter().all(|is_over| is_over))
    }
}

/// That one worker stops does not stop the run: another one comes.
fn is_of_one_worker(recorded: &Recorded) -> bool {
    matches!(recorded.event, Event::RunDraining { .. })
}

/// The record of all partitions, as far as it was read.
struct WatchedRun {
    journal: Box<dyn JournalReader>,
    ledger: Ledger,
    last: u64,
}

impl WatchedRun {
    async fn read_on(&mut self, mut hear: impl FnMut(&Recorded, &Ledger)) -> Result<(), JournalError> {
        self.journal.refresh().await?;
        let Self { ledger, journal, .. } = self;
        self.last = journal.events_after(self.last, &mut |recorded| {
            ledger.apply(recorded);
            hear(recorded, ledger);
        })?;
        Ok(())
    }
}

/// Looks now and then for partitions that nobody has: there is no message for them, or no worker that takes it.
struct Unattended {
    /// For which partitions a message was sent again, and how many events there were then.
    sent_again: HashMap<AccountName, u64>,
    /// Since when nobody takes partitions, by what to do about it; none if that was said.
    untaken: HashMap<String, Option<Instant>>,
    looked: Instant,
}

impl Unattended {
    fn new() -> Self {
        Self { sent_again: HashMap::new(), untaken: HashMap::new(), looked: Instant::now() }
    }

    /// Sends the messages that are missing. Returns the partitions for which that was done before, to no avail.
    async fn look(&mut self, run: &Waiting<'_>, events: u64) -> Result<Vec<AccountName>, JournalError> {
        let heartbeat = run.of.settings.scale_out.as_ref().map_or(NO_HEARTBEAT, |of| of.heartbeat);
        if self.looked.elapsed() < 2 * heartbeat {
            return Ok(vec![]);
        }
        self.looked = Instant::now();
        let Some(queues) = run.of.queues else {
            let help = "this config names no queue: start the shard again, or pass the config of `fan-out`";
            self.notice(help, &run.waiting(|_| true).await?);
            return Ok(vec![]);
        };
        let mut missing = vec![];
        for site in queues.sites() {
            let Some(is_empty) = is_empty(queues, site).await else { continue };
            let waiting = run.waiting(|of| of.site.as_deref() == site).await?;
            // A message that is hidden counts: a worker has it, or it shows again.
            if is_empty {
                missing.extend(waiting.of_nobody);
            } else {
                let help = format!("start one with `{}`, where it reaches them", worker_command(site));
                self.notice(&help, &waiting);
            }
        }
        let nothing_came =
            |partition: &&StoredPartition| self.sent_again.get(&partition.name) == Some(&events);
        let abandoned: Vec<_> =
            missing.iter().filter(nothing_came).map(|partition| partition.name.clone()).collect();
        if !abandoned.is_empty() {
            return Ok(abandoned);
        }
        for partition in missing {
            tracing::warn!(
                "nobody works on partition {}, and it has no message: sending one",
                partition.name
            );
            match send(queues, &run.shared.stored.run_id, std::slice::from_ref(&partition)).await {
                Ok(()) => drop(self.sent_again.insert(partition.name, events)),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(vec![])
    }

    /// Says once that partitions seem to have no worker, and what to do.
    fn notice(&mut self, help: &str, waiting: &WaitingAt) {
        if waiting.of_somebody || waiting.of_nobody.is_empty() {
            self.untaken.remove(help);
            return;
        }
        let since = self.untaken.entry(help.to_owned()).or_insert_with(|| Some(Instant::now()));
        if since.is_some_and(|since| since.elapsed() >= UNTAKEN) {
            *since = None;
            let names: Vec<_> = waiting.of_nobody.iter().map(|partition| partition.name.as_str()).collect();
            tracing::warn!("no worker takes {}: {help}", names.join(", "));
        }
    }
}

/// What is left of a run at a site.
struct WaitingAt {
    /// Whether a worker has a partition.
    of_somebody: bool,
    /// Partitions that are not over, and that no worker has.
    of_nobody: Vec<StoredPartition>,
}

/// Whether a queue certainly has no message. None if it does not answer.
async fn is_empty(queues: &WorkQueues, site: Option<&str>) -> Option<bool> {
    let left = match queues.of_site(site).await {
        Ok(queue) => queue.left().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    left.inspect_err(|error| tracing::debug!("the queue: {error}")).ok().map(|left| left == 0)
}
