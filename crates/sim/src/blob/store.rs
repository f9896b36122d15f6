//! The storage account: its containers and blobs, and who may access them.
//!
//! HTTP requests and simulated nodes use the same functions, so both pass the same checks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use md5::{Digest as _, Md5};
use parking_lot::RwLock;
use time::{Duration, OffsetDateTime};

use super::blocks::Blocks;
use super::container::{Blob, Container, is_container_name};
use super::content::Content;
use super::delegation::DelegationKeys;
use super::errors::BlobError;
use super::faults::StorageFaults;
use super::read_faults::ReadFaults;
use super::sas::{Keys, Resource, Sas};
use super::sas_text::PERMISSION_LETTERS;
use crate::clock::{Clock, WrongClock};
use crate::ledger::StorageLedger;
use crate::roll::Roll;
use crate::scenario::{StorageFault, StorageOperation, StorageScenario};
use crate::signing_key::SigningKey;

/// What authorizes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Authority<'a> {
    /// A SAS, and the address that it is used from.
    Sas(&'a Sas, IpAddr),
    /// A valid token for storage. Its owner may do everything with blobs and containers, except change policies.
    Token,
    /// The account's key: it allows everything.
    Key,
    /// A simulated node whose identity may write blobs.
    Identity,
    None,
}

/// The storage account.
pub(crate) struct BlobStore {
    pub(crate) keys: Keys,
    pub(crate) ledger: StorageLedger,
    clock: Arc<Clock>,
    wrong: WrongClock,
    pub(super) faults: StorageFaults,
    pub(super) blocks: Blocks,
    pub(super) read_faults: ReadFaults,
    refuse_create: bool,
    /// How long a new stored access policy takes to become effective.
    pub(super) policy_delay: Duration,
    content_md5: bool,
    containers: RwLock<BTreeMap<String, Arc<Container>>>,
    version: AtomicU64,
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    None,
    /// `If-None-Match: *`.
    Absent,
}

impl BlobStore {
    /// An account with the container of the scenario; `seed` decides the identities of its users.
    pub(crate) fn new(storage: &StorageScenario, key: SigningKey, seed: Roll, clock: Arc<Clock>) -> Self {
        let delegated = DelegationKeys::new(storage, seed, key.clone());
        let wrong = WrongClock::new(storage.clock_skew, &storage.clock_shifts);
        let created = clock.service_date(&wrong, clock.elapsed(), None);
        let container = Arc::new(Container::new(created));
        Self {
            clock,
            wrong,
            keys: Keys { account: storage.account.clone(), key, delegated },
            ledger: StorageLedger::default(),
            blocks: Blocks::default(),
            faults: StorageFaults::new(storage.faults.clone()),
            read_faults: ReadFaults::new(storage.read_faults.clone()),
            refuse_create: storage.refuse_create,
            policy_delay: Duration::try_from(storage.policy_delay.0).unwrap_or(Duration::MAX),
            content_md5: storage.content_md5,
            containers: RwLock::new(BTreeMap::from([(storage.container.clone(), container)])),
            version: AtomicU64::new(0x6_7137_22D7_F000),
        }
    }

