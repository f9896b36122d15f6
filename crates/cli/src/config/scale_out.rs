//! The table `[scale_out]`: the queue from which workers take the partitions of a run.

use std::path::Path;
use std::time::Duration;

use fleetlogs_azure::Cloud;
use fleetlogs_engine::tenure_guard::shortest_tenure;
use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::secret::Secret;
use url::Url;

use super::account::cloud;
use super::journal::is_in_container;
use super::own_container::lease_duration;
use super::queue_name::queue_name;
use super::queue_sas::{is_of_other_service, queue_of_url};
use super::reader::{ListedMistake, Table, Value};
use super::secret;
use super::secret_form::Wanted;
use super::times::{self, Misread};

/// Keys by which the table names a queue.
const QUEUE_KEYS: [&str; 4] = ["queue_url", "account", "queue", "account_key"];

/// How often a worker must be able to lose a heartbeat without losing its partition.
const HEARTBEATS: u32 = 3;

/// The queues of workers, and how workers work.
#[derive(Clone, Debug)]
pub(crate) struct ScaleOutSettings {
    pub(crate) queue: QueueSettings,
    /// How long a worker that died keeps its partitions from the others.
    pub(crate) lease: Duration,
    /// How often a worker says that it is still at work.
    pub(crate) heartbeat: Duration,
    /// Failures after which a partition goes to the poison queue.
    pub(crate) poison_after: u32,
    /// Partitions that a worker has at work at the same time.
    pub(crate) partitions_at_once: usize,
}

/// The queue, and what opens it.
#[derive(Clone, Debug)]
pub(crate) struct QueueSettings {
    /// The queue of accounts without a site; the names of all others begin with it.
    pub(crate) name: String,
    pub(crate) service: QueueService,
}

/// The queues of a storage account, and what opens them.
#[derive(Clone, Debug)]
pub(crate) enum QueueService {
    /// The URL of the account's queue service, with an account SAS.
    Given(Secret),
    /// The URL of the service, which is opened with the account's key or with Entra.
    Account { endpoint: Url, cloud: Cloud, key: Option<Secret> },
}

/// Reads the table. None if it names no queue, or if the command does not need it.
pub(super) fn scale_out(
    table: Table<'_>,
    dir: &Path,
    needed: bool,
) -> Result<Option<ScaleOutSettings>, ListedMistake> {
    let lease = lease_duration(&table, "lease");
    let heartbeat = table.get("heartbeat").and_then(|value| heartbeat(&value, lease?));
    let poison_after = table.get("poison_after").and_then(|value| value.whole(&(1..=100)));
    let at_once = table.get("partitions_at_once").and_then(|value| value.whole(&(1..=64)));
    table.allow(&["queue_url", "account", "queue", "account_key", "cloud"]);
    let queue = if names_queue(&table) {
        queue(&table, dir, needed)
    } else {
        if table.has("cloud") {
            table.wrong("`cloud` needs `account` and `queue`", "remove it, or name the queue");
        }
        Ok(None)
    };
    table.finish();
    let rest = (|| Some((lease?, heartbeat?, poison_after?, at_once?)))();
    let (lease, heartbeat, poison_after, at_once) = rest.ok_or(ListedMistake)?;
    Ok(queue?.map(|queue| ScaleOutSettings {
        queue,
        lease,
        heartbeat,
        poison_after,
        partitions_at_once: at_once as usize,
    }))
}

/// Whether the table names a queue.
fn names_queue(table: &Table<'_>) -> bool {
    QUEUE_KEYS.iter().any(|key| table.has(key))
}

