//! The queue of a run that workers share, over Microsoft's queue SDK, and the poison queue beside it.
//!
//! Each call is sent once, within a time limit: a receipt is good for one change, so a repeated one would fail. Messages
//! never expire by themselves. What is in the queue and cannot be understood is moved to the poison queue.

use std::fmt;
use std::time::Duration;

use azure_core::http::headers::HeaderName;
use azure_core::http::{RequestContent, RetryOptions, Transport, XmlFormat};
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders as _, QueueClientReceiveMessagesOptions,
    QueueClientSendMessageOptions, QueueClientUpdateMessageOptions, QueueMessage, ReceivedMessage,
};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::work_queue::{
    Delivery, QueueAnswer, QueueError, WorkItem, WorkQueue, WorkText, WorkTextError,
};
use tokio::time::timeout;
use url::Url;

use crate::account_transport::{bearer_transport, queue_key_transport};
use crate::blob::sdk_failure;
use crate::request::{API_VERSION, TIME_LIMIT};
use crate::sas::{Protocol, SigningKey};
use crate::sdk_transport::{client_options, transport};
use crate::storage::{StorageAuth, account_of};
use crate::trial::FailedTrial;

/// Follows the name of a queue.
pub const POISON: &str = "-poison";

/// The new receipt of a message that was changed. The SDK does not read it.
const RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");

/// A message that never expires.
const FOR_EVER: i32 = -1;

/// How long the message of a trial is hidden, in seconds, if it cannot be deleted.
const TRIAL: i32 = 60;

/// What it says.
const TRIAL_TEXT: &str = "a trial of `fleetlogs check`";

/// What a queue is called with.
#[derive(Clone)]
pub enum QueueAccess {
    /// The URL of an account's queue service with an account SAS for queues (`ss=q`): a SAS for one queue does not reach
    /// the poison queue.
    Sas(Url),
    /// The URL of an account's queue service, `https://ACCOUNT.queue.core.windows.net`, and a credential.
    Account(Url, StorageAuth),
}

impl fmt::Debug for QueueAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sas(_) => f.write_str("Sas(<redacted>)"),
            Self::Account(url, auth) => write!(f, "Account({}, {auth:?})", url.host_str().unwrap_or("?")),
        }
    }
}

/// Why a queue cannot be used. Neither the URL nor the key is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQueue {
    /// Credentials are sent over https, or to this machine.
    #[error("the URL of the queue service must start with https:// (http:// is for loopback addresses only)")]
    Scheme,
    /// It is not that of an account, or the SDK does not accept it.
    #[error(
        "the URL of the queue service must be `https://ACCOUNT.queue...` or, for an emulator, \
         `http://127.0.0.1:PORT/ACCOUNT`"
    )]
    Service,
    /// Not Base64, or empty.
    #[error("the storage account key is not Base64")]
    Key,
    /// Storage has rules for the names of queues.
    #[error(
        "the name of a queue must be 3 to 56 lower-case letters, digits and single hyphens, and begin and end with a \
         letter or digit"
    )]
    Name,
}

/// The longest name that leaves room for [`POISON`] in the 63 letters of storage.
const LONGEST_NAME: usize = 63 - POISON.len();

fn is_queue_name(name: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=LONGEST_NAME).contains(&name.len())
        && name.split('-').all(|part| !part.is_empty() && part.bytes().all(is_inside))
}

/// A queue of Azure Storage.
pub struct AzureWorkQueue {
    name: String,
    work: QueueClient,
    poison: QueueClient,
}

impl AzureWorkQueue {
    /// A queue; sends nothing.
    pub fn new(http: reqwest::Client, access: QueueAccess, name: &str) -> Result<Self, InvalidQueue> {
        if !is_queue_name(name) {
            return Err(InvalidQueue::Name);
        }
        let (QueueAccess::Sas(url) | QueueAccess::Account(url, _)) = &access;
        if !is_https_or_loopback(url) {
            return Err(InvalidQueue::Scheme);
        }
        let (url, transport): (Url, Transport) = match access {
            QueueAccess::Sas(url) => (url, transport(http)),
            QueueAccess::Account(url, auth) => {
                let (url, account) = account_of(url).ok_or(InvalidQueue::Service)?;
                let transport = match auth {
                    StorageAuth::Entra(tokens) => bearer_transport(http, tokens),
                    StorageAuth::Key(key) => {
                        let key = SigningKey::from_base64(key.expose()).ok_or(InvalidQueue::Key)?;
                        queue_key_transport(http, account, key, Protocol::of(&url))
                    }
                };
                (url, transport)
            }
        };
        let options = QueueServiceClientOptions {
            client_options: client_options(transport, RetryOptions::none()),
            version: API_VERSION.into(),
        };
        // The SDK's errors quote the URL with its signature.
        let service = QueueServiceClient::new(url, None, Some(options)).map_err(|_| InvalidQueue::Service)?;
        let queue = |name: &str| service.queue_client(name).map_err(|_| InvalidQueue::Service);
        Ok(Self { name: name.to_owned(), work: queue(name)?, poison: queue(&format!("{name}{POISON}"))? })
    }

