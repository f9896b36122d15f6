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

    fn contents(files: u32, bytes: u64) -> Contents {
        Contents { files, bytes, fingerprint: Fingerprint::default() }
    }

    fn accepted_at(millis: u32, promised: Option<u32>) -> AwaitedDirectory {
        AwaitedDirectory::new(NodeIndex(0), promised, false, SinceStart(millis))
    }

    #[test]
    fn files_are_stable_when_two_looks_showed_the_same_a_tenth_of_the_upload_later() {
        let at = SinceStart;
        let mut awaited = accepted_at(1_000, Some(2));
        assert!(!awaited.was_seen() && !awaited.is_enough());
        awaited.note(contents(1, 100), at(4_000), at(4_100));
        assert!(awaited.was_seen() && !awaited.is_enough());
        awaited.note(contents(2, 200), at(10_000), at(11_000));
        assert!(awaited.is_enough() && !awaited.is_stable(at(60_000)), "one look, however long ago");
        awaited.note(contents(2, 200), at(11_500), at(11_600));
        assert_eq!(awaited.took(), Duration::from_secs(10));
        assert!(!awaited.is_stable(at(11_999)) && awaited.is_stable(at(12_000)));
        assert!(!awaited.has_changed());
        awaited.note(contents(2, 300), at(20_000), at(20_100));
        assert!(awaited.has_changed() && !awaited.is_stable(at(60_000)));
        assert!(awaited.was_seen_since(at(20_000)) && !awaited.was_seen_since(at(20_001)));
    }

    #[test]
    fn no_upload_is_so_quick_or_so_slow_that_the_wait_has_no_bounds() {
        for (took, stable_at) in [(100, 150), (10_000, 11_000), (100_000, 105_000)] {
            let mut awaited = accepted_at(0, Some(1));
            awaited.note(contents(1, 1), SinceStart(0), SinceStart(took));
            assert_eq!(awaited.stable_at(), SinceStart(stable_at));
        }
    }

    #[test]
    fn files_of_an_unknown_number_come_to_rest_after_half_a_minute() {
        let at = SinceStart;
        let mut awaited = accepted_at(0, None);
        awaited.note(contents(0, 0), at(100), at(100));
        assert!(!awaited.is_enough(), "no file is not enough");
        for look in [1_000, 2_000] {
            awaited.note(contents(1, 1), at(look), at(look));
        }
        assert!(awaited.is_stable(at(2_000)) && !awaited.has_come_to_rest(at(30_999)));
        assert!(awaited.has_come_to_rest(at(31_000)));
    }

    #[test]
    fn it_takes_64_bytes() {
        assert_eq!(size_of::<AwaitedDirectory>(), 64);
    }
}
