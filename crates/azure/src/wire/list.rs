//! What lists are of, and what no list of the service has.

use serde::Deserialize;

/// The most items that the service puts on a page.
pub(super) const MOST_ITEMS: usize = 1000;

/// A page that the service would not send. Nothing of it is taken: the list would have gaps.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OddPage {
    #[error("a page of the list has more than {MOST_ITEMS} items, which is the most that the service sends")]
    TooManyItems,
    #[error("a page of the list has the id `{0}…`, which is longer than any id of the service")]
    LongId(String),
}

impl OddPage {
    pub(super) fn long_id(id: &str) -> Self {
        Self::LongId(super::values::clean_head(id, 64))
    }
}

/// An item of a list.
pub(crate) trait ListItem: Sized {
    /// The item as the service writes it.
    type Answer<'a>: Deserialize<'a> + HasId;

    fn of(answer: Self::Answer<'_>) -> Self;

    /// Shares the memory of what is equal in both.
    fn share_with(&mut self, before: &Self) {
        let _ = before;
    }
}

/// An item with the id that the service gave it.
pub(crate) trait HasId {
    fn id(&self) -> &str;
}

/// Ids of pools, jobs and tasks have 64 characters at most, those of nodes some 80.
pub(super) fn is_too_long(id: &str) -> bool {
    id.chars().nth(256).is_some()
}
