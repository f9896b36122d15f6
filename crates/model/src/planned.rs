//! The nodes of a plan. There may be a million of them: what is needed to call them is in memory, sixty bytes
//! each, and everything known about them is text in a [`Spool`], which whoever makes or reads the plan brings along.

mod details;
mod found;
mod ids;
mod node;
mod pool;

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use self::details::Details;
pub use self::details::Spool;
pub use self::found::FoundNodes;
use self::ids::{IdForms, PackedId};
pub use self::node::{PlannedNode, Priority};
pub use self::pool::PlannedPool;
use crate::evidence::NodeEvidence;
use crate::ids::{AccountName, NodeId, NodeIndex, NodeRef, PoolId};
use crate::json_stream::JsonStream;
use crate::window::Window;

/// The nodes of a plan, in the order in which they will be called.
#[derive(Clone, Default)]
pub struct PlannedNodes {
    places: Vec<Arc<PlannedPool>>,
    chunks: Vec<Chunk>,
    forms: IdForms,
    /// Empty if no node has a window of its own.
    windows: Vec<Option<Box<Window>>>,
    details: Details,
}

/// Nodes of a chunk.
const CHUNK: usize = 4096;

/// Some nodes, in memory of their own. A million nodes in one piece would be moved again and again while they come, and
/// leave a gap each time.
#[derive(Clone, Default)]
struct Chunk {
    slots: Vec<Slot>,
    /// Their ids, one after another.
    ids: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Slot {
    place: u32,
    /// In its chunk.
    id_ends: u32,
    marks: Marks,
    priority: Priority,
}

/// A planned node: what is needed to call it.
#[derive(Clone, Copy, Debug)]
pub struct NodeAt<'plan> {
    /// Its place.
    pub place: &'plan Arc<PlannedPool>,
    id: PackedId<'plan>,
    /// The reason for its position in the order.
    pub priority: Priority,
    /// Its time range, if it has one of its own.
    pub window: Option<Window>,
    /// What identifies it.
    pub marks: Marks,
}

impl<'plan> NodeAt<'plan> {
    /// Its Batch account.
    #[must_use]
    pub fn account(&self) -> &'plan AccountName {
        &self.place.account
    }

    /// Its pool.
    #[must_use]
    pub fn pool(&self) -> &'plan PoolId {
        &self.place.pool
    }

    /// Its id, as text.
    #[must_use]
    pub fn id(&self) -> Cow<'plan, str> {
        self.id.text()
    }

    /// Its id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId::new(self.id())
    }

    /// Its place.
    #[must_use]
    pub fn at(&self) -> NodeRef {
        NodeRef { account: self.account().clone(), pool: self.pool().clone(), node: self.node() }
    }
}

/// What distinguishes a node from another one with the same id, and the reported facts from later ones: hashes,
/// because there may be a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    allocated: u32,
    booted: u32,
    evidence: u32,
}

impl Marks {
    /// Of the facts that the service reports.
    #[must_use]
    pub fn of(evidence: &NodeEvidence) -> Self {
        let moment = |moment: Option<OffsetDateTime>| {
            moment.map_or(0, |moment| hash(&moment.unix_timestamp_nanos()).max(1))
        };
        Self {
            allocated: moment(evidence.allocation_time),
            booted: moment(evidence.last_boot_time),
            evidence: hash(evidence),
        }
    }

    /// Whether a node with the same id was allocated or booted again since then. Times that the service does not
    /// report do not count.
    #[must_use]
    pub fn is_of_another(self, now: Self) -> bool {
        let differs = |then: u32, now: u32| then != 0 && now != 0 && then != now;
        differs(self.allocated, now.allocated) || differs(self.booted, now.booted)
    }
}

fn hash(value: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    let hash = hasher.finish() as u32;
    hash
}

impl fmt::Debug for PlannedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlannedNodes({})", self.len())
    }
}

impl PlannedNodes {
    /// No nodes yet; their details go into a spool.
    #[must_use]
    pub fn spooled(spool: Box<dyn Spool>) -> Self {
        Self { details: Details::spooled(spool), ..Self::default() }
    }

