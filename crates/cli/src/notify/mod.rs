//! Tells those who are to hear of the end of a run, side by side: webhooks and programs.
//!
//! It never changes how a run ends: whoever cannot be told gets a warning in the log. And it never takes longer than each
//! `timeout` says.

mod command;
mod webhook;

use std::time::Duration;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::timestamp;
use futures::future::join_all;
use serde::Serialize;
use uuid::Uuid;

pub(crate) use self::webhook::signing_key;
use crate::config::{NotifySettings, NotifyTo};
use crate::run_end::RunEnd;

/// What is sent is one version of this form; docs/reference/notifications.md.
const SCHEMA: &str = "fleetlogs.notification/v1";

/// How long those who are told may still take when the program is told to end at once.
const HASTE: Duration = Duration::from_secs(3);

/// How many were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notified {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

/// Tells everybody who wants to hear of such an end.
pub(crate) async fn tell(everybody: &[NotifySettings], end: &RunEnd, stop: &StopHandle) -> Notified {
    let wanted =
        |notify: &&NotifySettings| notify.on.as_ref().is_none_or(|outcomes| outcomes.contains(&end.outcome));
    let wanted: Vec<_> = everybody.iter().filter(wanted).collect();
    if wanted.is_empty() {
        return Notified::default();
    }
    let message = Message::new(end);
    let told = join_all(wanted.into_iter().map(|notify| one(notify, end, &message, stop))).await;
    let sent = told.iter().filter(|told| **told).count() as u64;
    Notified { sent, failed: told.len() as u64 - sent }
}

/// Whether one was told.
async fn one(notify: &NotifySettings, end: &RunEnd, message: &Message, stop: &StopHandle) -> bool {
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

/// What is sent: the same to all.
struct Message {
    /// The same in every attempt, so that the receiver can tell a repetition.
    id: String,
    body: Vec<u8>,
}

impl Message {
    fn new(end: &RunEnd) -> Self {
        let id = format!("msg_{}", Uuid::new_v4().simple());
        let body = Body {
            schema: SCHEMA,
            kind: "run.ended",
            id: &id,
            sent_at: timestamp::text(Clock::System.now()),
            summary: &summary(end),
            snapshot: end.snapshot.as_ref(),
            run: &end.document,
        };
        let body = serde_json::to_vec(&body).expect("texts and numbers become JSON");
        Self { id, body }
    }
}

/// `run ID of snapshot nightly is partial: 5 of 7 nodes collected, 2 not.`
fn summary(end: &RunEnd) -> String {
    let of = end.snapshot.as_ref().map(|snapshot| format!(" of snapshot {}", snapshot.name.as_str()));
    format!("run {}{} is {}: {}", end.run_id.as_str(), of.unwrap_or_default(), end.outcome, end.summary)
}

#[derive(Serialize)]
struct Body<'a> {
    schema: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    sent_at: String,
    summary: &'a str,
    snapshot: Option<&'a SnapshotRef>,
    /// What `--json` prints.
    run: &'a serde_json::Value,
}
