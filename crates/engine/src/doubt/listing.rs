//! Lists what is in the container of many nodes at once, with few calls and at a bounded pace.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{NodeIndex, NodeRef};
use fleetlogs_model::service::{BlobPage, LogStore};
use tokio::time::sleep;

use super::naming::{Naming, spellings};
use crate::intent::Now;
use crate::plan::reader::SeenLinks;
use crate::sweep::Outlook;

/// Pages of one listing, at most: 50 million blobs.
const MOST_PAGES: u64 = 10_000;

/// Pages of a search that is not the last one, while the naming of an account is not known.
const EARLY_PAGES: u64 = 20;

/// Pages of one look that are listed as fast as storage answers.
const FREE_PAGES: u64 = 20;

/// Time between two of the others.
const PAGE_EVERY: Duration = Duration::from_millis(50);

/// Pages in a row without a blob, at most.
const MOST_EMPTY: u32 = 100;

/// A node that is looked for.
pub(crate) struct Sought {
    pub(crate) node: NodeIndex,
    pub(crate) at: NodeRef,
    /// Whether it is listed now. Of the others is seen what the listings show by the way.
    pub(crate) is_due: bool,
    /// Whether all of it must be listed, whatever that costs.
    pub(crate) is_thorough: bool,
}

/// What was seen of a node.
#[derive(Debug, Default)]
pub(crate) struct SeenNode {
    /// Its directories, each with its age when the look began, by storage's clock; none if no file told.
    pub(crate) directories: BTreeMap<Box<str>, Option<time::Duration>>,
    /// Whether all of them were listed.
    pub(crate) is_whole: bool,
}

/// Lists blobs below a prefix, page by page, until the last or until there are too many. Returns whether all of them
/// were listed.
pub(crate) async fn each_page<S: LogStore>(
    store: &S,
    prefix: &str,
    most_pages: u64,
    pages: &mut u64,
    mut see: impl FnMut(&BlobPage),
) -> Result<bool, Failure> {
    let endless = || Failure::new(FailureClass::Transient, "the listing has no end");
    let mut marker: Option<String> = None;
    let (mut followed, mut empty) = (SeenLinks::default(), 0);
    for number in 1.. {
        if number > most_pages {
            return if most_pages >= MOST_PAGES { Err(endless()) } else { Ok(false) };
        }
        if *pages >= FREE_PAGES {
            sleep(PAGE_EVERY).await;
        }
        *pages += 1;
        let page = store.list(prefix, marker.as_deref()).await?;
        empty = if page.blobs.is_empty() { empty + 1 } else { 0 };
        see(&page);
        let Some(next) = page.next else { return Ok(true) };
        // Pages that lead to each other, and pages that show nothing.
        if !followed.is_new(&next) || empty >= MOST_EMPTY {
            return Err(endless());
        }
        marker = Some(next);
    }
    Ok(true)
}

/// Looks for the directories of nodes of one account.
pub(crate) struct Searcher<'run, S> {
    pub(crate) store: &'run S,
    pub(crate) naming: &'run Naming,
    /// What listings cost so far.
    pub(crate) outlook: &'run mut Outlook,
    /// When the look began.
    pub(crate) now: Now,
}