/// What the rest of the config must be like, if `[scale_out]` names a queue. `call` is `deadlines.call`.
pub(super) fn check_rest(root: &Table<'_>, call: Option<Duration>) {
    let table = root.table("scale_out");
    if !names_queue(&table) {
        return;
    }
    if root.has("simulator") {
        root.wrong(
            "[simulator] and [scale_out] cannot be combined: the simulator ends with its process, and no other worker \
             reaches it",
            "remove one of them; `fleetlogs sim` serves a fleet for several processes",
        );
    }
    let journal = root.table("journal");
    if !is_in_container(&journal) {
        table.wrong(
            "workers share the record of a run, but it is on the disk of this machine",
            "name a container in [journal]",
        );
    }
    let Some(call) = call else { return };
    let shortest = shortest_tenure(call);
    for table in [&table, &journal] {
        let Some(value) = table.get("lease") else { continue };
        // What else is wrong with it was found when it was read.
        let lease = value.as_str().and_then(|text| times::duration(text).ok());
        if lease.is_some_and(|lease| lease < shortest) {
            let wrong = format!(
                "no call could be sent: a worker must hold its partition for {} s, which is `deadlines.call` and a margin",
                shortest.as_secs()
            );
            value.wrong(
                wrong,
                Some("write a longer `lease`, at most \"60s\", or a shorter `deadlines.call`".into()),
            );
        }
    }
}

fn heartbeat(value: &Value<'_>, lease: Duration) -> Option<Duration> {
    let heartbeat = value.duration()?;
    let longest = lease / HEARTBEATS;
    if heartbeat < Duration::from_secs(1) || heartbeat > longest {
        let wrong = format!(
            "must be 1 s to a third of `lease`, here {} s: a heartbeat that is lost must not cost the partition",
            longest.as_secs()
        );
        value.wrong(wrong, Some(format!("write \"{}s\"", (lease / (HEARTBEATS + 1)).as_secs())));
        return None;
    }
    Some(heartbeat)
}

fn queue(table: &Table<'_>, dir: &Path, needed: bool) -> Result<Option<QueueSettings>, ListedMistake> {
    if let Some(value) = table.get("queue_url") {
        for key in ["account", "queue", "account_key", "cloud"] {
            if table.has(key) {
                table.wrong(format!("`{key}` cannot be combined with `queue_url`"), "keep one of them");
            }
        }
        let Some(text) = secret::read_if(needed, &value, dir, Wanted::QueueUrl)? else { return Ok(None) };
        return match queue_of_url(text.expose()) {
            Ok((service, name)) => {
                let name = queue_name(&value, &name).ok_or(ListedMistake)?;
                Ok(Some(QueueSettings { name, service: QueueService::Given(service) }))
            }
            Err(Misread { message, help }) => {
                value.wrong(message, Some(help));
                Err(ListedMistake)
            }
        };
    }
    let key = table
        .get("account_key")
        .map_or(Ok(None), |value| secret::read_if(needed, &value, dir, Wanted::StorageKey));
    let named = table.get("cloud").map_or(Some(None), |value| cloud(&value).map(Some));
    let endpoint =
        table.require("account", "\"contosologs\"").and_then(|value| queue_endpoint(&value, named?));
    let name =
        table.require("queue", "\"fleetlogs-work\"").and_then(|value| queue_name(&value, value.string()?));
    let (Some(endpoint), Some(named), Some(name)) = (endpoint, named, name) else {
        return Err(ListedMistake);
    };
    let cloud = named.unwrap_or_else(|| cloud_of(&endpoint));
    let service = QueueService::Account { endpoint, cloud, key: key? };
    Ok(Some(QueueSettings { name, service }).filter(|_| needed))
}

/// The queue service of a storage account, by the account's name or by its URL.
fn queue_endpoint(value: &Value<'_>, cloud: Option<Cloud>) -> Option<Url> {
    let text = value.string()?;
    let is_name = (3..=24).contains(&text.len())
        && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let url = if is_name {
        Url::parse(&format!("https://{text}.{}", cloud.unwrap_or_default().queue_suffix()))
    } else {
        Url::parse(text)
    };
    let url = url.ok().filter(|url| is_https_or_loopback(url) && url.query().is_none());
    let help = "write the storage account's name, such as \"contosologs\", or the URL of its queue endpoint";
    let Some(url) = url else {
        value.wrong(format!("`{text}` is not a storage account"), Some(help.into()));
        return None;
    };
    if is_of_other_service(&url) {
        value.wrong(format!("`{text}` is not the endpoint of queues"), Some(help.into()));
        return None;
    }
    Some(url)
}

fn cloud_of(endpoint: &Url) -> Cloud {
    let host = endpoint.host_str().unwrap_or_default();
    Cloud::ALL.into_iter().find(|cloud| host.ends_with(cloud.queue_suffix())).unwrap_or_default()
}
