//! How to look at many directories with few list calls.
//!
//! A listing answers with 5,000 blobs a page, so one sweep over a common prefix is cheaper than a listing per
//! directory, unless the prefix also holds much that nobody waits for (older runs in the same container). Prefixes are
//! those of a pool, of an account, and what the names of all accounts begin with. Which is cheapest is learned from the
//! files promised below a prefix, and from the pages that the last sweep took. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

/// Blobs of one page, at most: the service's limit.
pub const PAGE: u64 = 5000;

/// Pages of one directory, at most: 100,000 files are not the logs of a node, but a listing without an end.
const MOST_OF_ONE: u64 = 20;

/// Accounts that may share a sweep, at least: for fewer it saves little, and it lists what lies between them.
const SHARING: usize = 4;

/// One listing to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Lists every blob whose name starts with this. It has a slash at its end, unless it is that of several accounts.
    pub prefix: String,
    /// Past this many pages the listing costs more than it saves, and is given up.
    pub most_pages: u64,
}

impl Listing {
    /// That of one directory.
    #[must_use]
    pub fn of_one(directory: &str) -> Self {
        Self { prefix: format!("{directory}/"), most_pages: MOST_OF_ONE }
    }
}

/// What a look is for, below the prefix of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Directories to look at.
    pub directories: u64,
    /// Files about which the look is expected to tell something new.
    pub news: u64,
}

impl AddAssign for Wanted {
    fn add_assign(&mut self, other: Self) {
        self.directories += other.directories;
        self.news += other.news;
    }
}

/// A way to look at the directories of one or more pools.
#[derive(Clone, Debug)]
pub struct Choice<'pool> {
    /// The listings.
    pub way: Way<'pool>,
    /// What it is expected to cost.
    pub pages: u64,
    /// Files about which it is expected to tell something new.
    pub news: u64,
}

/// The listings of a [`Choice`].
#[derive(Clone, Debug)]
pub enum Way<'pool> {
    /// One sweep.
    Sweep(Listing),
    /// A listing for each directory below the prefix of this pool.
    Each(&'pool str),
}

#[derive(Clone, Copy, Debug, Default)]
struct PrefixCost {
    promised: u64,
    /// Of the last sweep.
    pages: u64,
    /// What was promised when it was made.
    promised_then: u64,
}

impl PrefixCost {
    fn swept(&mut self, pages: u64) {
        *self = Self { pages, promised_then: self.promised, ..*self };
    }

    /// Pages of the next sweep.
    fn expected(self) -> u64 {
        let since = self.promised.saturating_sub(self.promised_then);
        let learned = if self.pages == 0 { 0 } else { self.pages + since / PAGE };
        self.promised.div_ceil(PAGE).max(learned).max(1)
    }
}

/// What is known about the cost of prefixes.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    known: HashMap<Box<str>, PrefixCost>,
    /// What the names of all accounts begin with.
    all: PrefixCost,
}

impl Outlook {
    /// Files were promised in a directory.
    pub fn promised(&mut self, directory: &str, files: u32) {
        let files = u64::from(files);
        self.all.promised += files;
        for depth in [1, 2] {
            let prefix = prefix_of(directory, depth);
            if let Some(known) = self.known.get_mut(prefix) {
                known.promised += files;
            } else {
                self.known.insert(prefix.into(), PrefixCost { promised: files, ..PrefixCost::default() });
            }
        }
    }

    /// A sweep over a prefix took this many pages.
    pub fn swept(&mut self, prefix: &str, pages: u64) {
        match prefix.strip_suffix('/') {
            Some(prefix) => {
                if let Some(known) = self.known.get_mut(prefix) {
                    known.swept(pages);
                }
            }
            None => self.all.swept(pages),
        }
    }

    /// A sweep over a prefix was given up after this many pages. That it would have taken few more is unlikely.
    pub fn gave_up(&mut self, prefix: &str, pages: u64) {
        self.swept(prefix, pages.saturating_mul(10));
    }

    fn pages(&self, prefix: &str) -> u64 {
        self.known.get(prefix).copied().unwrap_or_default().expected()
    }

