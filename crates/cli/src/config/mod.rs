//! The config file, as meant: [`Settings`]. Reading it finds every mistake at once, before the first request.

mod account;
mod destination;
mod discover;
mod entra;
mod load;
mod reader;
mod schedule;
mod secret;
mod selection;
mod snapshot;
#[cfg(test)]
mod tests;
mod ticket;

use std::path::PathBuf;
use std::time::Duration;

use fleetlogs_azure::{Cloud, EntraSettings};
use fleetlogs_engine::jobs::JobFilter;
use fleetlogs_engine::select::{ExactNodes, Selection};
use fleetlogs_engine::settings::{Budget, Deadlines, Limits, RunSettings, VerifySettings};
use fleetlogs_engine::window::NodeWindows;
use fleetlogs_model::ids::{AccountName, NodeRef};
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::secret::Secret;
use fleetlogs_model::window::Window;
use globset::{Glob, GlobSetBuilder};
use time::OffsetDateTime;
use url::Url;

use crate::args::Pick;

pub(crate) use destination::{DestinationSettings, GivenSas, Minting, Place, WriteSettings};
pub(crate) use discover::DiscoverSettings;
pub(crate) use load::{hex, load, load_for};
pub(crate) use reader::Mistake;
pub(crate) use schedule::{
    LeasePlace, LeaseSettings, ListenerSettings, NotifySettings, NotifyTo, ScheduleSettings,
};
pub(crate) use secret::{Source, secret_variables};
pub(crate) use snapshot::{Retention, SnapshotSettings, SnapshotWindow};
pub(crate) use ticket::TicketSettings;

/// The defaults: every key with a comment.
pub(crate) const DEFAULTS: &str = include_str!("../../../../config/fleetlogs.toml");

/// The api-version spoken unless an account says otherwise.
pub(crate) const DEFAULT_API_VERSION: &str = "2024-07-01.20.0";

/// Which secrets a command needs besides those of accounts and storage. Others are not read: where they are is looked at
/// for mistakes, and they may be missing there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Of `[schedule.lease]`.
    pub(crate) lease: bool,
    /// Of `[schedule.listener]`.
    pub(crate) listener: bool,
    /// Of `[[notify]]`.
    pub(crate) notify: bool,
}

impl Needs {
    /// A command that ends a run.
    pub(crate) const RUN: Self = Self { lease: false, listener: false, notify: true };
    /// One that looks at the schedule.
    pub(crate) const LIST: Self = Self { lease: true, listener: false, notify: false };
    /// One that works on it.
    pub(crate) const SCHEDULE: Self = Self { lease: true, listener: true, notify: true };
}

/// What the config means.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// SHA-256 of the file, in hex.
    pub(crate) digest: String,
    pub(crate) window: WindowSpec,
    /// Whether an account or pool that cannot be listed refuses the run.
    pub(crate) strict: bool,
    /// None only where a simulator brings its own container.
    pub(crate) destination: Option<DestinationSettings>,
    /// How tokens of Entra are got, for Batch and for storage.
    pub(crate) entra: EntraSettings,
    pub(crate) upload_allowance: Duration,
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicy,
    pub(crate) deadlines: Deadlines,
    pub(crate) budget: Budget,
    pub(crate) verification: bool,
    pub(crate) verify: VerifySettings,
    /// Where run directories go.
    pub(crate) output_dir: PathBuf,
    pub(crate) accounts: Vec<AccountSettings>,
    pub(crate) discover: Option<DiscoverSettings>,
    pub(crate) simulator: Option<Simulator>,
    pub(crate) ticket: Option<TicketSettings>,
    pub(crate) schedule: ScheduleSettings,
    pub(crate) snapshots: Vec<SnapshotSettings>,
    /// Who hears of the end of a run; nobody where the command ends none.
    pub(crate) notify: Vec<NotifySettings>,
}

impl Settings {
    /// The numbers that steer a run.
    pub(crate) fn for_run(&self) -> RunSettings {
        RunSettings {
            limits: self.limits.clone(),
            retry: self.retry.clone(),
            deadlines: self.deadlines.clone(),
            budget: self.budget,
            verify: self.verify.clone(),
        }
    }

