//! The work that is left in one account: nodes that were not called yet, in plan order, and nodes that are due again at
//! a time. The queue hands out work; the executor does it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fleetlogs_model::ids::NodeIndex;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::intent::Intent;
use crate::retry::Tries;
use crate::stop::{Stop, StopHandle};

/// What is to be done with a node next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send the call.
    Send,
    /// Read the node first: its state prevented the call.
    Look,
    /// Search the container: the answer of the last call was lost.
    AskContainer,
    /// Record the directory of the last call, which was found in the container.
    Adopt,
}

/// What the container has of a call whose answer was lost.
#[derive(Clone, Debug)]
pub(crate) struct FoundDirectories {
    /// The newest.
    pub(crate) directory: Box<str>,
    pub(crate) others: Vec<Box<str>>,
}

/// A node that is not done.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) node: NodeIndex,
    pub(crate) step: Step,
    /// Calls sent so far.
    pub(crate) attempt: u32,
    pub(crate) tries: Tries,
    /// The first call of this round.
    pub(crate) first_intent: Option<Intent>,
    /// The last one.
    pub(crate) last_intent: Option<Intent>,
    /// For [`Step::Adopt`].
    pub(crate) found: Option<Box<FoundDirectories>>,
    /// Directories of earlier rounds: a call in doubt made none of them.
    pub(crate) known: Box<[Box<str>]>,
    /// When to give the node up.
    pub(crate) deadline: Option<Instant>,
}

impl Work {
    pub(crate) fn new(node: NodeIndex) -> Self {
        Self {
            node,
            step: Step::Send,
            attempt: 0,
            tries: Tries::default(),
            first_intent: None,
            last_intent: None,
            found: None,
            known: Box::default(),
            deadline: None,
        }
    }
}

/// Retries a fresh call earns; keeps a storm of failures from crowding out the nodes not called yet.
const RETRIES_PER_FRESH_CALL: f32 = 0.5;

/// Retries that may be saved up.
const MOST_RETRIES_SAVED: f32 = 50.0;

struct DueWork {
    due: Instant,
    /// Keeps equal entries in order, and makes the heap's order total.
    number: u64,
    work: Work,
}

