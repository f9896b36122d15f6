//! What became of a call whose answer was lost: the container is searched for a directory of that node made since
//! the call.
//!
//! Directories are named `{account}-{16 hex}/{pool id in lower case}/{node id}/{request id}`. What comes before the
//! pool is constant for an account and is learned from accepted calls. A documented sample has `-` where the node id
//! has `_`, so both are looked for. Before anything is learned, everything that starts with the account's name is
//! searched; a directory found that way is certain, but one that is not found may just be named differently.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use fleetlogs_model::event::Event;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{NodeId, NodeIndex, NodeRef, PoolId};
use fleetlogs_model::service::LogStore;
use time::OffsetDateTime;

use crate::run::Run;
use crate::stop::Stop;

/// Creation times have a resolution of one second, and two clocks are compared.
const TOLERANCE: time::Duration = time::Duration::seconds(2);

/// Pages of one search, at most: 50 million blobs.
const MOST_PAGES: u32 = 10_000;

/// What an account's accepted calls taught about how its directories are named.
#[derive(Debug, Default)]
pub struct Naming {
    /// What comes before the pool: empty, or with a slash at its end.
    root: OnceLock<Box<str>>,
}

impl Naming {
    /// Learns from the directory of an accepted call.
    pub fn learn(&self, pool: &PoolId, directory: &str) {
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

    /// The prefixes to list for a node; directories of others may be below them.
    fn prefixes(&self, node: &NodeRef) -> Vec<String> {
        let Some(root) = self.root.get() else { return vec![format!("{}-", node.account)] };
        let pool = node.pool.as_str().to_lowercase();
        let mut prefixes = vec![format!("{root}{pool}/{}/", node.node)];
        if node.node.as_str().contains('_') {
            prefixes.push(format!("{root}{pool}/{}/", with_hyphens(&node.node)));
        }
        prefixes
    }

    /// The directory part of a blob's name, if the blob is one of this node.
    fn directory_of<'name>(&self, blob: &'name str, node: &NodeRef) -> Option<&'name str> {
        let root_ends = if let Some(root) = self.root.get() {
            blob.starts_with(&**root).then_some(root.len())?
        } else {
            let first = blob.split('/').next()?;
            first.strip_prefix(node.account.as_str())?.strip_prefix('-')?;
            first.len() + 1
        };
        let mut parts = blob.get(root_ends..)?.splitn(4, '/');
        let (pool, id, request, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let this_node = id == node.node.as_str() || id == with_hyphens(&node.node);
        let fits = pool.eq_ignore_ascii_case(node.pool.as_str()) && this_node && !request.is_empty();
        fits.then(|| &blob[..blob.len() - file.len() - 1])
    }
}

/// A node whose call was repeated after the settle time, which is a guess: its first call may have left a directory
/// that showed up later.
#[derive(Debug)]
pub struct RepeatedCall {
    pub(crate) node: NodeIndex,
    /// On the service's clock.
    pub(crate) since: OffsetDateTime,
    pub(crate) naming: Arc<Naming>,
}

/// Searches once more for directories of nodes whose call was repeated, and records what is there. Call this when the
/// files have arrived; a run that is told to stop leaves it for later.
pub async fn look_for_duplicates<S: LogStore>(run: &Run, store: &S, repeated: Vec<RepeatedCall>) {
    for RepeatedCall { node, since, naming } in repeated {
        let at = run.plan.node(node).at();
        let found = tokio::select! {
            found = search(store, &naming, &at, since, &[]) => found,
            () = run.stop.reached(Stop::Drain) => return,
        };
        let directories = match found {
            Ok(Finding::Found { directory, others }) => others.into_iter().chain([directory]).collect(),
            Ok(Finding::Absent) => vec![],
            // The manifest still says that there may be one.
            Ok(Finding::Unknown) => continue,
            Err(failure) => {
                tracing::warn!(node = %at, %failure, "cannot search for a second directory of a node");
                continue;
            }
        };
        if run.log.note(Some(node), Event::DirectoriesFound { directories }).is_err() {
            return;
        }
    }
}

fn with_hyphens(node: &NodeId) -> String {
    node.as_str().replace('_', "-")
}

/// What the container says about a call in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No directory of that node was made since the call.
    Absent,
    /// None was found, but how the account names its directories is not known yet.
    Unknown,
    /// The newest directory made since the call, and any others.
    Found {
        /// The newest.
        directory: Box<str>,
        /// The others.
        others: Vec<Box<str>>,
    },
}