    /// Leaves of the selection what the command line wants of it.
    pub(crate) fn narrow(&mut self, pick: &Pick) -> Result<(), PickError> {
        let set = |globs: &[Glob]| {
            let mut set = GlobSetBuilder::new();
            for glob in globs {
                set.add(glob.clone());
            }
            (!globs.is_empty()).then(|| set.build().expect("each is a pattern"))
        };
        if self.simulator.is_some() && *pick != Pick::default() {
            return Err(PickError::Simulated);
        }
        if let Some(wanted) = set(&pick.accounts) {
            let names: Vec<_> = self.accounts.iter().map(|account| account.name.to_string()).collect();
            self.accounts.retain(|account| wanted.is_match(account.name.as_str()));
            match &mut self.discover {
                Some(discover) => discover.only = Some(wanted),
                None if self.accounts.is_empty() => {
                    return Err(PickError::NoSuchAccount(names.join(", ")));
                }
                None => {}
            }
        }
        let of_accounts = self.accounts.iter_mut().map(|account| &mut account.selection);
        let of_found = self.discover.iter_mut().map(|discover| &mut discover.shared.selection);
        for selection in of_accounts.chain(of_found) {
            selection.pools.only = set(&pick.pools);
            selection.nodes.only = set(&pick.nodes);
            if !pick.jobs.is_empty() {
                let job = |id: &String| JobFilter { id: id.clone(), tasks: None, since: None, until: None };
                selection.jobs = pick.jobs.iter().map(job).collect();
            }
            if !pick.states.is_empty() {
                selection.nodes.states = Some(pick.states.clone());
            }
        }
        Ok(())
    }

    /// Leaves of the selection exactly these nodes, in whatever state they are; of `jobs`, what was chosen before holds.
    pub(crate) fn only_nodes(&mut self, nodes: &[NodeRef]) {
        let exact: ExactNodes = nodes.iter().cloned().collect();
        let mut names = GlobSetBuilder::new();
        for name in exact.accounts() {
            names.add(Glob::new(&globset::escape(name.as_str())).expect("an escaped text is a pattern"));
        }
        self.accounts.retain(|account| exact.accounts().any(|name| *name == account.name));
        if let Some(discover) = &mut self.discover {
            discover.only = Some(names.build().expect("each is a pattern"));
            discover.shared.selection.exact = Some(exact.clone());
        }
        for account in &mut self.accounts {
            account.selection.exact = Some(exact.clone());
        }
    }
}

/// The selection cannot be narrowed as the command line wants it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickError {
    /// `--account` names none of the config.
    #[error("no account of the config has such a name; it has: {0}")]
    NoSuchAccount(String),
    /// An embedded simulated fleet has no accounts to choose of.
    #[error(
        "`--account`, `--pool`, `--node`, `--state` and `--job` choose of the accounts of a config, and this one has a \
         [simulator]"
    )]
    Simulated,
}

/// One Batch account.
#[derive(Clone, Debug)]
pub(crate) struct AccountSettings {
    pub(crate) name: AccountName,
    pub(crate) endpoint: Url,
    pub(crate) auth: Auth,
    pub(crate) api_version: String,
    pub(crate) selection: Selection,
}

/// How a Batch account is spoken to.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// A token of Microsoft Entra ID.
    Entra {
        cloud: Cloud,
        /// What it is made out for, where that is not what is usual in the cloud.
        audience: Option<String>,
    },
    /// The account's key.
    SharedKey(Secret),
}

/// A simulated fleet instead of accounts.
#[derive(Clone, Debug)]
pub(crate) struct Simulator {
    pub(crate) scenario: PathBuf,
}

/// A time range, before it is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WindowSpec {
    /// So long until the plan is made.
    Last(Duration),
    /// From a moment to another, or until the plan is made.
    From(OffsetDateTime, Option<OffsetDateTime>),
    /// For each node one of its own, until the plan is made.
    Since(NodeWindows),
}

impl WindowSpec {
    /// The range, with its end fixed.
    pub(crate) fn freeze(&self, now: OffsetDateTime) -> Window {
        match *self {
            Self::Last(length) => Window { start: now - length, end: now },
            Self::From(start, end) => Window { start, end: end.unwrap_or(now) },
            Self::Since(ref windows) => windows.least(now),
        }
    }
}

/// The config cannot be used.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// There is something wrong in it.
    Mistakes(PathBuf, Vec<Mistake>),
}
