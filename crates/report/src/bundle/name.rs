//! File names made from names of the service: they never lead out of the directory, and mean the same on every system.
//!
//! Plain names stay as they are. Other characters are percent-encoded, so that different names stay different.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fleetlogs_model::hex::hex;
use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use sha2::{Digest, Sha256};

/// Longest part of a path, in bytes. File systems allow 255, and a suffix may be added.
const LONGEST: usize = 200;
/// Bytes that are kept of a longer part, before the digest that makes it unique.
const KEPT: usize = 160;

/// Names of devices on Windows, whatever their extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Extensions of the files beside an incomplete download.
const OWN_ENDINGS: [&str; 3] = [".part", ".etag", ".tmp"];

/// One part of a path.
pub(super) fn component(name: &str) -> String {
    // No other name becomes this: otherwise two digits follow a `%`.
    if name.is_empty() {
        return "%-".into();
    }
    let last = name.len() - 1;
    let own_ending = OWN_ENDINGS.iter().find(|ending| name.ends_with(**ending));
    let own_ending = own_ending.map(|ending| name.len() - ending.len());
    let device = is_device(name);
    let mut safe = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain = match byte {
            b'.' => at != 0 && at != last && own_ending != Some(at),
            b'-' | b'_' => true,
            letter => letter.is_ascii_alphanumeric() && !(at == 0 && device),
        };
        if plain {
            safe.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    if safe.len() > LONGEST {
        safe.truncate(KEPT);
        let _ = write!(safe, "%-{}", &hex(&Sha256::digest(name))[..32]);
    }
    safe
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let (letters, digits) =
        stem.split_at(stem.find(|char: char| char.is_ascii_digit()).unwrap_or(stem.len()));
    DEVICES.contains(&letters) && digits.len() <= 1
}

/// Path of the evidence of a pool, below the top directory of the bundle.
pub(super) fn evidence_path(account: &str, pool: &str) -> String {
    format!("evidence/{}/{}.jsonl", component(account), component(pool))
}

/// Directory of a node's logs, below the run directory and the top directory of the bundle.
#[must_use]
pub fn logs_dir(account: &AccountName, pool: &PoolId, node: &NodeId) -> String {
    let [account, pool, node] = [account.as_str(), pool.as_str(), node.as_str()].map(component);
    format!("logs/{account}/{pool}/{node}")
}

/// Path of a blob below its node's directory; `blob` is its name below the virtual directory.
#[must_use]
pub fn blob_path(blob: &str) -> String {
    blob.split('/').map(component).collect::<Vec<_>>().join("/")
}

/// Paths that stay different where upper and lower case are the same, as on Windows and macOS, and of which none is the
/// directory of another.
#[derive(Debug, Default)]
pub struct DistinctPaths {
    /// Files and directories so far, in lower case: whether each is a file.
    taken: BTreeMap<String, bool>,
}

impl DistinctPaths {
    /// The path, or if another has it already, one with a digest of its name. The same paths in the same order give the
    /// same result.
    pub fn distinct(&mut self, path: &str) -> String {
        let (dirs, file) = path.rsplit_once('/').map_or((None, path), |(dirs, file)| (Some(dirs), file));
        let mut free = String::with_capacity(path.len());
        for dir in dirs.into_iter().flat_map(|dirs| dirs.split('/')) {
            let from = free.len();
            free.push_str(dir);
            while self.taken.get(&free.to_lowercase()) == Some(&true) {
                append_digest(&mut free, from);
            }
            self.taken.insert(free.to_lowercase(), false);
            free.push('/');
        }
        let from = free.len();
        free.push_str(file);
        while self.taken.contains_key(&free.to_lowercase()) {
            append_digest(&mut free, from);
        }
        self.taken.insert(free.to_lowercase(), true);
        free
    }
}

/// Makes the last part of a path another one, which no name becomes by itself.
fn append_digest(path: &mut String, from: usize) {
    let digest = hex(&Sha256::digest(&path[from..]));
    path.truncate(from + path[from..].len().min(KEPT));
    path.push_str("%-");
    path.push_str(&digest[..8]);
}

/// Whether a path in a bundle stays inside it, on every system.
pub(super) fn is_safe_path(path: &str) -> bool {
    let is_safe = |part: &str| {
        !part.is_empty()
            && !matches!(part, "." | "..")
            && !part.chars().any(|char| char.is_control() || matches!(char, '\\' | ':'))
    };
    path.split('/').all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_and_others_cannot_leave() {
        for name in ["render-eu", "tvmps_0123abcd_d", "agent.1.log"] {
            assert_eq!(component(name), name);
        }
        for (name, expected) in [
            ("", "%-"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a\\b:c*", "a%5Cb%3Ac%2A"),
            ("a b\u{202e}é%", "a%20b%E2%80%AE%C3%A9%25"),
            ("nul", "%6Eul"),
            ("COM1.log", "%43OM1.log"),
            ("common", "common"),
            ("trailing.", "trailing%2E"),
            ("agent.log.part", "agent.log%2Epart"),
        ] {
            assert_eq!(component(name), expected);
            assert!(is_safe_path(&component(name)), "{name}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (one, two) = (component(&"x".repeat(300)), component(&"x".repeat(301)));
        assert!(one.len() <= LONGEST && one != two, "{one}");
    }

    #[test]
    fn a_blob_keeps_its_directories() {
        assert_eq!(blob_path("startup/stdout.txt"), "startup/stdout.txt");
        assert_eq!(blob_path("/../x"), "%-/%2E%2E/x");
    }

    #[test]
    fn paths_that_differ_in_case_only_stay_different_on_every_system() {
        let mut paths = DistinctPaths::default();
        let taken: Vec<_> =
            ["d/Agent.log", "d/agent.log", "d/AGENT.log", "d/a", "d/A/b", "d/x/y", "d/X", "d/X/z", "d/ok"]
                .into_iter()
                .map(|path| paths.distinct(path))
                .collect();
        let digest = |name: &str| hex(&Sha256::digest(name))[..8].to_owned();
        let renamed = |name: &str| format!("{name}%-{}", digest(name));
        assert_eq!(
            taken,
            [
                "d/Agent.log".to_owned(),
                format!("d/{}", renamed("agent.log")),
                format!("d/{}", renamed("AGENT.log")),
                "d/a".to_owned(),
                format!("d/{}/b", renamed("A")),
                "d/x/y".to_owned(),
                format!("d/{}", renamed("X")),
                "d/X/z".to_owned(),
                "d/ok".to_owned(),
            ]
        );
        assert!(taken.iter().all(|path| is_safe_path(path)));
        // Names that are the same twice are no accident, and stay different, too.
        assert_ne!(paths.distinct("d/ok"), "d/ok");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_seen() {
        for path in ["/etc/passwd", "a/../b", "a//b", "a/", "C:/x", "a\\b", "a/./b", "", "a\nb"] {
            assert!(!is_safe_path(path), "{path:?}");
        }
        assert!(is_safe_path("fleetlogs-1/evidence/contoso/%2E.jsonl"));
    }
}
