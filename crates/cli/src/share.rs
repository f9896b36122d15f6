//! Access for support to the logs of one run: creates a SAS that can read and list, revokes it if that is possible, and
//! keeps a record of every share.
//!
//! The SAS itself is printed once and stored nowhere.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, Client, ContainerGrant, StorageAccount, http_client};
use fleetlogs_engine::clock::Clock;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::RunId;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::schema::SchemaVersion;
use fleetlogs_model::service::LogStore;
use fleetlogs_model::timestamp;
use fleetlogs_model::whole_file::write_whole;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::{Place, Settings, WriteSettings};
use crate::destination::storage;
use crate::error::{CliError, Refusal, help_for_signing};
use crate::run_dir::RunDir;
use crate::tokens::Tokens;

/// The record of all shares, in the run directory.
pub(crate) const SHARES_FILE: &str = "shares.json";

const SCHEMA: &str = "fleetlogs.shares/v1";

/// What support may do: read and list.
const PERMISSIONS: &str = "rl";

/// The longest lifetime of a user delegation key.
const LONGEST_DELEGATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long to test a new SAS: storage needs up to 30 seconds to accept a new stored access policy.
const POLICY_TAKES: Duration = Duration::from_secs(45);

/// The pause between two tests.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Access to the container of one run.
#[derive(Debug)]
pub(crate) struct Share {
    /// The container's URL with a SAS. It is a secret, and this is the only copy of it.
    pub(crate) url: SasUrl,
    pub(crate) entry: Entry,
}

/// One share as it stands in `shares.json`: everything but the signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// URL of the container, without the SAS.
    pub(crate) container: String,
    /// The letters of its permissions.
    pub(crate) permissions: String,
    /// The id of its stored access policy, if it has one.
    pub(crate) policy: Option<String>,
    /// Whether the container also holds other runs, which the SAS then opens as well.
    pub(crate) opens_other_runs: bool,
    #[serde(with = "timestamp")]
    pub(crate) made_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub(crate) expires_at: OffsetDateTime,
    /// When its policy was found to be gone.
    #[serde(default)]
    pub(crate) revoked_at: Option<String>,
}

/// How it was created, which decides whether it can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// With the account's key and a stored access policy: deleting the policy revokes it.
    StoredPolicy,
    /// With a user delegation key: it expires, or is revoked together with all delegation keys of the account.
    UserDelegation,
}

/// Every share of a run, in the order of creation.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: String,
    run_id: String,
    shares: Vec<Entry>,
}

/// What `unshare` did to the shares of a run.
#[derive(Debug)]
pub(crate) struct Unshared {
    /// Ids of the policies that were deleted and found to be gone.
    pub(crate) removed: Vec<String>,
    /// Ids of the policies that the container still has; none belongs to this run.
    pub(crate) left: Vec<String>,
    /// Shares that still open the container and cannot be revoked one by one.
    pub(crate) still_open: Vec<Entry>,
}

impl Share {
    /// What the user must know about the share, one fact per line, without the SAS itself.
    pub(crate) fn describe(&self, run: &Path) -> String {
        let Entry { container, expires_at, opens_other_runs, kind, policy, .. } = &self.entry;
        let until = timestamp::text(*expires_at);
        let mut text =
            format!("the SAS can read and list {container} until {until}; it was tested and works\n");
        if *opens_other_runs {
            text.push_str(
                "warning: the container is not for this run alone: the SAS can read everything in it\n  \
                 help: for a container per run, set `container = \"incident-{run_id}\"`\n",
            );
        }
        match (kind, policy) {
            (Kind::StoredPolicy, Some(policy)) => {
                let run = run.display();
                let _ = writeln!(text, "to revoke it earlier, delete its policy `{policy}`: `fleetlogs unshare {run}`");
            }
            _ => text.push_str(
                "it cannot be revoked on its own: a SAS created with Entra has no policy; it expires, or is revoked with \
                 all user delegation keys of the storage account (`az storage account revoke-delegation-keys`)\n",
            ),
        }
        text
    }
}

/// Creates a SAS that lets support read and list the container of a run, tests it, and records it.
///
/// Cancel safety: a dropped call may leave a policy whose SAS nobody has; `unshare` deletes it.
pub(crate) async fn share(
    dir: &RunDir,
    plan: &Plan,
    settings: &Settings,
    lifetime: Duration,
) -> Result<Share, CliError> {
    let mut record = Record::read(&dir.path, &plan.run_id)?;
    let container = Container::of(plan, settings)?;
    let made_at = Clock::System.now();
    let (url, policy, expires_at) = container.grant(lifetime).await?;
    let entry = Entry {
        kind: if policy.is_some() { Kind::StoredPolicy } else { Kind::UserDelegation },
        container: plan.destination.clone(),
        permissions: PERMISSIONS.to_owned(),
        policy,
        opens_other_runs: !container.is_per_run,
        made_at,
        expires_at,
        revoked_at: None,
    };
    record.shares.push(entry.clone());
    record.write(&dir.path)?;
    Ok(Share { url, entry })
}

