//! Directories that are awaited. There may be a million of them at once, so each takes little memory: times are
//! milliseconds since verification began, and what few of them have is kept separately.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use fleetlogs_model::fingerprint::Fingerprint;
use fleetlogs_model::ids::NodeIndex;
use tokio::time::Instant;

/// Longest time that sizes must stay the same.
const LONGEST_STABLE: Duration = Duration::from_secs(5);

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
    pub(super) promised: Option<u32>,
    pub(super) seen: Contents,
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
    /// Notes what a look showed, and returns whether the files have arrived: enough of them, and unchanged since an
    /// earlier look.
    ///
    /// That look is a tenth of the upload's duration ago: a node that uploads slowly also rewrites slowly.
    pub(super) fn look(&mut self, shown: Contents, now: SinceStart) -> bool {
        if shown != self.seen {
            self.seen = shown;
            self.unchanged_since = now;
            return false;
        }
        self.is_enough() && self.unchanged_since.until(now) >= self.stable_for()
    }

    fn is_enough(&self) -> bool {
        self.seen.files > 0 && self.promised.is_none_or(|promised| self.seen.files >= promised)
    }

    /// How long the files must stay unchanged.
    fn stable_for(&self) -> Duration {
        (self.accepted_at.until(self.unchanged_since) / 10).min(LONGEST_STABLE)
    }

    /// When the next look can be the last; none while files are missing.
    pub(super) fn confirmed_in(&self, now: SinceStart) -> Option<Duration> {
        self.is_enough().then(|| self.stable_for().saturating_sub(self.unchanged_since.until(now)))
    }
}

/// All awaited directories.
#[derive(Debug)]
pub(super) struct Directories {
    began: Instant,
    /// By name with a slash at its end; ordered, so that a blob's directory is found by its name.
    by_name: BTreeMap<Box<str>, AwaitedDirectory>,
    /// More nodes that were given the same directory, by the first node; this should never happen.
    others: HashMap<NodeIndex, Vec<NodeIndex>>,
}

impl Directories {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), by_name: BTreeMap::new(), others: HashMap::new() }
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

    /// Adds a directory. Returns whether it was not awaited before.
    pub(super) fn insert(
        &mut self,
        directory: &str,
        node: NodeIndex,
        promised: Option<u32>,
        holds_slot: bool,
    ) -> bool {
        let name = [directory, "/"].concat();
        if let Some(same) = self.by_name.get(name.as_str()) {
            self.others.entry(same.node).or_default().push(node);
            return false;
        }
        let now = self.now();
        let awaited = AwaitedDirectory {
            node,
            promised,
            seen: Contents::default(),
            accepted_at: now,
            unchanged_since: now,
            holds_slot,
        };
        self.by_name.insert(name.into(), awaited);
        true
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

    /// Removes those below a prefix that have arrived.
    pub(super) fn take_arrived(
        &mut self,
        prefix: &str,
        mut has_arrived: impl FnMut(&mut AwaitedDirectory) -> bool,
    ) -> Vec<AwaitedDirectory> {
        let below = self.by_name.range_mut::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let arrived: Vec<_> = below
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter_map(|(name, awaited)| has_arrived(awaited).then(|| name.clone()))
            .collect();
        arrived.into_iter().filter_map(|name| self.by_name.remove(&name)).collect()
    }

    /// Removes them all.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = AwaitedDirectory> + use<> {
        std::mem::take(&mut self.by_name).into_values()
    }

    /// The other nodes that were given a node's directory.
    pub(super) fn take_others(&mut self, node: NodeIndex) -> Vec<NodeIndex> {
        self.others.remove(&node).unwrap_or_default()
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
