//! What fuzzing calls here: one function for each kind of text from outside. Each panics where its reader breaks a promise.
//!
//! How they are run, and what each promises: docs/design/fuzzing.md.

use std::io::Cursor;

use crate::event::Recorded;
use crate::plan::Plan;
use crate::sas::SasUrl;
use crate::scrub;
use crate::timestamp::{FIRST, LAST};

#[cfg(test)]
#[path = "../../../tests/fuzz/short.rs"]
mod short;

/// A name, and a function that panics where a promise is broken.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// The names of the targets, which are also those of their corpora.
pub const TARGETS: [FuzzTarget; 4] = [("sas", sas), ("scrub", scrubbed), ("event", event), ("plan", plan)];

/// Forgets the secrets that earlier inputs had, so that the verdict on an input depends on nothing else.
#[cfg(feature = "fuzzing")]
pub fn forget_secrets() {
    scrub::forget();
}

/// A SAS that is accepted is accepted again as it is sent, and means the same. One that is refused is not quoted.
fn sas(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let signature = signature_in(text);
    let hides = |shown: &str| {
        let shown = shown.to_lowercase();
        assert!(signature.as_ref().is_none_or(|signature| !shown.contains(signature)), "quoted: {shown}");
    };
    match SasUrl::parse(text) {
        Ok(sas) => {
            let again = SasUrl::parse(sas.expose()).expect("what is sent is accepted");
            assert_eq!(again.expose(), sas.expose());
            let facts = |sas: &SasUrl| {
                let texts = [&sas.permissions, &sas.services, &sas.resource_types].map(Clone::clone);
                let flags = [sas.ip_restricted, sas.stored_policy, sas.delegated, sas.has_whole_signature()];
                (sas.kind, texts, flags, sas.starts_at, sas.expires_at, sas.without_query())
            };
            assert_eq!(facts(&again), facts(&sas));
            assert!(again.mends.is_empty(), "mended twice: {:?} then {:?}", sas.mends, again.mends);
            for time in [sas.starts_at, sas.expires_at].into_iter().flatten() {
                assert!((FIRST..=LAST).contains(&time), "{time}");
            }
            hides(&format!("{sas:?}"));
            sas.mends.iter().for_each(|mend| hides(&mend.to_string()));
        }
        Err(error) => {
            hides(&error.to_string());
            hides(&error.help());
        }
    }
}

/// The value of `sig`, in small letters, if nothing else in the text is the same.
fn signature_in(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let begin = text.match_indices("sig=").find(|(at, _)| text[..*at].ends_with(['?', '&']))?.0 + 4;
    let value = &text[begin..];
    let value = &value[..value.find('&').unwrap_or(value.len())];
    (value.len() >= 16 && text.matches(value).count() == 1).then(|| value.to_owned())
}

/// A secret of this process, which is none.
const OWN: &str = "Quiet1Otters2Sing3Under4Seven5Moons6Q";

/// Whatever stands around a secret of this process, it is hidden in each spelling; and in what is left, nothing is a secret
/// except by what is hidden after it.
fn scrubbed(data: &[u8]) {
    for range in scrub::secrets_in(data) {
        assert!(range.start <= range.end && range.end <= data.len(), "{range:?} of {}", data.len());
    }
    let text = String::from_utf8_lossy(data);
    let hidden = scrub::hide(&text).into_owned();
    for range in scrub::secrets_in(hidden.as_bytes()) {
        // What may stand between a mark and its value.
        let after = &hidden.as_bytes()[range.end..];
        let gap = after.iter().take_while(|byte| **byte <= b' ' || matches!(byte, b'"' | b'\''));
        assert!(after[gap.count()..].starts_with(scrub::HIDDEN.as_bytes()), "{hidden:?} of {text:?}");
    }
    scrub::learn(OWN);
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    let (before, after) = text.split_at(middle);
    let hex = crate::hex::hex(OWN.as_bytes());
    let escaped = OWN.bytes().map(|byte| ["%", &crate::hex::hex(&[byte])].concat()).collect::<String>();
    for spelled in [OWN, &hex, &escaped] {
        let hidden = scrub::hide(&format!("{before}{spelled}{after}")).into_owned();
        assert!(!hidden.contains(spelled), "{hidden:?}");
    }
}

/// What the type reads, the fast reader reads as the same: it only takes more, as it does not look at members that it does
/// not know. What was read is written and read again as the same.
fn event(data: &[u8]) {
    let read = Recorded::from_json(data);
    if let Ok(expected) = serde_json::from_slice::<Recorded>(data) {
        assert_eq!(read.as_ref().ok(), Some(&expected));
    }
    let Ok(read) = read else { return };
    assert!((FIRST..=LAST).contains(&read.at), "{}", read.at);
    let written = serde_json::to_vec(&read).expect("an event can be written");
    let again = Recorded::from_json(&written).expect("an event that was written can be read");
    assert_eq!((again.node, &again.event), (read.node, &read.event));
    let rewritten = serde_json::to_vec(&again).expect("an event can be written");
    assert_eq!(String::from_utf8_lossy(&rewritten), String::from_utf8_lossy(&written));
}

/// A plan that is accepted is written and read again as the same, and a part of it is none.
fn plan(data: &[u8]) {
    let read = |text: &[u8]| Plan::from_json(text, Box::new(Cursor::new(vec![])));
    let Ok(plan) = read(data) else { return };
    assert_eq!(plan.accounts_of_nodes().len(), plan.indexed().count());
    let written = serde_json::to_vec(&plan).expect("a plan can be written");
    let again = read(&written).expect("a plan that was written can be read");
    assert_eq!((&again.accounts, &again.pools), (&plan.accounts, &plan.pools));
    assert_eq!((&again.left_out, again.window), (&plan.left_out, plan.window));
    let rewritten = serde_json::to_vec(&again).expect("a plan can be written");
    assert_eq!(String::from_utf8_lossy(&rewritten), String::from_utf8_lossy(&written));
    let whole = data.trim_ascii_end();
    for end in [whole.len() - 1, whole.len() / 2, whole.len() / 3] {
        assert!(read(&data[..end]).is_err(), "the first {end} of {} bytes are a plan", whole.len());
    }
}
