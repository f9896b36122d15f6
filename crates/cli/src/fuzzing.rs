//! What fuzzing calls here: what a user or a sender of alerts writes. Each panics where its reader breaks a promise.
//!
//! How they are run, and what each promises: docs/design/fuzzing.md.

use std::time::Duration;

use fleetlogs_model::timestamp::{self, FIRST, LAST};

use crate::config::{duration, moment};

#[cfg(test)]
#[path = "../../../tests/fuzz/short.rs"]
mod short;

/// A name, and a function that panics where a promise is broken.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// The names of the targets, which are also those of their corpora.
pub const TARGETS: [FuzzTarget; 3] =
    [("config", crate::config::fuzzed::config), ("alert", crate::daemon::fuzzed_alert), ("times", times)];

/// A time or a duration, as options and configs have it: what is accepted is in range and means the same once it is
/// written.
fn times(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match moment(text) {
        Ok(time) => {
            assert!((FIRST..=LAST).contains(&time), "{time}");
            assert_eq!(timestamp::parse(text), Some(time));
            let written = timestamp::text(time);
            let again = timestamp::parse(&written).expect("what was written can be read");
            assert_eq!(timestamp::text(again), written);
            assert!((time - again).abs() < time::Duration::MILLISECOND);
        }
        Err(misread) => assert!(!misread.message.is_empty() && timestamp::parse(text).is_none()),
    }
    match duration(text) {
        Ok(length) => {
            assert!(length > Duration::ZERO && length <= Duration::from_secs(366 * 24 * 3600), "{length:?}");
            let again = duration(&humantime::format_duration(length).to_string());
            assert_eq!(again.ok(), Some(length));
        }
        Err(misread) => assert!(!misread.message.is_empty()),
    }
}
