//! Access for support to the logs of one run: a SAS that reads and lists, made in a way that it can be taken back where
//! there is one, and the record of what was given away.
//!
//! The SAS itself is handed out once and kept nowhere.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, Client, ContainerGrant, StorageAccount, http_client};
use fleetlogs_engine::clock::Clock;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::service::LogStore;
use fleetlogs_model::timestamp;
use fleetlogs_model::whole_file::write_whole;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::{Place, Settings, WriteSettings};
use crate::destination::storage;
use crate::error::{CliError, Refusal};
use crate::run_dir::RunDir;
use crate::tokens::Tokens;

/// Name of the record in the run directory.
pub(crate) const SHARES_FILE: &str = "shares.json";

const SCHEMA: &str = "fleetlogs.shares/v1";

/// What support may do: read and list.
const PERMISSIONS: &str = "rl";

/// A user delegation key lives no longer.
const LONGEST_DELEGATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Storage takes up to 30 seconds until it knows a new stored access policy.
const POLICY_TAKES: Duration = Duration::from_secs(45);

/// Between two looks whether it does.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Access to the container of one run.
#[derive(Debug)]
pub(crate) struct Share {
    /// The container's URL with a SAS. It is a secret, and this is the only copy of it.
    pub(crate) url: SasUrl,
    pub(crate) entry: Entry,
}

/// One share as `shares.json` has it: all that is known of it but its signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// URL of the container, without the SAS.
    pub(crate) container: String,
    /// Letters of what it allows.
    pub(crate) permissions: String,
    /// Id of the stored access policy, where it leans on one.
    pub(crate) policy: Option<String>,
    /// Whether the container is for other runs, too, which it then opens as well.
    pub(crate) opens_other_runs: bool,
    #[serde(with = "timestamp")]
    pub(crate) made_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub(crate) expires_at: OffsetDateTime,
    /// When its policy was seen to be gone.
    #[serde(default)]
    pub(crate) revoked_at: Option<String>,
}

/// How it was made, and so whether it can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// With the account's key and a stored access policy: it ends when the policy is removed.
    StoredPolicy,
    /// With a user delegation key: it ends by itself, or with all keys of the account.
    UserDelegation,
}

/// Every share of a run, in the order they were made.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: String,
    run_id: String,
    shares: Vec<Entry>,
}

/// What became of a run's shares.
#[derive(Debug)]
pub(crate) struct Unshared {
    /// Ids of policies that were removed, and that the container does not have any more.
    pub(crate) removed: Vec<String>,
    /// Ids of the policies that the container still has; none of them is of this run.
    pub(crate) left: Vec<String>,
    /// Shares that open the container still, and cannot be taken back one by one.
    pub(crate) still_open: Vec<Entry>,
}

impl Share {
    /// What a person has to know of it; a line each. The SAS is not in it.
    pub(crate) fn describe(&self, run: &Path) -> String {
        let Entry { container, expires_at, opens_other_runs, kind, policy, .. } = &self.entry;
        let until = timestamp::text(*expires_at);
        let mut text =
            format!("the SAS reads and lists {container} until {until}; it was tried, and works\n");
        if *opens_other_runs {
            text.push_str(
                "warning: the container is not for this run alone: everything in it can be read\n  \
                 help: a container per run is made with `container = \"incident-{run_id}\"`\n",
            );
        }
        match (kind, policy) {
            (Kind::StoredPolicy, Some(policy)) => {
                let run = run.display();
                let _ = writeln!(text, "it ends before that when its policy `{policy}` is removed: `fleetlogs unshare {run}`");
            }
            _ => text.push_str(
                "it cannot be taken back on its own: a SAS by Entra has no policy, and ends by itself or with all user \
                 delegation keys of the storage account (`az storage account revoke-delegation-keys`)\n",
            ),
        }
        text
    }
}

