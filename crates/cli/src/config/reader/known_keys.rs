//! Which keys the reader knows, for a test that holds the schema against them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

type KnownKeys = BTreeMap<String, BTreeSet<String>>;

thread_local! {
    static KNOWN: RefCell<KnownKeys> = RefCell::default();
}

/// The keys of every table that is read meanwhile, by its path; `[]` stands for any item of an array.
pub(crate) fn record_known_keys(read: impl FnOnce()) -> KnownKeys {
    KNOWN.take();
    read();
    KNOWN.take()
}

pub(super) fn keys(path: &str, known: &[&'static str]) {
    let mut place = String::new();
    for (at, part) in path.split('[').enumerate() {
        place.push_str(if at == 0 {
            part
        } else {
            part.trim_start_matches(|char: char| char.is_ascii_digit())
        });
        if at + 1 < path.split('[').count() {
            place.push('[');
        }
    }
    let known = known.iter().map(|key| (*key).to_owned());
    KNOWN.with_borrow_mut(|all| all.entry(place).or_default().extend(known));
}