/// Revokes the shares that can be revoked, and checks that they are gone.
pub(crate) async fn unshare(dir: &RunDir, plan: &Plan, settings: &Settings) -> Result<Unshared, CliError> {
    let mut record = Record::read(&dir.path, &plan.run_id)?;
    let container = Container::of(plan, settings)?;
    let now = Clock::System.now();
    let is_open = |entry: &&Entry| entry.revoked_at.is_none() && entry.expires_at > now;
    let mut unshared = Unshared { removed: vec![], left: vec![], still_open: vec![] };
    if container.storage.has_key() {
        let revoked = container.storage.revoke_policies(&container.name, &container.policy).await;
        let revoked = revoked.map_err(|failure| container.failed("no policy can be deleted", &failure))?;
        (unshared.removed, unshared.left) = (revoked.removed, revoked.left);
        for entry in &mut record.shares {
            if entry.kind == Kind::StoredPolicy && entry.revoked_at.is_none() {
                entry.revoked_at = Some(timestamp::text(Clock::System.now()));
            }
        }
        if !record.shares.is_empty() {
            record.write(&dir.path)?;
        }
    } else if record.shares.iter().any(|entry| entry.kind == Kind::StoredPolicy && is_open(&entry)) {
        let what =
            "the run was shared with a stored access policy, which only the storage account's key can delete";
        let help = "pass a config with `mint = \"account-key\"` as `--config`";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    let open = record.shares.iter().filter(|entry| entry.kind == Kind::UserDelegation).filter(is_open);
    unshared.still_open = open.cloned().collect();
    Ok(unshared)
}

/// The container of a run, and the storage account that creates SAS for it.
struct Container {
    storage: StorageAccount,
    http: Client,
    name: String,
    /// The start of the ids of the run's policies.
    policy: String,
    is_per_run: bool,
}

impl Container {
    fn of(plan: &Plan, settings: &Settings) -> Result<Self, CliError> {
        let http = http_client(1)?;
        let tokens = Tokens::new(http.clone(), settings.entra.clone());
        let (place, minting) = place(settings)?;
        let storage = storage(&http, &tokens, place, minting)?;
        let name = place.container(&plan.run_id);
        let config = storage.container_url(&name);
        if config != plan.destination {
            return Err(CliError::other_container(&plan.destination, &config));
        }
        let (policy, is_per_run) = (format!("fleetlogs-{}", plan.run_id), place.is_per_run());
        Ok(Self { storage, http, name, policy, is_per_run })
    }

    /// Creates a SAS and tests it. Returns it with its policy, if it has one, and its expiry.
    async fn grant(&self, lifetime: Duration) -> Result<(SasUrl, Option<String>, OffsetDateTime), CliError> {
        if self.storage.has_key() {
            let grant = self.storage.grant_by_policy(&self.name, &self.policy, PERMISSIONS, lifetime).await;
            let grant = grant.map_err(|failure| self.failed("no policy can be created", &failure))?;
            if let Err(failure) = self.try_out(&grant.sas, POLICY_TAKES).await {
                // Nobody has its SAS yet.
                let _ = self.storage.revoke_policies(&self.name, &grant.policy).await;
                return Err(self.failed("the new SAS does not open the container", &failure));
            }
            return Ok((grant.sas, Some(grant.policy), grant.expires_at));
        }
        if lifetime > LONGEST_DELEGATION {
            let what = "a SAS created with Entra is valid for 7 days at most, like its user delegation key";
            let help =
                "use `--for 7d` or less and share again once it has expired; or use `mint = \"account-key\"`";
            return Err(CliError::usage(Refusal::new(what, help)));
        }
        let grant =
            ContainerGrant { container: &self.name, permissions: PERMISSIONS, lifetime, with_start: false };
        let sas = self.storage.grant(grant).await;
        let sas = sas.map_err(|failure| self.failed("no SAS can be created", &failure))?;
        let tried = self.try_out(&sas, Duration::ZERO).await;
        tried.map_err(|failure| self.failed("the new SAS does not open the container", &failure))?;
        let expires_at = sas.expires_at.unwrap_or_else(|| Clock::System.now() + lifetime);
        Ok((sas, None, expires_at))
    }

    /// Lists with the SAS. If storage refuses it, retries for as long as `patience`.
    async fn try_out(&self, sas: &SasUrl, patience: Duration) -> Result<(), Failure> {
        let store = AzureLogStore::new(self.http.clone(), sas)
            .map_err(|error| Failure::new(FailureClass::Config, error.to_string()))?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match store.list("fleetlogs-preflight/", None).await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.class == FailureClass::Gone => return Err(failure),
                Err(failure) if tokio::time::Instant::now() >= deadline => return Err(failure),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    fn failed(&self, what: &str, failure: &Failure) -> CliError {
        let help = match (failure.class, self.storage.has_key()) {
            (FailureClass::Auth, true) => {
                "check `destination.account_key`, and whether the storage account allows Shared Key at all"
            }
            (FailureClass::Auth, false) => {
                "give the identity the role Storage Blob Delegator on the account and Storage Blob Data Reader on the \
                 container"
            }
            (FailureClass::Gone, _) => "the container no longer exists, nor do its logs",
            (FailureClass::Refused, _) => "see the message above",
            _ => "check `destination.account`, DNS, proxy and the storage firewall, and retry",
        };
        let help = help_for_signing(failure, help);
        CliError::not_done(Refusal::new(format!("{what} in `{}`: {failure}", self.storage.name()), help))
    }
}

/// The place to create SAS for. A config that only has a SAS cannot create another.
fn place(settings: &Settings) -> Result<(&Place, Option<&crate::config::Minting>), CliError> {
    let write = settings.destination.as_ref().map(|destination| &destination.write);
    match write {
        Some(WriteSettings::Minted(place, minting)) => Ok((place, Some(minting))),
        Some(WriteSettings::Identity { place, .. }) => Ok((place, None)),
        Some(WriteSettings::Given(_)) => {
            let what = "`destination.container_url` is a SAS, and no other SAS can be created from it";
            let help = "pass a config with `mint` for the same container as `--config`, or ask the person who created that \
                        SAS for one with `r` and `l` for support (`az storage container generate-sas --permissions rl`)";
            Err(CliError::usage(Refusal::new(what, help)))
        }
        None => {
            let what = "the container of this run was simulated and ended with the run";
            Err(CliError::usage(Refusal::new(what, "there is nothing to share")))
        }
    }
}

impl Record {
    fn read(dir: &Path, run: &RunId) -> Result<Self, CliError> {
        let file = dir.join(SHARES_FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { schema: SCHEMA.to_owned(), run_id: run.to_string(), shares: vec![] });
            }
            Err(error) => return Err(CliError::file(&file, &error)),
        };
        if let Ok(SchemaVersion { schema }) = serde_json::from_slice(&text)
            && schema != SCHEMA
        {
            let message = format!("it has schema `{schema}`, but this fleetlogs reads `{SCHEMA}`");
            return Err(CliError::file(&file, &std::io::Error::new(ErrorKind::InvalidData, message)));
        }
        serde_json::from_slice(&text).map_err(|error| CliError::file(&file, &error.into()))
    }

    fn write(&self, dir: &Path) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from)? + "\n";
        write_whole(dir, SHARES_FILE, text.as_bytes())
            .map_err(|error| CliError::file(dir.join(SHARES_FILE), &error))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::format_lock::{Additions, assert_locked};

    fn record(kind: Kind, policy: Option<&str>, revoked_at: Option<&str>) -> Record {
        let at = datetime!(2026-11-22 09:30:00.125 UTC);
        let entry = Entry {
            kind,
            container: "https://logs.blob.core.windows.net/logs".into(),
            permissions: PERMISSIONS.into(),
            policy: policy.map(Into::into),
            opens_other_runs: false,
            made_at: at,
            expires_at: at,
            revoked_at: revoked_at.map(Into::into),
        };
        Record { schema: SCHEMA.into(), run_id: "20261122T093000Z-0007".into(), shares: vec![entry] }
    }

    #[test]
    fn the_record_of_shares_is_locked_and_one_of_a_newer_version_refused() {
        let all = record(Kind::StoredPolicy, Some("p"), Some("2026-11-22T09:30:00.125Z"));
        let parts = [("shares with all", &all), ("shares", &record(Kind::UserDelegation, None, None))];
        let form =
            parts.map(|(name, record)| (name.to_owned(), serde_json::to_string(record).unwrap())).into();
        assert_locked("shares", SCHEMA.rsplit('/').next().unwrap(), &form, &Additions::default());

        let dir = tempfile::tempdir().unwrap();
        let newer = r#"{"schema":"fleetlogs.shares/v9","run":{}}"#;
        std::fs::write(dir.path().join(SHARES_FILE), newer).unwrap();
        let refused = Record::read(dir.path(), &all.run_id.parse().unwrap()).unwrap_err().reason();
        assert!(refused.contains("fleetlogs.shares/v9") && refused.contains(SCHEMA), "{refused}");
    }
}
