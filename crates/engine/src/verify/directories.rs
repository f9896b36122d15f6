//! All directories that are awaited, by pool. The name of a directory consists of what those of its pool have in common,
//! the node's id, which the plan has, and a UUID: only that is kept here. Directories with names of another form are
//! kept by their whole names.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::plan::Plan;
use tokio::time::Instant;
use uuid::Uuid;

use super::awaited::{AwaitedDirectory, SinceStart};
use crate::sweep::pool_of;

/// All awaited directories.
#[derive(Debug)]
pub(super) struct Directories {
    plan: Arc<Plan>,
    began: Instant,
    /// By what the names of their directories begin with, with a slash at its end.
    pools: BTreeMap<Box<str>, PoolDirectories>,
    /// Those whose names have another form, by their names with a slash at the end.
    others: BTreeMap<Box<str>, AwaitedDirectory>,
    /// Why the last listing that should have shown a directory failed. Of few of them, or for a short time.
    troubles: BTreeMap<NodeIndex, Arc<Failure>>,
    len: usize,
}

#[derive(Debug, Default)]
struct PoolDirectories {
    /// In order of their UUIDs.
    sorted: Vec<AwaitedDirectory>,
    /// Accepted since the last look began: the next one is the first that can show them.
    fresh: Vec<AwaitedDirectory>,
}

impl PoolDirectories {
    fn iter(&self) -> impl Iterator<Item = &AwaitedDirectory> {
        self.sorted.iter().chain(&self.fresh).filter(|awaited| !awaited.is_settled)
    }

    /// The position of one that a look can show.
    fn position(&self, request: Uuid) -> Option<usize> {
        let at = self.sorted.binary_search_by_key(&request, |awaited| awaited.request).ok()?;
        (!self.sorted[at].is_settled).then_some(at)
    }
}

