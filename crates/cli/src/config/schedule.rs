//! The tables `[schedule]` and `[[notify]]`: how the snapshot daemon works, and who hears of the end of a run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::secret::Secret;
use url::Url;

use super::destination::{GivenSas, Place, given, place};
use super::reader::{Mistaken, Table, Value};
use super::{Needs, secret};
use crate::notify::signing_key;

/// How the snapshot daemon works.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleSettings {
    /// The database; none for `schedule.db` in the directory of the runs.
    pub(crate) state: Option<PathBuf>,
    /// Percent of each account's `rate` and `concurrency` that are for runs begun by states and alerts, where there are any.
    pub(crate) capture_share: u32,
    /// List calls per second and account, at most, to watch for states.
    pub(crate) poll_rate: f64,
    /// Only for commands that need it.
    pub(crate) lease: Option<LeaseSettings>,
    pub(crate) listener: Option<ListenerSettings>,
}

/// Where the state lives that several machines share.
#[derive(Clone, Debug)]
pub(crate) struct LeaseSettings {
    pub(crate) place: LeasePlace,
    /// Name of the blob.
    pub(crate) blob: String,
    /// How long a machine that went away stays the owner.
    pub(crate) duration: Duration,
}

/// The container of the shared state.
#[derive(Clone, Debug)]
pub(crate) enum LeasePlace {
    /// A URL with a SAS that grants read, create and write.
    Given(GivenSas),
    /// A SAS is made when it is needed: by the account's key, or by Entra.
    Minted { place: Place, key: Option<Secret> },
}

/// Where the daemon listens for alerts and for those who watch it.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSettings {
    pub(crate) address: SocketAddr,
    /// What a sender of alerts must know; none where no alert is taken, and for commands that do not need it.
    pub(crate) secret: Option<Secret>,
}

/// Who hears of the end of a run.
#[derive(Clone, Debug)]
pub(crate) struct NotifySettings {
    pub(crate) to: NotifyTo,
    /// Outcomes that are told; none for every one.
    pub(crate) on: Option<Vec<RunOutcome>>,
    /// How long all attempts may take together.
    pub(crate) timeout: Duration,
}

/// How somebody is told.
#[derive(Clone, Debug)]
pub(crate) enum NotifyTo {
    /// By a POST. Its body is signed where there is a key.
    Webhook {
        /// Part of it may be a secret.
        url: Secret,
        /// `whsec_` and Base64, or any text.
        key: Option<Secret>,
    },
    /// By a program: its words, and the directory it is started in.
    Command(Vec<String>, PathBuf),
}

pub(super) fn schedule(table: Table<'_>, dir: &Path, needs: Needs) -> Option<ScheduleSettings> {
    let state = table.get("state").map(|value| value.string().map(PathBuf::from).ok_or(())).transpose();
    let capture_share = table.get("capture_share").and_then(|value| value.whole(&(1..=99)));
    let poll_rate = table.get("poll_rate").and_then(|value| value.number(&(0.01..=100.0)));
    let lease = table.has("lease").then(|| lease(table.table("lease"), dir, needs.lease));
    table.get("lease");
    let listener = table.has("listener").then(|| listener(table.table("listener"), dir, needs.listener));
    table.get("listener");
    table.finish();
    Some(ScheduleSettings {
        state: state.ok()?,
        capture_share: capture_share?,
        poll_rate: poll_rate?,
        lease: match lease {
            Some(lease) => lease.ok()?,
            None => None,
        },
        listener: match listener {
            Some(listener) => Some(listener?),
            None => None,
        },
    })
}

/// None where it is not needed.
fn lease(table: Table<'_>, dir: &Path, needed: bool) -> Result<Option<LeaseSettings>, Mistaken> {
    let blob = table.get("blob").map_or(Some("fleetlogs/schedule.db".to_owned()), |value| {
        let text = value.string()?;
        if text.is_empty() || text.len() > 1024 || text.starts_with('/') || text.ends_with('/') {
            value.wrong("this is not the name of a blob", None);
            return None;
        }
        Some(text.to_owned())
    });
    let duration = table.get("duration").map_or(Some(Duration::from_secs(60)), |value| {
        let duration = value.duration()?;
        if !(15..=60).contains(&duration.as_secs()) || duration.subsec_nanos() > 0 {
            value.wrong("leases of blobs are 15 to 60 whole seconds long", None);
            return None;
        }
        Some(duration)
    });
    let place = if let Some(value) = table.get("container_url") {
        for key in ["account", "container", "account_key", "cloud"] {
            if table.has(key) {
                table.wrong(format!("`{key}` does not go with `container_url`"), "keep one of them");
            }
            table.get(key);
        }
        if needed {
            given(&value, dir).map(|given| Some(LeasePlace::Given(given))).ok_or(Mistaken)
        } else {
            secret::check(&value).map(|()| None)
        }
    } else {
        let key = table.get("account_key").map_or(Ok(None), |value| secret::read_if(needed, &value, dir));
        let place = place(&table).ok_or(Mistaken);
        place.and_then(|place| Ok(Some(LeasePlace::Minted { place, key: key? })))
    };
    if let Ok(Some(LeasePlace::Minted { place, .. })) = &place
        && place.is_per_run()
    {
        table.wrong("the shared state is in one container for all runs", "name it without `{run_id}`");
        return Err(Mistaken);
    }
    table.finish();
    let (place, blob, duration) = (place?, blob.ok_or(Mistaken)?, duration.ok_or(Mistaken)?);
    Ok(place.filter(|_| needed).map(|place| LeaseSettings { place, blob, duration }))
}

