//! Directories that are awaited. There may be a million of them at once, so each takes little memory: times are
//! milliseconds since verification began, and what few of them have is kept separately.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::ids::NodeIndex;
use tokio::time::Instant;

/// Longest time that sizes must stay the same.
pub(super) const LONGEST_STABLE: Duration = Duration::from_secs(5);

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
#[derive(Debug)]
pub(super) struct AwaitedDirectory {
    pub(super) node: NodeIndex,
    /// None if nobody knows how many files the node will upload.
    pub(super) promised: Option<u32>,
    pub(super) seen: Contents,
    /// Why the last listing that should have shown it failed; none if that listing was whole.
    pub(super) trouble: Option<Arc<Failure>>,
    /// How many looks in a row showed the same contents.
    looks: u8,
    /// Whether the contents changed although all promised files were there.
    has_changed: bool,
    /// When the last listing showed it.
    seen_at: SinceStart,
    accepted_at: SinceStart,
    /// Since when its contents are unchanged.
    unchanged_since: SinceStart,
    /// Whether it holds an upload slot: a node that takes too long must not hold up others.
    pub(super) holds_slot: bool,
}

/// Milliseconds since verification began; seven weeks at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SinceStart(u32);

impl SinceStart {
    fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0).into())
    }
}

impl AwaitedDirectory {
    /// Notes what a look showed.
    pub(super) fn note(&mut self, shown: Contents, now: SinceStart) {
        self.trouble = None;
        self.seen_at = now;
        if shown == self.seen {
            self.looks = self.looks.saturating_add(1);
        } else {
            self.has_changed |= self.is_enough();
            self.seen = shown;
            self.looks = 1;
            self.unchanged_since = now;
        }
    }

    /// Whether all promised files are there, as far as the promise is known.
    pub(super) fn is_enough(&self) -> bool {
        self.seen.files > 0 && self.promised.is_none_or(|promised| self.seen.files >= promised)
    }

    /// Whether two looks showed the same.
    pub(super) fn is_confirmed(&self) -> bool {
        self.looks > 1
    }

    /// Whether the files changed after they were all there.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Whether a listing has shown it since a time.
    pub(super) fn was_seen_since(&self, since: SinceStart) -> bool {
        self.looks > 0 && self.seen_at.0 >= since.0
    }

    /// Whether the contents have been the same for long enough, in two looks at least.
    ///
    /// The first of them is a tenth of the upload's duration ago: a node that uploads slowly also rewrites slowly.
    pub(super) fn is_stable(&self, now: SinceStart) -> bool {
        self.is_confirmed() && self.unchanged_since.until(now) >= self.stable_for()
    }

    /// How long the files must stay unchanged.
    fn stable_for(&self) -> Duration {
        (self.accepted_at.until(self.unchanged_since) / 10).min(LONGEST_STABLE)
    }

    /// Whether it is unlikely that more files come, if nobody knows how many there will be.
    pub(super) fn has_come_to_rest(&self, now: SinceStart) -> bool {
        self.is_stable(now) && self.unchanged_since.until(now) >= UNKNOWN_STABLE
    }

    /// How long until a look can find it stable.
    pub(super) fn stable_in(&self, now: SinceStart) -> Duration {
        self.stable_for().saturating_sub(self.unchanged_since.until(now))
    }
}

/// All awaited directories.
#[derive(Debug)]
pub(super) struct Directories {
    began: Instant,
    /// By name with a slash at its end; ordered, so that a blob's directory is found by its name.
    by_name: BTreeMap<Box<str>, AwaitedDirectory>,
}

impl Directories {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), by_name: BTreeMap::new() }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn now(&self) -> SinceStart {
        SinceStart(u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX))
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds a directory.
    pub(super) fn insert(
        &mut self,
        directory: &str,
        node: NodeIndex,
        promised: Option<u32>,
        holds_slot: bool,
    ) {
        let now = self.now();
        let awaited = AwaitedDirectory {
            node,
            promised,
            seen: Contents::default(),
            trouble: None,
            looks: 0,
            has_changed: false,
            seen_at: now,
            accepted_at: now,
            unchanged_since: now,
            holds_slot,
        };
        self.by_name.insert([directory, "/"].concat().into(), awaited);
    }

    /// Their names, in order, without the slash at the end.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| name.strip_suffix('/').unwrap_or(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AwaitedDirectory> {
        self.by_name.values()
    }

    /// The directory that holds a blob.
    pub(super) fn of_blob(&self, blob: &str) -> Option<&AwaitedDirectory> {
        let before = self.by_name.range::<str, _>((Bound::Unbounded, Bound::Included(blob))).next_back();
        before.filter(|(name, _)| blob.starts_with(&***name)).map(|(_, awaited)| awaited)
    }

    /// Those below a prefix.
    pub(super) fn below(&mut self, prefix: &str) -> impl Iterator<Item = &mut AwaitedDirectory> {
        let from = self.by_name.range_mut::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(name, _)| name.starts_with(prefix)).map(|(_, awaited)| awaited)
    }

    /// Removes those below a prefix about which there is something to say.
    pub(super) fn take_below<T>(
        &mut self,
        prefix: &str,
        mut verdict: impl FnMut(&mut AwaitedDirectory) -> Option<T>,
    ) -> Vec<(AwaitedDirectory, T)> {
        let below = self.by_name.range_mut::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let taken: Vec<_> = below
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter_map(|(name, awaited)| Some((name.clone(), verdict(awaited)?)))
            .collect();
        let remove = |(name, verdict): (Box<str>, T)| Some((self.by_name.remove(&name)?, verdict));
        taken.into_iter().filter_map(remove).collect()
    }

    /// Removes them all.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = AwaitedDirectory> + use<> {
        std::mem::take(&mut self.by_name).into_values()
    }

    /// Frees the slots of those that were accepted longer ago than this, and returns how many there were.
    pub(super) fn take_slots_after(&mut self, allowance: Duration) -> usize {
        let now = self.now();
        let overdue = |awaited: &&mut AwaitedDirectory| {
            awaited.holds_slot && awaited.accepted_at.until(now) >= allowance
        };
        self.by_name.values_mut().filter(overdue).map(|awaited| awaited.holds_slot = false).count()
    }
}