/// Makes a SAS that lets support read and list the container of a run, tries it, and puts on record that there is one.
///
/// Cancel safety: a dropped call may leave a policy without a SAS; `unshare` removes it.
pub(crate) async fn share(
    dir: &RunDir,
    plan: &Plan,
    settings: &Settings,
    lifetime: Duration,
) -> Result<Share, CliError> {
    let mut record = Record::read(&dir.path, plan)?;
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

/// Takes back what can be, and sees that it is gone.
pub(crate) async fn unshare(dir: &RunDir, plan: &Plan, settings: &Settings) -> Result<Unshared, CliError> {
    let mut record = Record::read(&dir.path, plan)?;
    let container = Container::of(plan, settings)?;
    let now = Clock::System.now();
    let is_open = |entry: &&Entry| entry.revoked_at.is_none() && entry.expires_at > now;
    let mut unshared = Unshared { removed: vec![], left: vec![], still_open: vec![] };
    if container.storage.has_key() {
        let revoked = container.storage.revoke_policies(&container.name, &container.policy).await;
        let revoked = revoked.map_err(|failure| container.failed("no policy can be removed", &failure))?;
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
            "the run was shared by a stored access policy, which only the storage account's key can remove";
        let help = "give a config with `mint = \"account-key\"` as `--config`";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    let open = record.shares.iter().filter(|entry| entry.kind == Kind::UserDelegation).filter(is_open);
    unshared.still_open = open.cloned().collect();
    Ok(unshared)
}

/// The container of a run, and whoever may make SAS for it.
struct Container {
    storage: StorageAccount,
    http: Client,
    name: String,
    /// How the ids of the run's policies begin.
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

    /// A SAS that works, the policy that it leans on, and its end.
    async fn grant(&self, lifetime: Duration) -> Result<(SasUrl, Option<String>, OffsetDateTime), CliError> {
        if self.storage.has_key() {
            let grant = self.storage.grant_by_policy(&self.name, &self.policy, PERMISSIONS, lifetime).await;
            let grant = grant.map_err(|failure| self.failed("no policy can be made", &failure))?;
            if let Err(failure) = self.try_out(&grant.sas, POLICY_TAKES).await {
                // Nobody has its SAS.
                let _ = self.storage.revoke_policies(&self.name, &grant.policy).await;
                return Err(self.failed("the SAS that was made does not open the container", &failure));
            }
            return Ok((grant.sas, Some(grant.policy), grant.expires_at));
        }
        if lifetime > LONGEST_DELEGATION {
            let what = "a SAS by Entra lives 7 days at most, as long as a user delegation key";
            let help = "ask for `--for 7d` or less, and share again when it has ended; or use `mint = \"account-key\"`";
            return Err(CliError::usage(Refusal::new(what, help)));
        }
        let grant =
            ContainerGrant { container: &self.name, permissions: PERMISSIONS, lifetime, with_start: false };
        let sas = self.storage.grant(grant).await;
        let sas = sas.map_err(|failure| self.failed("no SAS can be made", &failure))?;
        let tried = self.try_out(&sas, Duration::ZERO).await;
        tried
            .map_err(|failure| self.failed("the SAS that was made does not open the container", &failure))?;
        let expires_at = sas.expires_at.unwrap_or_else(|| Clock::System.now() + lifetime);
        Ok((sas, None, expires_at))
    }

    /// Lists with the SAS, again and again for a while as long as storage refuses it.
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
                "check `destination.account_key`, and whether the storage account takes its key (Shared Key) at all"
            }
            (FailureClass::Auth, false) => {
                "give the identity the role Storage Blob Delegator on the account and Storage Blob Data Reader on the \
                 container"
            }
            (FailureClass::Gone, _) => "the container is no longer there, and nor are the logs",
            (FailureClass::Refused, _) => "see the message above",
            _ => "check `destination.account`, DNS, proxy and the storage firewall, and try again",
        };
        CliError::not_done(Refusal::new(format!("{what} in `{}`: {failure}", self.storage.name()), help))
    }
}

/// Where SAS can be made. A SAS that was given makes no other.
fn place(settings: &Settings) -> Result<(&Place, Option<&crate::config::Minting>), CliError> {
    let write = settings.destination.as_ref().map(|destination| &destination.write);
    match write {
        Some(WriteSettings::Minted(place, minting)) => Ok((place, Some(minting))),
        Some(WriteSettings::Identity { place, .. }) => Ok((place, None)),
        Some(WriteSettings::Given(_)) => {
            let what = "`destination.container_url` is a SAS that was given, and no other can be made of it";
            let help = "give a config with `mint` for the same container as `--config`, or have whoever made that SAS make \
                        one with `r` and `l` for support (`az storage container generate-sas --permissions rl`)";
            Err(CliError::usage(Refusal::new(what, help)))
        }
        None => {
            let what = "the container of this run was simulated, and ended with it";
            Err(CliError::usage(Refusal::new(what, "there is nothing to share")))
        }
    }
}

impl Record {
    fn read(dir: &Path, plan: &Plan) -> Result<Self, CliError> {
        let file = dir.join(SHARES_FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let run_id = plan.run_id.to_string();
                return Ok(Self { schema: SCHEMA.to_owned(), run_id, shares: vec![] });
            }
            Err(error) => return Err(CliError::file(&file, &error)),
        };
        let read = serde_json::from_slice::<Self>(&text).map_err(std::io::Error::from);
        let known = read.and_then(|record| {
            if record.schema == SCHEMA {
                return Ok(record);
            }
            let message = format!("its schema is not `{SCHEMA}`: a newer fleetlogs wrote it");
            Err(std::io::Error::new(ErrorKind::InvalidData, message))
        });
        known.map_err(|error| CliError::file(&file, &error))
    }

    fn write(&self, dir: &Path) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from)? + "\n";
        write_whole(dir, SHARES_FILE, text.as_bytes())
            .map_err(|error| CliError::file(dir.join(SHARES_FILE), &error))
    }
}
