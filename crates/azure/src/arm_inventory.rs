//! What an identity sees in Azure Resource Manager beside Batch accounts: its subscriptions, and their storage accounts.
//! (`GET /subscriptions?api-version=2022-12-01` and `GET
//! /subscriptions/{id}/providers/Microsoft.Storage/storageAccounts?api-version=2023-05-01`.)

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::is_https_or_loopback;
use serde::Deserialize;
use url::Url;

use crate::arm::is_too_long;
use crate::arm_call::read_list;
use crate::redact::{one_line, verbatim_if_harmless};
use crate::token::TokenSource;

/// A subscription that an identity sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSubscription {
    /// Its id, a GUID.
    pub id: String,
    /// Its name, for people.
    pub name: String,
}

/// A storage account of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundStorage {
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// The endpoint of its blobs.
    pub blob_endpoint: Url,
    /// Whether it can be reached from outside its network.
    pub is_public: bool,
}

/// Lists the subscriptions that the identity sees and that are in use. `management` is the endpoint of Azure Resource
/// Manager.
pub async fn list_subscriptions(
    http: &reqwest::Client,
    management: &Url,
    tokens: &TokenSource,
) -> Result<Vec<FoundSubscription>, Failure> {
    let url = list_url(management, &["subscriptions"], "2022-12-01");
    let answers: Vec<SubscriptionAnswer> =
        read_list(http, management, tokens, url, "the answer is not a list of subscriptions").await?;
    // What is disabled or deleted can be read for a while, but takes no upload.
    let in_use = answers.into_iter().filter(|answer| {
        answer.state.as_deref().is_none_or(|state| !matches!(state, "Disabled" | "Deleted"))
    });
    in_use
        .map(|answer| {
            if is_too_long(&answer.subscription_id) {
                return Err(Failure::new(FailureClass::Refused, "a subscription has an id that is too long"));
            }
            let name = one_line(&answer.display_name, 100);
            Ok(FoundSubscription { id: verbatim_if_harmless(answer.subscription_id), name })
        })
        .collect()
}

/// Lists the storage accounts of a subscription that have blobs.
pub async fn list_storage_accounts(
    http: &reqwest::Client,
    management: &Url,
    subscription: &str,
    tokens: &TokenSource,
) -> Result<Vec<FoundStorage>, Failure> {
    let path = ["subscriptions", subscription, "providers", "Microsoft.Storage", "storageAccounts"];
    let url = list_url(management, &path, "2023-05-01");
    let answers: Vec<StorageAnswer> =
        read_list(http, management, tokens, url, "the answer is not a list of storage accounts").await?;
    Ok(answers.into_iter().filter_map(StorageAnswer::into_found).collect())
}

fn list_url(management: &Url, path: &[&str], version: &str) -> Url {
    let mut url = management.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url.set_query(Some(&format!("api-version={version}")));
    url
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionAnswer {
    subscription_id: String,
    #[serde(default)]
    display_name: String,
    state: Option<String>,
}

#[derive(Deserialize)]
struct StorageAnswer {
    name: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    properties: StorageProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StorageProperties {
    #[serde(default)]
    primary_endpoints: PrimaryEndpoints,
    public_network_access: Option<String>,
}

/// An account for files or tables only has no endpoint of blobs.
#[derive(Default, Deserialize)]
struct PrimaryEndpoints {
    blob: Option<String>,
}

impl StorageAnswer {
    /// None without blobs.
    fn into_found(self) -> Option<FoundStorage> {
        let StorageProperties { primary_endpoints, public_network_access } = self.properties;
        let blob_endpoint = Url::parse(&primary_endpoints.blob?)
            .ok()
            .filter(|url| is_https_or_loopback(url) && url.query().is_none() && url.username().is_empty())?;
        (!is_too_long(&self.name)).then(|| FoundStorage {
            name: verbatim_if_harmless(self.name),
            location: one_line(&self.location, 100),
            blob_endpoint,
            is_public: public_network_access.is_none_or(|access| access.eq_ignore_ascii_case("Enabled")),
        })
    }
}
