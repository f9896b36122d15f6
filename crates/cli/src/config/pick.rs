//! Narrows the selection for a command, a snapshot or an occurrence.

use fleetlogs_engine::jobs::JobFilter;
use fleetlogs_engine::select::ExactNodes;
use fleetlogs_model::ids::{AccountName, NodeRef};
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::settings::Settings;
use crate::args::Pick;

/// Why the selection cannot be narrowed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickError {
    /// No account of the config matches `--account`.
    #[error("no account of the config matches; it has: {0}")]
    NoSuchAccount(String),
    /// An embedded simulated fleet has no accounts to select from.
    #[error(
        "`--account`, `--pool`, `--node`, `--state` and `--job` select among the accounts of a config, but this one has \
         a [simulator]"
    )]
    Simulated,
    /// The patterns are more than can be searched for at once.
    #[error("the patterns are too long: {0}")]
    TooLong(#[from] globset::Error),
}

/// The patterns of an option as one; none if there are none. Each is a pattern, but together they may be too large.
pub(crate) fn pattern_set(globs: &[Glob]) -> Result<Option<GlobSet>, PickError> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob.clone());
    }
    Ok((!globs.is_empty()).then(|| set.build()).transpose()?)
}

impl Settings {
    /// Narrows the selection to what is picked.
    pub(crate) fn narrow(&mut self, pick: &Pick) -> Result<(), PickError> {
        if self.simulator.is_some() && *pick != Pick::default() {
            return Err(PickError::Simulated);
        }
        if let Some(wanted) = pattern_set(&pick.accounts)? {
            let names: Vec<_> = self.accounts.iter().map(|account| account.name.to_string()).collect();
            self.accounts.retain(|account| wanted.is_match(account.name.as_str()));
            match &mut self.discover {
                Some(discover) => discover.only = Some(wanted),
                None if self.accounts.is_empty() => {
                    return Err(PickError::NoSuchAccount(names.join(", ")));
                }
                None => {}
            }
        }
        let of_accounts = self.accounts.iter_mut().map(|account| &mut account.selection);
        let of_found = self.discover.iter_mut().map(|discover| &mut discover.shared.selection);
        for selection in of_accounts.chain(of_found) {
            selection.pools.only = pattern_set(&pick.pools)?;
            selection.nodes.only = pattern_set(&pick.nodes)?;
            let written = |globs: &[Glob]| globs.iter().map(|glob| glob.glob().to_owned()).collect();
            selection.pools.only_written = written(&pick.pools);
            selection.nodes.only_written = written(&pick.nodes);
            if !pick.jobs.is_empty() {
                let job = |id: &String| JobFilter { id: id.clone(), tasks: None, since: None, until: None };
                selection.jobs = pick.jobs.iter().map(job).collect();
            }
            if !pick.states.is_empty() {
                selection.nodes.states = Some(pick.states.clone());
            }
        }
        Ok(())
    }

    /// Narrows the selection to one account.
    pub(crate) fn only_account(&mut self, name: &AccountName) {
        self.accounts.retain(|account| account.name == *name);
        if !self.accounts.is_empty() {
            self.discover = None;
        } else if let Some(discover) = &mut self.discover {
            let pattern = Glob::new(&globset::escape(name.as_str())).expect("an escaped text is a pattern");
            let names = GlobSetBuilder::new().add(pattern).build();
            discover.only = Some(names.expect("one pattern is not too many"));
        }
    }

    /// Narrows the selection to exactly these nodes, whatever their state; `jobs` stays as it is.
    pub(crate) fn only_nodes(&mut self, nodes: &[NodeRef]) {
        let exact: ExactNodes = nodes.iter().cloned().collect();
        let mut names = GlobSetBuilder::new();
        for name in exact.accounts() {
            names.add(Glob::new(&globset::escape(name.as_str())).expect("an escaped text is a pattern"));
        }
        self.accounts.retain(|account| exact.accounts().any(|name| *name == account.name));
        if let Some(discover) = &mut self.discover {
            discover.only = Some(names.build().expect("each is a pattern"));
            discover.shared.selection.exact = Some(exact.clone());
        }
        for account in &mut self.accounts {
            account.selection.exact = Some(exact.clone());
        }
    }
}
