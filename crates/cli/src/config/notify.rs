//! The tables `[[notify]]`: who hears of the end of a run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::secret::Secret;
use url::Url;
use zeroize::Zeroizing;

use super::needs::Needs;
use super::reader::{Mistaken, Table, Value};
use super::secret;

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

/// Everybody who hears of the end of a run, or nobody where the command ends none; none where a mistake was found.
pub(super) fn notify(root: &Table<'_>, dir: &Path, needs: Needs) -> Option<Vec<NotifySettings>> {
    let mut all = Some(Vec::new());
    for table in root.tables("notify") {
        match (notify_table(table, dir, needs.notify), &mut all) {
            (Ok(notify), Some(all)) => all.extend(notify),
            _ => all = None,
        }
    }
    all
}

/// None where it is not needed.
fn notify_table(table: Table<'_>, dir: &Path, needed: bool) -> Result<Option<NotifySettings>, Mistaken> {
    let timeout = table.get("timeout").map_or(Some(Duration::from_secs(30)), |value| value.duration());
    let on = table.optional("on", |value| {
        value.items("an array of outcomes")?.iter().map(outcome).collect::<Option<Vec<_>>>()
    });
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

/// The key that a text stands for: what is behind `whsec_` in Base64, or the text itself. None for bad Base64.
pub(crate) fn signing_key(text: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let key = match text.expose().strip_prefix("whsec_") {
        // Some write the `=` at its end, and some do not.
        Some(encoded) => {
            let key = BASE64_STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok();
            key.filter(|key| !key.is_empty())?
        }
        None => text.expose().as_bytes().to_vec(),
    };
    Some(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64_behind_its_prefix_and_text_without() {
        let key = |text: &str| signing_key(&Secret::new(text.into())).map(|key| key.to_vec());
        assert_eq!(key("whsec_aGV5"), Some(b"hey".to_vec()));
        assert_eq!((key("whsec_aGU="), key("whsec_aGU")), (Some(b"he".to_vec()), Some(b"he".to_vec())));
        assert_eq!(key("aGV5"), Some(b"aGV5".to_vec()));
        assert_eq!(key("whsec_%%%"), None);
        assert_eq!(key("whsec_"), None);
    }
}