impl Directories {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            began: Instant::now(),
            pools: BTreeMap::new(),
            others: BTreeMap::new(),
            troubles: BTreeMap::new(),
            len: 0,
        }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn now(&self) -> SinceStart {
        self.since_start(Instant::now())
    }

    pub(super) fn since_start(&self, at: Instant) -> SinceStart {
        let since = at.saturating_duration_since(self.began);
        SinceStart(u32::try_from(since.as_millis()).unwrap_or(u32::MAX))
    }

    /// The same time on the clock of the runtime.
    pub(super) fn instant(&self, at: SinceStart) -> Instant {
        self.began + Duration::from_millis(at.0.into())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a directory.
    pub(super) fn insert(
        &mut self,
        directory: &str,
        node: NodeIndex,
        promised: Option<u32>,
        holds_slot: bool,
    ) {
        let mut awaited = AwaitedDirectory::new(node, promised, holds_slot, self.now());
        self.len += 1;
        let Some((pool, id, request)) = parts(directory) else {
            if self.others.insert([directory, "/"].concat().into(), awaited).is_some() {
                self.len -= 1;
            }
            return;
        };
        if id != self.plan.node(node).id() {
            self.others.insert([directory, "/"].concat().into(), awaited);
            return;
        }
        awaited.request = request;
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.fresh.push(awaited);
        } else {
            self.pools.insert(pool.into(), PoolDirectories { sorted: vec![], fresh: vec![awaited] });
        }
    }

    /// A look begins: it can show what is awaited by now.
    pub(super) fn begin_look(&mut self) {
        for pool in self.pools.values_mut().filter(|pool| !pool.fresh.is_empty()) {
            pool.sorted.reserve_exact(pool.fresh.len());
            pool.sorted.append(&mut pool.fresh);
            pool.fresh = vec![];
            pool.sorted.sort_by_key(|awaited| awaited.request);
            let before = pool.sorted.len();
            pool.sorted.dedup_by_key(|awaited| awaited.request);
            self.len -= before - pool.sorted.len();
        }
    }

    /// The memory of directories that are no longer awaited is given back.
    pub(super) fn end_look(&mut self) {
        self.pools.retain(|_, pool| {
            pool.sorted.retain(|awaited| !awaited.is_settled);
            if pool.sorted.capacity() > 2 * pool.sorted.len() {
                pool.sorted.shrink_to_fit();
            }
            !pool.sorted.is_empty() || !pool.fresh.is_empty()
        });
        self.others.retain(|_, awaited| !awaited.is_settled);
    }

    /// A directory is no longer awaited.
    pub(super) fn settle(&mut self, directory: &str) {
        if let Some(awaited) = self.get_mut(directory) {
            awaited.is_settled = true;
            let node = awaited.node;
            self.len -= 1;
            self.troubles.remove(&node);
        }
    }

    /// Each with what it and those of its pool have in common, without a slash at its end.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &AwaitedDirectory)> {
        let kept_by_pool = self.pools.iter().flat_map(|(pool, awaited)| {
            let pool = pool.trim_end_matches('/');
            awaited.iter().map(move |awaited| (pool, awaited))
        });
        let others = self.others.iter().filter(|(_, awaited)| !awaited.is_settled);
        kept_by_pool.chain(others.map(|(name, awaited)| (pool_of(name.trim_end_matches('/')), awaited)))
    }

    /// The names of those that have this in common, without a slash at the end, as far as they are wanted.
    pub(super) fn names<'names>(
        &'names self,
        pool: &'names str,
        is_wanted: impl Fn(&AwaitedDirectory) -> bool + 'names,
    ) -> impl Iterator<Item = String> + 'names {
        let key = format!("{pool}/");
        let kept = self.pools.get(&*key).into_iter().flat_map(PoolDirectories::iter);
        let named = move |awaited: &AwaitedDirectory| {
            format!("{pool}/{}/{}", self.plan.node(awaited.node).id(), awaited.request.hyphenated())
        };
        let others = self.others.iter().filter_map(move |(name, awaited)| {
            let name = name.trim_end_matches('/');
            (pool_of(name) == pool && !awaited.is_settled).then_some((awaited, name.to_owned()))
        });
        let all = kept.map(move |awaited| (awaited, named(awaited))).chain(others);
        all.filter(move |(awaited, _)| is_wanted(awaited)).map(|(_, name)| name)
    }

    /// The directory that holds a blob, with a slash at its end, if it is awaited and can be shown by this look.
    pub(super) fn of_blob<'blob>(&self, blob: &'blob str) -> Option<&'blob str> {
        let others = (Bound::Unbounded, Bound::Included(blob));
        let before = self.others.range::<str, _>(others).next_back();
        if let Some((name, awaited)) = before
            && blob.starts_with(&**name)
        {
            return (!awaited.is_settled).then(|| &blob[..name.len()]);
        }
        let directory = directory_of(blob)?;
        self.place_of(directory).is_some().then_some(directory)
    }

    /// Where a directory is kept whose name has the usual form.
    fn place_of<'name>(&self, directory: &'name str) -> Option<(&'name str, usize)> {
        let (pool, id, request) = parts(directory.strip_suffix('/')?)?;
        let kept = self.pools.get(pool)?;
        let at = kept.position(request)?;
        (self.plan.node(kept.sorted[at].node).id() == id).then_some((pool, at))
    }

    /// The directory of this name, with a slash at its end.
    pub(super) fn get_mut(&mut self, directory: &str) -> Option<&mut AwaitedDirectory> {
        if self.others.contains_key(directory) {
            return self.others.get_mut(directory).filter(|awaited| !awaited.is_settled);
        }
        let (pool, at) = self.place_of(directory)?;
        self.pools.get_mut(pool)?.sorted.get_mut(at)
    }

    /// Those below a prefix that this look can show.
    pub(super) fn below(&mut self, prefix: &str, mut see: impl FnMut(&mut AwaitedDirectory)) {
        let kept = self.pools.iter_mut().filter(|(pool, _)| pool.starts_with(prefix));
        let kept = kept.flat_map(|(_, pool)| &mut pool.sorted);
        let others = self.others.iter_mut().filter(|(name, _)| name.starts_with(prefix));
        for awaited in kept.chain(others.map(|(_, awaited)| awaited)) {
            if !awaited.is_settled {
                see(awaited);
            }
        }
        // The prefix of a single one.
        if !self.others.contains_key(prefix)
            && let Some(awaited) = self.get_mut(prefix)
        {
            see(awaited);
        }
    }

    /// All of them, to change what is not their names.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut AwaitedDirectory> {
        let kept = self.pools.values_mut().flat_map(|pool| pool.sorted.iter_mut().chain(&mut pool.fresh));
        kept.chain(self.others.values_mut()).filter(|awaited| !awaited.is_settled)
    }

    /// Removes them all, each with why it could not be listed.
    pub(super) fn take_all(
        &mut self,
    ) -> impl Iterator<Item = (AwaitedDirectory, Option<Arc<Failure>>)> + use<> {
        self.len = 0;
        let kept = std::mem::take(&mut self.pools).into_values();
        let kept = kept.flat_map(|pool| pool.sorted.into_iter().chain(pool.fresh));
        let others = std::mem::take(&mut self.others).into_values();
        let mut troubles = std::mem::take(&mut self.troubles);
        let all = kept.chain(others).filter(|awaited| !awaited.is_settled);
        all.map(move |awaited| (awaited, troubles.remove(&awaited.node)))
    }

    /// A listing that should have shown these nodes' directories failed.
    pub(super) fn set_trouble(&mut self, nodes: impl IntoIterator<Item = NodeIndex>, failure: Failure) {
        let failure = Arc::new(failure);
        self.troubles.extend(nodes.into_iter().map(|node| (node, failure.clone())));
    }

    /// A later listing showed it.
    pub(super) fn clear_trouble(&mut self, node: NodeIndex) {
        self.troubles.remove(&node);
    }
}

