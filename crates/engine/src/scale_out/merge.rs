//! Merges the events of several journals by their time. The order within a journal stays, even if a clock was set.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::run_store::JournalError;
use time::OffsetDateTime;

/// Hands over the events of `sources` journals in the order of their times, each with the position of its journal;
/// `next` reads the next event of one. Events of the same time come in the order of the journals.
pub(super) fn merge_by_time(
    sources: usize,
    mut next: impl FnMut(usize) -> Result<Option<Recorded>, JournalError>,
    mut take: impl FnMut(usize, Recorded),
) -> Result<(), JournalError> {
    let mut heads: Vec<Option<Recorded>> = Vec::with_capacity(sources);
    let mut order = BinaryHeap::with_capacity(sources);
    for source in 0..sources {
        let head = next(source)?;
        order.extend(head.as_ref().map(|head| Reverse((head.at, source))));
        heads.push(head);
    }
    while let Some(Reverse((at, source))) = order.pop() {
        let following = next(source)?;
        // A clock that was set back does not bring an event before those that its journal has before it.
        order.extend(following.as_ref().map(|event| Reverse((OffsetDateTime::max(event.at, at), source))));
        if let Some(event) = std::mem::replace(&mut heads[source], following) {
            take(source, event);
        }
    }
    Ok(())
}