fn listener(table: Table<'_>, dir: &Path, needed: bool) -> Option<ListenerSettings> {
    let address = table.get("address").map_or(Some(SocketAddr::from(([127, 0, 0, 1], 9464))), |value| {
        let address = value.string()?.parse().ok();
        if address.is_none() {
            let help = "write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
            value.wrong("this is no address to listen on", Some(help.into()));
        }
        address
    });
    let secret = table.get("secret").map_or(Ok(None), |value| secret::read_if(needed, &value, dir));
    if let Ok(Some(secret)) = &secret
        && secret.expose().len() < 16
    {
        table.wrong("the `secret` is shorter than 16 characters", "`openssl rand -hex 32` makes a good one");
        return None;
    }
    table.finish();
    Some(ListenerSettings { address: address?, secret: secret.ok()? })
}

/// Everybody who hears of the end of a run, or nobody where the command ends none; none where a mistake was found.
pub(super) fn notify(root: &Table<'_>, dir: &Path, needs: Needs) -> Option<Vec<NotifySettings>> {
    let mut all = Some(Vec::new());
    for table in root.tables("notify") {
        match (one(table, dir, needs.notify), &mut all) {
            (Ok(notify), Some(all)) => all.extend(notify),
            _ => all = None,
        }
    }
    all
}

/// None where it is not needed.
fn one(table: Table<'_>, dir: &Path, needed: bool) -> Result<Option<NotifySettings>, Mistaken> {
    let timeout = table.get("timeout").map_or(Some(Duration::from_secs(30)), |value| value.duration());
    let on = table
        .get("on")
        .map(|value| {
            let outcomes = value.items("an array of outcomes").ok_or(Mistaken)?;
            outcomes.iter().map(|item| outcome(item).ok_or(Mistaken)).collect::<Result<Vec<_>, _>>()
        })
        .transpose();
    let key = table.get("key").map_or(Ok(None), |value| webhook_key(&value, dir, needed));
    let (webhook, command) = (table.get("webhook"), table.get("command"));
    let to = match (webhook, command) {
        (Some(webhook), None) => {
            let url = webhook_url(&webhook, dir, needed);
            url.and_then(|url| key.map(|key| url.map(|url| NotifyTo::Webhook { url, key })))
        }
        (None, Some(command)) => {
            if table.has("key") {
                table.wrong("`key` goes with `webhook`", "remove it");
            }
            command.strings().ok_or(Mistaken).and_then(|words| {
                if words.is_empty() {
                    command.wrong("the command is empty", None);
                    return Err(Mistaken);
                }
                let words = words.into_iter().map(str::to_owned).collect();
                Ok(Some(NotifyTo::Command(words, dir.into())))
            })
        }
        _ => {
            table.wrong(
                "whom to notify is said by exactly one of `webhook` and `command`",
                "write webhook = { env = \"NAME\" }, or command = [\"program\", \"argument\"]",
            );
            Err(Mistaken)
        }
    };
    table.finish();
    let (to, on, timeout) = (to?, on?, timeout.ok_or(Mistaken)?);
    Ok(to.filter(|_| needed).map(|to| NotifySettings { to, on, timeout }))
}

/// The URL of a webhook is a secret: who knows it can post there.
fn webhook_url(value: &Value<'_>, dir: &Path, needed: bool) -> Result<Option<Secret>, Mistaken> {
    let Some(secret) = secret::read_if(needed, value, dir)? else { return Ok(None) };
    let fits =
        Url::parse(secret.expose()).is_ok_and(|url| is_https_or_loopback(&url) && url.host_str().is_some());
    if !fits {
        value.wrong("this is no URL of a webhook", Some("it begins with https://".into()));
        return Err(Mistaken);
    }
    Ok(Some(secret))
}

fn webhook_key(value: &Value<'_>, dir: &Path, needed: bool) -> Result<Option<Secret>, Mistaken> {
    let Some(secret) = secret::read_if(needed, value, dir)? else { return Ok(None) };
    if signing_key(&secret).is_none() {
        value.wrong("what follows `whsec_` in this key is no Base64", None);
        return Err(Mistaken);
    }
    Ok(Some(secret))
}

fn outcome(value: &Value<'_>) -> Option<RunOutcome> {
    let text = value.string()?;
    let found = RunOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text);
    if found.is_none() {
        let known = RunOutcome::ALL.map(RunOutcome::as_str).join(", ");
        value.wrong(format!("no run ends as `{text}`"), Some(format!("known are {known}")));
    }
    found
}
