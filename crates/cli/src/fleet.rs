//! The fleet: from settings to accounts that can be called, and from those to a plan.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{
    AzureBatch, BatchAuth, Client, Clients, SharedKey, TokenSource, http_client, list_client, unkept_client,
};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::node_spool::node_spool;
use fleetlogs_engine::plan::{
    AccountToPlan, LISTED_AT_ONCE, PlanListener, PlanRequest, PlannedFleet, PlanningError, UnlistedAccount,
    plan_fleet,
};
use fleetlogs_engine::select::Selection;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::plan::{PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::PlannedNodes;
use fleetlogs_report::PlanningProgress;
use fleetlogs_sim::Simulator;

use crate::clock_skew::{SHARED_KEY_SKEW, off_by};
use crate::config::{AccountSettings, Auth, DestinationSettings, Settings, WindowSpec};
use crate::destination::Destination;
use crate::discover::{DiscoveredAccounts, discover_accounts};
use crate::error::{CliError, Refusal, account_help};
use crate::simulated_fleet::{simulated, start_simulator};
use crate::tokens::Tokens;
use crate::unmatched::{UnmatchedPattern, unmatched_patterns};

/// A list call may take this long: a page of a thousand nodes is large.
const READ_TIMEOUT: Duration = Duration::from_secs(40);

/// The accounts and the container, ready to be called.
pub(crate) struct Fleet {
    pub(crate) http: Client,
    pub(crate) tokens: Tokens,
    pub(crate) destination: DestinationSettings,
    accounts: Vec<Account>,
    /// Subscriptions whose accounts could not be listed, as accounts: a run without them is partial, and says so.
    unlisted: Vec<PlannedAccount>,
    /// Held for as long as the fleet is called.
    simulator: Option<Simulator>,
}

/// One account, ready to be called.
pub(crate) struct Account {
    pub(crate) planned: PlannedAccount,
    pub(crate) selection: Selection,
    /// The site from which it is reached; none if it is reached from here.
    pub(crate) site: Option<String>,
    pub(crate) service: Arc<AzureBatch>,
    /// The tokens it is called with, and what they must be made out for; none with its key.
    pub(crate) tokens: Option<(TokenSource, String)>,
}

impl Account {
    fn to_plan(&self) -> AccountToPlan<'_, AzureBatch> {
        AccountToPlan { account: self.planned.clone(), selection: &self.selection, service: &self.service }
    }
}

