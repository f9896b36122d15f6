//! The walk through the container: which files are in each node's directory now, one directory at a time.
//!
//! It lists as the verifier does: one sweep over a common prefix or a listing per directory, whichever is cheaper. The
//! files of one directory are adjacent in a listing; the order of the directories does not matter.

use std::collections::VecDeque;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::listing::ListingOrder;
use fleetlogs_model::service::{BlobDetails, LogStore};

use super::storage_retry::StorageRetry;
use crate::sweep::{Listing, Outlook};

/// A directory that is to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedDirectory {
    /// `virtualDirectoryName`, verbatim.
    pub directory: Box<str>,
    /// The node that it belongs to.
    pub node: NodeIndex,
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDirectory {
    /// The node that it belongs to.
    pub node: NodeIndex,
    /// Its name.
    pub directory: Box<str>,
    /// Its files; none if it is not there.
    pub blobs: Vec<BlobDetails>,
}

/// Goes through the container.
pub struct Walk<'store, S> {
    store: &'store S,
    retry: &'store StorageRetry<'store>,
    /// Sorted by name. The service should never give one directory to two nodes; if it did, both have what is there.
    wanted: Vec<WantedDirectory>,
    outlook: Outlook,
    listings: VecDeque<Listing>,
    current: Option<OpenListing>,
    ready: VecDeque<FoundDirectory>,
    calls: u64,
}

/// A directory that is not visited yet, or was.
struct WantedDirectory {
    /// With a slash at its end, so that directories sort as their blobs do.
    name: Box<str>,
    node: NodeIndex,
    done: bool,
}

impl WantedDirectory {
    fn directory(&self) -> &str {
        self.name.strip_suffix('/').unwrap_or(&self.name)
    }
}

/// A listing under way.
struct OpenListing {
    listing: Listing,
    pages: u64,
    marker: Option<String>,
    open: Option<OpenDirectory>,
}

/// The directory whose files are being listed.
struct OpenDirectory {
    /// Its first position among the wanted ones.
    at: usize,
    /// Its files so far.
    blobs: Vec<BlobDetails>,
    order: ListingOrder,
}

impl OpenDirectory {
    fn at(at: usize) -> Self {
        Self { at, blobs: vec![], order: ListingOrder::default() }
    }

    /// Adds a file, once.
    fn add(&mut self, blob: BlobDetails) -> Result<(), Failure> {
        let is_new = self.order.is_new(&blob.name);
        if is_new.map_err(|why| Failure::new(FailureClass::Transient, why.to_string()))? {
            self.blobs.push(blob);
        }
        Ok(())
    }
}

impl<'store, S: LogStore> Walk<'store, S> {
    /// A walk to these directories, with the number of files that each is thought to hold; nothing is listed yet.
    pub fn new(
        store: &'store S,
        retry: &'store StorageRetry<'store>,
        expected: impl IntoIterator<Item = (ExpectedDirectory, u32)>,
    ) -> Self {
        let mut outlook = Outlook::default();
        let want = |(ExpectedDirectory { directory, node }, files): (ExpectedDirectory, u32)| {
            outlook.promised(&directory, files);
            WantedDirectory { name: [&*directory, "/"].concat().into(), node, done: false }
        };
        let mut wanted: Vec<WantedDirectory> = expected.into_iter().map(want).collect();
        wanted.sort_unstable_by(|one, other| (&one.name, one.node.0).cmp(&(&other.name, other.node.0)));
        let mut walk = Self {
            store,
            retry,
            wanted,
            outlook,
            listings: VecDeque::new(),
            current: None,
            ready: VecDeque::new(),
            calls: 0,
        };
        walk.choose();
        walk
    }

    /// List calls made so far.
    #[must_use]
    pub fn list_calls(&self) -> u64 {
        self.calls
    }

