//! The notification of the end of a run: every receiver gets the same message, in the form that it asks for.

use fleetlogs_engine::clock::Clock;
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::chat::ChatMessage;
use super::{slack, teams};
use crate::config::NotifyFormat;
use crate::run::RunEnd;

/// The version of the message; docs/reference/notifications.md.
const SCHEMA: &str = "fleetlogs.notification/v1";

/// The message.
pub(super) struct Message {
    /// The same in every attempt and for all receivers, so that a receiver can recognise a repetition.
    pub(super) id: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// A new id.
    pub(super) fn new_id() -> String {
        format!("msg_{}", Uuid::new_v4().simple())
    }

    pub(super) fn new(end: &RunEnd, id: &str, format: NotifyFormat) -> Self {
        let body = match format {
            NotifyFormat::Json => return Self::json(end, id.to_owned()),
            NotifyFormat::Slack => slack::body(&ChatMessage::new(end)),
            NotifyFormat::Teams => teams::body(&ChatMessage::new(end)),
        };
        Self { id: id.to_owned(), body: body.to_string().into_bytes() }
    }

    /// The form of our own, with everything.
    fn json(end: &RunEnd, id: String) -> Self {
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
