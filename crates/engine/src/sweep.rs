//! How to look at many directories with few list calls.
//!
//! A listing answers with 5,000 blobs a page, so one sweep over a common prefix is cheaper than a listing per
//! directory, unless the prefix also holds much that nobody waits for (older runs in the same container). Which is
//! cheaper is learned from the files promised below a prefix, and from the pages that the last sweep took. Pure.

use std::collections::{BTreeMap, HashMap};

/// Blobs of one page, at most: the service's limit.
const PAGE: u64 = 5000;

/// Pages of one directory, at most: 100,000 files are not the logs of a node, but a listing without an end.
const MOST_OF_ONE: u64 = 20;

/// One listing to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Lists every blob whose name starts with this.
    pub prefix: String,
    /// Past this many pages the listing costs more than it saves, and is given up.
    pub most_pages: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct PrefixCost {
    promised: u64,
    pages: u64,
}

/// What is known about the cost of prefixes.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    known: HashMap<String, PrefixCost>,
}

impl Outlook {
    /// Files were promised in a directory.
    pub fn promised(&mut self, directory: &str, files: u32) {
        for depth in [1, 2] {
            let known = self.known.entry(prefix_of(directory, depth).to_owned()).or_default();
            known.promised += u64::from(files);
        }
    }

    /// A sweep over a prefix took this many pages, or was given up after that many.
    pub fn swept(&mut self, prefix: &str, pages: u64) {
        if let Some(known) = self.known.get_mut(prefix) {
            known.pages = pages;
        }
    }

    fn pages(&self, prefix: &str) -> u64 {
        let known = self.known.get(prefix).copied().unwrap_or_default();
        known.promised.div_ceil(PAGE).max(known.pages).max(1)
    }

    /// The cheapest set of listings that together show all the directories.
    #[must_use]
    pub fn choose<'dirs>(&self, directories: impl IntoIterator<Item = &'dirs str>) -> Vec<Listing> {
        let mut accounts: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for directory in directories {
            let pools = accounts.entry(prefix_of(directory, 1)).or_default();
            pools.entry(prefix_of(directory, 2)).or_default().push(directory);
        }
        let mut listings = Vec::new();
        for (account, pools) in accounts {
            let by_pool: u64 = pools.iter().map(|(pool, dirs)| self.pages(pool).min(dirs.len() as u64)).sum();
            // At equal cost by pool: those sweeps are made side by side.
            if self.pages(account) < by_pool {
                listings.push(Listing { prefix: format!("{account}/"), most_pages: worth(by_pool) });
                continue;
            }
            for (pool, directories) in pools {
                let count = directories.len() as u64;
                if self.pages(pool) <= count {
                    listings.push(Listing { prefix: format!("{pool}/"), most_pages: worth(count) });
                } else {
                    let each =
                        |directory| Listing { prefix: format!("{directory}/"), most_pages: MOST_OF_ONE };
                    listings.extend(directories.into_iter().map(each));
                }
            }
        }
        listings
    }
}

/// A sweep is worth at most twice what it replaces: then even a wrong guess costs little.
fn worth(replaced: u64) -> u64 {
    replaced.saturating_mul(2)
}

/// The first segments of a directory, without the last slash; all of it where it has no more.
fn prefix_of(directory: &str, segments: usize) -> &str {
    match directory.match_indices('/').nth(segments - 1) {
        Some((at, _)) => &directory[..at],
        None => directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(outlook: &Outlook, directories: &[String]) -> Vec<String> {
        outlook
            .choose(directories.iter().map(String::as_str))
            .into_iter()
            .map(|listing| listing.prefix)
            .collect()
    }

    fn fleet(pools: u32, nodes: u32, files: u32) -> (Outlook, Vec<String>) {
        let mut outlook = Outlook::default();
        let directories: Vec<String> = (0..pools)
            .flat_map(|pool| (0..nodes).map(move |node| format!("acc-00/pool{pool}/n{node}/id")))
            .collect();
        for directory in &directories {
            outlook.promised(directory, files);
        }
        (outlook, directories)
    }

    #[test]
    fn many_directories_are_seen_in_one_sweep() {
        let (outlook, directories) = fleet(20, 100, 4);
        assert_eq!(prefixes(&outlook, &directories), ["acc-00/"]);
    }

    #[test]
    fn one_directory_is_listed_by_itself_where_its_prefix_is_known_to_be_large() {
        let (mut outlook, directories) = fleet(1, 1, 4);
        outlook.swept("acc-00", 200);
        outlook.swept("acc-00/pool0", 90);
        assert_eq!(prefixes(&outlook, &directories), ["acc-00/pool0/n0/id/"]);
    }

    #[test]
    fn a_pool_is_swept_where_only_the_account_is_large() {
        let (mut outlook, directories) = fleet(2, 10, 4);
        outlook.swept("acc-00", 200);
        assert_eq!(prefixes(&outlook, &directories), ["acc-00/pool0/", "acc-00/pool1/"]);
    }

    #[test]
    fn a_sweep_is_given_up_when_it_costs_more_than_it_saves() {
        let (outlook, directories) = fleet(1, 7, 4);
        let listings = outlook.choose(directories.iter().map(String::as_str));
        assert_eq!(listings, [Listing { prefix: "acc-00/pool0/".into(), most_pages: 14 }]);
    }

    #[test]
    fn a_million_files_cost_their_pages() {
        let (outlook, directories) = fleet(10, 1000, 100);
        let pages: u64 = outlook
            .choose(directories.iter().map(String::as_str))
            .iter()
            .map(|listing| outlook.pages(listing.prefix.trim_end_matches('/')))
            .sum();
        assert_eq!(pages, 200);
    }

    #[test]
    fn directories_of_other_forms_are_listed_too() {
        let mut outlook = Outlook::default();
        outlook.promised("flat", 1);
        outlook.promised("pool/node/id", 1);
        let directories = ["flat".to_owned(), "pool/node/id".to_owned()];
        assert_eq!(prefixes(&outlook, &directories), ["flat/", "pool/node/"]);
    }
}
