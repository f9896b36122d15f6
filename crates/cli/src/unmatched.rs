//! Patterns of pools and nodes that match nothing: most are a slip of the pen, and what was meant is listed.

use std::collections::{BTreeMap, BTreeSet};

use fleetlogs_engine::select::Selection;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::Plan;
use globset::Glob;

/// So many names are shown, nearest first.
const SHOWN: usize = 5;

/// Where a pattern is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// `--pool`.
    PoolOption,
    /// `pools` of the config.
    Pools,
    /// `--node`.
    NodeOption,
}

/// A pattern that matches nothing anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnmatchedPattern {
    place: Place,
    pattern: String,
    /// The account whose `pools` has it, if it is only one.
    account: Option<String>,
    /// Names that there are, nearest first.
    there: Vec<String>,
    /// The name that was most likely meant.
    near: Option<String>,
    /// Whether only capitals differ.
    by_case: bool,
}

impl UnmatchedPattern {
    fn of(place: Place, pattern: &str, account: Option<String>, names: &BTreeSet<String>) -> Self {
        let lower = pattern.to_lowercase();
        let glob = Glob::new(&lower).ok().map(|glob| glob.compile_matcher());
        let matches = |name: &str| glob.as_ref().is_some_and(|glob| glob.is_match(name.to_lowercase()));
        let plain: String = lower.chars().filter(|char| !"*?[]{}".contains(*char)).collect();
        let length = plain.chars().count();
        let distance = |name: &str| {
            let name = name.to_lowercase();
            // A slip in the beginning of a name is near, however long the name goes on.
            let begins = (length.saturating_sub(1)..=length + 1)
                .map(|count| name.chars().take(count).collect::<String>());
            let distances = begins.map(|begin| strsim::damerau_levenshtein(&plain, &begin));
            distances.min().unwrap_or(usize::MAX).min(strsim::damerau_levenshtein(&plain, &name))
        };
        let mut ranked: Vec<_> = names.iter().map(|name| (!matches(name), distance(name), name)).collect();
        ranked.sort();
        let first = ranked.first();
        let by_case = first.is_some_and(|(is_other, ..)| !is_other);
        let is_near =
            |(is_other, distance, _): &&(bool, usize, &String)| !is_other || *distance <= (length / 3).max(1);
        let near = first.filter(|_| length > 0).filter(is_near).map(|(.., name)| (*name).clone());
        let there = ranked.into_iter().map(|(.., name)| name.clone()).collect();
        Self { place, pattern: pattern.to_owned(), account, there, near, by_case }
    }

    /// What is wrong, as an end of a sentence.
    pub(crate) fn what(&self) -> String {
        match self.place {
            Place::PoolOption => format!("`--pool {}` matches no pool", self.pattern),
            Place::NodeOption => format!("`--node {}` matches no node", self.pattern),
            Place::Pools => format!("`{}` in `pools` matches no pool", self.pattern),
        }
    }

    /// What it is about.
    pub(crate) fn about(&self) -> String {
        match &self.account {
            Some(account) => format!("account `{account}`"),
            None => "selection".into(),
        }
    }

    /// What to do.
    pub(crate) fn help(&self) -> String {
        match &self.near {
            Some(name) if self.by_case => format!("did you mean `{name}`? Case matters"),
            Some(name) => format!("did you mean `{name}`?"),
            None if self.place == Place::NodeOption => {
                "name one that there is: `fleetlogs plan --nodes` lists them".into()
            }
            None if self.there.is_empty() => "check the names of the accounts: none has a pool".into(),
            None => "name one that there is, or a pattern such as 'render-*'".into(),
        }
    }

    /// Which names there are.
    pub(crate) fn there(&self) -> String {
        let kind = if self.place == Place::NodeOption { "nodes" } else { "pools" };
        let shown: Vec<_> = self.there.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        let more = match self.there.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        if shown.is_empty() {
            format!("there are no {kind}")
        } else {
            format!("{kind} there are: {}{more}", shown.join(", "))
        }
    }
}