    /// The next directory, with its files if it is there; none when all directories were visited.
    ///
    /// # Errors
    /// The container cannot be listed, even after retries.
    pub async fn next(&mut self) -> Result<Option<FoundDirectory>, Failure> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            if self.current.is_none() {
                let Some(listing) = self.listings.pop_front() else { return Ok(None) };
                self.current = Some(OpenListing { listing, pages: 0, marker: None, open: None });
            }
            self.turn_page().await?;
        }
    }

    /// Chooses the cheapest listings for the directories that are left.
    fn choose(&mut self) {
        let left = self.wanted.iter().filter(|wanted| !wanted.done).map(WantedDirectory::directory);
        self.listings = self.outlook.listings(left).into();
    }

    async fn turn_page(&mut self) -> Result<(), Failure> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if current.pages >= current.listing.most_pages {
            return self.give_up(current);
        }
        let (store, prefix, marker) = (self.store, &current.listing.prefix, current.marker.as_deref());
        let calls = &mut self.calls;
        let page = self
            .retry
            .call(|| {
                *calls += 1;
                store.list_details(prefix, marker)
            })
            .await?;
        current.pages += 1;
        for blob in page.blobs {
            let same = current.open.as_ref().map(|open| open.at).filter(|at| self.is_in(*at, &blob.name));
            let at = same.or_else(|| self.of_blob(&blob.name));
            if current.open.as_ref().map(|open| open.at) != at {
                // Any blob after a directory ends it, also a foreign one.
                if let Some(ended) = std::mem::replace(&mut current.open, at.map(OpenDirectory::at)) {
                    self.finish(ended.at, ended.blobs);
                }
            }
            if let Some(open) = &mut current.open {
                open.add(blob)?;
            }
        }
        if page.next.is_some() && page.next == current.marker {
            return Err(Failure::new(FailureClass::Transient, "the listing's pages loop"));
        }
        current.marker = page.next;
        if current.marker.is_some() {
            self.current = Some(current);
        } else {
            self.end(current);
        }
        Ok(())
    }

    /// The listing is complete: a directory that it did not show does not exist.
    fn end(&mut self, current: OpenListing) {
        let prefix = &*current.listing.prefix;
        self.outlook.swept(prefix, current.pages);
        if let Some(open) = current.open {
            self.finish(open.at, open.blobs);
        }
        let from = self.wanted.partition_point(|wanted| *wanted.name < *prefix);
        let below = self.wanted[from..].iter().take_while(|wanted| wanted.name.starts_with(prefix)).count();
        for at in from..from + below {
            self.finish(at, vec![]);
        }
    }

    /// The listing costs more than it saves: the remaining directories are listed in another way.
    fn give_up(&mut self, current: OpenListing) -> Result<(), Failure> {
        let prefix = &*current.listing.prefix;
        let directory = prefix.trim_end_matches('/');
        match current.open {
            Some(OpenDirectory { at, blobs, .. }) if *self.wanted[at].name == *prefix => {
                tracing::warn!(
                    directory,
                    "a directory has more files than logs can have; the rest is not checked"
                );
                self.finish(at, blobs);
            }
            _ if self.wanted.iter().any(|wanted| *wanted.name == *prefix) => {
                let message = format!("the listing of `{directory}` has no end");
                return Err(Failure::new(FailureClass::Transient, message));
            }
            _ => self.outlook.gave_up(prefix, current.pages),
        }
        self.choose();
        Ok(())
    }

    /// Records what a directory holds, for each node that it was given to.
    fn finish(&mut self, first: usize, mut blobs: Vec<BlobDetails>) {
        let name = self.wanted[first].name.clone();
        let same = self.wanted[first..].iter_mut().take_while(|wanted| wanted.name == name);
        let mut owners = same.filter(|wanted| !wanted.done).peekable();
        while let Some(wanted) = owners.next() {
            wanted.done = true;
            let directory = wanted.directory().into();
            let blobs = if owners.peek().is_some() { blobs.clone() } else { std::mem::take(&mut blobs) };
            self.ready.push_back(FoundDirectory { node: wanted.node, directory, blobs });
        }
    }

    /// Whether the directory at a position holds a blob: most blobs are in that of the one before, and need no search.
    fn is_in(&self, first: usize, blob: &str) -> bool {
        let name = &self.wanted[first].name;
        // A directory within it comes after it.
        let next = self.wanted[first..].iter().find(|wanted| wanted.name != *name);
        blob.starts_with(&**name) && next.is_none_or(|next| *next.name > *blob)
    }

    /// The position of the first entry for the directory that holds a blob.
    fn of_blob(&self, blob: &str) -> Option<usize> {
        let after = self.wanted.partition_point(|wanted| *wanted.name <= *blob);
        let name = &*self.wanted[after.checked_sub(1)?].name;
        blob.starts_with(name).then(|| self.wanted.partition_point(|wanted| *wanted.name < *name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleetlogs_model::retry::RetryPolicy;
    use fleetlogs_model::service::{BlobPage, DetailsPage};
    use parking_lot::Mutex;

    use super::*;

    const RETRY: RetryPolicy = RetryPolicy {
        attempts: 3,
        base_delay: Duration::from_millis(200),
        max_delay: Duration::from_secs(1),
    };

    /// Blobs in the order that they are listed in, and how many of the next calls fail.
    struct Store {
        names: Vec<String>,
        page: usize,
        failures: Mutex<u32>,
    }

    impl LogStore for Store {
        async fn list(&self, _: &str, _: Option<&str>) -> Result<BlobPage, Failure> {
            unreachable!("details are wanted")
        }

        async fn list_details(&self, prefix: &str, marker: Option<&str>) -> Result<DetailsPage, Failure> {
            let mut failures = self.failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err(Failure::new(FailureClass::Transient, "busy"));
            }
            let below: Vec<&String> = self.names.iter().filter(|name| name.starts_with(prefix)).collect();
            let from = marker.map_or(0, |marker| marker.parse().unwrap());
            let blobs = below.iter().skip(from).take(self.page).map(|name| BlobDetails {
                name: (*name).clone(),
                size: 1,
                created_at: None,
                last_modified: None,
                etag: None,
                content_md5: None,
            });
            let next = (from + self.page < below.len()).then(|| (from + self.page).to_string());
            Ok(DetailsPage { blobs: blobs.collect(), next })
        }
    }

    fn store(names: impl IntoIterator<Item = String>) -> Store {
        Store { names: names.into_iter().collect(), page: 5000, failures: Mutex::default() }
    }

    /// What a walk finds: node and number of files, and the list calls.
    async fn walk(store: &Store, directories: &[&str]) -> (Vec<(u32, usize)>, u64) {
        let expected = directories.iter().zip(0..).map(|(directory, node)| {
            (ExpectedDirectory { directory: (*directory).into(), node: NodeIndex(node) }, 4)
        });
        let retry = StorageRetry::new(&RETRY, fastrand::Rng::with_seed(1));
        let mut walk = Walk::new(store, &retry, expected);
        let mut found = Vec::new();
        while let Some(FoundDirectory { node, directory, blobs }) = walk.next().await.unwrap() {
            let prefix = format!("{directory}/");
            assert!(blobs.iter().all(|blob| blob.name.starts_with(&prefix)), "{directory}: {blobs:?}");
            found.push((node.0, blobs.len()));
        }
        found.sort_unstable();
        (found, walk.list_calls())
    }

    fn files(directory: &str, files: usize) -> impl Iterator<Item = String> {
        (0..files).map(move |file| format!("{directory}/{file:05}.log"))
    }

    #[tokio::test]
    async fn one_sweep_shows_them_all_and_what_it_does_not_show_is_not_there() {
        let shown = ["acc/a/1/x", "acc/a/2/x", "acc/b/1/x"].map(|directory| files(directory, 3));
        let store = store(shown.into_iter().flatten().chain(files("acc/b/9/other", 2)));
        let (found, calls) = walk(&store, &["acc/b/1/x", "acc/a/1/x", "acc/a/2/x", "acc/b/2/gone"]).await;
        assert_eq!(found, [(0, 3), (1, 3), (2, 3), (3, 0)]);
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn names_that_begin_alike_are_told_apart_in_whichever_order_they_come() {
        let directories = ["acc/a/1/x", "acc/a-b/1/x", "acc/a/1/x-2"];
        let mut store = store(directories.into_iter().flat_map(|directory| files(directory, 2)));
        store.page = 3;
        assert_eq!(walk(&store, &directories).await.0, [(0, 2), (1, 2), (2, 2)]);
        store.names.sort();
        assert_eq!(walk(&store, &directories).await.0, [(0, 2), (1, 2), (2, 2)]);
    }

    #[tokio::test]
    async fn a_directory_within_another_has_its_own_files() {
        let directories = ["acc/a", "acc/a/m"];
        let store = store(directories.into_iter().flat_map(|directory| files(directory, 2)));
        assert_eq!(walk(&store, &directories).await.0, [(0, 2), (1, 2)]);
    }

    #[tokio::test]
    async fn a_file_that_is_listed_twice_counts_once_and_a_page_out_of_order_fails() {
        let twice = files("acc/a/1/x", 2).flat_map(|name| [name.clone(), name]);
        assert_eq!(walk(&store(twice), &["acc/a/1/x"]).await.0, [(0, 2)]);
        let again = store(files("acc/a/1/x", 2).chain(files("acc/a/1/x", 2)));
        let expected = ExpectedDirectory { directory: "acc/a/1/x".into(), node: NodeIndex(0) };
        let retry = StorageRetry::new(&RETRY, fastrand::Rng::with_seed(1));
        let failure = Walk::new(&again, &retry, [(expected, 2)]).next().await.unwrap_err();
        assert!(failure.message.contains("do not belong together"), "{failure}");
    }

    #[tokio::test]
    async fn a_sweep_that_is_too_dear_is_given_up_and_no_directory_is_told_twice() {
        let foreign = (0..300).map(|run| format!("acc/a/00/old-{run:03}/x"));
        let ours = ["acc/a/1/x", "acc/a/2/x"];
        let mut store = store(files(ours[0], 3).chain(foreign).chain(files(ours[1], 3)));
        store.page = 4;
        let (found, calls) = walk(&store, &ours).await;
        assert_eq!(found, [(0, 3), (1, 3)]);
        assert!(calls <= 6, "{calls} list calls for two directories");
    }

    #[tokio::test]
    async fn a_directory_of_two_nodes_is_there_for_both() {
        let store = store(files("acc/a/1/x", 2));
        assert_eq!(walk(&store, &["acc/a/1/x", "acc/a/1/x"]).await.0, [(0, 2), (1, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_fault_is_waited_out_and_a_lasting_one_is_told() {
        let store = store(files("acc/a/1/x", 2));
        *store.failures.lock() = 2;
        assert_eq!(walk(&store, &["acc/a/1/x"]).await, (vec![(0, 2)], 3));
        *store.failures.lock() = 3;
        let expected = ExpectedDirectory { directory: "acc/a/1/x".into(), node: NodeIndex(0) };
        let retry = StorageRetry::new(&RETRY, fastrand::Rng::with_seed(1));
        let mut walk = Walk::new(&store, &retry, [(expected, 2)]);
        assert_eq!(&*walk.next().await.unwrap_err().message, "busy");
    }

    #[tokio::test]
    async fn a_hundred_thousand_files_cost_their_pages() {
        let directories: Vec<String> = (0..20_000).map(|node| format!("acc/a/n{node:05}/x")).collect();
        let store = store(directories.iter().flat_map(|directory| files(directory, 4)));
        let names: Vec<&str> = directories.iter().map(String::as_str).collect();
        let (found, calls) = walk(&store, &names).await;
        assert_eq!((found.len(), calls), (20_000, 16));
    }
}
