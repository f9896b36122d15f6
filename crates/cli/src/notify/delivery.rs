//! Sends all notifications of a run side by side, each within its `timeout`.

use std::time::Duration;

use fleetlogs_engine::stop::{Stop, StopHandle};
use futures::future::join_all;

use super::message::Message;
use super::{command, webhook};
use crate::config::{NotifyFormat, NotifySettings, NotifyTo};
use crate::run::RunEnd;

/// How long notifications may still take after the second Ctrl-C.
const HASTE: Duration = Duration::from_secs(3);

/// How many notifications were sent, and how many failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotifyCounts {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

/// Sends the notifications that are configured for this outcome.
pub(crate) async fn notify_all(all: &[NotifySettings], end: &RunEnd, stop: &StopHandle) -> NotifyCounts {
    let wanted =
        |notify: &&NotifySettings| notify.on.as_ref().is_none_or(|outcomes| outcomes.contains(&end.outcome));
    let wanted: Vec<_> = all.iter().filter(wanted).collect();
    if wanted.is_empty() {
        return NotifyCounts::default();
    }
    let id = Message::new_id();
    let told = join_all(wanted.into_iter().map(|notify| notify_one(notify, end, &id, stop))).await;
    let sent = told.iter().filter(|told| **told).count() as u64;
    NotifyCounts { sent, failed: told.len() as u64 - sent }
}

/// Sends one notification. Returns whether that worked.
async fn notify_one(notify: &NotifySettings, end: &RunEnd, id: &str, stop: &StopHandle) -> bool {
    let format = match &notify.to {
        NotifyTo::Webhook { format, .. } => *format,
        NotifyTo::Command(..) => NotifyFormat::Json,
    };
    let message = &Message::new(end, id, format);
    let hurried = async {
        stop.reached(Stop::Abort).await;
        tokio::time::sleep(HASTE).await;
    };
    let (whom, telling) = match &notify.to {
        NotifyTo::Webhook { url, key, .. } => {
            let whom = format!("webhook at {}", webhook::host(url));
            let telling = webhook::post(url, key.as_ref(), message, notify.timeout);
            (whom, futures::future::Either::Left(telling))
        }
        NotifyTo::Command(words, dir) => {
            let whom = format!("command `{}`", words.first().map_or("", String::as_str));
            let telling = command::run(words, dir, end, message, notify.timeout);
            (whom, futures::future::Either::Right(telling))
        }
    };
    let told = tokio::select! {
        told = telling => told,
        () = hurried => Err("fleetlogs was stopped before the notification was sent".to_owned()),
    };
    match told {
        Ok(()) => tracing::info!("{whom}: notified"),
        Err(ref why) => tracing::warn!("{whom}: not notified of the end of the run: {why}"),
    }
    told.is_ok()
}
