//! The blobs of the container, and who may touch them.
//!
//! Requests over HTTP and simulated nodes come through the same functions, so both are subject to the same checks.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use md5::{Digest as _, Md5};
use time::OffsetDateTime;

use super::content::Content;
use super::errors::BlobError;
use super::sas::Sas;
use crate::batch::SigningKey;
use crate::ledger::StorageLedger;

/// One blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) content: Content,
    pub(crate) content_type: Arc<str>,
    /// Only of blobs that were sent whole: Azure knows none either for blobs put together from blocks.
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) created: OffsetDateTime,
    pub(crate) modified: OffsetDateTime,
    pub(crate) version: u64,
}

impl Blob {
    /// As the header has it; lists leave the quotes out.
    pub(crate) fn etag(&self) -> String {
        format!("\"0x8D{:013X}\"", self.version)
    }
}

/// By what right somebody acts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Authority<'a> {
    Sas(&'a Sas),
    /// A simulated node whose identity may write to the container.
    Identity,
    /// A credential that is no SAS. The simulator has no use for one on storage.
    Header,
    None,
}

/// The storage account with its one container.
pub(crate) struct BlobStore {
    pub(crate) account: String,
    pub(crate) container: String,
    pub(crate) key: SigningKey,
    pub(crate) ledger: StorageLedger,
    blobs: RwLock<BTreeMap<Arc<str>, Blob>>,
    version: AtomicU64,
}

/// One page of a list.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// Name that the next page begins with.
    pub(crate) next: Option<String>,
}

/// A line of a list.
#[derive(Debug)]
pub(crate) enum Entry {
    Blob(Arc<str>, Blob),
    Prefix(String),
}

/// Where a put wants nothing, or something particular, to be there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    None,
    /// `If-None-Match: *`.
    Absent,
}

impl BlobStore {
    pub(crate) fn new(account: &str, container: &str, key: SigningKey) -> Self {
        Self {
            account: account.to_owned(),
            container: container.to_owned(),
            key,
            ledger: StorageLedger::default(),
            blobs: RwLock::default(),
            version: AtomicU64::new(0x6_7137_22D7_F000),
        }
    }

    /// Checks who asks, then whether one of `letters` is among the permissions, then whether there is a container.
    pub(crate) fn authorize(
        &self,
        authority: Authority<'_>,
        container: &str,
        blob: Option<&str>,
        letters: &[char],
    ) -> Result<(), BlobError> {
        match authority {
            Authority::Identity => {}
            Authority::None => return Err(BlobError::anonymous()),
            Authority::Header => {
                return Err(BlobError::authentication("Only a service SAS is accepted here."));
            }
            Authority::Sas(sas) => {
                sas.check(&self.key, &self.account, container, blob, OffsetDateTime::now_utc())?;
                if !letters.iter().any(|letter| sas.allows(*letter)) {
                    return Err(BlobError::permission_mismatch());
                }
            }
        }
        if container == self.container { Ok(()) } else { Err(BlobError::no_container()) }
    }

    /// Writes a blob and counts it in the ledger, whoever asks.
    pub(crate) fn put(
        &self,
        authority: Authority<'_>,
        container: &str,
        name: &str,
        content: Content,
        content_type: Arc<str>,
        condition: Condition,
    ) -> Result<Blob, BlobError> {
        self.ledger.put_calls.fetch_add(1, Relaxed);
        let put = self.try_put(authority, container, name, content, content_type, condition);
        if put.is_err() {
            self.ledger.put_failures.fetch_add(1, Relaxed);
        }
        put
    }

    fn try_put(
        &self,
        authority: Authority<'_>,
        container: &str,
        name: &str,
        content: Content,
        content_type: Arc<str>,
        condition: Condition,
    ) -> Result<Blob, BlobError> {
        self.authorize(authority, container, Some(name), &['w', 'c'])?;
        let may_overwrite = match authority {
            Authority::Sas(sas) => sas.allows('w'),
            _ => true,
        };
        let md5 = match &content {
            Content::Sent(bytes) => Some(Md5::digest(bytes).into()),
            Content::Log { .. } => None,
        };
        let now = OffsetDateTime::now_utc();
        // Steps of more than one, as between any two writes of one blob there are others elsewhere.
        let version = self.version.fetch_add(0x11, Relaxed);
        let mut blob = Blob { content, content_type, md5, created: now, modified: now, version };
        let mut blobs = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = blobs.get_mut(name) {
            if condition == Condition::Absent {
                return Err(BlobError::exists());
            }
            if !may_overwrite {
                return Err(BlobError::no_overwrite());
            }
            blob.created = old.created;
            *old = blob.clone();
        } else {
            blobs.insert(Arc::from(name), blob.clone());
        }
        Ok(blob)
    }