impl PartialEq for DueWork {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for DueWork {}

impl PartialOrd for DueWork {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DueWork {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

struct QueueState {
    /// Nodes that were not called yet: only their positions, as there may be a million.
    fresh: VecDeque<NodeIndex>,
    later: BinaryHeap<Reverse<DueWork>>,
    /// How much work is handed out, and neither given back nor done.
    busy: usize,
    retries_saved: f32,
    numbers: u64,
    closed: bool,
}

enum NextWork {
    Work(Work),
    Wait(Option<Instant>),
    Done,
}

pub(crate) struct WorkQueue {
    state: Mutex<QueueState>,
    /// Held by the one worker that waits for the queue to change, or for the next work to be due. The other idle workers
    /// wait for its place: otherwise every change would wake all of them, for work that only one of them gets.
    watch: tokio::sync::Mutex<()>,
    /// Wakes that worker.
    changed: Notify,
    #[cfg(test)]
    looks: std::sync::atomic::AtomicUsize,
}

impl WorkQueue {
    /// Nodes to be called, and work that is due at a time; and how much is handed out already.
    pub(crate) fn new(
        fresh: impl IntoIterator<Item = NodeIndex>,
        later: impl IntoIterator<Item = (Work, Instant)>,
        busy: usize,
    ) -> Self {
        let mut state = QueueState {
            fresh: fresh.into_iter().collect(),
            later: BinaryHeap::new(),
            busy,
            retries_saved: MOST_RETRIES_SAVED,
            numbers: 0,
            closed: false,
        };
        for (work, due) in later {
            state.push(work, due);
        }
        Self {
            state: Mutex::new(state),
            watch: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            #[cfg(test)]
            looks: 0.into(),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }

    /// The next work, as soon as there is some; none when all is done or the run drains. Each work must be given
    /// back by [`put_back`](Self::put_back) or ended by [`done`](Self::done).
    pub(crate) async fn next(&self, stop: &StopHandle) -> Option<Work> {
        if stop.level() >= Stop::Drain {
            return None;
        }
        match self.look() {
            NextWork::Work(work) => return Some(work),
            NextWork::Done => return None,
            NextWork::Wait(_) => {}
        }
        tokio::select! {
            work = self.wait() => work,
            () = stop.reached(Stop::Drain) => None,
        }
    }

    /// # Cancel safety
    /// May be dropped at any time.
    async fn wait(&self) -> Option<Work> {
        let _only_watcher = self.watch.lock().await;
        loop {
            let until = match self.look() {
                NextWork::Work(work) => return Some(work),
                NextWork::Done => return None,
                NextWork::Wait(until) => until,
            };
            // A change since that look is not missed: `changed` keeps it.
            match until {
                // Whether it is due or the queue has changed: the next look tells.
                Some(until) => drop(timeout_at(until, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }

    fn look(&self) -> NextWork {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.state().take(Instant::now())
    }

    /// Gives work back; it is due again at a time.
    pub(crate) fn put_back(&self, work: Work, due: Instant) {
        let mut state = self.state();
        state.busy -= 1;
        let is_first = state.first_due().is_none_or(|first| due < first);
        state.push(work, due);
        drop(state);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// The work handed out is done.
    pub(crate) fn done(&self) {
        let mut state = self.state();
        state.busy -= 1;
        let all_done = state.busy == 0 && state.fresh.is_empty() && state.later.is_empty();
        drop(state);
        if all_done {
            self.changed.notify_one();
        }
    }

    /// Nodes that were not called yet.
    pub(crate) fn waiting(&self) -> Vec<NodeIndex> {
        self.state().fresh.iter().copied().collect()
    }

    /// Sorts the nodes that were not called yet; equal ones stay in the order of the plan.
    ///
    /// Returns whether any moved.
    pub(crate) fn sort_waiting<K: Ord>(&self, key: impl Fn(NodeIndex) -> K) -> bool {
        let mut state = self.state();
        let waiting = state.fresh.make_contiguous();
        let moves = !waiting.is_sorted_by_key(|node| (key(*node), *node));
        if moves {
            waiting.sort_by_cached_key(|node| (key(*node), *node));
        }
        moves
    }

    /// Whether the queue has stopped handing out work.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Stops handing out work. Returns whether it handed out work until now.
    pub(crate) fn close(&self) -> bool {
        let newly = !std::mem::replace(&mut self.state().closed, true);
        self.changed.notify_one();
        newly
    }
}

impl QueueState {
    fn push(&mut self, work: Work, due: Instant) {
        self.numbers += 1;
        let number = self.numbers;
        self.later.push(Reverse(DueWork { due, number, work }));
    }

    fn first_due(&self) -> Option<Instant> {
        self.later.peek().map(|Reverse(later)| later.due)
    }

    fn take(&mut self, now: Instant) -> NextWork {
        if self.closed {
            return NextWork::Done;
        }
        let due = self.first_due();
        let retry = due.is_some_and(|due| due <= now) && (self.retries_saved >= 1.0 || self.fresh.is_empty());
        let work = if retry {
            self.retries_saved = (self.retries_saved - 1.0).max(0.0);
            self.later.pop().map(|Reverse(later)| later.work)
        } else {
            self.retries_saved = (self.retries_saved + RETRIES_PER_FRESH_CALL).min(MOST_RETRIES_SAVED);
            self.fresh.pop_front().map(Work::new)
        };
        match work {
            Some(work) => {
                self.busy += 1;
                NextWork::Work(work)
            }
            None if due.is_none() && self.busy == 0 => NextWork::Done,
            None => NextWork::Wait(due),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queue(nodes: u32) -> WorkQueue {
        WorkQueue::new((0..nodes).map(NodeIndex), [], 0)
    }

    #[tokio::test(start_paused = true)]
    async fn work_given_back_comes_again_at_its_time_and_then_the_queue_ends() {
        let (queue, stop) = (queue(1), StopHandle::default());
        let work = queue.next(&stop).await.unwrap();
        queue.put_back(work, Instant::now() + Duration::from_secs(30));
        let before = Instant::now();
        assert!(queue.next(&stop).await.is_some());
        assert_eq!(before.elapsed().as_secs(), 30);
        queue.done();
        assert!(queue.next(&stop).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_waits_for_the_busy_ones_and_hears_of_the_end() {
        let (queue, stop) = (queue(1), StopHandle::default());
        queue.next(&stop).await.unwrap();
        let waiting = queue.next(&stop);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err());
        queue.done();
        assert!(waiting.await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_first_comes_first_and_of_equals_what_came_first() {
        let (now, stop) = (Instant::now(), StopHandle::default());
        let seconds = [5, 1, 4, 1, 3, 2];
        let due = |seconds| now + Duration::from_secs(seconds);
        let later = (0..).map(NodeIndex).map(Work::new).zip(seconds.map(due));
        let queue = WorkQueue::new([], later, 0);
        let mut order = Vec::new();
        for _ in seconds {
            order.push(queue.next(&stop).await.unwrap().node.0);
        }
        assert_eq!(order, [1, 3, 5, 4, 2, 0]);
        assert_eq!(now.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_distant_time_hears_of_work_that_is_due_before() {
        let (now, stop) = (Instant::now(), StopHandle::default());
        let distant = (Work::new(NodeIndex(0)), now + Duration::from_secs(100));
        let queue = WorkQueue::new([], [distant], 1);
        let waits = queue.next(&stop);
        let gives_back = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.put_back(Work::new(NodeIndex(1)), now + Duration::from_secs(3));
        };
        let (work, ()) = tokio::join!(waits, gives_back);
        assert_eq!((work.unwrap().node.0, now.elapsed().as_secs()), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_do_not_crowd_out_fresh_nodes() {
        let (queue, stop) = (queue(1000), StopHandle::default());
        let (mut fresh, mut again) = (0, 0);
        for _ in 0..600 {
            let mut work = queue.next(&stop).await.unwrap();
            if work.attempt == 0 {
                fresh += 1;
            } else {
                again += 1;
            }
            work.attempt += 1;
            queue.put_back(work, Instant::now());
        }
        assert!(fresh >= 350, "{fresh} fresh and {again} repeated calls");
    }

    #[tokio::test(start_paused = true)]
    async fn every_other_fresh_call_earns_a_retry_and_without_fresh_nodes_none_has_to_wait() {
        let stop = StopHandle::default();
        let again =
            (100..200).map(|node| (Work { attempt: 1, ..Work::new(NodeIndex(node)) }, Instant::now()));
        let queue = WorkQueue::new((0..20).map(NodeIndex), again, 0);
        let mut order = String::new();
        for _ in 0..120 {
            let work = queue.next(&stop).await.unwrap();
            order.push(if work.attempt == 0 { 'f' } else { 'r' });
        }
        // Fifty are saved up.
        assert_eq!(order, "r".repeat(50) + &"ffr".repeat(10) + &"r".repeat(40));
    }

    #[tokio::test]
    async fn what_waits_can_be_put_in_another_order() {
        let (queue, stop) = (queue(6), StopHandle::default());
        queue.next(&stop).await.unwrap();
        assert!(queue.sort_waiting(|node| node.0 % 2) && !queue.sort_waiting(|node| node.0 % 2));
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(queue.next(&stop).await.unwrap().node.0);
        }
        assert_eq!(order, [2, 4, 1, 3, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_wakes_one_idle_worker_and_the_end_all_of_them() {
        const IDLE: usize = 100;
        let (queue, stop) = (std::sync::Arc::new(queue(2)), StopHandle::default());
        let mut work = queue.next(&stop).await.unwrap();
        queue.next(&stop).await.unwrap();
        let mut idle = tokio::task::JoinSet::new();
        for _ in 0..IDLE {
            let (queue, stop) = (queue.clone(), stop.clone());
            idle.spawn(async move {
                let mut taken = 0;
                while let Some(work) = queue.next(&stop).await {
                    taken += 1;
                    let due = Instant::now() + Duration::from_secs(1);
                    if work.attempt < 20 {
                        queue.put_back(Work { attempt: work.attempt + 1, ..work }, due);
                    } else {
                        queue.done();
                    }
                }
                taken
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = queue.looks.load(std::sync::atomic::Ordering::Relaxed);
        work.attempt = 1;
        queue.put_back(work, Instant::now());
        tokio::time::sleep(Duration::from_secs(30)).await;
        let looks = queue.looks.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert!(looks < 20 * 6, "{looks} looks at the queue for 20 changes");
        queue.done();
        assert_eq!(idle.join_all().await.into_iter().sum::<i32>(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_the_wait() {
        let (queue, stop) = (queue(1), StopHandle::default());
        let work = queue.next(&stop).await.unwrap();
        queue.put_back(work, Instant::now() + Duration::from_secs(3600));
        let stopper = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stopper.stop(Stop::Drain, crate::stop::StopReason::Signal);
        });
        let before = Instant::now();
        assert!(queue.next(&stop).await.is_none());
        assert_eq!(before.elapsed().as_secs(), 1);
    }
}
