//! Which transitions of a node the tests have seen: the last step of `tests/all.sh`, after all of them have run.
//!
//! Every test process with `NODE_TRANSITIONS` in its environment notes in that directory what it sees. This test reads the
//! directory named in `TRANSITIONS_SEEN`. Why: docs/design/transitions.md.

use std::collections::BTreeSet;

use fleetlogs_model::ledger::NodeStatus;
use fleetlogs_model::transition::NodeEvent;

#[test]
#[ignore = "tests/all.sh runs it after all others"]
fn every_transition_is_seen_or_impossible() {
    let dir =
        std::env::var_os("TRANSITIONS_SEEN").expect("TRANSITIONS_SEEN names what other tests have noted");
    let mut seen = BTreeSet::new();
    for file in std::fs::read_dir(dir).unwrap() {
        // The last line of a process that was killed may be cut off.
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        seen.extend(text.split_inclusive('\n').filter_map(|line| Some(line.strip_suffix('\n')?.to_owned())));
    }
    let pairs = NodeStatus::ALL.iter().flat_map(|status| NodeEvent::ALL.map(|event| (*status, event)));
    let named: Vec<_> =
        pairs.map(|(status, event)| (format!("{status:?} {event:?}"), status.refuses(event))).collect();
    let possible = named.iter().filter(|(_, refused)| refused.is_none()).count();
    let count = named.iter().filter(|(name, refused)| refused.is_none() && seen.contains(name)).count();
    println!("seen {count} of {possible} transitions; {} pairs are impossible", named.len() - possible);
    let mut wrong = vec![];
    for (name, refused) in &named {
        match (refused, seen.contains(name)) {
            (None, false) => wrong.push(format!("unseen: {name}: test it, or name it impossible")),
            (Some(why), true) => wrong.push(format!("seen, but named impossible ({why}): {name}")),
            (None, true) | (Some(_), false) => {}
        }
    }
    let known: BTreeSet<_> = named.into_iter().map(|(name, _)| name).collect();
    wrong.extend(seen.difference(&known).map(|name| format!("no transition: {name}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
