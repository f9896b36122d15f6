//! The queue from which workers take the partitions of a scaled-out run.
//!
//! A message is hidden from other workers while one works on its partition, and shows again if that worker does not
//! come back. So a message may be delivered twice, and in two copies: the hold on the partition's record keeps a second
//! worker out, not the queue.

use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::{AccountName, RunId};
use crate::retry::CallError;
use crate::schema::SchemaVersion;

/// Version of a message's JSON form. A reader refuses any other.
pub const WORK_SCHEMA: &str = "fleetlogs.work/v1";

/// The longest note of a message, in characters: a message of a queue is small.
const LONGEST_NOTE: usize = 500;

/// The result of a call to a queue.
pub type QueueAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send + 'a>>;

/// Why a call to a queue failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// The message was deleted, or delivered to another worker since: it can no longer be changed with this delivery.
    #[error("the message is no longer this worker's")]
    NotOurs,
    /// The queue did not answer, or refused the call.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl CallError for QueueError {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::NotOurs => None,
        }
    }
}

/// Partitions to be worked on. Every call has a time limit of its own.
pub trait WorkQueue: Send + Sync {
    /// Puts a message for a partition into the queue. If the answer was lost, it may be there all the same.
    fn send<'a>(&'a self, item: &'a WorkItem) -> QueueAnswer<'a, ()>;

    /// Takes the next message, and hides it from other workers for a time; none if there is none to be seen.
    fn receive(&self, hidden: Duration) -> QueueAnswer<'_, Option<Delivery>>;

    /// Hides a message for a time from now on, and stores what the delivery says of itself. With no time at all, the
    /// message is to be seen at once.
    fn hide<'a>(&'a self, delivery: &'a mut Delivery, hidden: Duration) -> QueueAnswer<'a, ()>;

    /// Removes a message whose partition is done.
    fn delete<'a>(&'a self, delivery: &'a Delivery) -> QueueAnswer<'a, ()>;

    /// Moves a message to the poison queue, with the reason.
    fn bury<'a>(&'a self, delivery: &'a Delivery, reason: &'a str) -> QueueAnswer<'a, ()>;

    /// How many messages there are, hidden ones included. It may be too high, and never too low.
    fn left(&self) -> QueueAnswer<'_, u64>;
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkItem {
    /// The run.
    pub run: RunId,
    /// Its partition: the name of a Batch account.
    pub partition: AccountName,
}

/// A message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What it asks for.
    pub item: WorkItem,
    /// Its id in the queue.
    pub id: Box<str>,
    /// What changes and deletes it until it is delivered again.
    pub receipt: Box<str>,
    /// How often it was delivered, this time included.
    pub number: u32,
    /// How many of the deliveries do not count as failures of the partition.
    pub excused: u32,
    /// What the last delivery that ended with an error said.
    pub note: Option<Box<str>>,
}

impl Delivery {
    /// How many deliveries before this one failed: their worker died, or said so.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.number.saturating_sub(1).saturating_sub(self.excused)
    }

    /// This delivery is no failure of its partition, whatever comes of it; nor are those before it.
    pub fn excuse_all(&mut self) {
        self.excused = self.number;
        self.note = None;
    }

    /// This delivery is no failure of its partition. Those before it still count.
    pub fn excuse_one(&mut self) {
        self.excused = self.excused.saturating_add(1).min(self.number);
    }

    /// This delivery failed, and this is why.
    pub fn fail(&mut self, why: &str) {
        self.note = Some(why.chars().take(LONGEST_NOTE).collect::<String>().into());
    }

    /// The text of the message.
    #[must_use]
    pub fn text(&self) -> String {
        WorkText { excused: self.excused, note: self.note.clone(), ..WorkText::of(&self.item) }.to_json()
    }
}

impl WorkItem {
    /// The text of a new message.
    #[must_use]
    pub fn text(&self) -> String {
        WorkText::of(self).to_json()
    }
}

/// The text of a message.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkText {
    schema: String,
    run_id: RunId,
    partition: AccountName,
    #[serde(default, skip_serializing_if = "is_zero")]
    excused: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Box<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The text is not a message that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum WorkTextError {
    /// Not JSON, or not in the form of a message.
    #[error("not a message of fleetlogs: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("the message has schema `{0}`, but this fleetlogs reads `{WORK_SCHEMA}`")]
    Schema(String),
}

impl WorkText {
    fn of(item: &WorkItem) -> Self {
        let (run_id, partition) = (item.run.clone(), item.partition.clone());
        Self { schema: WORK_SCHEMA.into(), run_id, partition, excused: 0, note: None }
    }

    /// Reads the text of a message.
    pub fn parse(text: &str) -> Result<Self, WorkTextError> {
        let SchemaVersion { schema } = serde_json::from_str(text)?;
        if schema != WORK_SCHEMA {
            return Err(WorkTextError::Schema(schema));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The message in which this text was delivered.
    #[must_use]
    pub fn delivered(self, id: Box<str>, receipt: Box<str>, number: u32) -> Delivery {
        let item = WorkItem { run: self.run_id, partition: self.partition };
        Delivery { item, id, receipt, number, excused: self.excused, note: self.note }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names and numbers can be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn delivery(number: u32, text: &str) -> Delivery {
        WorkText::parse(text).unwrap().delivered("id".into(), "receipt".into(), number)
    }

    fn item() -> WorkItem {
        let run = RunId::new(datetime!(2026-11-22 09:30:00 UTC), 7);
        WorkItem { run, partition: AccountName::new("contoso") }
    }

    #[test]
    fn a_message_is_short_and_survives_a_round_trip() {
        let text = item().text();
        assert_eq!(
            text,
            r#"{"schema":"fleetlogs.work/v1","run_id":"20261122T093000Z-0007","partition":"contoso"}"#
        );
        let mut first = delivery(1, &text);
        assert_eq!((first.item.clone(), first.failures()), (item(), 0));
        first.fail(&"no ".repeat(1000));
        let second = delivery(2, &first.text());
        assert_eq!(second.note.as_ref().map(|note| note.len()), Some(LONGEST_NOTE));
        assert_eq!(second.failures(), 1);
    }

    #[test]
    fn a_worker_that_dies_counts_and_one_that_hands_back_does_not() {
        let died = delivery(2, &item().text());
        assert_eq!(died.failures(), 1);
        let mut busy = delivery(3, &died.text());
        assert_eq!(busy.failures(), 2);
        busy.excuse_one();
        let mut next = delivery(4, &busy.text());
        assert_eq!(next.failures(), 2, "the two that died");
        // It made progress, so those before it did not die of the partition.
        next.excuse_all();
        let last = delivery(5, &next.text());
        assert_eq!(last.failures(), 0, "whatever became of the one that made progress");
        assert_eq!(delivery(6, &last.text()).failures(), 1);
    }

    #[test]
    fn a_text_of_another_kind_or_version_is_refused_in_words() {
        let refused = |text| WorkText::parse(text).unwrap_err().to_string();
        assert!(refused("hello").starts_with("not a message of fleetlogs: "));
        assert!(
            refused(r#"{"schema":"fleetlogs.work/v1","run_id":"../x","partition":"a"}"#).contains("../x")
        );
        let later = r#"{"schema":"fleetlogs.work/v2"}"#;
        assert_eq!(
            refused(later),
            "the message has schema `fleetlogs.work/v2`, but this fleetlogs reads `fleetlogs.work/v1`"
        );
    }
}
