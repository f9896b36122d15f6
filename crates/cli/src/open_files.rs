//! How many connections may be open at once. Each call in flight holds one. Most systems allow a program 1,024 open
//! files unless it asks for more, and each connection takes some memory.

/// The most calls in flight over all accounts. At 50 ms a call that is 20,000 calls a second, and 2,000 at half a second:
/// more than one process can send. A connection takes some 36 KiB (a heap profile of 1,215 of them shows 18 KiB in the
/// queue between caller and connection, and 16 in buffers), so twice as many would take more memory than a plan of a
/// million nodes.
const MOST_CALLS: u64 = 1024;

/// Open files reserved for everything else: the journal and the lists of nodes and blobs.
const OTHERS: u64 = 200;

/// Raises the limit of open files as far as the system allows.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If the system refuses, the old limit stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(not(unix))]
pub(crate) fn raise_limit() {}

/// How many calls each account may have in flight: `wanted`, or fewer if there are many accounts.
pub(crate) fn calls_of_each(wanted: usize, accounts: usize) -> usize {
    let allowed = share(wanted, accounts, limit());
    if allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            accounts,
            open_files = limit(),
            "fewer calls in flight per account: the limit is {MOST_CALLS} over all accounts, and each needs two open files"
        );
    }
    allowed
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

fn share(wanted: usize, accounts: usize, open_files: Option<u64>) -> usize {
    // A call may start before the connection of the previous one is free again.
    let room = open_files.map_or(MOST_CALLS, |limit| (limit.saturating_sub(OTHERS) / 2).min(MOST_CALLS));
    let each = room / u64::try_from(accounts.max(1)).unwrap_or(u64::MAX);
    wanted.min(usize::try_from(each).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_share_what_there_is() {
        assert_eq!(share(64, 1, None), 64);
        assert_eq!(share(64, 100, None), 10);
        assert_eq!(share(64, 10, Some(1024)), 41);
        assert_eq!(share(4096, 1, Some(1024)), 412);
        assert_eq!(share(64, 5000, Some(64)), 1, "no account is left out");
    }
}
