//! Discovery: the Batch accounts of whole subscriptions, as the config would name them.

use fleetlogs_azure::{Client, FoundAccount, ListedAccounts, list_accounts, safe};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::known_cause::Asked;
use fleetlogs_model::plan::PlannedAccount;
use fleetlogs_model::retry::persistently;
use futures::StreamExt;
use tokio::time::sleep;
use url::Url;

use crate::config::{AccountSettings, Auth, DiscoverSettings, Settings};
use crate::error::{CliError, Refusal, help_for};
use crate::tokens::Tokens;

/// Subscriptions whose accounts are listed side by side.
const SUBSCRIPTIONS_AT_ONCE: usize = 8;

/// What was found in subscriptions.
#[derive(Default)]
pub(crate) struct DiscoveredAccounts {
    pub(crate) accounts: Vec<AccountSettings>,
    /// Subscriptions that could not be listed, and accounts that cannot be planned, as accounts of the plan.
    pub(crate) unlisted: Vec<PlannedAccount>,
}

/// The accounts of the subscriptions, except those that the config names itself. A subscription that cannot be listed
/// is a warning; it refuses the run only in strict mode, or if no account is left.
pub(crate) async fn discover_accounts(
    discover: &DiscoverSettings,
    settings: &Settings,
    http: &Client,
    tokens: &Tokens,
) -> Result<DiscoveredAccounts, CliError> {
    let mut discovered = DiscoveredAccounts::default();
    let mut refusals = Vec::new();
    for (subscription, listed) in list_subscriptions(discover, settings, http, tokens).await? {
        match listed {
            Ok(ListedAccounts { found, without_endpoint }) => {
                for account in found {
                    discovered.take(account, discover, settings);
                }
                for name in without_endpoint {
                    discovered.leave_out(&name, discover, settings);
                }
            }
            Err(failure) => {
                let name = format!("subscription-{subscription}");
                discovered.unlisted.push(not_planned(&name, &discover.management, failure.to_string()));
                refusals.push(not_listed(subscription, &failure));
            }
        }
    }
    let none_is_left = settings.accounts.is_empty() && discovered.accounts.is_empty();
    if !refusals.is_empty() && (settings.strict || none_is_left) {
        return Err(CliError::refused(refusals));
    }
    for refusal in refusals {
        tracing::warn!(help = refusal.help, "{refusal}; the other accounts are collected");
    }
    tracing::info!(accounts = discovered.accounts.len(), "found");
    Ok(discovered)
}

/// The accounts of each subscription, or why they cannot be listed.
async fn list_subscriptions<'config>(
    discover: &'config DiscoverSettings,
    settings: &Settings,
    http: &Client,
    tokens: &Tokens,
) -> Result<Vec<(&'config String, Result<ListedAccounts, Failure>)>, CliError> {
    let source = tokens.of(discover.cloud, discover.cloud.management())?;
    let (management, source, retry) = (&discover.management, &source, &settings.retry);
    let listings = futures::stream::iter(&discover.subscriptions)
        .map(|subscription| async move {
            let pause = |attempt, failure: &Failure| {
                // Without a connection to Azure Resource Manager, the address or the network is wrong: no wait cures
                // it. A call without an answer took its whole time limit: one more is enough.
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
    Ok(listings)
}

fn not_listed(subscription: &str, failure: &Failure) -> Refusal {
    let what = format!("the accounts of subscription {subscription} cannot be listed: {failure}");
    let help = if matches!(failure.class, FailureClass::Auth | FailureClass::Gone) {
        "give the identity the role Reader on the subscription, or name the accounts in the config"
    } else {
        "check that Azure Resource Manager can be reached, or name the accounts in the config"
    };
    Refusal::new(what, help_for(Asked::ResourceManager, failure, help)).about("discover")
}

/// Whether an account is wanted that the config does not name itself.
fn is_wanted(name: &str, discover: &DiscoverSettings, settings: &Settings) -> bool {
    discover.accounts.is_match(name)
        && !discover.exclude.is_match(name)
        && discover.only.as_ref().is_none_or(|only| only.is_match(name))
        && !settings.accounts.iter().any(|known| known.name.as_str().eq_ignore_ascii_case(name))
}

impl DiscoveredAccounts {
    /// Puts an account that is wanted, but has no endpoint, into the plan with the reason.
    fn leave_out(&mut self, name: &str, discover: &DiscoverSettings, settings: &Settings) {
        if is_wanted(name, discover, settings) {
            let why = "Azure Resource Manager names no endpoint of it that can be called (its creation may have failed)";
            tracing::warn!(account = safe(name), "skipped: {why}");
            self.unlisted.push(not_planned(name, &discover.management, why.into()));
        }
    }

    /// Takes an account that is wanted, unless another of its name was found before.
    fn take(&mut self, account: FoundAccount, discover: &DiscoverSettings, settings: &Settings) {
        let is_named = |known: &AccountSettings| known.name.as_str().eq_ignore_ascii_case(&account.name);
        if !is_wanted(&account.name, discover, settings) {
            return;
        }
        if self.accounts.iter().any(is_named) {
            let name = format!("{}-{}", account.name, account.location);
            let why = "another account that was found has the same name; collect it with a config of its own";
            tracing::warn!(account = account.name, endpoint = %account.endpoint, "skipped: {why}");
            self.unlisted.push(not_planned(&name, &account.endpoint, why.into()));
            return;
        }
        if !account.is_public {
            tracing::warn!(
                account = account.name,
                "its public network access is not enabled, so it cannot be reached from every network"
            );
        }
        self.accounts.push(AccountSettings {
            name: AccountName::new(account.name.as_str()),
            endpoint: account.endpoint,
            auth: Auth::Entra { cloud: discover.cloud, audience: discover.shared.audience.clone() },
            api_version: discover.shared.api_version.clone(),
            selection: discover.shared.selection.clone(),
            site: discover.shared.site.clone(),
        });
    }
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
