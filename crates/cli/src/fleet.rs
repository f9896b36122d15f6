//! The fleet: from settings to accounts that can be called, and from those to a plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{
    AzureBatch, BatchAuth, Client, Clients, SharedKey, TokenSource, http_client, list_accounts, list_client,
};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::plan::{AccountPlan, Cause, NotPlanned, PlanListener, Planning, plan_account};
use fleetlogs_engine::select::{NodeFilter, PoolFilter, Selection};
use fleetlogs_engine::settings::Limits;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::plan::{LeftOut, LeftOutReason, PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::PlannedNodes;
use fleetlogs_model::retry::persistently;
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::secret::Secret;
use fleetlogs_model::service::BatchService;
use fleetlogs_report::PlanningProgress;
use fleetlogs_sim::{Scenario, ScenarioError, Simulator};
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use url::Url;

use crate::config::{
    AccountSettings, Auth, DEFAULT_API_VERSION, DestinationSettings, DiscoverSettings, GivenSas, Settings,
    WindowSpec, WriteSettings,
};
use crate::destination::Destination;
use crate::error::{CliError, Refusal, account_help};
use crate::tokens::Tokens;

/// Accounts that are called side by side. One that does not answer is among them for a while, so there are many.
const ACCOUNTS_AT_ONCE: usize = 64;

/// Those of them whose nodes are listed: each holds some pages of a megabyte in memory meanwhile.
const LISTED_AT_ONCE: usize = 4;

/// Subscriptions whose accounts are listed side by side.
const SUBSCRIPTIONS_AT_ONCE: usize = 8;

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
    pub(crate) service: Arc<AzureBatch>,
    /// The tokens it is called with, and what they must be made out for; none with its key.
    pub(crate) tokens: Option<(TokenSource, String)>,
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
            None => Found::default(),
        };
        let clients = Clients { uploads: http.clone(), lists: list_client(LISTED_AT_ONCE)? };
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

    /// Lists every account and freezes the result. Accounts that cannot be listed are in the plan with the reason;
    /// if none can be, the run is refused.
    pub(crate) async fn plan(
        &self,
        settings: &Settings,
        (run_id, destination): (&RunId, &str),
        progress: PlanningProgress,
    ) -> Result<Plan, CliError> {
        let created_at = Clock::System.now();
        let listener = Listener(progress);
        let slots = Semaphore::new(LISTED_AT_ONCE);
        let since = match &settings.window {
            WindowSpec::Since(windows) => Some(windows),
            _ => None,
        };
        let (retry, slots) = (&settings.retry, &slots);
        let planning = Planning { now: created_at, since, retry, slots, listener: &listener };
        let mut listing = futures::stream::iter(self.accounts.iter().enumerate())
            .map(|(at, Account { planned, service, selection, .. })| async move {
                (at, plan_account(planned.clone(), &**service, selection, planning).await)
            })
            .buffer_unordered(ACCOUNTS_AT_ONCE);
        let mut plan = Plan {
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
            nodes: PlannedNodes::default(),
            left_out: vec![],
        };
        let mut refusals = Vec::new();
        // They are in the plan in the order of the config; each goes there as soon as those before it have.
        let mut early = BTreeMap::new();
        let mut following = self.accounts.iter();
        while let Some((at, listed)) = listing.next().await {
            early.insert(at, listed);
            while let Some(listed) = early.remove(&(self.accounts.len() - following.len())) {
                let Some(Account { planned, service, tokens, .. }) = following.next() else { break };
                match listed {
                    Ok(AccountPlan { account, pools, nodes, left_out }) => {
                        plan.accounts.push(account);
                        plan.pools.extend(pools);
                        let starts = nodes.iter().filter_map(|node| node.window).map(|window| window.start);
                        plan.window.start = starts.fold(plan.window.start, Ord::min);
                        plan.nodes.append(&nodes).map_err(|error| CliError::spool(&error))?;
                        plan.left_out.extend(left_out);
                    }
                    Err(NotPlanned { cause: Cause::Spool(error), .. }) => {
                        return Err(CliError::spool(&error));
                    }
                    Err(NotPlanned { cause: Cause::Unlisted(failure), list_calls }) => {
                        let offset = service.clock_offset();
                        refusals.push(unlisted(planned, &failure, offset, tokens.is_some()));
                        let unlisted = Some(failure.to_string());
                        plan.accounts.push(PlannedAccount { unlisted, list_calls, ..planned.clone() });
                    }
                }
            }
        }
        drop(listing);
        listener.0.finish();
        plan.nodes.shrink();
        plan.accounts.extend(self.unlisted.iter().cloned());
        let none_is_left = refusals.len() == self.accounts.len();
        if !refusals.is_empty() && (none_is_left || settings.strict) {
            return Err(CliError::refused(refusals));
        }
        if settings.strict && !plan.is_whole() {
            let pools = plan.left_out.iter().filter(|left| left.reason == LeftOutReason::PoolNotListed);
            let refusal = |left: &LeftOut| {
                let help = "see the warnings above, leave it out (`exclude_pools`), or set `strict = false`";
                Refusal::new("its nodes cannot be listed", help)
                    .about(format!("account `{}`, pool `{}`", left.account, left.pool))
            };
            let accounts = self.unlisted.iter().map(|account| {
                let why = account.unlisted.as_deref().unwrap_or_default();
                Refusal::new(why, "exclude it, or set `strict = false`")
                    .about(format!("account `{}`", account.name))
            });
            return Err(CliError::refused(pools.map(refusal).chain(accounts)));
        }
        for refusal in refusals {
            let help = refusal.help.as_deref().unwrap_or_default();
            tracing::warn!("{refusal}; the other accounts go on ({help})");
        }
        Ok(plan)
    }

    /// The accounts of the config.
    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
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

    /// Ends a simulated fleet.
    pub(crate) async fn end(self) {
        if let Some(simulator) = self.simulator {
            simulator.shutdown().await;
        }
    }
}

