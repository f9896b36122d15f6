//! The table `[destination]`: where the logs go, and what lets the nodes write there.

use std::path::Path;
use std::time::{Duration, Instant};

use fleetlogs_azure::{Cloud, SharedKey};
use fleetlogs_model::ids::RunId;
use fleetlogs_model::sas::{SasUrl, check_blob_host, is_https_or_loopback};
use fleetlogs_model::secret::Secret;
use time::OffsetDateTime;
use url::Url;

use super::account::cloud;
use super::reader::{Table, Value};
use super::secret;
use super::secret_form::Wanted;

/// Where the logs go.
#[derive(Clone, Debug)]
pub(crate) struct DestinationSettings {
    pub(crate) write: WriteSettings,
    /// A separate SAS to list the container with.
    pub(crate) verify: Option<GivenSas>,
}

/// What lets the nodes write.
#[derive(Clone, Debug)]
pub(crate) enum WriteSettings {
    /// An existing SAS.
    Given(GivenSas),
    /// A SAS that fleetlogs creates.
    Minted(Place, Minting),
    /// The managed identity of the nodes.
    Identity {
        place: Place,
        /// The ARM id of the identity.
        resource_id: String,
    },
}

/// A SAS, and where to read a newer one.
#[derive(Clone, Debug)]
pub(crate) struct GivenSas {
    pub(crate) sas: SasUrl,
    pub(crate) source: Option<secret::Source>,
    read_at: Instant,
}

/// A SAS that is valid for less than this is read again when it is needed. A daemon outlives every SAS that it was started
/// with, and one that is rotated has a newer one by then.
const LOW: Duration = Duration::from_secs(3600);

/// What was read just now is not read again: a pipe has it once.
const JUST_READ: Duration = Duration::from_secs(10);

impl GivenSas {
    pub(crate) fn just_read(sas: SasUrl, source: Option<secret::Source>) -> Self {
        Self { sas, source, read_at: Instant::now() }
    }

    /// The SAS for what begins now: the one that was read with the config, or a newer one if that runs low. If there is no
    /// newer one, whoever uses the old one finds out what is wrong with it.
    pub(crate) async fn current(&self) -> SasUrl {
        let runs_low = self.sas.expires_at.is_some_and(|ends| ends < OffsetDateTime::now_utc() + LOW);
        let is_due = runs_low && self.read_at.elapsed() > JUST_READ;
        let Some(source) = self.source.clone().filter(|_| is_due) else { return self.sas.clone() };
        let container = self.sas.without_query();
        // A command may be slow.
        let read = tokio::task::spawn_blocking(move || Self::read_again(&source, &container)).await;
        match read.unwrap_or_else(|_| Err("reading it did not finish".into())) {
            Ok(sas) => sas,
            Err(message) => {
                tracing::warn!("the SAS of `{}` cannot be read again: {message}", self.sas.without_query());
                self.sas.clone()
            }
        }
    }

    /// Reads the SAS again. It must be for the same container.
    pub(crate) fn read_again(source: &secret::Source, container: &str) -> Result<SasUrl, String> {
        let sas = SasUrl::parse(source.read()?.expose()).map_err(|error| error.to_string())?;
        for mend in &sas.mends {
            tracing::warn!("the text of the new SAS was mended: {mend}");
        }
        if sas.without_query() != container {
            return Err(format!("it is now for `{}`", sas.without_query()));
        }
        Ok(sas)
    }
}

/// A container of a storage account.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The blob endpoint of the account.
    pub(crate) endpoint: Url,
    pub(crate) cloud: Cloud,
    container: String,
}

impl Place {
    /// A container, as a config would name it.
    #[cfg(test)]
    pub(crate) fn of_test(endpoint: &str, container: &str) -> Self {
        let endpoint = Url::parse(endpoint).expect("a URL");
        Self { endpoint, cloud: Cloud::default(), container: container.to_owned() }
    }

    /// The container of a run, in lower case: names of containers have no capitals.
    pub(crate) fn container(&self, run: &RunId) -> String {
        self.container.replace(RUN_ID, &run.as_str().to_lowercase())
    }

    /// The name of the container as the config has it.
    pub(crate) fn container_as_written(&self) -> &str {
        &self.container
    }

