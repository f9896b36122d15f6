//! What the signed-in identity sees in Azure: subscriptions, and the Batch and storage accounts in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fleetlogs_azure::{
    Client, Cloud, EntraSettings, FoundAccount, FoundStorage, FoundSubscription, TokenSource, http_client,
    list_accounts, list_storage_accounts, list_subscriptions,
};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::known_cause::Asked;
use fleetlogs_model::retry::persistently;
use futures::StreamExt;
use tokio::time::sleep;
use url::Url;

use crate::error::{CliError, Refusal, help_for};
use crate::text::counted;
use crate::tokens::Tokens;

/// Subscriptions that are listed side by side.
const SUBSCRIPTIONS_AT_ONCE: usize = 8;

/// How often a list is read while the failure may pass.
const ATTEMPTS: u32 = 3;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    subscriptions: Vec<FoundSubscription>,
    pub(super) accounts: Vec<FoundAccount>,
    storage: Vec<FoundStorage>,
    /// Subscriptions and accounts that are left out, each with the reason.
    left_out: Vec<String>,
}

/// Lists the accounts of a subscription, or of all that the identity sees.
pub(crate) async fn find(only: Option<&str>, cloud: Cloud, management: &Url) -> Result<Found, CliError> {
    let http = http_client(SUBSCRIPTIONS_AT_ONCE)?;
    let tokens = Tokens::new(http.clone(), EntraSettings::default()).of(cloud, cloud.management())?;
    let arm = Arm { http: &http, management, tokens: &tokens };
    let subscriptions = match only {
        Some(id) => vec![FoundSubscription { id: id.to_owned(), name: id.to_owned() }],
        None => arm.subscriptions().await?,
    };
    let mut found = Found { subscriptions, ..Found::default() };
    let listed: Vec<_> = futures::stream::iter(found.subscriptions.clone())
        .map(|subscription| {
            let arm = &arm;
            async move {
                let batch =
                    arm.read(|| list_accounts(arm.http, management, &subscription.id, arm.tokens)).await;
                let storage = arm
                    .read(|| list_storage_accounts(arm.http, management, &subscription.id, arm.tokens))
                    .await;
                (subscription, batch, storage)
            }
        })
        .buffered(SUBSCRIPTIONS_AT_ONCE)
        .collect()
        .await;
    let mut refusals = Vec::new();
    for (subscription, batch, storage) in listed {
        let FoundSubscription { id, name } = subscription;
        match batch {
            Ok(accounts) => {
                found.accounts.extend(accounts.found);
                let nameless = accounts.without_endpoint.into_iter();
                found
                    .left_out
                    .extend(nameless.map(|name| format!("Batch account {name}: it has no endpoint")));
            }
            Err(failure) => {
                found.left_out.push(format!("subscription {name}: {failure}"));
                refusals.push(not_listed(&format!("the accounts of subscription {id}"), &failure));
                continue;
            }
        }
        match storage {
            Ok(accounts) => found.storage.extend(accounts),
            Err(failure) => {
                found.left_out.push(format!("storage accounts of subscription {name}: {failure}"));
            }
        }
    }
    if found.accounts.is_empty() {
        return Err(if refusals.is_empty() {
            nothing_found(&found)
        } else {
            CliError::not_done_all(refusals)
        });
    }
    found.drop_doubles();
    Ok(found)
}

/// Azure Resource Manager, with what calls it.
struct Arm<'a> {
    http: &'a Client,
    management: &'a Url,
    tokens: &'a TokenSource,
}

impl Arm<'_> {
    async fn subscriptions(&self) -> Result<Vec<FoundSubscription>, CliError> {
        let list = || list_subscriptions(self.http, self.management, self.tokens);
        self.read(list)
            .await
            .map_err(|failure| CliError::not_done(not_listed("your subscriptions", &failure)))
    }

    async fn read<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        list: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        let pause = |attempt: u32, failure: &Failure| {
            // Without a connection, the address or the network is wrong: no wait cures it.
            let is_worth_it = attempt < ATTEMPTS && failure.class != FailureClass::NotSent;
            is_worth_it
                .then(|| failure.retry_after().unwrap_or(std::time::Duration::from_secs(attempt.into())))
        };
        persistently(list, pause, sleep).await
    }
}

fn not_listed(what: &str, failure: &Failure) -> Refusal {
    let help = match failure.class {
        FailureClass::Auth | FailureClass::Gone => {
            "give the identity the role Reader on the subscription, or fill the config in by hand"
        }
        _ => {
            "log in (`az login`), check that Azure Resource Manager can be reached, or fill the config in by hand"
        }
    };
    Refusal::new(
        format!("{what} cannot be listed: {failure}"),
        help_for(Asked::ResourceManager, failure, help),
    )
}

fn nothing_found(found: &Found) -> CliError {
    let what = format!("no Batch account in {}", counted(found.subscriptions.len(), "subscription"));
    let help = "log in as an identity with the role Reader on the accounts' subscription, name the subscription, or fill \
                the config in by hand";
    CliError::not_done(Refusal { seen: found.left_out.clone(), ..Refusal::new(what, help) })
}

impl Found {
    /// A config names each account once. Two accounts of one name are in different regions.
    fn drop_doubles(&mut self) {
        let mut seen: BTreeMap<String, Url> = BTreeMap::new();
        let mut doubles = Vec::new();
        self.accounts.retain(|account| {
            let name = account.name.to_ascii_lowercase();
            if let Some(first) = seen.get(&name) {
                doubles.push(format!(
                    "Batch account {} at {}: one at {first} has the same name",
                    account.name, account.endpoint
                ));
                return false;
            }
            seen.insert(name, account.endpoint.clone());
            true
        });
        self.left_out.extend(doubles);
    }

    /// Storage accounts in the region of most Batch accounts first: nodes write there, and traffic between regions costs.
    pub(super) fn storage_nearest_first(&self) -> Vec<FoundStorage> {
        let near = |storage: &FoundStorage| {
            self.accounts
                .iter()
                .filter(|account| account.location.eq_ignore_ascii_case(&storage.location))
                .count()
        };
        let mut sorted = self.storage.clone();
        sorted.sort_by_key(|storage| {
            (!storage.is_public, std::cmp::Reverse(near(storage)), storage.name.clone())
        });
        sorted
    }

    /// How much was found.
    pub(super) fn counts(&self) -> String {
        format!(
            "{}, {}, {}",
            counted(self.subscriptions.len(), "subscription"),
            counted(self.accounts.len(), "Batch account"),
            counted(self.storage.len(), "storage account")
        )
    }

    /// What was found, for the terminal.
    pub(crate) fn describe(&self) -> String {
        let list = |names: Vec<String>| {
            if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
        };
        let placed = |name: &str, location: &str| {
            if location.is_empty() { name.to_owned() } else { format!("{name} ({location})") }
        };
        let mut text = format!(
            "{}{}\n{}{}\n{}{}\n",
            counted(self.subscriptions.len(), "subscription"),
            list(self.subscriptions.iter().map(|subscription| subscription.name.clone()).collect()),
            counted(self.accounts.len(), "Batch account"),
            list(self.accounts.iter().map(|account| placed(&account.name, &account.location)).collect()),
            counted(self.storage.len(), "storage account"),
            list(self.storage.iter().map(|storage| placed(&storage.name, &storage.location)).collect()),
        );
        for left in &self.left_out {
            let _ = writeln!(text, "left out: {left}");
        }
        text
    }
}