    /// Creates both queues, if they are not there.
    pub async fn create(&self) -> Result<(), Failure> {
        for queue in [&self.work, &self.poison] {
            within_limit(async { queue.create(None).await.map(|_| ()) })
                .await
                .map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    /// Does with a message of its own what workers do: sends, changes and deletes it. The message is hidden all the time,
    /// so no worker receives it; if it cannot be deleted, it expires within a minute. Receiving is not tried, because it
    /// would take a message from a worker: it needs the permission that deleting needs. Returns what was there before.
    pub async fn try_out(&self) -> Result<QueueContents, FailedTrial> {
        let counts = async {
            Ok(QueueContents { left: count(&self.work).await?, poisoned: count(&self.poison).await? })
        };
        let contents = counts.await.map_err(FailedTrial::at("count messages"))?;
        let options = QueueClientSendMessageOptions {
            message_time_to_live: Some(TRIAL + 1),
            visibility_timeout: Some(TRIAL),
            ..Default::default()
        };
        let sent =
            put(&self.work, TRIAL_TEXT.into(), options).await.map_err(FailedTrial::at("send a message"))?;
        let hidden = Duration::from_secs(TRIAL.unsigned_abs().into());
        let changed = self.update(&sent.id, &sent.receipt, TRIAL_TEXT.into(), hidden).await;
        let receipt = changed.map_err(|error| FailedTrial::at("change a message")(failure(&error)))?;
        let receipt = receipt.unwrap_or(sent.receipt);
        within_limit(self.work.delete_message(&sent.id, &receipt, None))
            .await
            .map_err(|error| FailedTrial::at("delete a message")(failure(&error)))?;
        Ok(contents)
    }

    async fn take(&self, hidden: Duration) -> Result<Option<Delivery>, QueueError> {
        loop {
            let options = QueueClientReceiveMessagesOptions {
                number_of_messages: Some(1),
                visibility_timeout: Some(seconds(hidden).max(1)),
                ..Default::default()
            };
            let received =
                within_limit(async { self.work.receive_messages(Some(options)).await?.into_model() });
            let received = received.await.map_err(|error| failure(&error))?;
            let Some(message) = received.items.unwrap_or_default().into_iter().next() else {
                return Ok(None);
            };
            let message = TakenMessage::of(message)?;
            match WorkText::parse(&message.text) {
                Ok(text) => {
                    return Ok(Some(text.delivered(
                        message.id.into(),
                        message.receipt.into(),
                        message.number,
                    )));
                }
                Err(error) => self.discard(&message, &error).await?,
            }
        }
    }

    /// Moves a message that is not ours to the poison queue, as it is.
    async fn discard(&self, message: &TakenMessage, error: &WorkTextError) -> Result<(), QueueError> {
        tracing::warn!(queue = self.name, "a message is moved to the poison queue: {error}");
        put(&self.poison, message.text.clone(), for_ever()).await?;
        self.remove(&message.id, &message.receipt).await
    }

    async fn remove(&self, id: &str, receipt: &str) -> Result<(), QueueError> {
        within_limit(async { self.work.delete_message(id, receipt, None).await.map(|_| ()) })
            .await
            .map_err(|error| of_message(&error))
    }

    async fn change(&self, delivery: &mut Delivery, hidden: Duration) -> Result<(), QueueError> {
        let changed = self.update(&delivery.id, &delivery.receipt, delivery.text(), hidden).await;
        if let Some(receipt) = changed.map_err(|error| of_message(&error))? {
            delivery.receipt = receipt.into();
        }
        Ok(())
    }

    /// Stores a text in a message and hides it from now on. Returns its new receipt.
    async fn update(
        &self,
        id: &str,
        receipt: &str,
        text: String,
        hidden: Duration,
    ) -> Result<Option<String>, NoGoodAnswer> {
        let text = message(text).map_err(NoGoodAnswer::Sdk)?;
        let options = QueueClientUpdateMessageOptions { queue_message: Some(text), ..Default::default() };
        let changed = self.work.update_message(id, receipt, seconds(hidden), Some(options));
        let changed = within_limit(changed).await?;
        Ok(changed.headers().get_optional_str(&RECEIPT).map(str::to_owned))
    }
}

/// Never too low, says the service; hidden messages count.
async fn count(queue: &QueueClient) -> Result<u64, Failure> {
    let answer = within_limit(queue.get_properties(None)).await.map_err(|error| failure(&error))?;
    let count = answer.approximate_messages_count().ok().flatten();
    count.and_then(|count| u64::try_from(count).ok()).ok_or_else(|| {
        Failure::new(FailureClass::Transient, "the queue does not say how many messages it has")
    })
}

/// A message that was just put into a queue.
struct SentText {
    id: String,
    receipt: String,
}

/// Puts a text into a queue.
async fn put(
    queue: &QueueClient,
    text: String,
    options: QueueClientSendMessageOptions<'_>,
) -> Result<SentText, Failure> {
    let message = message(text).map_err(|error| sdk_failure(&error))?;
    let sent = within_limit(async { queue.send_message(message, Some(options)).await?.into_model() });
    let sent = sent.await.map_err(|error| failure(&error))?.items.unwrap_or_default().into_iter().next();
    // Without them, the message is there all the same.
    let (id, receipt) = sent.map(|sent| (sent.message_id, sent.pop_receipt)).unwrap_or_default();
    Ok(SentText { id: id.unwrap_or_default(), receipt: receipt.unwrap_or_default() })
}

fn for_ever() -> QueueClientSendMessageOptions<'static> {
    QueueClientSendMessageOptions { message_time_to_live: Some(FOR_EVER), ..Default::default() }
}

/// How many messages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueContents {
    /// Messages that a worker has, or that one can take.
    pub left: u64,
    /// Messages of partitions that were given up.
    pub poisoned: u64,
}

