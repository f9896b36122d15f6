//! A queue in the memory of one process: for a worker whose partitions are known beforehand, because nobody else takes
//! them.

use std::time::Duration;

use fleetlogs_model::work_queue::{Delivery, QueueAnswer, QueueError, WorkItem, WorkQueue};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A queue that ends with its process.
#[derive(Debug, Default)]
pub struct LocalQueue(Mutex<Messages>);

#[derive(Debug, Default)]
struct Messages {
    all: Vec<Message>,
    /// How many there were.
    sent: u64,
    poison: Vec<(WorkItem, String)>,
}

#[derive(Debug)]
struct Message {
    /// As it was delivered last, or will be for the first time.
    delivery: Delivery,
    receipt: u64,
    seen_from: Instant,
}

impl LocalQueue {
    /// Puts a message into the queue.
    pub fn put(&self, item: &WorkItem) {
        let mut messages = self.0.lock();
        let delivery = Delivery {
            item: item.clone(),
            id: messages.sent.to_string().into(),
            receipt: "".into(),
            number: 0,
            excused: 0,
            note: None,
        };
        messages.sent += 1;
        messages.all.push(Message { delivery, receipt: 0, seen_from: Instant::now() });
    }

    /// What was moved to the poison queue, with the reasons.
    pub fn poison(&self) -> Vec<(WorkItem, String)> {
        self.0.lock().poison.clone()
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        act: impl FnOnce(&mut Messages) -> Result<T, QueueError>,
    ) -> QueueAnswer<'a, T> {
        Box::pin(std::future::ready(act(&mut self.0.lock())))
    }
}

impl Messages {
    /// The message of a delivery, unless it was delivered again since, or is gone.
    fn of(&mut self, delivery: &Delivery) -> Result<usize, QueueError> {
        let is_it = |message: &Message| {
            message.delivery.id == delivery.id && message.delivery.receipt == delivery.receipt
        };
        self.all.iter().position(is_it).ok_or(QueueError::NotOurs)
    }
}

impl Message {
    /// Hides it, and gives it a receipt of its own.
    fn hide(&mut self, hidden: Duration) {
        self.receipt += 1;
        self.delivery.receipt = self.receipt.to_string().into();
        self.seen_from = Instant::now() + hidden;
    }
}

impl WorkQueue for LocalQueue {
    fn send<'a>(&'a self, item: &'a WorkItem) -> QueueAnswer<'a, ()> {
        self.put(item);
        Box::pin(std::future::ready(Ok(())))
    }

    fn receive(&self, hidden: Duration) -> QueueAnswer<'_, Option<Delivery>> {
        self.call(|messages| {
            let now = Instant::now();
            let seen = messages.all.iter_mut().find(|message| message.seen_from <= now);
            Ok(seen.map(|message| {
                message.delivery.number += 1;
                message.hide(hidden);
                message.delivery.clone()
            }))
        })
    }

    fn hide<'a>(&'a self, delivery: &'a mut Delivery, hidden: Duration) -> QueueAnswer<'a, ()> {
        self.call(|messages| {
            let at = messages.of(delivery)?;
            let message = &mut messages.all[at];
            message.delivery = delivery.clone();
            message.hide(hidden);
            delivery.receipt = message.delivery.receipt.clone();
            Ok(())
        })
    }

    fn delete<'a>(&'a self, delivery: &'a Delivery) -> QueueAnswer<'a, ()> {
        self.call(|messages| {
            let at = messages.of(delivery)?;
            messages.all.remove(at);
            Ok(())
        })
    }

    fn bury<'a>(&'a self, delivery: &'a Delivery, reason: &'a str) -> QueueAnswer<'a, ()> {
        self.call(|messages| {
            let at = messages.of(delivery)?;
            let message = messages.all.remove(at);
            messages.poison.push((message.delivery.item, reason.to_owned()));
            Ok(())
        })
    }

    fn left(&self) -> QueueAnswer<'_, u64> {
        self.call(|messages| Ok(messages.all.len() as u64))
    }
}