/// The directory that holds a blob if its name has the usual form, with a slash at its end.
pub(super) fn directory_of(blob: &str) -> Option<&str> {
    let (ends, _) = blob.match_indices('/').nth(3)?;
    Some(&blob[..=ends])
}

/// What a directory has in common with those of its pool, with a slash at its end; the node; the UUID. None if the name
/// has another form, or does not follow from these parts.
fn parts(directory: &str) -> Option<(&str, &str, Uuid)> {
    let (rest, request) = directory.rsplit_once('/')?;
    let (ends, _) = rest.rmatch_indices('/').next()?;
    let (pool, node) = rest.split_at(ends + 1);
    let of_pool = pool_of(directory).len() + 1 == pool.len();
    let request = Uuid::try_parse(request)
        .ok()
        .filter(|uuid| *uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *request)?;
    of_pool.then_some((pool, node, request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan_of;

    const UUID: &str = "5ad0c3f0-9f0c-4a1e-8a52-000000000001";

    fn two() -> (Directories, [String; 2]) {
        let mut awaited = Directories::new(Arc::new(plan_of(2)));
        let names = [format!("contoso-0F/pool/n0/{UUID}"), "contoso-0F/pool/n1/8a52".to_owned()];
        awaited.insert(&names[0], NodeIndex(0), Some(4), false);
        awaited.insert(&names[1], NodeIndex(1), None, true);
        (awaited, names)
    }

    #[test]
    fn a_blob_is_in_the_directory_whose_name_it_begins_with() {
        let (mut awaited, [usual, other]) = two();
        assert_eq!(awaited.of_blob(&format!("{usual}/a.log")), None, "it was announced after the look began");
        awaited.begin_look();
        for directory in [&usual, &other] {
            let blob = format!("{directory}/archive/a.log");
            assert_eq!(awaited.of_blob(&blob), Some(&*format!("{directory}/")));
        }
        for foreign in [
            format!("contoso-0F/pool/n1/{UUID}/a.log"),
            format!("contoso-0f/pool/n0/{UUID}/a.log"),
            format!("contoso-0F/pool/n0/{}/a.log", UUID.to_uppercase()),
            format!("contoso-0F/pool/n0/{UUID}"),
            format!("contoso-0F/pool/n0/{UUID}0/a.log"),
            "contoso-0F/pool/n1/8a5/a.log".into(),
            "a.log".into(),
        ] {
            assert_eq!(awaited.of_blob(&foreign), None, "{foreign}");
        }
    }

    #[test]
    fn names_are_those_that_the_service_gave() {
        let (awaited, names) = two();
        assert_eq!(awaited.names("contoso-0F/pool", |_| true).collect::<Vec<_>>(), names);
        assert!(awaited.iter().all(|(pool, _)| pool == "contoso-0F/pool"));
    }

    #[test]
    fn what_is_settled_is_gone_and_what_is_announced_twice_counts_once() {
        let (mut awaited, [usual, other]) = two();
        awaited.insert(&usual, NodeIndex(0), Some(4), false);
        awaited.insert(&other, NodeIndex(1), Some(4), false);
        awaited.begin_look();
        assert_eq!(awaited.len(), 2);
        for directory in [usual, other] {
            awaited.settle(&format!("{directory}/"));
            assert_eq!(awaited.of_blob(&format!("{directory}/a.log")), None);
        }
        assert!(awaited.is_empty());
        awaited.end_look();
        assert_eq!((awaited.iter().count(), awaited.iter_mut().count()), (0, 0));
    }
}
