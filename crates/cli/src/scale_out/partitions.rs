//! What a worker does with a partition: plans it if nobody has, and works on it as `run` does.
//!
//! Its record is in Blob storage. It keeps no run directory and writes no reports: that is for whoever brings the run
//! together.

use fleetlogs_engine::recorded_run::ResumedRun;
use fleetlogs_engine::scale_out::PartitionWork;
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::plan::{Plan, PlannedAccount};
use fleetlogs_model::run_store::RunStore;
use fleetlogs_model::window::Window;
use fleetlogs_model::work_queue::WorkItem;
use fleetlogs_report::{EventLines, PlanningProgress, ProgressMode};

use super::stored_pick::StoredPick;
use crate::config::{Settings, WindowSpec};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::journal_container::RunRecords;
use crate::run::{Reached, Work, execute, progress_clock, reach};

/// The partitions of the runs that a config can work on.
pub(crate) struct Partitions<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) settings: &'a Settings,
    pub(crate) records: &'a RunRecords,
    /// The config, as a run records it.
    pub(crate) config: &'a str,
    /// Partitions that may be at work at the same time.
    pub(crate) at_once: usize,
}

impl Partitions<'_> {
    /// Makes the plan of a partition.
    async fn planned(&self, item: &WorkItem) -> Result<Plan, CliError> {
        let record = self.records.of(&item.run);
        let seed = record.plan().await?.plan;
        self.must_have_config_of(&seed)?;
        let mut settings = self.settings.clone();
        settings.narrow(&StoredPick::read(record.stored_run().await?.pick)?)?;
        settings.only_account(&item.partition);
        let Window { start, end } = seed.window;
        settings.window = WindowSpec::From(start, Some(end));
        let fleet = Fleet::connect(&settings).await?;
        if fleet.accounts().is_empty() {
            let what =
                format!("account `{}` is not in the config, or not in its subscription", item.partition);
            return Err(CliError::not_done(Refusal::without_help(what)));
        }
        let silent = PlanningProgress::new(ProgressMode::Silent, progress_clock());
        let listed = fleet.plan(&settings, (&item.run, &seed.destination), silent).await?;
        // A clock that is behind ends the window early.
        Ok(Plan { snapshot: seed.snapshot, window: seed.window, ..listed.warned() })
    }

    /// The plan of a partition of which nothing will be collected.
    async fn given_up(&self, item: &WorkItem, reason: &str) -> Result<Plan, CliError> {
        let seed = self.records.of(&item.run).plan().await?.plan;
        let mut known = self.fleet.accounts().iter().map(|account| &account.planned);
        let known = known.find(|account| account.name == item.partition);
        let account = PlannedAccount {
            name: item.partition.clone(),
            endpoint: known.map_or_else(String::new, |account| account.endpoint.clone()),
            api_version: known.map_or_else(String::new, |account| account.api_version.clone()),
            pools: 0,
            nodes: 0,
            list_calls: 0,
            unlisted: Some(reason.to_owned()),
            missing: None,
        };
        Ok(Plan { accounts: vec![account], ..seed })
    }

    /// With another config, a worker would call other nodes, or call them otherwise.
    fn must_have_config_of(&self, plan: &Plan) -> Result<(), CliError> {
        if plan.config_digest == self.settings.digest {
            return Ok(());
        }
        let what = "the config of this worker is not the one that the run was started with (start workers with the file of \
                    `fan-out`, byte for byte)";
        Err(CliError::usage(Refusal::new(what, "start workers with the config file of `fan-out`")))
    }

    async fn begin(&self, item: &WorkItem, plan: &Plan, outstanding: usize) -> Result<Reached, CliError> {
        #[cfg(feature = "failpoints")]
        fail::fail_point!(&format!("begins-{}", item.partition), |_| std::process::abort());
        self.must_have_config_of(plan)?;
        let reached = reach(self.fleet, self.settings, plan, outstanding).await?;
        tracing::info!(run = %item.run, partition = %item.partition, outstanding, "at work");
        Ok(reached)
    }
}

impl PartitionWork for Partitions<'_> {
    fn store(&self, item: &WorkItem) -> Box<dyn RunStore> {
        Box::new(self.records.of(&item.run).partition(item.partition.as_str()))
    }

    async fn plan(&self, item: &WorkItem, given_up: Option<&str>) -> Result<(), Failure> {
        let planning = async {
            let plan = match given_up {
                Some(reason) => self.given_up(item, reason).await?,
                None => self.planned(item).await?,
            };
            let partition = self.records.of(&item.run).partition(item.partition.as_str());
            partition.lay_out_unless_planned(&plan, self.config).await?;
            tracing::info!(run = %item.run, partition = %item.partition, nodes = plan.nodes.len(), "planned");
            Ok(())
        };
        planning.await.map_err(|error: CliError| failed(&error))
    }

    async fn carry_out(
        &self,
        item: &WorkItem,
        run: ResumedRun,
        listener: Box<dyn EventSink>,
        stop: StopHandle,
    ) -> Result<(), Failure> {
        let ResumedRun { plan, ledger, outstanding, journal, .. } = run;
        let reached = self.begin(item, &plan, outstanding.nodes()).await.map_err(|error| failed(&error))?;
        let work = Work {
            listeners: vec![listener, Box::new(EventLines::new(plan.clone()))],
            plan,
            ledger,
            outstanding,
            journal,
            stop,
            is_simulated: false,
            accounts_at_once: self.at_once,
        };
        // If the journal failed, that is why it stopped.
        drop(Box::pin(execute(&reached, self.settings, work)).await);
        Ok(())
    }
}

/// Why a worker could not begin. What can be done about it is different on each machine, so only the reason goes on. A
/// mistake in what this worker was given says nothing about the partition.
fn failed(error: &CliError) -> Failure {
    let class = match error.exit {
        Exit::Usage => FailureClass::Config,
        _ => FailureClass::Refused,
    };
    Failure::new(class, error.reason())
}
