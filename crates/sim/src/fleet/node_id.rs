//! Node ids without a table of node ids.
//!
//! An id is `tvmps_`, 64 hex digits, and `_d` or `_p`. The first 16 digits are a number that grows with the position of the
//! node in its pool, because the service sorts its lists by id: each position has an equal part of all numbers, and the
//! key chooses one in it. The other 48 digits follow from them. An id can therefore be computed from a position and
//! decoded back without any memory, and it looks as random as a real one.

use std::fmt::Write as _;

use crate::roll::{Roll, mix};

const PREFIX: &str = "tvmps_";
const HEX: usize = 64;

/// How the nodes of one pool are named.
#[derive(Clone, Debug)]
pub(crate) struct NodeNames {
    key: u64,
    nodes: u32,
    spot: u32,
    /// At the end of every id.
    suffix: String,
}

impl NodeNames {
    /// Names for `nodes` nodes, of which the first `spot` are low priority.
    pub(crate) fn new(pool: Roll, nodes: u32, spot: u32, suffix: &str) -> Self {
        Self { key: pool.text("node ids").bits(), nodes, spot, suffix: suffix.to_owned() }
    }

    /// How many numbers each position has.
    fn part(&self) -> u64 {
        u64::MAX / u64::from(self.nodes.max(1))
    }

    pub(crate) fn is_dedicated(&self, place: u32) -> bool {
        place >= self.spot
    }

    /// Appends the id of the node at `place`.
    pub(crate) fn push(&self, out: &mut String, place: u32) {
        let chosen = mix(u64::from(place) ^ self.key);
        // Nodes that have left the pool, and are still named by tasks, have any number.
        let part = self.part();
        let head = if place < self.nodes { u64::from(place) * part + chosen % part } else { chosen };
        let tail = Roll::new(head);
        let kind = if self.is_dedicated(place) { 'd' } else { 'p' };
        let written = write!(
            out,
            "{PREFIX}{head:016x}{:016x}{:016x}{:016x}_{kind}{}",
            tail.number(1).bits(),
            tail.number(2).bits(),
            tail.number(3).bits(),
            self.suffix,
        );
        debug_assert!(written.is_ok(), "writing to a String does not fail");
    }

    pub(crate) fn id(&self, place: u32) -> String {
        let mut out = String::with_capacity(PREFIX.len() + HEX + 2);
        self.push(&mut out, place);
        out
    }

    /// The position that `id` stands for, or none if this pool never had such a node.
    pub(crate) fn place(&self, id: &str) -> Option<u32> {
        let head = id.strip_prefix(PREFIX)?.get(..16)?;
        let place = u64::from_str_radix(head, 16).ok()? / self.part();
        let place = u32::try_from(place).ok().filter(|place| *place < self.nodes)?;
        (self.id(place) == id).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_leads_back_to_its_place() {
        let names = NodeNames::new(Roll::new(7).text("pool"), 100_000, 3, "");

        for place in [0, 1, 2, 3, 50_000, 99_999] {
            let id = names.id(place);
            assert_eq!(names.place(&id), Some(place));
            assert_eq!(id.len(), 72);
            assert!(id.ends_with(if place < 3 { "_p" } else { "_d" }));
        }
    }

    #[test]
    fn ids_are_sorted_like_their_places() {
        for nodes in [1, 2, 7, 100_000] {
            let names = NodeNames::new(Roll::new(7).text("pool"), nodes, 1, "");
            let ids: Vec<String> = (0..nodes).map(|place| names.id(place)).collect();

            assert!(ids.is_sorted());
        }
    }

    #[test]
    fn ids_that_were_never_given_lead_nowhere() {
        let names = NodeNames::new(Roll::new(7).text("pool"), 10, 0, "");
        let others = NodeNames::new(Roll::new(7).text("other"), 10, 0, "");
        let mut forged = names.id(0);
        forged.replace_range(40..41, if forged.as_bytes()[40] == b'0' { "1" } else { "0" });

        for id in [forged.as_str(), &others.id(0), &names.id(10), "", "tvmps_", "tvmps_ü234567890123456", "x"]
        {
            assert_eq!(names.place(id), None, "{id}");
        }
    }
}