impl Fleet {
    /// Connects to what the settings name; sends nothing yet. A simulated fleet is started.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, CliError> {
        let http = http_client(settings.limits.concurrency)?;
        let simulator = match &settings.simulator {
            Some(simulator) => Some(start_simulator(&simulator.scenario).await?),
            None => None,
        };
        let (simulated, container) = match &simulator {
            Some(simulator) => simulated(simulator),
            None => (vec![], None),
        };
        let destination = settings
            .destination
            .clone()
            .or(container)
            .expect("without a simulator the config names a container");
        let tokens = Tokens::new(http.clone(), settings.entra.clone());
        let found = match &settings.discover {
            Some(discover) => discover_accounts(discover, settings, &http, &tokens).await?,
            None => DiscoveredAccounts::default(),
        };
        let clients =
            Clients { uploads: http.clone(), lists: list_client(LISTED_AT_ONCE)?, unkept: unkept_client()? };
        let accounts = settings
            .accounts
            .iter()
            .chain(&simulated)
            .chain(&found.accounts)
            .map(|account| connect_account(&clients, account, &tokens))
            .collect::<Result<_, _>>()?;
        Ok(Self { http, tokens, destination, accounts, unlisted: found.unlisted, simulator })
    }

    /// The container of a run, and the credentials that reach it.
    pub(crate) async fn destination_of(
        &self,
        run: &RunId,
        settings: &Settings,
    ) -> Result<Destination, CliError> {
        Destination::of_run(&self.destination, &self.http, &self.tokens, run, settings.verification).await
    }

    /// A plan of this fleet as long as nothing is listed.
    pub(crate) fn empty_plan(settings: &Settings, (run_id, destination): (&RunId, &str)) -> Plan {
        let created_at = Clock::System.now();
        Plan {
            schema: PLAN_SCHEMA.into(),
            run_id: run_id.clone(),
            tool_version: env!("CARGO_PKG_VERSION").into(),
            created_at,
            config_digest: settings.digest.clone(),
            snapshot: None,
            window: settings.window.freeze(created_at),
            destination: destination.into(),
            accounts: vec![],
            pools: vec![],
            nodes: PlannedNodes::spooled(node_spool()),
            left_out: vec![],
        }
    }

    /// Lists every account and freezes the result. Accounts that cannot be listed are in the plan with the reason;
    /// if none can be, the run is refused.
    pub(crate) async fn plan(
        &self,
        settings: &Settings,
        (run_id, destination): (&RunId, &str),
        progress: PlanningProgress,
    ) -> Result<ListedFleet, CliError> {
        let plan = Self::empty_plan(settings, (run_id, destination));
        let accounts: Vec<_> = self.accounts.iter().map(Account::to_plan).collect();
        let listener = Listener(progress);
        let request = PlanRequest {
            since: match &settings.window {
                WindowSpec::Since(windows) => Some(windows),
                _ => None,
            },
            retry: &settings.retry,
            strict: settings.strict,
            not_planned: &self.unlisted,
            listener: &listener,
            random: fastrand::Rng::new(),
        };
        let planned = plan_fleet(plan, &accounts, request).await;
        listener.0.finish();
        let PlannedFleet { plan, unlisted } = planned.map_err(|error| self.no_plan(error))?;
        let name = |account: &UnlistedAccount| self.accounts[account.position].planned.name.clone();
        let unlisted = unlisted.iter().map(|account| (name(account), self.unlisted(account))).collect();
        Ok(ListedFleet { plan, unlisted })
    }

    fn no_plan(&self, error: PlanningError) -> CliError {
        match error {
            PlanningError::Spool(error) => CliError::spool(&error),
            PlanningError::Unlisted(accounts) => {
                CliError::refused(accounts.iter().map(|account| self.unlisted(account)))
            }
            PlanningError::Incomplete(pools) => {
                let pools = pools.into_iter().map(|(account, pool)| {
                    let help =
                        "see the warnings above, exclude the pool (`exclude_pools`), or set `strict = false`";
                    Refusal::new("its nodes cannot be listed", help)
                        .about(format!("account `{account}`, pool `{pool}`"))
                });
                let accounts = self.unlisted.iter().map(|account| {
                    let why = account.unlisted.as_deref().unwrap_or_default();
                    Refusal::new(why, "exclude it, or set `strict = false`")
                        .about(format!("account `{}`", account.name))
                });
                CliError::refused(pools.chain(accounts))
            }
        }
    }

    /// Why an account cannot be listed, and what to do about it.
    fn unlisted(&self, UnlistedAccount { position, failure }: &UnlistedAccount) -> Refusal {
        let Account { planned, service, tokens, .. } = &self.accounts[*position];
        unlisted(planned, failure, service.clock_offset(), tokens.is_some())
    }

    /// The accounts of the config.
    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Leaves the accounts out that `keep` does not want, and returns them.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Account) -> bool) -> Vec<Account> {
        let (kept, left) = std::mem::take(&mut self.accounts).into_iter().partition(keep);
        self.accounts = kept;
        left
    }

    /// Subscriptions whose accounts could not be listed, as accounts.
    pub(crate) fn unlisted_accounts(&self) -> &[PlannedAccount] {
        &self.unlisted
    }

    /// The patterns of the selection that match nothing in a plan of these accounts.
    pub(crate) fn unmatched(&self, plan: &Plan) -> Vec<UnmatchedPattern> {
        let accounts: Vec<_> =
            self.accounts.iter().map(|account| (&account.planned.name, &account.selection)).collect();
        unmatched_patterns(&accounts, plan)
    }

    /// How far the services' clocks are ahead of ours: the middle of what they told. Zero where none did.
    pub(crate) fn clock_offset(&self) -> time::Duration {
        let mut offsets: Vec<_> =
            self.accounts.iter().filter_map(|account| account.service.clock_offset()).collect();
        offsets.sort();
        offsets.get(offsets.len() / 2).copied().unwrap_or_default()
    }

    /// The services in the order of a plan's accounts. A plan from a file may name other accounts than the config.
    pub(crate) fn services(&self, plan: &Plan) -> Result<Vec<Option<Arc<AzureBatch>>>, String> {
        plan.accounts
            .iter()
            .map(|planned| {
                if planned.unlisted.is_some() {
                    return Ok(None);
                }
                match self.accounts.iter().find(|account| account.planned.name == planned.name) {
                    Some(account) => Ok(Some(account.service.clone())),
                    None => Err(format!(
                        "it has nodes of account `{}`, which the config does not name",
                        planned.name
                    )),
                }
            })
            .collect()
    }

    /// An account of a given plan, with the endpoint and api-version that it will be called with.
    pub(crate) fn as_called(&self, planned: &PlannedAccount) -> PlannedAccount {
        let mut accounts = self.accounts.iter().map(|account| &account.planned);
        let own = accounts.find(|account| account.name == planned.name);
        let own = own.unwrap_or(planned);
        PlannedAccount {
            endpoint: own.endpoint.clone(),
            api_version: own.api_version.clone(),
            ..planned.clone()
        }
    }

    /// Whether it is simulated in this process, and so ends with it.
    pub(crate) fn is_simulated(&self) -> bool {
        self.simulator.is_some()
    }

    /// Ends a simulated fleet.
    pub(crate) async fn end(self) {
        if let Some(simulator) = self.simulator {
            simulator.shutdown().await;
        }
    }
}

