//! Names of the files that only a bundle has.

/// Name of the list of checksums in a bundle.
pub(super) const SUMS_FILE: &str = "SHA256SUMS";
/// Name of the page to read first.
pub(super) const README_FILE: &str = "README.md";
/// Name of the list of what is missing.
pub(super) const NOTES_FILE: &str = "NOTES.md";
/// Name of the manifest's own checksum.
pub(super) const MANIFEST_SUM_FILE: &str = "manifest.json.sha256";