    pub(crate) fn container_key(&self) -> ContainerKey {
        ContainerKey::of_url(&format!("{}/{}", self.endpoint.as_str().trim_end_matches('/'), self.container))
    }

    /// Whether every run has a container of its own.
    pub(crate) fn is_per_run(&self) -> bool {
        self.container.contains(RUN_ID)
    }
}

impl DestinationSettings {
    /// Whether nodes can write to this container. One of many that are made for single runs is not known here.
    pub(crate) fn takes_from_nodes(&self, container: &ContainerKey) -> bool {
        let own = match &self.write {
            WriteSettings::Given(given) => ContainerKey::of_url(&given.sas.without_query()),
            WriteSettings::Minted(place, _) | WriteSettings::Identity { place, .. } => place.container_key(),
        };
        own == *container
    }
}

/// What tells containers apart: the name of the account, or the address of an emulator, and the path. An account has
/// several hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerKey(String);

impl ContainerKey {
    /// The container at a URL.
    pub(crate) fn of_url(url: &str) -> Self {
        let Ok(url) = Url::parse(url) else { return Self(url.to_owned()) };
        let path = url.path().trim_matches('/').to_ascii_lowercase();
        match url.domain().filter(|host| *host != "localhost") {
            Some(host) => {
                let account = host.split('.').next().unwrap_or_default();
                Self(format!("{}/{path}", account.trim_end_matches("-secondary")))
            }
            None => {
                Self(format!("{}:{}/{path}", url.host_str().unwrap_or_default(), url.port().unwrap_or(0)))
            }
        }
    }
}

/// How to create a SAS.
#[derive(Clone, Debug)]
pub(crate) struct Minting {
    /// The account's key. Without one, a user delegation key is used.
    pub(crate) key: Option<Secret>,
    /// How long each SAS is valid.
    pub(crate) lifetime: Duration,
    /// Whether the SAS has a start time.
    pub(crate) with_start: bool,
}

/// The placeholder for the run id in the name of a container.
const RUN_ID: &str = "{run_id}";

/// A run id, to check the length and the letters of a name with the placeholder.
const SOME_RUN_ID: &str = "20261122t103000z-a1b2";

/// Keys that need `mint` or `identity`.
const GO_WITH_MINT: [&str; 6] = ["account", "container", "account_key", "lifetime", "start_time", "cloud"];

const KEYS: [&str; 10] = [
    "container_url",
    "verify_url",
    "mint",
    "identity",
    "account",
    "container",
    "account_key",
    "lifetime",
    "start_time",
    "cloud",
];

/// The destination and the upload allowance.
type DestinationAndAllowance = (Option<Option<DestinationSettings>>, Option<Duration>);

/// Reads the destination, which may be missing if a simulator brings its own, and the upload allowance.
pub(super) fn destination(table: Table<'_>, dir: &Path, simulated: bool) -> DestinationAndAllowance {
    let allowance = table.get("upload_allowance").and_then(|value| value.duration());
    let forms = ["container_url", "mint", "identity"].map(|key| table.has(key));
    if simulated && forms == [false; 3] && !table.has("verify_url") {
        for key in GO_WITH_MINT {
            if table.has(key) {
                table.wrong(format!("`{key}` needs `mint` or `identity`"), "remove it, or add `mint`");
            }
        }
        table.allow(&KEYS);
        table.finish();
        return (Some(None), allowance);
    }
    let write = match forms {
        [_, false, false] => {
            for key in GO_WITH_MINT {
                if table.has(key) {
                    table.wrong(format!("`{key}` needs `mint` or `identity`"), "remove it, or add `mint`");
                }
            }
            let example = "{ env = \"FLEETLOGS_CONTAINER_URL\" }";
            let value = table.require("container_url", example);
            value.and_then(|value| given(&value, dir)).map(WriteSettings::Given)
        }
        [false, true, false] => minted(&table, dir, allowance),
        [with_url, false, true] => identity(&table, with_url),
        _ => {
            table.wrong(
                "`container_url`, `mint` and `identity` cannot be combined",
                "keep one: an existing SAS, a SAS that fleetlogs creates, or the identity of the nodes",
            );
            None
        }
    };
    let verify = table.optional("verify_url", |value| given(value, dir));
    let per_run = match &write {
        Some(WriteSettings::Minted(place, _) | WriteSettings::Identity { place, .. }) => place.is_per_run(),
        _ => false,
    };
    if per_run && !matches!(verify, Ok(None)) {
        table.wrong(
            "`verify_url` names one container, but with `{run_id}` every run has its own",
            "remove `verify_url`: fleetlogs creates a SAS to list with",
        );
        return (None, allowance);
    }
    // A mistake elsewhere must not make a known key unknown.
    table.allow(&KEYS);
    table.finish();
    let settings = match (write, verify) {
        (Some(write), Ok(verify)) => Some(Some(DestinationSettings { write, verify })),
        _ => None,
    };
    (settings, allowance)
}

