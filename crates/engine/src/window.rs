//! Windows for single nodes: since a node booted, was allocated or entered its state, or since its last verified window
//! ended.

mod last;

use std::time::Duration;

use fleetlogs_model::planned::PlannedNode;
use fleetlogs_model::window::Window;
use time::OffsetDateTime;

use self::last::SHORTEST;
pub use self::last::{SinceLast, VerifiedUntil};

/// How the windows of single nodes are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeWindows {
    /// Since something happened to the node.
    Anchor(SinceAnchor),
    /// Since the node's last verified window ended.
    Last(SinceLast),
}

impl NodeWindows {
    /// The window of a node, with its end at `now`.
    #[must_use]
    pub fn of(&self, node: &PlannedNode, now: OffsetDateTime) -> Window {
        match self {
            Self::Anchor(since) => since.of(node, now),
            Self::Last(since) => since.of(node, now),
        }
    }

    /// The window of a plan, before any node widens it.
    #[must_use]
    pub fn least(&self, now: OffsetDateTime) -> Window {
        match self {
            Self::Anchor(since) => Window { start: now - since.otherwise, end: now },
            Self::Last(since) => since.least(now),
        }
    }
}

/// What a node's window starts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its last boot.
    Boot,
    /// Its allocation.
    Allocation,
    /// Its last change of state.
    State,
    /// The tasks that it was chosen for: from the start of the first to the end of the last.
    Task,
}

/// A window that starts at something that happened to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinceAnchor {
    /// What it starts at.
    pub anchor: Anchor,
    /// Starts this long before: what led to it is of interest, and clocks differ.
    pub margin: Duration,
    /// Longest window; a longer one keeps its end.
    pub longest: Duration,
    /// Length of the window if the service does not report the anchor of a node.
    pub otherwise: Duration,
}

impl SinceAnchor {
    /// The window of a node, with its end at `now`.
    #[must_use]
    pub fn of(&self, node: &PlannedNode, now: OffsetDateTime) -> Window {
        let anchor = match self.anchor {
            Anchor::Boot => node.evidence.last_boot_time,
            Anchor::Allocation => node.evidence.allocation_time,
            Anchor::State => node.evidence.state_since,
            Anchor::Task => return self.of_tasks(node, now),
        };
        let start = anchor.map_or(now - self.otherwise, |anchor| anchor - self.margin);
        Window { start: start.clamp(now - self.longest, now - SHORTEST), end: now }
    }

    fn of_tasks(&self, node: &PlannedNode, now: OffsetDateTime) -> Window {
        let Some(ran) = node.ran.as_deref() else { return Window { start: now - self.otherwise, end: now } };
        let end = (ran.end + self.margin).min(now);
        let start = (ran.start - self.margin).clamp(end - self.longest, end - SHORTEST);
        Window { start, end }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::offset;

    use super::*;
    use crate::testing::{NOW, plan_of};

    const HOUR: Duration = Duration::from_secs(3600);

    fn since(anchor: Anchor) -> SinceAnchor {
        SinceAnchor { anchor, margin: HOUR / 6, longest: HOUR * 24, otherwise: HOUR * 2 }
    }

    fn node() -> PlannedNode {
        let mut node = plan_of(1).nodes.details().next().unwrap().unwrap();
        node.evidence.last_boot_time = Some(NOW - HOUR);
        node.evidence.allocation_time = Some(NOW - HOUR * 100);
        node.evidence.state_since = Some(NOW - HOUR / 2);
        node
    }

    #[test]
    fn a_window_begins_before_its_anchor_and_is_no_longer_than_allowed() {
        let start = |anchor| NOW - since(anchor).of(&node(), NOW).start;
        assert_eq!(start(Anchor::Boot), HOUR + HOUR / 6);
        assert_eq!(start(Anchor::State), HOUR / 2 + HOUR / 6);
        assert_eq!(start(Anchor::Allocation), HOUR * 24);
    }

    #[test]
    fn the_window_of_tasks_has_a_margin_on_both_sides() {
        let mut node = node();
        let mut ran = |from: u32, to: u32| {
            node.ran = Some(Window { start: NOW - HOUR * from, end: NOW - HOUR * to }.into());
            let window = since(Anchor::Task).of(&node, NOW);
            (NOW - window.start, NOW - window.end)
        };
        let margin = HOUR / 6;
        let whole = |duration: Duration| time::Duration::try_from(duration).unwrap();
        assert_eq!(ran(5, 3), (whole(HOUR * 5 + margin), whole(HOUR / 6 * 17)));
        assert_eq!(ran(5, 0), (whole(HOUR * 5 + margin), time::Duration::ZERO));
        assert_eq!(ran(90, 3).0, whole(HOUR / 6 * 161), "no longer than a day");
    }

    #[test]
    fn a_node_that_tells_nothing_has_the_usual_window() {
        let mut node = node();
        node.evidence.last_boot_time = None;
        assert_eq!(since(Anchor::Boot).of(&node, NOW), Window { start: NOW - HOUR * 2, end: NOW });
    }

    #[test]
    fn a_boot_in_the_future_and_other_offsets_make_no_backward_window() {
        let mut node = node();
        node.evidence.last_boot_time = Some(NOW + HOUR);
        assert_eq!(since(Anchor::Boot).of(&node, NOW).start, NOW - SHORTEST);
        // The same moment, as a clock on summer time shows it.
        node.evidence.last_boot_time = Some((NOW - HOUR).to_offset(offset!(+2)));
        assert_eq!(NOW - since(Anchor::Boot).of(&node, NOW).start, HOUR + HOUR / 6);
    }
}