    /// The cheapest set of listings that together show all the directories.
    #[must_use]
    pub fn listings<'dirs>(&self, directories: impl IntoIterator<Item = &'dirs str>) -> Vec<Listing> {
        let mut pools: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for directory in directories {
            pools.entry(pool_of(directory)).or_default().push(directory);
        }
        let wanted = pools
            .iter()
            .map(|(pool, directories)| (*pool, Wanted { directories: directories.len() as u64, news: 0 }));
        let listings = self.choose(wanted).into_iter().flat_map(|choice| match choice.way {
            Way::Sweep(listing) => vec![listing],
            Way::Each(pool) => pools[pool].iter().map(|directory| Listing::of_one(directory)).collect(),
        });
        listings.collect()
    }

    /// The cheapest way to look at what is wanted below the prefix of each pool.
    #[must_use]
    pub fn choose<'pool>(
        &self,
        wanted: impl IntoIterator<Item = (&'pool str, Wanted)>,
    ) -> Vec<Choice<'pool>> {
        let mut accounts: BTreeMap<&str, Vec<(&str, Wanted)>> = BTreeMap::new();
        for (pool, wanted) in wanted {
            accounts.entry(prefix_of(pool, 1)).or_default().push((pool, wanted));
        }
        let choices: Vec<_> =
            accounts.iter().flat_map(|(account, pools)| self.choose_in(account, pools)).collect();
        let replaced: u64 = choices.iter().map(|choice| choice.pages).sum();
        let (first, last) = (accounts.keys().next(), accounts.keys().next_back());
        if let (Some(first), Some(last)) = (first, last)
            && accounts.len() >= SHARING
            && self.all.promised > 0
            && self.all.expected() < replaced
        {
            let prefix = common(first, last).to_owned();
            let news = choices.iter().map(|choice| choice.news).sum();
            return vec![sweep(prefix, self.all.expected(), replaced, news)];
        }
        choices
    }

    /// The same in one account.
    fn choose_in<'pool>(&self, account: &str, pools: &[(&'pool str, Wanted)]) -> Vec<Choice<'pool>> {
        let cost = |(pool, wanted): &(&str, Wanted)| self.pages(pool).min(wanted.directories);
        let by_pool: u64 = pools.iter().map(cost).sum();
        // At equal cost by pool: those sweeps are made side by side.
        if self.pages(account) < by_pool {
            let news = pools.iter().map(|(_, wanted)| wanted.news).sum();
            return vec![sweep(format!("{account}/"), self.pages(account), by_pool, news)];
        }
        let choose = |(pool, Wanted { directories, news }): &(&'pool str, Wanted)| {
            let pages = self.pages(pool);
            if pages <= *directories {
                sweep(format!("{pool}/"), pages, *directories, *news)
            } else {
                Choice { way: Way::Each(pool), pages: *directories, news: *news }
            }
        };
        pools.iter().map(choose).collect()
    }
}

/// A sweep is worth at most twice what it replaces: then even a wrong guess costs little.
fn sweep<'pool>(prefix: String, pages: u64, replaced: u64, news: u64) -> Choice<'pool> {
    Choice { way: Way::Sweep(Listing { prefix, most_pages: replaced.saturating_mul(2) }), pages, news }
}

/// The prefix that a directory shares with those of its pool, without a slash at its end.
#[must_use]
pub fn pool_of(directory: &str) -> &str {
    prefix_of(directory, 2)
}

/// The first segments of a directory, without the last slash; all of it where it has no more.
fn prefix_of(directory: &str, segments: usize) -> &str {
    match directory.match_indices('/').nth(segments - 1) {
        Some((at, _)) => &directory[..at],
        None => directory,
    }
}

/// What two names begin with.
fn common<'name>(one: &'name str, other: &str) -> &'name str {
    let same = one.char_indices().zip(other.chars()).find(|((_, one), other)| one != other);
    same.map_or_else(|| &one[..one.len().min(other.len())], |((at, _), _)| &one[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(outlook: &Outlook, directories: &[String]) -> Vec<String> {
        outlook
            .listings(directories.iter().map(String::as_str))
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
        outlook.swept("acc-00/", 200);
        outlook.swept("acc-00/pool0/", 90);
        assert_eq!(prefixes(&outlook, &directories), ["acc-00/pool0/n0/id/"]);
    }

    #[test]
    fn a_pool_is_swept_where_only_the_account_is_large() {
        let (mut outlook, directories) = fleet(2, 10, 4);
        outlook.swept("acc-00/", 200);
        assert_eq!(prefixes(&outlook, &directories), ["acc-00/pool0/", "acc-00/pool1/"]);
    }

    #[test]
    fn a_sweep_is_given_up_when_it_costs_more_than_it_saves() {
        let (outlook, directories) = fleet(1, 7, 4);
        let listings = outlook.listings(directories.iter().map(String::as_str));
        assert_eq!(listings, [Listing { prefix: "acc-00/pool0/".into(), most_pages: 14 }]);
    }

    #[test]
    fn a_million_files_cost_their_pages() {
        let (outlook, directories) = fleet(10, 1000, 100);
        let pages: u64 = outlook
            .listings(directories.iter().map(String::as_str))
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

    #[test]
    fn accounts_share_a_sweep_over_what_their_names_begin_with() {
        let mut outlook = Outlook::default();
        let directories: Vec<_> = (10..60).map(|account| format!("acc{account}-0F/pool/n0/id")).collect();
        for directory in &directories {
            outlook.promised(directory, 100);
        }
        let listings = outlook.listings(directories.iter().map(String::as_str));
        assert_eq!(listings, [Listing { prefix: "acc".into(), most_pages: 100 }]);
        // It turned out to hold much else.
        outlook.gave_up("acc", 100);
        assert_eq!(prefixes(&outlook, &directories).len(), 50);
    }

    #[test]
    fn a_sweep_costs_what_it_took_and_what_was_promised_since() {
        let (mut outlook, _) = fleet(1, 1000, 5);
        assert_eq!(outlook.pages("acc-00/pool0"), 1);
        outlook.swept("acc-00/pool0/", 30);
        assert_eq!(outlook.pages("acc-00/pool0"), 30);
        outlook.promised("acc-00/pool0/n0/id", 10_000);
        assert_eq!(outlook.pages("acc-00/pool0"), 32);
    }

    #[test]
    fn names_have_in_common_what_they_begin_with() {
        for (one, other, shared) in [
            ("ab", "ac", "a"),
            ("a", "ab", "a"),
            ("ab", "a", "a"),
            ("x", "y", ""),
            ("é1", "é2", "é"),
            ("é", "è", ""),
        ] {
            assert_eq!(common(one, other), shared);
        }
    }
}
