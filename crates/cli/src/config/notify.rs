//! The tables `[[notify]]`: who is notified of the end of a run.

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
use super::reader::{ListedMistake, Table, Value};
use super::secret;
use super::secret_form::Wanted;

/// A receiver of notifications.
#[derive(Clone, Debug)]
pub(crate) struct NotifySettings {
    pub(crate) to: NotifyTo,
    /// The outcomes to notify of; none means all.
    pub(crate) on: Option<Vec<RunOutcome>>,
    /// How long all attempts together may take.
    pub(crate) timeout: Duration,
}

/// How to notify.
#[derive(Clone, Debug)]
pub(crate) enum NotifyTo {
    /// By a POST, signed if there is a key.
    Webhook {
        /// The URL may contain a secret.
        url: Secret,
        /// `whsec_` and Base64, or any other text.
        key: Option<Secret>,
        format: NotifyFormat,
    },
    /// By a program: its name and arguments, and its working directory.
    Command(Vec<String>, PathBuf),
}

/// The form of the body of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NotifyFormat {
    /// Our own, with everything: docs/schema/notification.v1.json.
    #[default]
    Json,
    /// Blocks, for an incoming webhook of Slack.
    Slack,
    /// An adaptive card, for a workflow of Teams.
    Teams,
}

impl NotifyFormat {
    const ALL: [Self; 3] = [Self::Json, Self::Slack, Self::Teams];

    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Teams => "teams",
        }
    }
}

/// Reads all receivers; empty if the command ends no run. None if there was a mistake.
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

/// Reads one receiver. None if the command does not need it.
fn notify_table(table: Table<'_>, dir: &Path, needed: bool) -> Result<Option<NotifySettings>, ListedMistake> {
    let timeout = table.get("timeout").map_or(Some(Duration::from_secs(30)), |value| value.duration());
    let on = table.optional("on", |value| {
        value
            .items("an array of outcomes", "write it as [\"partial\", \"failed\"]")?
            .iter()
            .map(outcome)
            .collect::<Option<Vec<_>>>()
    });
    let key = table.get("key").map_or(Ok(None), |value| webhook_key(&value, dir, needed));
    let format = table.optional("format", format);
    let (webhook, command) = (table.get("webhook"), table.get("command"));
    let to = match (webhook, command) {
        (Some(webhook), None) => {
            let url = webhook_url(&webhook, dir, needed);
            let format = format.map(Option::unwrap_or_default);
            url.and_then(|url| {
                let (key, format) = (key?, format?);
                Ok(url.map(|url| NotifyTo::Webhook { url, key, format }))
            })
        }
        (None, Some(command)) => {
            for name in ["key", "format"].into_iter().filter(|name| table.has(name)) {
                table.wrong(format!("`{name}` needs `webhook`"), "remove it");
            }
            command.strings().ok_or(ListedMistake).and_then(|words| {
                if words.is_empty() {
                    command.wrong("the command is empty", Some("write [\"program\", \"argument\"]".into()));
                    return Err(ListedMistake);
                }
                let words = words.into_iter().map(str::to_owned).collect();
                Ok(Some(NotifyTo::Command(words, dir.into())))
            })
        }
        _ => {
            table.wrong(
                "exactly one of `webhook` and `command` is needed",
                "write webhook = { env = \"NAME\" }, or command = [\"program\", \"argument\"]",
            );
            Err(ListedMistake)
        }
    };
    table.finish();
    let (to, on, timeout) = (to?, on?, timeout.ok_or(ListedMistake)?);
    Ok(to.filter(|_| needed).map(|to| NotifySettings { to, on, timeout }))
}

/// Reads the URL of a webhook. It is a secret: everyone who knows it can post there.
fn webhook_url(value: &Value<'_>, dir: &Path, needed: bool) -> Result<Option<Secret>, ListedMistake> {
    let Some(secret) = secret::read_if(needed, value, dir, Wanted::Webhook)? else { return Ok(None) };
    let fits =
        Url::parse(secret.expose()).is_ok_and(|url| is_https_or_loopback(&url) && url.host_str().is_some());
    if !fits {
        value.wrong("this is not the URL of a webhook", Some("it must start with https://".into()));
        return Err(ListedMistake);
    }
    Ok(Some(secret))
}

fn webhook_key(value: &Value<'_>, dir: &Path, needed: bool) -> Result<Option<Secret>, ListedMistake> {
    let Some(secret) = secret::read_if(needed, value, dir, Wanted::OwnSecret)? else { return Ok(None) };
    if signing_key(&secret).is_none() {
        value.wrong(
            "the part after `whsec_` is not Base64",
            Some("copy the signing secret again as the receiver shows it".into()),
        );
        return Err(ListedMistake);
    }
    Ok(Some(secret))
}

fn outcome(value: &Value<'_>) -> Option<RunOutcome> {
    let text = value.string()?;
    let found = RunOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text);
    if found.is_none() {
        let known = RunOutcome::ALL.map(RunOutcome::as_str).join(", ");
        value.wrong(format!("`{text}` is not an outcome of a run"), Some(format!("use one of {known}")));
    }
    found
}

fn format(value: &Value<'_>) -> Option<NotifyFormat> {
    let text = value.string()?;
    let found = NotifyFormat::ALL.into_iter().find(|format| format.as_str() == text);
    if found.is_none() {
        let known = NotifyFormat::ALL.map(NotifyFormat::as_str).join(", ");
        value
            .wrong(format!("`{text}` is not a format of notifications"), Some(format!("use one of {known}")));
    }
    found
}

/// The signing key in a text: the Base64 after `whsec_`, or else the text itself. None if the Base64 is invalid.
pub(crate) fn signing_key(text: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let key = match text.expose().strip_prefix("whsec_") {
        // The `=` at the end is optional.
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
