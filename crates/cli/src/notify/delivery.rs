//! Notifies everybody side by side, each at most for as long as its `timeout`.

use std::time::Duration;

use fleetlogs_engine::stop::{Stop, StopHandle};
use futures::future::join_all;

use super::message::Message;
use super::{command, webhook};
use crate::config::{NotifySettings, NotifyTo};
use crate::run::RunEnd;

/// How long those who are told may still take when the program is told to end at once.
const HASTE: Duration = Duration::from_secs(3);

/// How many were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notified {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

/// Tells everybody who wants to hear of such an end.
pub(crate) async fn notify_all(everybody: &[NotifySettings], end: &RunEnd, stop: &StopHandle) -> Notified {
    let wanted =
        |notify: &&NotifySettings| notify.on.as_ref().is_none_or(|outcomes| outcomes.contains(&end.outcome));
    let wanted: Vec<_> = everybody.iter().filter(wanted).collect();
    if wanted.is_empty() {
        return Notified::default();
    }
    let message = Message::new(end);
    let told = join_all(wanted.into_iter().map(|notify| notify_one(notify, end, &message, stop))).await;
    let sent = told.iter().filter(|told| **told).count() as u64;
    Notified { sent, failed: told.len() as u64 - sent }
}

/// Whether one was told.
async fn notify_one(notify: &NotifySettings, end: &RunEnd, message: &Message, stop: &StopHandle) -> bool {
    let hurried = async {
        stop.reached(Stop::Abort).await;
        tokio::time::sleep(HASTE).await;
    };
    let (whom, telling) = match &notify.to {
        NotifyTo::Webhook { url, key } => {
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
        () = hurried => Err("the program was told to end at once".to_owned()),
    };
    match told {
        Ok(()) => tracing::info!("{whom}: told"),
        Err(ref why) => tracing::warn!("{whom}: not told of the end of the run: {why}"),
    }
    told.is_ok()
}
