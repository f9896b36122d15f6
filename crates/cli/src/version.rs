//! The version, and what this program was built from. Manifests have the version alone.

use std::sync::LazyLock;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const COMMIT: &str = env!("FLEETLOGS_BUILD_COMMIT");
const DATE: &str = env!("FLEETLOGS_BUILD_DATE");
const TARGET: &str = env!("FLEETLOGS_BUILD_TARGET");
const RUSTC: &str = env!("FLEETLOGS_BUILD_RUSTC");

/// One line, for `-V`: `0.1.0 (0123456789 2026-11-22)`.
pub(crate) fn short() -> &'static str {
    static SHORT: LazyLock<String> = LazyLock::new(|| in_one_line(VERSION, COMMIT, DATE));
    &SHORT
}

/// Several lines, for `--version`.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> =
        LazyLock::new(|| format!("{}\ntarget: {TARGET}\nrustc: {RUSTC}", short()));
    &LONG
}

/// Without commit and date where they are not known: in a build for development, or without git.
fn in_one_line(version: &str, commit: &str, date: &str) -> String {
    match (commit, date) {
        ("", "") => version.to_owned(),
        (known, "") | ("", known) => format!("{version} ({known})"),
        (commit, date) => format!("{version} ({commit} {date})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_and_date_are_told_where_they_are_known() {
        assert_eq!(in_one_line("0.1.0", "0123456789", "2026-11-22"), "0.1.0 (0123456789 2026-11-22)");
        assert_eq!(in_one_line("0.1.0", "0123456789", ""), "0.1.0 (0123456789)");
        assert_eq!(in_one_line("0.1.0", "", ""), "0.1.0");
        let target = TARGET.split('-').next().unwrap();
        assert!(long().contains(std::env::consts::ARCH) && target == std::env::consts::ARCH, "{}", long());
        assert!(RUSTC.split('.').count() == 3, "{RUSTC}");
    }
}
