//! A directory whose files are awaited: what was promised, what looks showed, and when that proves something. There may
//! be hundreds of thousands at once, so each takes 64 bytes: times are milliseconds since verification began.

use std::num::NonZeroU32;
use std::time::Duration;

use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::ids::NodeIndex;
use uuid::Uuid;

/// Shortest time that sizes must stay the same.
const SHORTEST_STABLE: Duration = Duration::from_millis(50);

/// Longest time that sizes must stay the same.
const LONGEST_STABLE: Duration = Duration::from_secs(5);

/// How long files must stay the same where nothing tells how many there will be.
const UNKNOWN_STABLE: Duration = Duration::from_secs(30);

/// What one listing showed of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) files: u32,
    pub(super) bytes: u64,
    pub(super) fingerprint: Fingerprint,
}

/// A directory whose files are awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwaitedDirectory {
    pub(super) node: NodeIndex,
    /// None if nobody knows how many files the node will upload.
    pub(super) promised: Option<NonZeroU32>,
    pub(super) seen: Contents,
    /// The last part of its name, if it is kept by its pool.
    pub(super) request: Uuid,
    accepted_at: SinceStart,
    /// When the last look that showed it began.
    seen_at: SinceStart,
    /// Since when its contents are unchanged.
    unchanged_since: SinceStart,
    looks: Looks,
    /// Whether the contents changed although all promised files were there.
    has_changed: bool,
    /// Whether it holds an upload slot: a node that takes too long must not hold up others.
    pub(super) holds_slot: bool,
    /// Whether it is no longer awaited.
    pub(super) is_settled: bool,
}

/// How many looks in a row showed the same contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    None,
    One,
    More,
}

/// Milliseconds since verification began; seven weeks at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SinceStart(pub(super) u32);

impl SinceStart {
    pub(super) fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0).into())
    }

    pub(super) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }
}

/// Rounded up: what is due then is due.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}

impl AwaitedDirectory {
    pub(super) fn new(node: NodeIndex, promised: Option<u32>, holds_slot: bool, now: SinceStart) -> Self {
        Self {
            node,
            // One file is needed in any case.
            promised: promised.map(|files| NonZeroU32::new(files).unwrap_or(NonZeroU32::MIN)),
            seen: Contents::default(),
            request: Uuid::nil(),
            accepted_at: now,
            seen_at: now,
            unchanged_since: now,
            looks: Looks::None,
            has_changed: false,
            holds_slot,
            is_settled: false,
        }
    }

    /// Notes what a look that began at a time shows now.
    pub(super) fn note(&mut self, shown: Contents, began: SinceStart, now: SinceStart) {
        self.seen_at = began;
        if shown == self.seen && self.looks != Looks::None {
            self.looks = Looks::More;
        } else {
            self.has_changed |= self.is_enough();
            self.seen = shown;
            self.looks = Looks::One;
            self.unchanged_since = now;
        }
    }

    /// Whether all promised files are there, as far as the promise is known.
    pub(super) fn is_enough(&self) -> bool {
        self.seen.files > 0 && self.promised.is_none_or(|promised| self.seen.files >= promised.get())
    }

    /// Whether two looks showed the same.
    pub(super) fn is_confirmed(&self) -> bool {
        self.looks == Looks::More
    }

    /// Whether the files changed after they were all there.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Whether any look has shown whether it has files.
    pub(super) fn was_seen(&self) -> bool {
        self.looks != Looks::None
    }

    /// Whether a look that began at a time, or later, has shown it.
    pub(super) fn was_seen_since(&self, began: SinceStart) -> bool {
        self.was_seen() && self.seen_at >= began
    }

    /// When its call was accepted.
    pub(super) fn accepted_at(&self) -> SinceStart {
        self.accepted_at
    }

    /// When the last look that showed it began.
    pub(super) fn seen_at(&self) -> SinceStart {
        self.seen_at
    }

    /// Whether the contents have been the same for long enough, in two looks at least.
    ///
    /// The first of them is a tenth of the upload's duration ago: a node that uploads slowly also rewrites slowly.
    pub(super) fn is_stable(&self, now: SinceStart) -> bool {
        self.is_confirmed() && now >= self.stable_at()
    }

    /// From the accepted call to the last observed change.
    pub(super) fn took(&self) -> Duration {
        self.accepted_at.until(self.unchanged_since)
    }

    /// When a look can find it stable.
    pub(super) fn stable_at(&self) -> SinceStart {
        self.unchanged_since.after((self.took() / 10).clamp(SHORTEST_STABLE, LONGEST_STABLE))
    }

    /// Whether it is unlikely that more files come, if nobody knows how many there will be.
    pub(super) fn has_come_to_rest(&self, now: SinceStart) -> bool {
        self.is_stable(now) && now >= self.rests_at()
    }

    /// When a look can find that it has come to rest.
    pub(super) fn rests_at(&self) -> SinceStart {
        self.stable_at().max(self.unchanged_since.after(UNKNOWN_STABLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_64_bytes() {
        assert_eq!(size_of::<AwaitedDirectory>(), 64);
    }
}
