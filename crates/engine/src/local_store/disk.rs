//! What the file system of a run directory is, and how much room it has.

use std::path::Path;

/// Bytes that this process may still write there. None where the system does not say.
#[cfg(unix)]
pub(super) fn free(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
pub(super) fn free(_: &Path) -> Option<u64> {
    None
}

/// The name of the network file system that a directory is on. None for a local one, and where the system does not say.
#[cfg(target_os = "linux")]
pub(super) fn network_file_system(dir: &Path) -> Option<&'static str> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a magic number of 32 bits")]
    let kind = rustix::fs::statfs(dir).ok()?.f_type as u32;
    name_of(kind)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// Magic numbers from statfs(2).
#[cfg(any(target_os = "linux", test))]
fn name_of(kind: u32) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 | 0xfe53_4d42 => Some("CIFS"),
        0x00c3_6400 => Some("Ceph"),
        0x0102_1997 => Some("9P"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xfe53_4d42), Some("CIFS"));
        let (ext4, tmpfs, overlay) = (0xef53, 0x0102_1994, 0x794c_7630);
        assert_eq!([ext4, tmpfs, overlay].map(name_of), [None; 3]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_here_has_room_and_is_local() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(dir.path()).is_some_and(|bytes| bytes > 0));
        assert_eq!(network_file_system(dir.path()), None);
    }
}
