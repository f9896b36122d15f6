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
use self::ids::{NodeIds, PackedId};
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
    slots: Vec<Slot>,
    ids: NodeIds,
    /// Empty if no node has a window of its own.
    windows: Vec<Option<Box<Window>>>,
    details: Details,
}

#[derive(Clone, Copy)]
struct Slot {
    place: u32,
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
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
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
        self.ids.push(node.node.as_str());
        let id_ends = u32::try_from(self.ids.end()).map_err(io::Error::other)?;
        self.push_window(node.window.clone());
        let marks = Marks::of(&node.evidence);
        self.slots.push(Slot { place, id_ends, marks, priority: node.priority });
        Ok(())
    }

    /// No nodes yet, with details in the same spool.
    fn beside(&self) -> Self {
        let mut beside = Self { details: self.details.clone(), ..Self::default() };
        beside.details.clear();
        beside
    }

    fn push_window(&mut self, window: Option<Box<Window>>) {
        if window.is_some() && self.windows.is_empty() {
            self.windows = vec![None; self.slots.len()];
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
        self.slots.reserve(found.len());
        self.ids.reserve(found.nodes.ids.end());
        for &at in &found.order {
            let node = found.nodes.get(NodeIndex(at));
            self.ids.push(&node.id());
            let id_ends = u32::try_from(self.ids.end()).map_err(io::Error::other)?;
            let slot = found.nodes.slots[at as usize];
            self.push_window(node.window.map(Box::new));
            self.slots.push(Slot { place: first + slot.place, id_ends, ..slot });
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
        let slot = &self.slots[at];
        let id_begins = if at == 0 { 0 } else { self.slots[at - 1].id_ends as usize };
        NodeAt {
            place: &self.places[slot.place as usize],
            id: self.ids.get(id_begins, slot.id_ends as usize),
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
        self.slots.shrink_to_fit();
        self.ids.shrink();
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
