//! The journals of all partitions, read as one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::ids::{AccountName, NodeIndex};
use fleetlogs_model::run_store::{
    HistoryQuery, HistoryRows, JournalError, JournalErrorKind, JournalReader, RunMeta, StoreFuture,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::merge::merge_by_time;
use super::standing::PartitionStanding;
use super::whole_run::WholeRun;

/// Events that are in memory at a time, over all partitions.
const IN_MEMORY: usize = 200_000;

/// Journals that are read again at the same time: each may be a call to a service.
pub(super) const AT_ONCE: usize = 16;

/// How all partitions stand, in the order of the plan; a reader tells, and its store shows.
pub(super) type Standings = Arc<Mutex<Vec<PartitionStanding>>>;

/// The journal of one partition.
pub(super) struct PartitionJournal {
    pub(super) name: AccountName,
    /// Where its nodes begin in the plan of the run, and how many there are.
    pub(super) first: u32,
    pub(super) nodes: u32,
    /// It has no plan yet: a process has to come.
    pub(super) awaits_plan: bool,
    pub(super) reader: Box<dyn JournalReader>,
}

/// The journal of a partition that nobody has begun.
pub(super) struct NoJournal;

/// Reads the journals of all partitions as one. The numbers of its events are its own, and hold for this reader only.
pub(super) struct MergedReader {
    partitions: Vec<PartitionJournal>,
    meta: RunMeta,
    /// How the partitions stood after the last events that were asked for.
    standings: Standings,
    /// Where the last events that were asked for end.
    read: RefCell<Position>,
}

/// A number of an event, and what it stands for.
#[derive(Clone)]
struct Position {
    number: u64,
    /// The number of the last event read, for each partition.
    last: Vec<u64>,
    run: WholeRun,
}

impl MergedReader {
    /// Keeps `standings` up to date.
    pub(super) fn new(partitions: Vec<PartitionJournal>, meta: RunMeta, standings: Standings) -> Self {
        let read = RefCell::new(Position::start(&partitions));
        let reader = Self { partitions, meta, standings, read };
        reader.tell_standings(&reader.read.borrow().run);
        reader
    }

    fn tell_standings(&self, run: &WholeRun) {
        let of_part = |(standing, part): (PartitionStanding, &PartitionJournal)| PartitionStanding {
            is_planned: !part.awaits_plan,
            ..standing
        };
        *self.standings.lock() = run.standings().zip(&self.partitions).map(of_part).collect();
    }

    fn position(&self, number: u64) -> Result<Position, JournalError> {
        if number == 0 {
            return Ok(Position::start(&self.partitions));
        }
        let read = self.read.borrow();
        if read.number != number {
            let what = format!("no event of this reader has the number {number}");
            return Err(JournalError::new(JournalErrorKind::Failed, what));
        }
        Ok(read.clone())
    }
}

impl Position {
    fn start(partitions: &[PartitionJournal]) -> Self {
        let run = WholeRun::new(
            partitions
                .iter()
                .map(|partition| (&partition.name, partition.nodes > 0 || partition.awaits_plan)),
        );
        Self { number: 0, last: vec![0; partitions.len()], run }
    }
}

impl PartitionJournal {
    /// The event as one of the run.
    fn shifted(&self, mut recorded: Recorded) -> Result<Recorded, JournalError> {
        recorded.node = recorded.node.map(|node| self.shift(node)).transpose()?;
        Ok(recorded)
    }

    fn shift(&self, node: NodeIndex) -> Result<NodeIndex, JournalError> {
        if node.0 >= self.nodes {
            let what = format!(
                "the journal of partition {} has an event about node {}, which its plan does not have",
                self.name, node.0
            );
            return Err(JournalError::new(JournalErrorKind::Damaged, what));
        }
        Ok(NodeIndex(self.first + node.0))
    }
}

impl JournalReader for NoJournal {
    fn meta(&self) -> Result<RunMeta, JournalError> {
        Ok(RunMeta::default())
    }

    fn events_after(&self, after: u64, _: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError> {
        Ok(after)
    }

    fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        Ok(vec![])
    }

    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError> {
        Ok(Box::new(Self))
    }
}

impl HistoryQuery for NoJournal {
    fn rows(&mut self) -> Result<HistoryRows<'_>, JournalError> {
        Ok(Box::new(std::iter::empty()))
    }
}

impl JournalReader for MergedReader {
    fn meta(&self) -> Result<RunMeta, JournalError> {
        Ok(self.meta.clone())
    }

    fn events_after(&self, after: u64, hear: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError> {
        let Position { mut number, mut last, mut run } = self.position(after)?;
        let at_once = (IN_MEMORY / self.partitions.len().max(1)).clamp(16, 4096);
        let mut ahead: Vec<VecDeque<Recorded>> = vec![VecDeque::new(); self.partitions.len()];
        let mut hear = |recorded: &Recorded| {
            number += 1;
            hear(recorded);
        };
        let next = |at: usize| {
            let (partition, ahead) = (&self.partitions[at], &mut ahead[at]);
            if ahead.is_empty() {
                let mut push = |recorded: &Recorded| ahead.push_back(recorded.clone());
                last[at] = partition.reader.some_events_after(last[at], at_once, &mut push)?;
            }
            ahead.pop_front().map(|recorded| partition.shifted(recorded)).transpose()
        };
        merge_by_time(self.partitions.len(), next, |at, recorded| run.take(at, &recorded, &mut hear))?;
        self.tell_standings(&run);
        *self.read.borrow_mut() = Position { number, last, run };
        Ok(number)
    }

    fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let mut of_partitions = Vec::with_capacity(self.partitions.len());
        for partition in &self.partitions {
            of_partitions.push(partition.reader.run_events()?.into_iter());
        }
        let mut run = Position::start(&self.partitions).run;
        let mut events = vec![];
        merge_by_time(
            of_partitions.len(),
            |at| Ok(of_partitions[at].next()),
            |at, recorded| run.take(at, &recorded, &mut |recorded| events.push(recorded.clone())),
        )?;
        Ok(events)
    }

    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError> {
        let mut queries = Vec::with_capacity(self.partitions.len());
        for partition in &self.partitions {
            queries.push((partition, partition.reader.histories()?));
        }
        Ok(Box::new(MergedHistories(queries)))
    }

    fn refresh(&mut self) -> StoreFuture<'_, ()> {
        let refreshing = self.partitions.iter_mut().map(|partition| partition.reader.refresh());
        Box::pin(futures::stream::iter(refreshing).buffer_unordered(AT_ONCE).try_collect())
    }
}

/// The histories of all partitions, one after another: that is plan order.
struct MergedHistories<'reader>(Vec<(&'reader PartitionJournal, Box<dyn HistoryQuery + 'reader>)>);

impl HistoryQuery for MergedHistories<'_> {
    fn rows(&mut self) -> Result<HistoryRows<'_>, JournalError> {
        let mut all = vec![];
        for (partition, query) in &mut self.0 {
            let partition = *partition;
            all.push(query.rows()?.map(move |row| {
                let (node, history) = row?;
                Ok::<_, JournalError>((partition.shift(node)?, history))
            }));
        }
        Ok(Box::new(all.into_iter().flatten()))
    }
}
