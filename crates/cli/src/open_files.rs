//! How many connections there may be at once. Each call in flight holds one, most systems let a program have 1,024 open
//! files unless it asks for more, and each takes some memory.

/// Calls in flight over all accounts. With 50 ms a call these are 40,000 calls a second; and a connection takes some 20 KiB,
/// so that more of them would take more memory than the plan.
const MOST_CALLS: u64 = 2048;

/// Files that are open for other things: the journal, listings, other accounts' lists.
const OTHERS: u64 = 200;

/// Asks the system for as many open files as it lets us have.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where the system does not let us, the limit is as it was, and is kept to.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(not(unix))]
pub(crate) fn raise_limit() {}

/// How many calls each of so many accounts may have in flight, if `wanted` are.
pub(crate) fn calls_of_each(wanted: usize, accounts: usize) -> usize {
    let allowed = share(wanted, accounts, limit());
    if allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            accounts,
            open_files = limit(),
            "fewer calls in flight per account: there are {MOST_CALLS} at most over all accounts, and two open files for each"
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
    // A call may begin while the connection of the one before is still on its way back.
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
        assert_eq!(share(64, 100, None), 20);
        assert_eq!(share(64, 10, Some(1024)), 41);
        assert_eq!(share(4096, 1, Some(1024)), 412);
        assert_eq!(share(64, 5000, Some(64)), 1, "no account is left out");
    }
}
