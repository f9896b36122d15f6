//! One container: its blobs in order, and listing them page by page.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use time::OffsetDateTime;

use super::acl::{Acl, StoredPolicy};
use super::content::Content;

/// One blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) content: Content,
    pub(crate) content_type: Arc<str>,
    /// Only for blobs sent in one piece: Azure has none for blobs that were put together from blocks either.
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) created: OffsetDateTime,
    pub(crate) modified: OffsetDateTime,
    pub(crate) version: u64,
}

impl Blob {
    /// In the form of the header; lists leave out the quotes.
    pub(crate) fn etag(&self) -> String {
        format!("\"0x8D{:013X}\"", self.version)
    }
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) created: OffsetDateTime,
    /// `x-ms-meta-` headers, with their whole names in lower case, as they were sent when the container was created.
    pub(super) metadata: Vec<(String, String)>,
    blobs: RwLock<BTreeMap<Arc<str>, Blob>>,
    acl: RwLock<Acl>,
}

/// One page of a list.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// The name that the next page begins with.
    pub(crate) next: Option<String>,
}

/// An entry of a list.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Blob(Arc<str>, Blob),
    Prefix(String),
}

/// Whether storage accepts `name` for a container: lower-case letters, digits, and hyphens between them.
pub(crate) fn is_container_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| is_plain(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

impl Container {
    pub(crate) fn new(created: OffsetDateTime) -> Self {
        Self::with_metadata(created, vec![])
    }

    pub(super) fn with_metadata(created: OffsetDateTime, metadata: Vec<(String, String)>) -> Self {
        let acl = RwLock::new(Acl { policies: vec![], modified: created });
        Self { created, metadata, blobs: RwLock::default(), acl }
    }

    pub(super) fn blobs(&self) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Blob>> {
        self.blobs.read()
    }

    pub(super) fn blobs_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Arc<str>, Blob>> {
        self.blobs.write()
    }

    pub(super) fn acl(&self) -> RwLockReadGuard<'_, Acl> {
        self.acl.read()
    }

    pub(super) fn acl_mut(&self) -> RwLockWriteGuard<'_, Acl> {
        self.acl.write()
    }

    /// The stored access policy with this id, if it exists and is effective.
    pub(super) fn policy(&self, id: &str, now: OffsetDateTime) -> Option<StoredPolicy> {
        self.acl().policy(id, now).cloned()
    }

    /// At most `most` entries with `prefix`, from the name `from` on. The cost is logarithmic in the number of blobs,
    /// plus the page.
    pub(crate) fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        from: Option<&str>,
        most: usize,
    ) -> Page {
        let blobs = self.blobs();
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
                // Skips everything that belongs to the same entry, without visiting it.
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

    const THEN: OffsetDateTime = time::macros::datetime!(2025-01-01 12:00:00 UTC);

    fn container(names: &[&str]) -> Container {
        let container = Container::new(THEN);
        for name in names {
            let content = Content::Sent("x".into());
            let content_type = Arc::from("text/plain");
            let blob = Blob { content, content_type, md5: None, created: THEN, modified: THEN, version: 1 };
            container.blobs_mut().insert(Arc::from(*name), blob);
        }
        container
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
        let container = container(&["b/2", "a", "b/1", "c", "b/3"]);

        let first = container.list("b/", None, None, 2);
        let second = container.list("b/", None, first.next.as_deref(), 2);

        assert_eq!(names(&first), ["b/1", "b/2"]);
        assert_eq!((names(&second), second.next), (vec!["b/3".to_owned()], None));
    }

    #[test]
    fn a_delimiter_folds_what_lies_behind_it() {
        let container = container(&["a/1/x", "a/1/y", "a/2/x", "a/z", "b"]);

        assert_eq!(names(&container.list("", Some("/"), None, 10)), ["a/*", "b"]);
        assert_eq!(names(&container.list("a/", Some("/"), None, 10)), ["a/1/*", "a/2/*", "a/z"]);
        let first = container.list("a/", Some("/"), None, 1);
        assert_eq!(names(&container.list("a/", Some("/"), first.next.as_deref(), 5)), ["a/2/*", "a/z"]);
    }

    #[test]
    fn names_of_containers_are_plain_and_neither_short_nor_long() {
        let long = "a".repeat(63);
        for name in ["abc", "a-b", "0-logs-9", &long] {
            assert!(is_container_name(name), "{name}");
        }
        for name in ["", "ab", "Abc", "a_b", "-ab", "ab-", "a--b", "a.b", &format!("{long}a")] {
            assert!(!is_container_name(name), "{name}");
        }
    }
}