pub(super) fn given(value: &Value<'_>, dir: &Path) -> Option<GivenSas> {
    let (text, source) = secret::read_from(value, dir, Wanted::ContainerUrl)?;
    match SasUrl::parse(text.expose()) {
        Ok(sas) => Some(GivenSas::just_read(sas, source)),
        Err(error) => {
            value.wrong(format!("this is not a container URL with a SAS: {error}"), Some(error.help()));
            None
        }
    }
}

fn minted(table: &Table<'_>, dir: &Path, allowance: Option<Duration>) -> Option<WriteSettings> {
    let place = place(table);
    let by_key = table.get("mint").and_then(|value| match value.string()? {
        "user-delegation" => Some(false),
        "account-key" => Some(true),
        other => {
            let help = "use `user-delegation` (a key from Entra, valid for 7 days at most) or `account-key`";
            value.wrong(format!("`{other}` is not a way to create a SAS"), Some(help.into()));
            None
        }
    });
    let key = if by_key? {
        let source = table.require("account_key", "{ env = \"NAME\" }")?;
        let key = secret::read(&source, dir, Wanted::StorageKey)?;
        if let Err(error) = SharedKey::new("storage", &key) {
            let help = "copy the storage account's key as the portal shows it";
            source.wrong(error.to_string(), Some(help.into()));
            return None;
        }
        Some(key)
    } else {
        if table.has("account_key") {
            table.wrong("`account_key` needs `mint = \"account-key\"`", "remove it");
        }
        None
    };
    let lifetime = match table.get("lifetime") {
        // An hour of calls, and enough for the longest upload.
        None => Some(Duration::from_secs(3600).max(allowance.unwrap_or_default() * 2)),
        Some(value) => value.duration().filter(|lifetime| {
            let longest = Duration::from_secs(7 * 24 * 3600);
            if *lifetime > longest {
                value.wrong(
                    "must be 7 days at most",
                    Some("it is renewed during the run; an hour is enough".into()),
                );
            }
            let shortest = allowance.unwrap_or_default() * 3 / 2;
            if *lifetime < shortest {
                let help =
                    "a SAS must outlive an upload that starts with it; set it to twice `upload_allowance` or more";
                value.wrong("must be at least one and a half times `upload_allowance`", Some(help.into()));
            }
            *lifetime <= longest && *lifetime >= shortest
        }),
    };
    let with_start = table.get("start_time").map_or(Some(false), |value| value.boolean());
    Some(WriteSettings::Minted(place?, Minting { key, lifetime: lifetime?, with_start: with_start? }))
}

fn identity(table: &Table<'_>, with_url: bool) -> Option<WriteSettings> {
    let resource_id = table.get("identity").and_then(|value| {
        let id = value.string()?;
        let parts: Vec<_> = id.trim_start_matches('/').split('/').map(str::to_ascii_lowercase).collect();
        let fits = id.starts_with("/subscriptions/")
            && parts.len() == 8
            && parts[5] == "microsoft.managedidentity"
            && parts[6] == "userassignedidentities";
        if !fits {
            let help = "write /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME";
            value.wrong(format!("`{id}` is not the ARM id of a user-assigned identity"), Some(help.into()));
            return None;
        }
        Some(id.to_owned())
    });
    for key in ["account_key", "lifetime", "start_time"] {
        if table.has(key) {
            table.wrong(format!("`{key}` needs `mint`"), "remove it");
        }
    }
    if with_url && (table.has("account") || table.has("container")) {
        table.wrong(
            "`container_url` and `account` with `container` both name the container",
            "keep one of them",
        );
        return None;
    }
    let place = if with_url { plain_container(table) } else { place(table) };
    Some(WriteSettings::Identity { place: place?, resource_id: resource_id? })
}

