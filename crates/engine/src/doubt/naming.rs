//! How an account names the directories of its nodes: `{account}-{16 hex}/{pool id in lower case}/{node id}/{request
//! id}`.
//!
//! What comes before the pool is constant for an account and is learned from accepted calls. A documented sample has
//! `-` where the node id has `_`, so both are looked for.

use std::sync::OnceLock;

use fleetlogs_model::ids::{AccountName, NodeRef, PoolId};

use crate::directory_name::with_hyphens;

/// What an account's accepted calls taught about how its directories are named.
#[derive(Debug)]
pub(crate) struct Naming {
    account: AccountName,
    /// What comes before the pool: empty, or with a slash at its end.
    root: OnceLock<Box<str>>,
}

/// A directory that the name of a blob tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamedDirectory<'name> {
    /// The whole directory.
    pub(crate) path: &'name str,
    pub(crate) pool: &'name str,
    pub(crate) node: &'name str,
}

impl Naming {
    pub(crate) fn of(account: &AccountName) -> Self {
        Self { account: account.clone(), root: OnceLock::new() }
    }

    /// Learns from the directory of an accepted call.
    pub(crate) fn learn(&self, pool: &PoolId, directory: &str) {
        if self.root.get().is_some() {
            return;
        }
        let mut from_the_end = directory.rmatch_indices('/').map(|(at, _)| at).skip(1);
        let Some(pool_ends) = from_the_end.next() else { return };
        let root_ends = from_the_end.next().map_or(0, |at| at + 1);
        if directory[root_ends..pool_ends].eq_ignore_ascii_case(pool.as_str()) {
            // Another task may have learned it first; it learned the same.
            let _ = self.root.set(directory[..root_ends].into());
        }
    }

    /// Whether an accepted call taught it. Before, a directory that is not found may just be named differently.
    pub(crate) fn is_known(&self) -> bool {
        self.root.get().is_some()
    }

    /// A prefix below which all directories of the account are, as far as it is known.
    pub(crate) fn account_prefix(&self) -> String {
        self.root.get().map_or_else(|| format!("{}-", self.account), ToString::to_string)
    }

    /// The directories to list for a node, without a slash at their end; its own are below them. None before the
    /// naming is known.
    pub(crate) fn directories_of(&self, node: &NodeRef) -> Option<Vec<String>> {
        let root = self.root.get()?;
        let pool = node.pool.as_str().to_lowercase();
        Some(spellings(node).into_iter().map(|id| format!("{root}{pool}/{id}")).collect())
    }

    /// The directory that a blob is in, if its name has the form of this account's.
    pub(crate) fn directory<'name>(&self, blob: &'name str) -> Option<NamedDirectory<'name>> {
        let root_ends = if let Some(root) = self.root.get() {
            blob.starts_with(&**root).then_some(root.len())?
        } else {
            let first = blob.split('/').next()?;
            first.strip_prefix(self.account.as_str())?.strip_prefix('-')?;
            first.len() + 1
        };
        let mut parts = blob.get(root_ends..)?.splitn(4, '/');
        let (pool, node, request, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let path = &blob[..blob.len() - file.len() - 1];
        (!request.is_empty()).then_some(NamedDirectory { path, pool, node })
    }
}

/// The forms in which a node id may stand in the name of a directory; its own first.
pub(crate) fn spellings(node: &NodeRef) -> Vec<String> {
    let id = node.node.as_str();
    let mut spellings = vec![id.to_owned()];
    if id.contains('_') {
        spellings.push(with_hyphens(id));
    }
    spellings
}