/// A message with everything that a delivery needs.
struct TakenMessage {
    id: String,
    receipt: String,
    number: u32,
    text: String,
}

impl TakenMessage {
    fn of(message: ReceivedMessage) -> Result<Self, Failure> {
        let ReceivedMessage { message_id, pop_receipt, dequeue_count, message_text, .. } = message;
        let lacks =
            || Failure::new(FailureClass::Transient, "the queue delivers a message without id or receipt");
        Ok(Self {
            id: message_id.ok_or_else(lacks)?,
            receipt: pop_receipt.ok_or_else(lacks)?,
            number: dequeue_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            text: message_text.unwrap_or_default(),
        })
    }
}

fn message(text: String) -> azure_core::Result<RequestContent<QueueMessage, XmlFormat>> {
    QueueMessage { message_text: Some(text) }.try_into()
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

/// Why a call has no good answer.
enum NoGoodAnswer {
    Sdk(azure_core::Error),
    TimeOver,
}

async fn within_limit<T>(call: impl Future<Output = azure_core::Result<T>>) -> Result<T, NoGoodAnswer> {
    match timeout(TIME_LIMIT, call).await {
        Ok(answer) => answer.map_err(NoGoodAnswer::Sdk),
        Err(_) => Err(NoGoodAnswer::TimeOver),
    }
}

fn failure(error: &NoGoodAnswer) -> Failure {
    match error {
        NoGoodAnswer::Sdk(error) => sdk_failure(error),
        NoGoodAnswer::TimeOver => {
            let message = format!("the queue did not answer within {} s", TIME_LIMIT.as_secs());
            Failure::new(FailureClass::Transient, message)
        }
    }
}

/// The failure of a call about one message.
fn of_message(error: &NoGoodAnswer) -> QueueError {
    let failure = failure(error);
    match failure.code.as_deref() {
        Some("PopReceiptMismatch" | "MessageNotFound") => QueueError::NotOurs,
        _ => failure.into(),
    }
}

impl WorkQueue for AzureWorkQueue {
    fn send<'a>(&'a self, item: &'a WorkItem) -> QueueAnswer<'a, ()> {
        Box::pin(async {
            put(&self.work, item.text(), for_ever()).await?;
            Ok(())
        })
    }

    fn receive(&self, hidden: Duration) -> QueueAnswer<'_, Option<Delivery>> {
        Box::pin(self.take(hidden))
    }

    fn hide<'a>(&'a self, delivery: &'a mut Delivery, hidden: Duration) -> QueueAnswer<'a, ()> {
        Box::pin(self.change(delivery, hidden))
    }

    fn delete<'a>(&'a self, delivery: &'a Delivery) -> QueueAnswer<'a, ()> {
        Box::pin(self.remove(&delivery.id, &delivery.receipt))
    }

    fn bury<'a>(&'a self, delivery: &'a Delivery, reason: &'a str) -> QueueAnswer<'a, ()> {
        Box::pin(async move {
            let mut buried = delivery.clone();
            buried.fail(reason);
            put(&self.poison, buried.text(), for_ever()).await?;
            self.remove(&delivery.id, &delivery.receipt).await
        })
    }

    fn left(&self) -> QueueAnswer<'_, u64> {
        Box::pin(async { Ok(count(&self.work).await?) })
    }
}

impl fmt::Debug for AzureWorkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureWorkQueue({}, <redacted>)", self.name)
    }
}

#[cfg(test)]
mod tests;