/// Reads a container URL without a SAS: with an identity it is not a secret.
fn plain_container(table: &Table<'_>) -> Option<Place> {
    let value = table.get("container_url")?;
    let text = value.as_str();
    let url = text.and_then(|text| Url::parse(text).ok()).filter(|url| url.query().is_none());
    let parts = url.as_ref().and_then(|url| url.as_str().trim_end_matches('/').rsplit_once('/'));
    let endpoint = parts.and_then(|(endpoint, _)| Url::parse(endpoint).ok());
    let (Some(endpoint), Some((_, container))) = (endpoint.filter(is_https_or_loopback), parts) else {
        let help =
            "with `identity` write it as \"https://ACCOUNT.blob.core.windows.net/CONTAINER\", without a SAS";
        value.wrong("this is not a plain container URL", Some(help.into()));
        return None;
    };
    is_for_blobs(&value, &endpoint)?;
    let cloud = cloud_of(table, &endpoint)?;
    Some(Place { endpoint, cloud, container: container_name(&value, container)? })
}

pub(super) fn place(table: &Table<'_>) -> Option<Place> {
    let named = table.get("cloud").map_or(Some(None), |value| cloud(&value).map(Some));
    let endpoint = table.require("account", "\"contosologs\"").and_then(|value| {
        let text = value.string()?;
        let is_name = (3..=24).contains(&text.len())
            && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
        let url = if is_name {
            let suffix = named?.unwrap_or_default().blob_suffix();
            Url::parse(&format!("https://{text}.{suffix}"))
        } else {
            Url::parse(text)
        };
        let url = url.ok().filter(|url| is_https_or_loopback(url) && url.query().is_none());
        if url.is_none() {
            let help =
                "write the storage account's name, such as \"contosologs\", or the URL of its blob endpoint";
            value.wrong(format!("`{text}` is not a storage account"), Some(help.into()));
        }
        is_for_blobs(&value, url.as_ref()?)?;
        url
    });
    let container = table
        .require("container", "\"incident-{run_id}\"")
        .and_then(|value| container_name(&value, value.string()?));
    let endpoint = endpoint?;
    let cloud = cloud_of(table, &endpoint)?;
    Some(Place { cloud, container: container?, endpoint })
}

/// Refuses the endpoint of another service than that of blobs.
fn is_for_blobs(value: &Value<'_>, endpoint: &Url) -> Option<()> {
    let error = check_blob_host(endpoint).err();
    if let Some(error) = &error {
        value.wrong(format!("this is not the endpoint of blobs: {error}"), Some(error.help()));
    }
    error.is_none().then_some(())
}

/// The cloud of the storage account: that of the config, or that of the host.
fn cloud_of(table: &Table<'_>, endpoint: &Url) -> Option<Cloud> {
    if let Some(value) = table.get("cloud") {
        return cloud(&value);
    }
    let host = endpoint.host_str().unwrap_or_default();
    Some(Cloud::ALL.into_iter().find(|cloud| host.ends_with(cloud.blob_suffix())).unwrap_or_default())
}

/// Reads the name of a container: 3 to 63 lower-case letters, digits and single hyphens (naming rules of Blob Storage).
fn container_name(value: &Value<'_>, name: &str) -> Option<String> {
    let shown = name.replace(RUN_ID, SOME_RUN_ID);
    let fits = (3..=63).contains(&shown.len())
        && shown.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !shown.starts_with('-')
        && !shown.ends_with('-')
        && !shown.contains("--");
    if !fits {
        let help = "use 3 to 63 lower-case letters, digits and single hyphens; `{run_id}` stands for the id of the run";
        value.wrong(format!("`{name}` is not the name of a container"), Some(help.into()));
        return None;
    }
    Some(name.to_owned())
}
