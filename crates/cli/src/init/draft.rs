//! The short config: what it holds before it is text.

use std::fmt::Write as _;

use fleetlogs_azure::{FoundAccount, FoundStorage};
use url::Url;

use super::find::Found;
use crate::config::ENDPOINT_TO_FILL_IN;

/// The variable of the container URL, as in every example.
pub(super) const URL_VARIABLE: &str = "FLEETLOGS_CONTAINER_URL";

/// The variable of the account's key.
pub(super) const KEY_VARIABLE: &str = "FLEETLOGS_BATCH_KEY";

/// The container that each run creates for itself.
pub(super) const CONTAINER: &str = "incident-{run_id}";

/// A config that works once what is missing is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigDraft {
    /// `last` of the window.
    pub(super) last: String,
    pub(super) storage: DraftStorage,
    pub(super) accounts: Vec<DraftAccount>,
    /// A line about how it came about.
    note: Option<String>,
}

/// Where the logs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DraftStorage {
    /// A SAS in a variable.
    Variable,
    /// fleetlogs creates the SAS in this storage account.
    Minted { account: String, container: String, comment: String, others: Vec<String> },
}

/// One Batch account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DraftAccount {
    /// Only where the endpoint does not tell it.
    pub(super) name: Option<String>,
    /// None: to be filled in.
    pub(super) endpoint: Option<String>,
    pub(super) with_key: bool,
    pub(super) comment: String,
}

impl Default for ConfigDraft {
    fn default() -> Self {
        let account = DraftAccount { name: None, endpoint: None, with_key: false, comment: String::new() };
        Self { last: "2h".into(), storage: DraftStorage::Variable, accounts: vec![account], note: None }
    }
}

impl ConfigDraft {
    /// The line that tells editors where the schema of a config is.
    pub(crate) const SCHEMA_LINE: &str = "#:schema ./fleetlogs.schema.json";

    /// The accounts that were found.
    pub(crate) fn of_found(found: &Found) -> Self {
        let accounts = found.accounts.iter().map(of_account).collect();
        let storage = found.storage_nearest_first();
        let storage = match storage.split_first() {
            None => DraftStorage::Variable,
            Some((first, others)) => DraftStorage::Minted {
                account: account_value(first),
                container: CONTAINER.into(),
                comment: where_it_is(&first.location, first.is_public),
                others: others
                    .iter()
                    .map(|other| {
                        let comment = where_it_is(&other.location, other.is_public);
                        format!("# account = {}   # or this one: {comment}", quoted(&account_value(other)))
                    })
                    .collect(),
            },
        };
        let note = format!("Found with `fleetlogs init --discover`: {}.", found.counts());
        Self { accounts, storage, note: Some(note), ..Self::default() }
    }

