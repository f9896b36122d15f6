//! Names of the files that only a bundle has.

/// The checksums of all other files.
pub(super) const SUMS_FILE: &str = "SHA256SUMS";
/// The page to read first.
pub(super) const README_FILE: &str = "README.md";
/// What is missing or different, and why.
pub(super) const NOTES_FILE: &str = "NOTES.md";
/// The checksum of the manifest.
pub(super) const MANIFEST_SUM_FILE: &str = "manifest.json.sha256";