    /// Reads a list of nodes into a spool, one at a time.
    pub(crate) fn read(
        list: &mut JsonStream<impl io::Read>,
        spool: Box<dyn Spool>,
    ) -> Result<Self, serde_json::Error> {
        let mut nodes = Self::spooled(spool);
        list.items(|node: PlannedNode| nodes.push(&node).map_err(serde_json::Error::io))?;
        nodes.shrink();
        Ok(nodes)
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.slots.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Appends a node.
    ///
    /// # Errors
    /// The temporary file cannot be written; or the plan has more nodes than can be counted.
    pub fn push(&mut self, node: &PlannedNode) -> io::Result<()> {
        self.push_slot(node)?;
        self.details.push(node)
    }

    /// All of it except its details.
    fn push_slot(&mut self, node: &PlannedNode) -> io::Result<()> {
        let place = self.place(&node.place)?;
        self.push_window(node.window.clone());
        let marks = Marks::of(&node.evidence);
        self.add(node.node.as_str(), Slot { place, id_ends: 0, marks, priority: node.priority })
    }

    /// Adds a slot for an id.
    fn add(&mut self, id: &str, slot: Slot) -> io::Result<()> {
        if self.chunks.last().is_none_or(|last| last.slots.len() == CHUNK) {
            self.shrink();
            self.chunks.push(Chunk::default());
        }
        let last = self.chunks.len() - 1;
        let Chunk { slots, ids } = &mut self.chunks[last];
        self.forms.pack(id, ids);
        let id_ends = u32::try_from(ids.len()).map_err(io::Error::other)?;
        slots.push(Slot { id_ends, ..slot });
        Ok(())
    }

    fn slot(&self, at: usize) -> &Slot {
        &self.chunks[at / CHUNK].slots[at % CHUNK]
    }

    /// No nodes yet, with details in the same spool.
    fn beside(&self) -> Self {
        let mut beside = Self { details: self.details.clone(), ..Self::default() };
        beside.details.clear();
        beside
    }

    fn push_window(&mut self, window: Option<Box<Window>>) {
        if window.is_some() && self.windows.is_empty() {
            self.windows = vec![None; self.len()];
        }
        if window.is_some() || !self.windows.is_empty() {
            self.windows.push(window);
        }
    }

    /// Appends the nodes of an account, in their order. They must have been found [beside](FoundNodes::beside) this plan.
    ///
    /// # Errors
    /// The plan has more nodes than can be counted; or the details of the nodes are in another spool.
    pub fn append(&mut self, found: &FoundNodes) -> io::Result<()> {
        if !self.details.share_text(&found.nodes.details) {
            return Err(io::Error::other("the details of the nodes are in another spool"));
        }
        let first = u32::try_from(self.places.len()).map_err(io::Error::other)?;
        self.places.extend_from_slice(&found.nodes.places);
        for &at in &found.order {
            let node = found.nodes.get(NodeIndex(at));
            let slot = *found.nodes.slot(at as usize);
            self.push_window(node.window.map(Box::new));
            self.add(&node.id(), Slot { place: first + slot.place, ..slot })?;
            self.details.add(found.line(at));
        }
        Ok(())
    }

    /// The nodes of a pool are mostly adjacent.
    fn place(&mut self, place: &Arc<PlannedPool>) -> io::Result<u32> {
        let is_same = |known: &Arc<PlannedPool>| {
            Arc::ptr_eq(known, place) || (known.pool == place.pool && known.account == place.account)
        };
        let at = if let Some(at) = self.places.iter().rposition(is_same) {
            at
        } else {
            self.places.push(place.clone());
            self.places.len() - 1
        };
        u32::try_from(at).map_err(io::Error::other)
    }

    /// The node at a position of this plan.
    #[must_use]
    pub fn get(&self, index: NodeIndex) -> NodeAt<'_> {
        let at = index.get();
        let Chunk { slots, ids } = &self.chunks[at / CHUNK];
        let in_chunk = at % CHUNK;
        let slot = &slots[in_chunk];
        let id_begins = in_chunk.checked_sub(1).map_or(0, |before| slots[before].id_ends as usize);
        NodeAt {
            place: &self.places[slot.place as usize],
            id: self.forms.id(&ids[id_begins..slot.id_ends as usize]),
            priority: slot.priority,
            window: self.windows.get(at).and_then(|window| window.as_deref().copied()),
            marks: slot.marks,
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeAt<'_>> {
        (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).map(|at| self.get(NodeIndex(at)))
    }

    /// Everything known about each, in order.
    pub fn details(&self) -> impl Iterator<Item = io::Result<PlannedNode>> + '_ {
        let mut lines = self.details.lines();
        std::iter::from_fn(move || {
            let line = lines.next().transpose()?;
            Some(line.and_then(|line| Ok(serde_json::from_slice(line)?)))
        })
    }

    /// Lets the nodes share these pools, which have more details than the text of the nodes.
    pub(crate) fn share(&mut self, pools: &[Arc<PlannedPool>]) {
        for place in &mut self.places {
            let same = |pool: &&Arc<PlannedPool>| pool.pool == place.pool && pool.account == place.account;
            if let Some(pool) = pools.iter().find(same) {
                *place = pool.clone();
            }
        }
    }

    /// Releases the memory reserved for more nodes.
    pub fn shrink(&mut self) {
        if let Some(Chunk { slots, ids }) = self.chunks.last_mut() {
            slots.shrink_to_fit();
            ids.shrink_to_fit();
        }
    }
}

/// For plans that are built at once; a large plan is pushed node by node.
impl FromIterator<PlannedNode> for PlannedNodes {
    fn from_iter<I: IntoIterator<Item = PlannedNode>>(nodes: I) -> Self {
        let mut planned = Self::default();
        for node in nodes {
            planned.push(&node).expect("a small plan needs no file");
        }
        planned
    }
}

impl Serialize for PlannedNodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut nodes = serializer.serialize_seq(Some(self.len()))?;
        let mut lines = self.details.lines();
        while let Some(line) = lines.next().map_err(S::Error::custom)? {
            let line: &RawValue = serde_json::from_slice(line).map_err(S::Error::custom)?;
            nodes.serialize_element(line)?;
        }
        nodes.end()
    }
}

#[cfg(test)]
mod tests;