    pub(crate) fn get(
        &self,
        authority: Authority<'_>,
        container: &str,
        name: &str,
    ) -> Result<Blob, BlobError> {
        self.authorize(authority, container, Some(name), &['r'])?;
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        blobs.get(name).cloned().ok_or(BlobError::no_blob())
    }

    pub(crate) fn delete(
        &self,
        authority: Authority<'_>,
        container: &str,
        name: &str,
    ) -> Result<(), BlobError> {
        self.authorize(authority, container, Some(name), &['d'])?;
        let mut blobs = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        blobs.remove(name).map(|_| ()).ok_or(BlobError::no_blob())
    }

    pub(crate) fn blobs(&self) -> u64 {
        self.blobs.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// At most `most` entries with `prefix`, from the name `from` on. Costs the logarithm of all plus the page.
    pub(crate) fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        from: Option<&str>,
        most: usize,
    ) -> Page {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        let mut page = Page::default();
        let mut start = from.filter(|from| *from > prefix).unwrap_or(prefix).to_owned();
        loop {
            let mut range = blobs.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
            let (folded, after) = loop {
                let Some((name, blob)) = range.next() else { return page };
                let Some(rest) = name.strip_prefix(prefix) else { return page };
                if page.entries.len() == most {
                    page.next = Some(name.to_string());
                    return page;
                }
                let cut = delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| at + delimiter.len()));
                let Some(cut) = cut else {
                    page.entries.push(Entry::Blob(Arc::clone(name), blob.clone()));
                    continue;
                };
                let folded = name[..prefix.len() + cut].to_owned();
                // Past everything that folds into the same entry, without looking at it.
                let after = format!("{folded}{}", char::MAX);
                break (folded, after);
            };
            page.entries.push(Entry::Prefix(folded));
            start = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(names: &[&str]) -> BlobStore {
        let store = BlobStore::new("simlogs", "logs", SigningKey::new(b"fake").expect("any length is a key"));
        for name in names {
            let content = Content::Sent("x".into());
            store
                .put(Authority::Identity, "logs", name, content, Arc::from("text/plain"), Condition::None)
                .expect("allowed");
        }
        store
    }

    fn names(page: &Page) -> Vec<String> {
        page.entries
            .iter()
            .map(|entry| match entry {
                Entry::Blob(name, _) => name.to_string(),
                Entry::Prefix(prefix) => format!("{prefix}*"),
            })
            .collect()
    }

    #[test]
    fn a_list_walks_in_order_page_by_page() {
        let store = store(&["b/2", "a", "b/1", "c", "b/3"]);

        let first = store.list("b/", None, None, 2);
        let second = store.list("b/", None, first.next.as_deref(), 2);

        assert_eq!(names(&first), ["b/1", "b/2"]);
        assert_eq!((names(&second), second.next), (vec!["b/3".to_owned()], None));
    }

    #[test]
    fn a_delimiter_folds_what_lies_behind_it() {
        let store = store(&["a/1/x", "a/1/y", "a/2/x", "a/z", "b"]);

        assert_eq!(names(&store.list("", Some("/"), None, 10)), ["a/*", "b"]);
        assert_eq!(names(&store.list("a/", Some("/"), None, 10)), ["a/1/*", "a/2/*", "a/z"]);
        let first = store.list("a/", Some("/"), None, 1);
        assert_eq!(names(&store.list("a/", Some("/"), first.next.as_deref(), 5)), ["a/2/*", "a/z"]);
    }

    #[test]
    fn nobody_writes_to_another_container_or_without_authority() {
        let store = store(&[]);
        let put = |authority, container| {
            let content = Content::Sent("x".into());
            let put = store.put(authority, container, "n", content, Arc::from(""), Condition::None);
            put.map(|_| ()).map_err(|error| error.code)
        };

        assert_eq!(put(Authority::None, "logs"), Err("PublicAccessNotPermitted"));
        assert_eq!(put(Authority::Identity, "other"), Err("ContainerNotFound"));
        assert_eq!(store.ledger.put_failures.load(Relaxed), 2);
    }
}