    /// The clock of storage, which may be wrong.
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock.service_date(&self.wrong, self.clock.elapsed(), None)
    }

    /// The fault that applies to a request for `name`, if any.
    pub(super) fn strike(&self, operation: StorageOperation, name: &str) -> Option<StorageFault> {
        self.faults.strike(operation, name, self.clock.elapsed())
    }

    /// Checks the authority, then whether it has one of the permissions in `letters`.
    pub(crate) fn authorize(
        &self,
        authority: Authority<'_>,
        resource: Resource<'_>,
        letters: &[char],
    ) -> Result<(), BlobError> {
        match authority {
            Authority::Token | Authority::Identity | Authority::Key => Ok(()),
            Authority::None => Err(BlobError::anonymous()),
            Authority::Sas(sas, from) => {
                let sas = self.under_policy(sas, resource);
                sas.check(&self.keys, resource, from, self.now())?;
                let allowed = letters.iter().any(|letter| sas.allows(*letter));
                if allowed { Ok(()) } else { Err(BlobError::permission_mismatch()) }
            }
        }
    }

    /// A SAS with the stored access policy that it refers to, if any.
    fn under_policy<'a>(&self, sas: &'a Sas, resource: Resource<'_>) -> Cow<'a, Sas> {
        let (Some(id), Resource::Container(name) | Resource::Blob(name, _)) = (sas.policy_id(), resource)
        else {
            return Cow::Borrowed(sas);
        };
        let container = self.container(name).ok();
        let policy = container.and_then(|container| container.policy(id, self.now()));
        Cow::Owned(sas.under(policy))
    }

    /// Checks that policies may be read and changed: with the account's key only.
    pub(super) fn authorize_acl(&self, authority: Authority<'_>, name: &str) -> Result<(), BlobError> {
        self.authorize(
            authority,
            Resource::Container(name),
            &PERMISSION_LETTERS.chars().collect::<Vec<_>>(),
        )?;
        match authority {
            Authority::Key => Ok(()),
            _ => Err(BlobError::not_authorized()),
        }
    }

    /// The container `name`. Call [`BlobStore::authorize`] first, so that a caller without a right learns nothing.
    pub(crate) fn container(&self, name: &str) -> Result<Arc<Container>, BlobError> {
        let containers = self.containers.read();
        containers.get(name).cloned().ok_or(BlobError::no_container())
    }

    /// Creates a container.
    pub(crate) fn create(
        &self,
        authority: Authority<'_>,
        name: &str,
        metadata: Vec<(String, String)>,
    ) -> Result<Arc<Container>, BlobError> {
        self.authorize(authority, Resource::Container(name), &['c', 'w'])?;
        let reaches = match authority {
            Authority::Sas(sas, _) => sas.is_for_account(),
            _ => true,
        };
        if !reaches || self.refuse_create {
            return Err(BlobError::permission_mismatch());
        }
        if !is_container_name(name) {
            return Err(BlobError::bad_name());
        }
        let mut containers = self.containers.write();
        if containers.contains_key(name) {
            return Err(BlobError::container_exists());
        }
        let container = Arc::new(Container::with_metadata(self.now(), metadata));
        containers.insert(name.to_owned(), Arc::clone(&container));
        self.ledger.containers_created.fetch_add(1, Relaxed);
        Ok(container)
    }

    /// Deletes a container, unless it was changed after a given time. Real storage takes half a minute until the name
    /// can be used again.
    pub(super) fn remove(
        &self,
        authority: Authority<'_>,
        name: &str,
        unmodified_since: Option<OffsetDateTime>,
    ) -> Result<(), BlobError> {
        self.authorize(authority, Resource::Container(name), &['d'])?;
        // A SAS for one container can delete its content, but never the container.
        if matches!(authority, Authority::Sas(sas, _) if !sas.is_for_account()) {
            return Err(BlobError::permission_mismatch());
        }
        let mut containers = self.containers.write();
        let modified = containers.get(name).ok_or(BlobError::no_container())?.acl().modified;
        if unmodified_since.is_some_and(|since| modified.unix_timestamp() > since.unix_timestamp()) {
            return Err(BlobError::condition_not_met());
        }
        containers.remove(name);
        Ok(())
    }

    /// Writes a blob and counts it in the ledger, with any authority.
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
        self.authorize(authority, Resource::Blob(container, name), &['w', 'c'])?;
        let name_of_container = container;
        let container = self.container(container)?;
        let may_overwrite = match authority {
            Authority::Sas(sas, _) => {
                self.under_policy(sas, Resource::Blob(name_of_container, name)).allows('w')
            }
            _ => true,
        };
        let md5 = match &content {
            Content::Sent(bytes) => Some(Md5::digest(bytes).into()),
            Content::Joined(_) => None,
            Content::Log(_) => self.content_md5.then(|| Md5::digest(content.bytes()).into()),
        };
        let now = self.now();
        // The version grows in steps larger than one, because other blobs are written between two writes of the same
        // blob.
        let version = self.version.fetch_add(0x11, Relaxed);
        let mut blob = Blob { content, content_type, md5, created: now, modified: now, version };
        let mut blobs = container.blobs_mut();
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
        self.authorize(authority, Resource::Blob(container, name), &['r'])?;
        let container = self.container(container)?;
        let blob = container.blobs().get(name).cloned();
        blob.ok_or(BlobError::no_blob())
    }

    /// Overwrites a blob with one that is some bytes longer, like a writer that appends to a log.
    pub(super) fn lengthen(&self, container: &str, name: &str) -> Result<(), BlobError> {
        let container = self.container(container)?;
        let mut blobs = container.blobs_mut();
        let blob = blobs.get_mut(name).ok_or(BlobError::no_blob())?;
        let content = [&blob.content.bytes()[..], b"and one more line\n"].concat();
        blob.md5 = Some(Md5::digest(&content).into());
        blob.content = Content::Sent(content.into());
        blob.modified = self.now();
        blob.version = self.version.fetch_add(0x11, Relaxed);
        Ok(())
    }

    pub(crate) fn delete(
        &self,
        authority: Authority<'_>,
        container: &str,
        name: &str,
    ) -> Result<(), BlobError> {
        self.authorize(authority, Resource::Blob(container, name), &['d'])?;
        self.blocks.forget((container, name));
        let removed = self.container(container)?.blobs_mut().remove(name);
        removed.map(|_| ()).ok_or(BlobError::no_blob())
    }

    /// All containers, by name.
    pub(crate) fn containers(&self) -> Vec<(String, Arc<Container>)> {
        let containers = self.containers.read();
        containers.iter().map(|(name, container)| (name.clone(), Arc::clone(container))).collect()
    }

    /// Number of blobs in all containers.
    pub(crate) fn blobs(&self) -> u64 {
        self.containers().iter().map(|(_, container)| container.blobs().len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn store() -> BlobStore {
        let scenario = Scenario::from_toml("[[account]]\nname = \"contoso\"").expect("valid");
        BlobStore::new(
            &StorageScenario::default(),
            SigningKey::new(b"fake").expect("any length is a key"),
            Roll::new(1),
            Arc::new(Clock::start(&scenario)),
        )
    }

    #[test]
    fn nobody_writes_to_a_container_that_is_not_there_or_without_authority() {
        let store = store();
        let put = |authority, container| {
            let content = Content::Sent("x".into());
            let put = store.put(authority, container, "n", content, Arc::from(""), Condition::None);
            put.map(|_| ()).map_err(|error| error.code)
        };

        assert_eq!(put(Authority::None, "batch-logs"), Err("PublicAccessNotPermitted"));
        assert_eq!(put(Authority::Identity, "other"), Err("ContainerNotFound"));
        assert_eq!(store.ledger.put_failures.load(Relaxed), 2);
        store.create(Authority::Token, "other", vec![]).expect("made");
        assert_eq!(put(Authority::Identity, "other"), Ok(()));
        assert!(store.get(Authority::Token, "batch-logs", "n").is_err(), "each container has its own blobs");
    }

    #[test]
    fn a_container_is_made_once_and_under_a_good_name() {
        let store = store();
        let create =
            |name| store.create(Authority::Token, name, vec![]).map(|_| ()).map_err(|error| error.code);

        assert_eq!(create("new-logs"), Ok(()));
        assert_eq!(create("new-logs"), Err("ContainerAlreadyExists"));
        assert_eq!(create("batch-logs"), Err("ContainerAlreadyExists"));
        assert_eq!(create("New_Logs"), Err("InvalidResourceName"));
        assert_eq!(store.ledger.containers_created.load(Relaxed), 1);
    }
}