fn connect_account(
    clients: &Clients,
    account: &AccountSettings,
    tokens: &Tokens,
) -> Result<Account, CliError> {
    let mut source = None;
    let auth = match &account.auth {
        Auth::SharedKey(key) => {
            let key = SharedKey::new(account.name.as_str(), key).expect("the config checked the key");
            BatchAuth::SharedKey(key)
        }
        Auth::Entra { cloud, audience } => {
            let resource = audience.as_deref().unwrap_or_else(|| cloud.batch_resource());
            let tokens = tokens.of(*cloud, resource)?;
            source = Some((tokens.clone(), resource.to_owned()));
            BatchAuth::Entra(tokens)
        }
    };
    let settings = fleetlogs_azure::AccountSettings {
        endpoint: account.endpoint.clone(),
        api_version: account.api_version.clone(),
        auth,
        read_timeout: READ_TIMEOUT,
    };
    let service = AzureBatch::new(clients.clone(), settings).expect("the config checked the endpoint");
    let planned = PlannedAccount {
        name: account.name.clone(),
        endpoint: account.endpoint.as_str().trim_end_matches('/').to_owned(),
        api_version: account.api_version.clone(),
        pools: 0,
        nodes: 0,
        list_calls: 0,
        unlisted: None,
        missing: None,
    };
    Ok(Account {
        planned,
        selection: account.selection.clone(),
        site: account.site.clone(),
        service: Arc::new(service),
        tokens: source,
    })
}

/// Why an account cannot be listed, and what to do about it.
fn unlisted(
    account: &PlannedAccount,
    failure: &Failure,
    clock_offset: Option<time::Duration>,
    by_token: bool,
) -> Refusal {
    let what = format!("cannot be listed: {failure}");
    let refusal = match clock_offset.filter(|offset| !by_token && offset.abs() >= SHARED_KEY_SKEW) {
        Some(offset) => {
            let help = format!(
                "set this machine's clock: it is {}; Shared Key allows 15 minutes at most",
                off_by(offset)
            );
            Refusal::new(what, help)
        }
        None => Refusal::new(what, account_help(failure)),
    };
    refusal.about(format!("account `{}` ({})", account.name, account.endpoint))
}

/// A plan, and why accounts of it could not be listed.
pub(crate) struct ListedFleet {
    pub(crate) plan: Plan,
    pub(crate) unlisted: Vec<(AccountName, Refusal)>,
}

impl ListedFleet {
    /// The plan, after a warning for each account that could not be listed.
    pub(crate) fn warned(self) -> Plan {
        for (_, refusal) in &self.unlisted {
            tracing::warn!(help = refusal.help, "{refusal}; the other accounts are planned");
        }
        self.plan
    }
}

struct Listener(PlanningProgress);

impl PlanListener for Listener {
    fn listed(&self, account: &AccountName, pools: u32, nodes: u32) {
        self.0.update(account, pools, nodes);
    }
}