/// The accounts of the subscriptions, but for those that the config has itself. A subscription that cannot be listed is
/// told, and costs the run only in strict mode, or where nothing else is left.
async fn discover_accounts(
    discover: &DiscoverSettings,
    settings: &Settings,
    http: &Client,
    tokens: &Tokens,
) -> Result<Found, CliError> {
    let source = tokens.of(discover.cloud, discover.cloud.management())?;
    let mut found: Vec<AccountSettings> = Vec::new();
    let mut refusals = Vec::new();
    let mut unlisted = Vec::new();
    let (management, source, retry) = (&discover.management, &source, &settings.retry);
    let listings: Vec<_> = futures::stream::iter(&discover.subscriptions)
        .map(|subscription| async move {
            let pause = |attempt, failure: &Failure| {
                // Without a connection to Azure Resource Manager, the address or the network is wrong: no wait cures it.
                // A call without an answer took its whole time limit: one more is enough.
                let is_reached = failure.class != FailureClass::NotSent;
                let is_worth_it = is_reached && (failure.status.is_some() || attempt < 2);
                let pause = retry.pause(attempt, failure, fastrand::f64()).filter(|_| is_worth_it)?;
                tracing::warn!(subscription, %failure, attempt, "its accounts cannot be listed; retrying");
                Some(pause)
            };
            let list = || list_accounts(http, management, subscription, source);
            (subscription, persistently(list, pause, sleep).await)
        })
        .buffered(SUBSCRIPTIONS_AT_ONCE)
        .collect()
        .await;
    for (subscription, listed) in listings {
        let accounts = match listed {
            Ok(accounts) => accounts,
            Err(failure) => {
                let what = format!("the accounts of subscription {subscription} cannot be listed: {failure}");
                let help = if matches!(failure.class, FailureClass::Auth | FailureClass::Gone) {
                    "give the identity the role Reader on the subscription, or name the accounts in the config"
                } else {
                    "see whether Azure Resource Manager can be reached, or name the accounts in the config"
                };
                let name = format!("subscription-{subscription}");
                unlisted.push(not_planned(&name, &discover.management, failure.to_string()));
                refusals.push(Refusal::new(what, help).about("discover"));
                continue;
            }
        };
        for account in accounts {
            let is_named = |known: &AccountSettings| known.name.as_str().eq_ignore_ascii_case(&account.name);
            let is_wanted = discover.accounts.is_match(&account.name)
                && !discover.exclude.is_match(&account.name)
                && discover.only.as_ref().is_none_or(|only| only.is_match(&account.name));
            if !is_wanted || settings.accounts.iter().any(is_named) {
                continue;
            }
            if found.iter().any(is_named) {
                let name = format!("{}-{}", account.name, account.location);
                let why =
                    "another account that was found has the same name; collect it with a config of its own";
                tracing::warn!(account = account.name, endpoint = %account.endpoint, "left out: {why}");
                unlisted.push(not_planned(&name, &account.endpoint, why.into()));
                continue;
            }
            if !account.is_public {
                tracing::warn!(
                    account = account.name,
                    "it cannot be reached from everywhere (public network access is not enabled)"
                );
            }
            found.push(AccountSettings {
                name: AccountName::new(account.name.as_str()),
                endpoint: account.endpoint,
                auth: Auth::Entra { cloud: discover.cloud, audience: discover.shared.audience.clone() },
                api_version: discover.shared.api_version.clone(),
                selection: discover.shared.selection.clone(),
            });
        }
    }
    if !refusals.is_empty() && (settings.strict || settings.accounts.is_empty() && found.is_empty()) {
        return Err(CliError::refused(refusals));
    }
    for refusal in refusals {
        tracing::warn!(
            "{refusal}; the other accounts go on ({})",
            refusal.help.as_deref().unwrap_or_default()
        );
    }
    tracing::info!(accounts = found.len(), "found");
    Ok(Found { accounts: found, unlisted })
}