/// The patterns of the selection that match nothing, of the options first. Nothing is said about a pattern if an account
/// that it is for could not be listed.
pub(crate) fn unmatched_patterns(
    accounts: &[(&AccountName, &Selection)],
    plan: &Plan,
) -> Vec<UnmatchedPattern> {
    // Exact nodes are selected without regard to patterns.
    if accounts.iter().any(|(_, selection)| selection.exact.is_some()) {
        return vec![];
    }
    let pools = pools_of(plan);
    let mut patterns: BTreeMap<(Place, &str), Vec<&str>> = BTreeMap::new();
    for (name, selection) in accounts {
        let (name, filter) = (name.as_str(), &selection.pools);
        for (place, written) in
            [(Place::PoolOption, &filter.only_written), (Place::Pools, &filter.ids_written)]
        {
            for pattern in written {
                patterns.entry((place, pattern)).or_default().push(name);
            }
        }
    }
    let is_listed = |name: &str| {
        plan.accounts.iter().any(|account| account.name.as_str() == name && account.unlisted.is_none())
    };
    let mut unmatched = Vec::new();
    for ((place, pattern), of) in patterns {
        let Ok(glob) = Glob::new(pattern).map(|glob| glob.compile_matcher()) else { continue };
        let names = || of.iter().filter_map(|name| pools.get(*name)).flatten();
        if !of.iter().all(|name| is_listed(name)) || names().any(|pool| glob.is_match(pool)) {
            continue;
        }
        let account = (place == Place::Pools && of.len() == 1).then(|| of[0].to_owned());
        unmatched.push(UnmatchedPattern::of(place, pattern, account, &names().cloned().collect()));
    }
    if plan.nodes.is_empty() && unmatched.is_empty() {
        unmatched.extend(unmatched_nodes(accounts, plan));
    }
    unmatched
}

/// The pools of each account that was listed, wanted or not.
fn pools_of(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let mut pools: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let listed = plan.pools.iter().map(|pool| (&pool.account, &pool.pool));
    let left_out = plan.left_out.iter().map(|left| (&left.account, &left.pool));
    for (account, pool) in listed.chain(left_out) {
        pools.entry(account.to_string()).or_default().insert(pool.to_string());
    }
    pools
}

/// Patterns of `--node`, where they leave no node: every node that was listed is then among those left out.
fn unmatched_nodes(accounts: &[(&AccountName, &Selection)], plan: &Plan) -> Vec<UnmatchedPattern> {
    let written: BTreeSet<&String> =
        accounts.iter().flat_map(|(_, selection)| &selection.nodes.only_written).collect();
    if written.is_empty() {
        return vec![];
    }
    let names: BTreeSet<String> =
        plan.left_out.iter().filter_map(|left| left.node.as_ref()).map(ToString::to_string).collect();
    let is_unmatched = |pattern: &str| {
        Glob::new(pattern).is_ok_and(|glob| {
            let glob = glob.compile_matcher();
            !names.iter().any(|name| glob.is_match(name))
        })
    };
    let unmatched = written.into_iter().filter(|pattern| is_unmatched(pattern));
    unmatched.map(|pattern| UnmatchedPattern::of(Place::NodeOption, pattern, None, &names)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pattern: &str, names: &[&str]) -> String {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let unmatched = UnmatchedPattern::of(Place::PoolOption, pattern, None, &names);
        format!("{}; {}; {}", unmatched.what(), unmatched.there(), unmatched.help())
    }

    #[test]
    fn the_nearest_names_come_first_and_capitals_count() {
        let pools = ["isolated-vnet", "render-eu", "render-us", "sim", "train-a", "train-b", "warm"];
        let all = ["Render-EU", "rendr", "rendr-*", "SIM*", "gpu*"].map(|pattern| told(pattern, &pools));
        insta::assert_snapshot!(all.join("\n"), @r"
        `--pool Render-EU` matches no pool; pools there are: `render-eu`, `render-us`, `isolated-vnet`, `train-a`, `train-b` and 2 more; did you mean `render-eu`? Case matters
        `--pool rendr` matches no pool; pools there are: `render-eu`, `render-us`, `isolated-vnet`, `sim`, `train-a` and 2 more; did you mean `render-eu`?
        `--pool rendr-*` matches no pool; pools there are: `render-eu`, `render-us`, `train-a`, `train-b`, `warm` and 2 more; did you mean `render-eu`?
        `--pool SIM*` matches no pool; pools there are: `sim`, `isolated-vnet`, `render-eu`, `render-us`, `train-a` and 2 more; did you mean `sim`? Case matters
        `--pool gpu*` matches no pool; pools there are: `isolated-vnet`, `render-eu`, `render-us`, `sim`, `train-a` and 2 more; name one that there is, or a pattern such as 'render-*'
        ");
        assert_eq!(
            told("render", &[]),
            "`--pool render` matches no pool; there are no pools; check the names of the accounts: none has a pool"
        );
    }
}