    /// The config.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}\n# A short config; `fleetlogs init --full -` prints every key. Check it with `fleetlogs check`.\n",
            Self::SCHEMA_LINE
        );
        if let Some(note) = &self.note {
            let _ = writeln!(text, "# {note}");
        }
        let _ = writeln!(
            text,
            "\n[window]\nlast = {}   # the logs of this long, up to now; or `start` and `end`, or `around`\n",
            quoted(&self.last)
        );
        text.push_str("[destination]\n");
        match &self.storage {
            DraftStorage::Variable => {
                let _ = writeln!(
                    text,
                    "# Set this variable to the container's URL with a SAS that grants write (`sp=w`); with read and list as\n\
                     # well (`sp=rwl`), fleetlogs also verifies that the files arrived.\n\
                     container_url = {{ env = \"{URL_VARIABLE}\" }}"
                );
            }
            DraftStorage::Minted { account, container, comment, others } => {
                let _ = writeln!(
                    text,
                    "# fleetlogs creates short-lived SAS with your login, which needs the roles Storage Blob Delegator and\n\
                     # Storage Blob Data Contributor on this storage account.\n\
                     mint = \"user-delegation\"\naccount = {}{}",
                    quoted(account),
                    behind(comment)
                );
                for other in others {
                    let _ = writeln!(text, "{other}");
                }
                let _ = writeln!(text, "container = {}   # each run creates its own", quoted(container));
            }
        }
        for account in &self.accounts {
            text.push('\n');
            if account.endpoint.is_none() {
                text.push_str("# Write the endpoint of the Batch account here, from the portal or `az batch account show`.\n");
            }
            text.push_str("[[account]]\n");
            if let Some(name) = &account.name {
                let _ = writeln!(text, "name = {}", quoted(name));
            }
            let endpoint = account.endpoint.as_deref().unwrap_or(ENDPOINT_TO_FILL_IN);
            let _ = writeln!(text, "endpoint = {}{}", quoted(endpoint), behind(&account.comment));
            if account.with_key {
                let _ = writeln!(text, "auth = {{ shared_key = {{ env = \"{KEY_VARIABLE}\" }} }}");
            } else {
                text.push_str("auth = \"entra\"   # `az login`, a managed identity, or a client secret\n");
            }
        }
        text
    }

    /// What is left to do before it works, in steps.
    pub(crate) fn left_to_do(&self, file: &str) -> Vec<String> {
        let mut steps = Vec::new();
        if self.accounts.iter().any(|account| account.endpoint.is_none()) {
            steps.push(format!("write the endpoint of your Batch account in {file}"));
        }
        if self.accounts.iter().any(|account| account.with_key) {
            steps.push(format!("set {KEY_VARIABLE} to the account's key"));
        }
        match &self.storage {
            DraftStorage::Variable => {
                steps.push(format!("set {URL_VARIABLE} to the container's URL with its SAS"));
            }
            DraftStorage::Minted { others, account, .. } if !others.is_empty() => {
                steps.push(format!(
                    "check `[destination]` in {file}: logs go to the storage account `{account}`"
                ));
            }
            DraftStorage::Minted { .. } => {}
        }
        steps
    }
}

fn of_account(found: &FoundAccount) -> DraftAccount {
    let derived = crate::config::name_in_endpoint(&found.endpoint);
    let name = (derived.as_deref() != Some(found.name.as_str())).then(|| found.name.clone());
    DraftAccount {
        name,
        endpoint: Some(found.endpoint.as_str().trim_end_matches('/').to_owned()),
        with_key: false,
        comment: if found.is_public {
            String::new()
        } else {
            "reachable from its private network only".into()
        },
    }
}

/// The name of a storage account where the config makes the same endpoint of it, else the endpoint.
fn account_value(found: &FoundStorage) -> String {
    let usual = format!("https://{}.blob.core.windows.net/", found.name);
    if Url::parse(&usual).is_ok_and(|usual| usual == found.blob_endpoint) {
        found.name.clone()
    } else {
        found.blob_endpoint.as_str().trim_end_matches('/').to_owned()
    }
}

fn where_it_is(location: &str, is_public: bool) -> String {
    let network = if is_public { "" } else { ", reachable from its private network only" };
    format!("{location}{network}")
}

/// A comment behind a value.
fn behind(comment: &str) -> String {
    if comment.is_empty() { String::new() } else { format!("   # {comment}") }
}

/// A text as TOML.
fn quoted(text: &str) -> String {
    // The escapes of JSON are those of TOML.
    serde_json::Value::from(text).to_string().replace('\u{7f}', r"\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_config_has_two_values_to_fill_in() {
        let draft = ConfigDraft::default();
        insta::assert_snapshot!(draft.text(), @r#"
        #:schema ./fleetlogs.schema.json
        # A short config; `fleetlogs init --full -` prints every key. Check it with `fleetlogs check`.

        [window]
        last = "2h"   # the logs of this long, up to now; or `start` and `end`, or `around`

        [destination]
        # Set this variable to the container's URL with a SAS that grants write (`sp=w`); with read and list as
        # well (`sp=rwl`), fleetlogs also verifies that the files arrived.
        container_url = { env = "FLEETLOGS_CONTAINER_URL" }

        # Write the endpoint of the Batch account here, from the portal or `az batch account show`.
        [[account]]
        endpoint = "https://ACCOUNT.REGION.batch.azure.com"
        auth = "entra"   # `az login`, a managed identity, or a client secret
        "#);
        let steps = draft.left_to_do("fleetlogs.toml");
        assert_eq!(steps.len(), 2, "{steps:?}");
    }
}
