//! Runs one fuzz target with libFuzzer. `FLEETLOGS_FUZZ_TARGET` names it; the targets are the functions in
//! `crates/*/src/fuzzing.rs`. How to run it: docs/design/fuzzing.md.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{Corpus, fuzz_target};

/// A function that panics where a promise is broken.
type Target = fn(&[u8]);

static TARGET: OnceLock<Target> = OnceLock::new();

fn all() -> impl Iterator<Item = (&'static str, Target)> {
    fleetlogs_model::fuzzing::TARGETS
        .into_iter()
        .chain(fleetlogs_azure::fuzzing::TARGETS)
        .chain(fleetlogs_engine::fuzzing::TARGETS)
        .chain(fleetlogs_report::fuzzing::TARGETS)
        .chain(fleetlogs_sim::fuzzing::TARGETS)
        .chain(fleetlogs::fuzzing::TARGETS)
}

fn chosen() -> Target {
    let wanted = std::env::var("FLEETLOGS_FUZZ_TARGET").unwrap_or_default();
    let found = all().find(|(name, _)| *name == wanted);
    let (_, target) = found.unwrap_or_else(|| {
        let names: Vec<_> = all().map(|(name, _)| name).collect();
        eprintln!("FLEETLOGS_FUZZ_TARGET is none of {}", names.join(" "));
        std::process::exit(2)
    });
    target
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let target = TARGET.get_or_init(chosen);
    fleetlogs_model::fuzzing::forget_secrets();
    target(data);
    Corpus::Keep
});
