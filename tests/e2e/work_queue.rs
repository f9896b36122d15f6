//! The queue of a run that workers share, in a real queue service: Azurite.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_azure::{AzureWorkQueue, POISON, QueueAccess, StorageAuth, http_client};
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::secret::Secret;
use fleetlogs_model::work_queue::{QueueError, WorkItem, WorkQueue};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::azurite::{ACCOUNT, KEY, start_service};
use crate::stage::{Server, signature};

const HIDDEN: Duration = Duration::from_secs(60);

/// A queue service in memory.
pub(crate) struct QueueService {
    pub(crate) port: u16,
    pub(crate) server: Server,
    _dir: TempDir,
}

impl QueueService {
    pub(crate) fn start() -> Self {
        let (port, server, dir) = start_service("queue", &[]);
        Self { port, server, _dir: dir }
    }

    /// Of the account.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// The URL of a queue with an account SAS, as a config has it.
    pub(crate) fn sas_of(&self, name: &str) -> String {
        format!("{}/{name}?{}", self.url(), account_sas("racup", "2036-01-01T00:00:00Z"))
    }

    /// A queue by its name, with an account SAS for all queues.
    pub(crate) fn queue(&self, name: &str) -> AzureWorkQueue {
        let url = format!("{}?{}", self.url(), account_sas("racup", "2036-01-01T00:00:00Z"));
        AzureWorkQueue::new(http_client(2).unwrap(), QueueAccess::Sas(url.parse().unwrap()), name).unwrap()
    }

    /// How many messages are in the poison queue of a queue.
    pub(crate) fn poisoned(&self, name: &str) -> u64 {
        let queue = self.queue(&format!("{name}{POISON}"));
        tokio::runtime::Runtime::new().unwrap().block_on(queue.left()).unwrap()
    }

    /// The same with the account's key.
    fn queue_by_key(&self, name: &str) -> AzureWorkQueue {
        let key = StorageAuth::Key(Secret::new(BASE64_STANDARD.encode(KEY)));
        let access = QueueAccess::Account(self.url().parse().unwrap(), key);
        AzureWorkQueue::new(http_client(2).unwrap(), access, name).unwrap()
    }
}

/// An account SAS for queues and their messages.
pub(crate) fn account_sas(permissions: &str, expiry: &str) -> String {
    let text = format!("{ACCOUNT}\n{permissions}\nq\nco\n\n{expiry}\n\nhttps,http\n2021-12-02\n\n");
    let query = format!("sv=2021-12-02&ss=q&srt=co&sp={permissions}&se={expiry}&spr=https,http");
    format!("{query}&sig={}", signature(KEY, &text))
}

pub(crate) fn item(partition: &str) -> WorkItem {
    let run = RunId::new(OffsetDateTime::UNIX_EPOCH, 7);
    WorkItem { run, partition: AccountName::new(partition) }
}

#[tokio::test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn a_real_queue_hands_out_hides_and_buries_messages() {
    let service = tokio::task::spawn_blocking(QueueService::start).await.unwrap();
    let queue = service.queue("work");
    let missing = queue.receive(HIDDEN).await.unwrap_err();
    assert!(
        matches!(&missing, QueueError::Failed(failure) if failure.code.as_deref() == Some("QueueNotFound")),
        "{missing}"
    );
    queue.create().await.unwrap();
    queue.create().await.unwrap();
    assert_eq!((queue.receive(HIDDEN).await.unwrap(), queue.left().await.unwrap()), (None, 0));

    // Two messages, one for each of two workers.
    for partition in ["contoso", "fabrikam"] {
        queue.send(&item(partition)).await.unwrap();
    }
    let mut first = queue.receive(HIDDEN).await.unwrap().unwrap();
    let second = queue.receive(HIDDEN).await.unwrap().unwrap();
    assert_eq!(queue.receive(HIDDEN).await.unwrap(), None);
    assert_eq!(queue.left().await.unwrap(), 2, "hidden messages count");
    let mut taken = [first.item.partition.clone(), second.item.partition.clone()];
    taken.sort();
    assert_eq!(taken.map(|partition| partition.to_string()), ["contoso", "fabrikam"]);

    // A worker stays at work: the receipt changes, and the old one is refused.
    let stale = first.clone();
    queue.hide(&mut first, HIDDEN).await.unwrap();
    assert_ne!(first.receipt, stale.receipt);
    assert!(matches!(queue.delete(&stale).await, Err(QueueError::NotOurs)));
    queue.hide(&mut first, HIDDEN).await.unwrap();

    // It fails, and hands the message back with the reason, in any letters.
    first.fail("no route to <contoso> & \"others\"");
    queue.hide(&mut first, Duration::ZERO).await.unwrap();
    let again = queue.receive(HIDDEN).await.unwrap().unwrap();
    assert_eq!((&again.item, again.number, again.failures()), (&first.item, 2, 1));
    assert_eq!(again.note, first.note);
    assert!(matches!(queue.hide(&mut first, HIDDEN).await, Err(QueueError::NotOurs)));

    queue.bury(&again, "given up").await.unwrap();
    queue.delete(&second).await.unwrap();
    assert_eq!((queue.receive(HIDDEN).await.unwrap(), queue.left().await.unwrap()), (None, 0));
    let buried = service.queue(&format!("work{POISON}")).receive(HIDDEN).await.unwrap().unwrap();
    assert_eq!((&buried.item, buried.note.as_deref()), (&again.item, Some("given up")));
}

#[tokio::test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
async fn a_real_queue_shows_the_message_of_a_worker_that_is_gone_again() {
    let service = tokio::task::spawn_blocking(QueueService::start).await.unwrap();
    let queue = service.queue_by_key("work");
    queue.create().await.unwrap();
    queue.send(&item("contoso")).await.unwrap();
    let first = queue.receive(Duration::from_secs(1)).await.unwrap().unwrap();
    let second = loop {
        if let Some(delivery) = queue.receive(HIDDEN).await.unwrap() {
            break delivery;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&second.item, second.number), (&first.item, 2));
    assert!(matches!(queue.delete(&first).await, Err(QueueError::NotOurs)));
    queue.delete(&second).await.unwrap();
}
