//! The table `[discover]`: accounts found in subscriptions, with the settings of `[defaults]`.

use fleetlogs_azure::Cloud;
use fleetlogs_model::sas::is_https_or_loopback;
use globset::GlobSet;
use url::Url;

use super::account::{FoundAccountSettings, cloud};
use super::reader::Table;
use super::secret_form::is_guid;
use super::selection::{glob_list, globs};

/// Which subscriptions to search for accounts.
#[derive(Clone, Debug)]
pub(crate) struct DiscoverSettings {
    /// Ids of subscriptions.
    pub(crate) subscriptions: Vec<String>,
    /// Names of accounts.
    pub(crate) accounts: GlobSet,
    pub(crate) exclude: GlobSet,
    /// The accounts that the command line picks.
    pub(crate) only: Option<GlobSet>,
    pub(crate) cloud: Cloud,
    /// The endpoint of Azure Resource Manager.
    pub(crate) management: Url,
    /// The settings of every account found.
    pub(crate) shared: FoundAccountSettings,
}

pub(super) fn discover(table: Table<'_>, shared: Option<FoundAccountSettings>) -> Option<DiscoverSettings> {
    let subscriptions =
        table.require("subscriptions", "[\"00000000-0000-0000-0000-000000000000\"]").and_then(|value| {
            let ids = value.strings()?;
            let odd = ids.iter().find(|id| !is_guid(id));
            if let Some(odd) = odd {
                value.wrong(format!("`{odd}` is not the id of a subscription"), Some("it is a GUID".into()));
                return None;
            }
            if ids.is_empty() {
                value
                    .wrong("the list of subscriptions is empty", Some("remove the table, or add one".into()));
                return None;
            }
            // Listing a subscription twice means once.
            let mut ids: Vec<String> = ids.into_iter().map(str::to_ascii_lowercase).collect();
            let mut seen = std::collections::HashSet::new();
            ids.retain(|id| seen.insert(id.clone()));
            Some(ids)
        });
    let accounts = table.get("accounts").map_or_else(|| globs(&["*"], |_| {}), |value| glob_list(&value));
    let exclude = table.get("exclude").map_or_else(|| globs(&[], |_| {}), |value| glob_list(&value));
    let cloud = table.get("cloud").map_or(Some(Cloud::Public), |value| cloud(&value));
    let management = management(&table, cloud);
    table.finish();
    Some(DiscoverSettings {
        subscriptions: subscriptions?,
        accounts: accounts?,
        exclude: exclude?,
        only: None,
        cloud: cloud?,
        management: management?,
        shared: shared?,
    })
}

/// The endpoint of Azure Resource Manager: that of the config, or that of the cloud.
pub(super) fn management(table: &Table<'_>, cloud: Option<Cloud>) -> Option<Url> {
    let Some(value) = table.get("management") else {
        return cloud.and_then(|cloud| Url::parse(cloud.management()).ok());
    };
    value.string().and_then(|text| {
        let url = Url::parse(text).ok().filter(is_https_or_loopback);
        if url.is_none() {
            let help = "write it as \"https://management.azure.com\"";
            value.wrong(format!("`{text}` is not an endpoint"), Some(help.into()));
        }
        url
    })
}
