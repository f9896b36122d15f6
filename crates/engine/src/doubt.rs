//! What became of a call whose answer was lost: the container is searched for a directory of that node made since
//! the call.
//!
//! Directories are named `{account}-{16 hex}/{pool id in lower case}/{node id}/{request id}`. The first segment is
//! constant for an account and is learned from accepted calls; before one is known, everything that starts with the
//! account's name is searched. A documented sample has `-` where the node id has `_`, so both are looked for.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::service::LogStore;
use time::OffsetDateTime;

/// Creation times have a resolution of one second, and two clocks are compared.
const TOLERANCE: time::Duration = time::Duration::seconds(2);

/// What an account's accepted calls taught about how its directories are named.
#[derive(Debug, Default)]
pub struct Naming {
    first_segment: RwLock<Option<Box<str>>>,
}

impl Naming {
    /// Learns from the directory of an accepted call.
    pub fn learn(&self, directory: &str) {
        let known = self.first_segment.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if known {
            return;
        }
        if let [first, _, _, _] = directory.split('/').collect::<Vec<_>>()[..] {
            *self.first_segment.write().unwrap_or_else(PoisonError::into_inner) = Some(first.into());
        }
    }

    /// The prefixes to list for a node; directories of others may be below them.
    fn prefixes(&self, node: &NodeRef) -> Vec<String> {
        let first = self.first_segment.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(first) = first else { return vec![format!("{}-", node.account)] };
        let pool = node.pool.as_str().to_lowercase();
        let mut prefixes = vec![format!("{first}/{pool}/{}/", node.node)];
        if node.node.as_str().contains('_') {
            prefixes.push(format!("{first}/{pool}/{}/", node.node.as_str().replace('_', "-")));
        }
        prefixes
    }
}

/// What the container says about a call in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No directory of that node was made since the call.
    Absent,
    /// The newest directory made since the call, and any others.
    Found {
        /// The newest.
        directory: Box<str>,
        /// The others.
        others: Vec<Box<str>>,
    },
}

/// Searches the container for directories of `node` made since `since` (on the service's clock).
pub async fn search<S: LogStore>(
    store: &S,
    naming: &Naming,
    node: &NodeRef,
    since: OffsetDateTime,
) -> Result<Finding, Failure> {
    let mut made: BTreeMap<Box<str>, OffsetDateTime> = BTreeMap::new();
    for prefix in naming.prefixes(node) {
        let mut marker: Option<String> = None;
        loop {
            let page = store.list(&prefix, marker.as_deref()).await?;
            for blob in &page.blobs {
                let (Some(directory), Some(created)) = (directory_of(&blob.name, node), blob.created_at)
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
    made.retain(|_, created| *created >= since - TOLERANCE);
    let newest = made.iter().max_by_key(|(_, created)| **created).map(|(directory, _)| directory.clone());
    Ok(match newest {
        None => Finding::Absent,
        Some(directory) => {
            made.remove(&directory);
            Finding::Found { directory, others: made.into_keys().collect() }
        }
    })
}

/// The directory part of a blob's name, if the blob is one of this node.
fn directory_of<'name>(blob: &'name str, node: &NodeRef) -> Option<&'name str> {
    let mut slashes = blob.match_indices('/').map(|(at, _)| at);
    let (first, second, third, fourth) = (slashes.next()?, slashes.next()?, slashes.next()?, slashes.next()?);
    let account = blob[..first].strip_prefix(node.account.as_str())?.strip_prefix('-')?;
    let pool = &blob[first + 1..second];
    let id = &blob[second + 1..third];
    let this_node = id == node.node.as_str() || id == node.node.as_str().replace('_', "-");
    let fits = !account.is_empty() && pool.eq_ignore_ascii_case(node.pool.as_str()) && this_node;
    fits.then(|| &blob[..fourth])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
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
            store
                .blobs
                .lock()
                .unwrap()
                .insert((*name).into(), Blob { name: (*name).into(), size: 1, created_at });
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
            let finding = search(&*store, &naming, &node("n1"), NOW).await.unwrap();
            let directory = "contoso-00/render/n1/second".into();
            let others = vec!["contoso-00/render/n1/first".into()];
            assert_eq!(finding, Finding::Found { directory, others });
            naming.learn("contoso-00/render/n1/second");
        }
    }

    #[tokio::test]
    async fn an_underscore_may_have_become_a_hyphen() {
        let store = store(&[("contoso-00/render/tvm-1/x/a.log", 1)]);
        let naming = Naming::default();
        naming.learn("contoso-00/render/whatever/x");
        let finding = search(&*store, &naming, &node("tvm_1"), NOW).await.unwrap();
        assert_eq!(finding, Finding::Found { directory: "contoso-00/render/tvm-1/x".into(), others: vec![] });
    }

    #[tokio::test]
    async fn nothing_since_the_call_is_absent() {
        let store = store(&[("contoso-00/render/n1/before/a.log", -3)]);
        let finding = search(&*store, &Naming::default(), &node("n1"), NOW).await.unwrap();
        assert_eq!(finding, Finding::Absent);
    }
}
