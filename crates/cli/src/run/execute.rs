//! Executes and verifies what is outstanding in a run: `engine::collect` with the real services. A run of one process and
//! a partition of a run that workers share differ only in who hears of it.

use std::sync::Arc;

use fleetlogs_azure::{AzureBatch, AzureLogStore};
use fleetlogs_engine::access::Access;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::collect::{Collection, ProcessFacts, collect};
use fleetlogs_engine::event_log::{LogMode, Written};
use fleetlogs_engine::resume::Outstanding;
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::Journal;
use fleetlogs_model::service::UploadOrder;
use fleetlogs_model::stop_cause::Unverified;

use crate::config::Settings;
use crate::destination::Destination;
use crate::open_files::calls_of_each;

/// What a run calls.
pub(crate) struct Reached {
    pub(crate) destination: Destination,
    /// In the order of the plan's accounts.
    pub(crate) services: Vec<Option<Arc<AzureBatch>>>,
    /// None where arrival is not looked at.
    pub(crate) store: Option<Arc<AzureLogStore>>,
}

/// What is left to do in a run, and who hears of it.
pub(crate) struct Work {
    pub(crate) plan: Arc<Plan>,
    pub(crate) ledger: Ledger,
    pub(crate) outstanding: Outstanding,
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) listeners: Vec<Box<dyn EventSink>>,
    pub(crate) stop: StopHandle,
    /// Whether the fleet is simulated in this process.
    pub(crate) is_simulated: bool,
    /// How many accounts this process calls at a time, at most.
    pub(crate) accounts_at_once: usize,
}

/// Executes and verifies what is outstanding.
pub(crate) async fn execute(reached: &Reached, settings: &Settings, work: Work) -> Written {
    let Reached { destination, services, store } = reached;
    let Work { plan, ledger, outstanding, journal, listeners, stop, is_simulated, accounts_at_once } = work;
    let order = UploadOrder { window: plan.window, access: Arc::new(destination.access.clone()) };
    let (access, replace) = Access::new(order);
    let mut run_settings = settings.for_run();
    run_settings.limits.concurrency = calls_of_each(run_settings.limits.concurrency, accounts_at_once);
    let process = ProcessFacts {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        unverified: Some(if settings.verification {
            Unverified::NotPermitted
        } else {
            Unverified::SwitchedOff
        }),
        simulated: is_simulated,
    };
    let collection = Collection {
        plan,
        ledger,
        outstanding,
        journal,
        listeners,
        log_mode: LogMode::Thread,
        services: services.clone(),
        store: store.clone(),
        access,
        settings: run_settings,
        process,
        clock: Clock::System,
        stop,
        random: fastrand::Rng::new(),
    };
    // A SAS is held against the service's clock.
    let now = || {
        let ahead = services.iter().flatten().filter_map(|service| service.clock_offset()).max();
        Clock::System.now() + ahead.unwrap_or_default()
    };
    tokio::select! {
        written = collect(collection) => written,
        never = destination.keep_fresh(settings.upload_allowance, now, replace, store.as_deref()) => never,
    }
}
