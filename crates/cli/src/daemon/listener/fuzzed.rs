//! What fuzzing calls about alerts.

use fleetlogs_model::timestamp::{FIRST, LAST};

use super::alert::{Alert, LONGEST_ID};
use super::service::{LONGEST_SHOWN, shown};

/// An alert that is taken has an id that can be stored and a time in range; its other texts can be shown.
pub(crate) fn fuzzed_alert(body: &[u8]) {
    let alert = Alert::read(body);
    assert_eq!(Alert::read(body), alert);
    let marked = [b"\xEF\xBB\xBF", body].concat();
    if !body.starts_with(b"\xEF\xBB\xBF") {
        assert_eq!(Alert::read(&marked), alert, "with a byte order mark");
    }
    let Ok(Alert::Fired(fired)) = alert else { return };
    assert!(!fired.id.is_empty() && fired.id.len() <= LONGEST_ID);
    assert!((FIRST..=LAST).contains(&fired.at));
    for text in [&fired.rule, &fired.severity] {
        let shown = shown(text);
        assert!(!shown.contains(char::is_control), "{shown:?}");
        // A secret that is hidden may be shorter than what stands in its place.
        assert!(shown.chars().count() <= LONGEST_SHOWN * 12, "{}", shown.chars().count());
    }
}