/// An account that stands in the plan only to say why it is not planned: a run without it is partial.
fn not_planned(name: &str, endpoint: &Url, why: String) -> PlannedAccount {
    PlannedAccount {
        name: AccountName::new(name),
        endpoint: endpoint.to_string(),
        api_version: String::new(),
        pools: 0,
        nodes: 0,
        list_calls: 0,
        unlisted: Some(why),
        missing: None,
    }
}

/// What was found in subscriptions.
#[derive(Default)]
struct Found {
    accounts: Vec<AccountSettings>,
    unlisted: Vec<PlannedAccount>,
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
    Ok(Account { planned, selection: account.selection.clone(), service: Arc::new(service), tokens: source })
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
                "set this machine's clock: it is {}; with Shared Key 15 minutes are the limit",
                off_by(offset)
            );
            Refusal::new(what, help)
        }
        None => Refusal::new(what, account_help(failure)),
    };
    refusal.about(format!("account `{}` ({})", account.name, account.endpoint))
}

/// How far a clock may be off with Shared Key (learn.microsoft.com, "Authentication via Shared Key").
pub(crate) const SHARED_KEY_SKEW: time::Duration = time::Duration::minutes(15);

/// How far this machine's clock is off, in words, by how far the service's is ahead.
pub(crate) fn off_by(service_ahead: time::Duration) -> String {
    let side = if service_ahead.is_positive() { "behind" } else { "ahead of" };
    let by = Duration::from_secs(service_ahead.whole_seconds().unsigned_abs());
    format!("{} {side} the service's", humantime::format_duration(by))
}

struct Listener(PlanningProgress);

impl PlanListener for Listener {
    fn listed(&self, account: &AccountName, pools: u32, nodes: u32) {
        self.0.update(account, pools, nodes);
    }
}

/// Reads a scenario and serves it.
pub(crate) async fn start_simulator(path: &std::path::Path) -> Result<Simulator, CliError> {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(Simulator::start(read_scenario(path)?, listen).await?)
}

fn unusable_scenario(path: &std::path::Path, error: &ScenarioError) -> CliError {
    let what = format!("cannot use the scenario `{}`: {error}", path.display());
    CliError::usage(Refusal::new(what, "docs/reference/scenario.md lists every key"))
}

pub(crate) fn read_scenario(path: &std::path::Path) -> Result<Scenario, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file(path, &error))?;
    Scenario::from_toml(&text).map_err(|error| unusable_scenario(path, &error))
}

/// The accounts and the container of a simulated fleet, as a config would name them.
pub(crate) fn simulated(simulator: &Simulator) -> (Vec<AccountSettings>, Option<DestinationSettings>) {
    let ready = simulator.ready();
    let everything = || {
        let mut set = globset::GlobSetBuilder::new();
        set.add(globset::Glob::new("*").expect("a pattern"));
        set.build().expect("a set of patterns")
    };
    let accounts = ready
        .accounts
        .iter()
        .map(|account| AccountSettings {
            name: AccountName::new(account.name.as_str()),
            endpoint: Url::parse(&account.endpoint).expect("the simulator's own URL"),
            auth: Auth::SharedKey(Secret::new(account.key.clone())),
            api_version: DEFAULT_API_VERSION.into(),
            selection: Selection {
                pools: PoolFilter::by_id(everything(), globset::GlobSet::empty()),
                nodes: NodeFilter::default(),
                jobs: vec![],
                exact: None,
            },
        })
        .collect();
    let given =
        |url: &str| GivenSas { sas: SasUrl::parse(url).expect("the simulator's own URL"), source: None };
    let destination = DestinationSettings {
        write: WriteSettings::Given(given(&ready.container_url)),
        verify: Some(given(&ready.verify_url)),
    };
    (accounts, Some(destination))
}

/// How long the calls of a plan will take: the slowest account decides. Without a ceiling, a call is taken to last
/// 100 ms.
pub(crate) fn estimate(plan: &Plan, limits: &Limits) -> Duration {
    let largest = plan.accounts.iter().map(|account| account.nodes).max().unwrap_or(0);
    estimate_calls(largest as usize, limits)
}

/// How long so many calls to one account will take.
pub(crate) fn estimate_calls(calls: usize, limits: &Limits) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    let (calls, concurrency) = (calls as f64, limits.concurrency as f64);
    Duration::from_secs_f64(calls / limits.rate.unwrap_or(f64::INFINITY).min(concurrency / 0.1))
}