/// Searches the container for directories of `node` made since `since` (on the service's clock), except those `known`
/// to be another call's.
pub async fn search<S: LogStore>(
    store: &S,
    naming: &Naming,
    node: &NodeRef,
    since: OffsetDateTime,
    known: &[Box<str>],
) -> Result<Finding, Failure> {
    let mut made: BTreeMap<Box<str>, OffsetDateTime> = BTreeMap::new();
    for prefix in naming.prefixes(node) {
        let mut marker: Option<String> = None;
        for pages in 0.. {
            if pages >= MOST_PAGES {
                return Err(Failure::new(FailureClass::Transient, "the listing has no end"));
            }
            let page = store.list(&prefix, marker.as_deref()).await?;
            for blob in &page.blobs {
                let (Some(directory), Some(created)) =
                    (naming.directory_of(&blob.name, node), blob.created_at)
                else {
                    continue;
                };
                let first = made.entry(directory.into()).or_insert(created);
                *first = created.min(*first);
            }
            if page.next.is_none() || page.next == marker {
                break;
            }
            marker = page.next;
        }
    }
    made.retain(|directory, created| *created >= since - TOLERANCE && !known.contains(directory));
    let newest = made.iter().max_by_key(|(_, created)| **created).map(|(directory, _)| directory.clone());
    Ok(match newest {
        None if naming.root.get().is_none() => Finding::Unknown,
        None => Finding::Absent,
        Some(directory) => {
            made.remove(&directory);
            Finding::Found { directory, others: made.into_keys().collect() }
        }
    })
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::AccountName;
    use fleetlogs_model::service::Blob;

    use super::*;
    use crate::testing::{NOW, ScriptedStore};

    fn node(id: &str) -> NodeRef {
        NodeRef { account: AccountName::new("contoso"), pool: PoolId::new("Render"), node: NodeId::new(id) }
    }

    fn store(blobs: &[(&str, i64)]) -> Arc<ScriptedStore> {
        let store = Arc::new(ScriptedStore::default());
        for (name, age) in blobs {
            let created_at = Some(NOW + time::Duration::seconds(*age));
            store.blobs.lock().insert((*name).into(), Blob { name: (*name).into(), size: 1, created_at });
        }
        store
    }

    #[tokio::test]
    async fn the_newest_directory_since_the_call_is_found_and_older_ones_are_not() {
        let store = store(&[
            ("contoso-00/render/n1/before/a.log", -60),
            ("contoso-00/render/n1/first/a.log", 1),
            ("contoso-00/render/n1/second/a.log", 9),
            ("contoso-00/render/n1/second/b.log", 30),
            ("contoso-00/render/n10/other/a.log", 5),
            ("contoso-00/other/n1/other/a.log", 5),
        ]);
        let naming = Naming::default();
        for _ in 0..2 {
            let finding = search(&*store, &naming, &node("n1"), NOW, &[]).await.unwrap();
            let directory = "contoso-00/render/n1/second".into();
            let others = vec!["contoso-00/render/n1/first".into()];
            assert_eq!(finding, Finding::Found { directory, others });
            naming.learn(&PoolId::new("Render"), "contoso-00/render/n1/second");
        }
    }

    #[tokio::test]
    async fn a_directory_of_an_earlier_round_is_not_adopted() {
        let store = store(&[("contoso-00/render/n1/first/a.log", 1)]);
        let naming = Naming::default();
        naming.learn(&PoolId::new("render"), "contoso-00/render/n1/first");
        let known = ["contoso-00/render/n1/first".into()];
        assert_eq!(search(&*store, &naming, &node("n1"), NOW, &known).await.unwrap(), Finding::Absent);
    }

    #[tokio::test]
    async fn an_underscore_may_have_become_a_hyphen() {
        let store = store(&[("contoso-00/render/tvm-1/x/a.log", 1)]);
        let naming = Naming::default();
        naming.learn(&PoolId::new("render"), "contoso-00/render/whatever/x");
        let finding = search(&*store, &naming, &node("tvm_1"), NOW, &[]).await.unwrap();
        assert_eq!(finding, Finding::Found { directory: "contoso-00/render/tvm-1/x".into(), others: vec![] });
    }

    #[tokio::test]
    async fn nothing_since_the_call_is_absent_once_the_naming_is_known() {
        let store = store(&[("contoso-00/render/n1/before/a.log", -3)]);
        let naming = Naming::default();
        assert_eq!(search(&*store, &naming, &node("n1"), NOW, &[]).await.unwrap(), Finding::Unknown);
        naming.learn(&PoolId::new("other"), "contoso-00/render/n2/x");
        assert_eq!(search(&*store, &naming, &node("n1"), NOW, &[]).await.unwrap(), Finding::Unknown);
        naming.learn(&PoolId::new("RENDER"), "contoso-00/render/n2/x");
        assert_eq!(search(&*store, &naming, &node("n1"), NOW, &[]).await.unwrap(), Finding::Absent);
    }

    #[tokio::test]
    async fn an_account_may_have_another_name_in_the_config_and_directories_fewer_parts() {
        for root in ["realname-00/", ""] {
            let store = store(&[(&format!("{root}render/n1/x/a.log"), 1)]);
            let naming = Naming::default();
            naming.learn(&PoolId::new("Render"), &format!("{root}render/n2/y"));
            let directory = format!("{root}render/n1/x").into();
            let finding = search(&*store, &naming, &node("n1"), NOW, &[]).await.unwrap();
            assert_eq!(finding, Finding::Found { directory, others: vec![] });
        }
    }
}