impl<S: LogStore> Searcher<'_, S> {
    /// What the container has of these nodes. The failure is that of the last listing that failed; what the others
    /// showed is returned all the same.
    pub(crate) async fn look(self, sought: &[Sought]) -> (HashMap<NodeIndex, SeenNode>, Option<Failure>) {
        let mut found = Found::of(sought);
        let (mut pages, mut trouble) = (0, None);
        let mut whole: Vec<String> = Vec::new();
        if !self.naming.is_known() {
            let most = if sought.iter().any(|sought| sought.is_thorough) { MOST_PAGES } else { EARLY_PAGES };
            match self.list(&self.naming.account_prefix(), most, &mut pages, &mut found).await {
                Ok(true) => whole.push(String::new()),
                Ok(false) => {}
                Err(failure) => trouble = Some(failure),
            }
            return (found.sightings(sought, |_| !whole.is_empty()), trouble);
        }
        let directories = |sought: &Sought| self.naming.directories_of(&sought.at).unwrap_or_default();
        let due = sought.iter().filter(|sought| sought.is_due);
        let wanted: Vec<String> = due.flat_map(directories).collect();
        for directory in &wanted {
            // So that the cost of a sweep over it is learned.
            self.outlook.promised(directory, 0);
        }
        for listing in self.outlook.listings(wanted.iter().map(String::as_str)) {
            let before = pages;
            match self.list(&listing.prefix, listing.most_pages, &mut pages, &mut found).await {
                Ok(true) => whole.push(listing.prefix.clone()),
                Ok(false) => {}
                Err(failure) => trouble = Some(failure),
            }
            self.outlook.swept(&listing.prefix, pages - before);
        }
        for sought in sought.iter().filter(|sought| sought.is_thorough) {
            for directory in self.naming.directories_of(&sought.at).unwrap_or_default() {
                let prefix = format!("{directory}/");
                if trouble.is_some() || whole.iter().any(|whole| prefix.starts_with(whole)) {
                    continue;
                }
                match self.list(&prefix, MOST_PAGES, &mut pages, &mut found).await {
                    Ok(_) => whole.push(prefix),
                    Err(failure) => trouble = Some(failure),
                }
            }
        }
        let is_whole = |at: &NodeRef| {
            let directories = self.naming.directories_of(at).unwrap_or_default();
            directories.iter().all(|directory| {
                let prefix = format!("{directory}/");
                whole.iter().any(|whole| prefix.starts_with(whole))
            })
        };
        let sightings = found.sightings(sought, is_whole);
        (sightings, trouble)
    }

    async fn list(
        &self,
        prefix: &str,
        most_pages: u64,
        pages: &mut u64,
        found: &mut Found,
    ) -> Result<bool, Failure> {
        each_page(self.store, prefix, most_pages, pages, |page| found.see(self.naming, page, &self.now)).await
    }
}

/// Directories of nodes that are looked for.
struct Found {
    /// By pool and node, as they stand in names.
    wanted: HashMap<String, Vec<NodeIndex>>,
    seen: HashMap<NodeIndex, BTreeMap<Box<str>, Option<time::Duration>>>,
    key: String,
}

impl Found {
    fn of(sought: &[Sought]) -> Self {
        let mut wanted: HashMap<String, Vec<NodeIndex>> = HashMap::new();
        // The ids themselves first: a directory of `tvm-1` is that node's, and only else that of `tvm_1`.
        for spelling in 0..2 {
            for Sought { node, at, .. } in sought {
                let Some(id) = spellings(at).into_iter().nth(spelling) else { continue };
                let nodes = wanted.entry(format!("{}/{id}", at.pool.as_str().to_lowercase())).or_default();
                if spelling == 0 || nodes.is_empty() {
                    nodes.push(*node);
                }
            }
        }
        Self { wanted, seen: HashMap::new(), key: String::new() }
    }

    fn see(&mut self, naming: &Naming, page: &BlobPage, now: &Now) {
        let heard = time::Duration::try_from(now.instant.elapsed()).unwrap_or_default();
        let date = page.date.unwrap_or_else(|| now.time_of_day().saturating_add(heard));
        for blob in &page.blobs {
            let Some(directory) = naming.directory(&blob.name) else { continue };
            self.key.clear();
            self.key.extend(directory.pool.chars().flat_map(char::to_lowercase));
            self.key.push('/');
            self.key.push_str(directory.node);
            let Some(nodes) = self.wanted.get(&self.key) else { continue };
            let age = blob.created_at.map(|created| (date - created).saturating_sub(heard));
            for node in nodes {
                let seen = self.seen.entry(*node).or_default().entry(directory.path.into()).or_insert(age);
                *seen = age.max(*seen);
            }
        }
    }

    fn sightings(
        mut self,
        sought: &[Sought],
        is_whole: impl Fn(&NodeRef) -> bool,
    ) -> HashMap<NodeIndex, SeenNode> {
        let sighting = |sought: &Sought| {
            let directories = self.seen.remove(&sought.node).unwrap_or_default();
            (sought.node, SeenNode { directories, is_whole: is_whole(&sought.at) })
        };
        sought.iter().map(sighting).collect()
    }
}
