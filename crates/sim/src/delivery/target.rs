//! Where a `containerUrl` leads.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use time::OffsetDateTime;
use url::Url;

use crate::blob::{Authority, Sas};
use crate::http::{Query, decode};
use crate::ledger::AccessKind;

/// A container, and the right to write to it.
pub(crate) struct UploadTarget {
    pub(crate) place: Place,
    pub(crate) access: WriteAccess,
    /// Whether the URL has a query, with or without a SAS.
    pub(crate) has_query: bool,
}

/// Where the container is.
pub(crate) enum Place {
    /// In the simulator's own storage account.
    Here { container: String },
    /// On any other server.
    Elsewhere { url: Url },
}

/// What authorizes a node to write to it.
#[derive(Debug)]
pub(crate) enum WriteAccess {
    Sas(Sas),
    /// The identity of the node.
    Identity,
    None,
}

impl WriteAccess {
    /// For the ledger.
    pub(crate) fn kind(&self) -> AccessKind {
        match self {
            Self::Sas(_) => AccessKind::Sas,
            Self::Identity => AccessKind::Identity,
            Self::None => AccessKind::None,
        }
    }

    /// When the authorization expires, if it says so.
    pub(crate) fn expires_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Sas(sas) => sas.expires_at(),
            Self::Identity | Self::None => None,
        }
    }

    /// The authorization as storage sees it for a node at this address.
    pub(crate) fn authority(&self, from: IpAddr) -> Authority<'_> {
        match self {
            Self::Sas(sas) => Authority::Sas(sas, from),
            Self::Identity => Authority::Identity,
            Self::None => Authority::None,
        }
    }
}

/// Without the URL: it may contain a SAS for real storage.
impl fmt::Debug for UploadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Here { .. } => "Here",
            Place::Elsewhere { .. } => "Elsewhere",
        };
        write!(f, "{place}({:?})", self.access)
    }
}

impl UploadTarget {
    fn new(url: Url, by_identity: bool, here: SocketAddr, account: &str) -> Self {
        let is_here = url.scheme() == "http"
            && url.port_or_known_default() == Some(here.port())
            && url.host_str().is_some_and(|host| host == "localhost" || host == here.ip().to_string());
        let path = url.path().strip_prefix('/').and_then(|path| path.strip_prefix(account));
        let container =
            path.and_then(|path| path.strip_prefix('/')).map(|c| decode(c).trim_end_matches('/').to_owned());
        let has_query = url.query().is_some_and(|query| !query.is_empty());
        let access = match Sas::find(&Query::parse(url.query().unwrap_or(""))) {
            _ if by_identity => WriteAccess::Identity,
            Some(sas) => WriteAccess::Sas(sas),
            None => WriteAccess::None,
        };
        let place = match container {
            Some(container) if is_here => Place::Here { container },
            _ => Place::Elsewhere { url },
        };
        Self { place, access, has_query }
    }
}

/// Targets that were already parsed: a whole fleet is usually given the same URL.
#[derive(Default)]
pub(crate) struct UploadTargets {
    known: Mutex<HashMap<(String, bool), Arc<UploadTarget>>>,
}

impl UploadTargets {
    /// Enough for many runs with one SAS each; beyond that, all are forgotten and parsed again.
    const MOST: usize = 1000;

    /// None if `text` is not a URL.
    pub(crate) fn find(
        &self,
        text: &str,
        by_identity: bool,
        here: SocketAddr,
        account: &str,
    ) -> Option<Arc<UploadTarget>> {
        let mut known = self.known.lock();
        let key = (text.to_owned(), by_identity);
        if let Some(target) = known.get(&key) {
            return Some(Arc::clone(target));
        }
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return None;
        }
        let target = Arc::new(UploadTarget::new(url, by_identity, here, account));
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(key, Arc::clone(&target));
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Option<String> {
        let here = SocketAddr::from(([127, 0, 0, 1], 4010));
        let target = UploadTargets::default().find(url, false, here, "simlogs")?;
        Some(match &target.place {
            Place::Here { container } => {
                format!("{container} {}", matches!(target.access, WriteAccess::Sas(_)))
            }
            Place::Elsewhere { .. } => "elsewhere".to_owned(),
        })
    }

    #[test]
    fn our_own_container_is_told_from_all_others() {
        for (url, expected) in [
            ("http://127.0.0.1:4010/simlogs/batch-logs?sv=1&sig=x", Some("batch-logs true")),
            ("http://localhost:4010/simlogs/batch-logs", Some("batch-logs false")),
            ("http://127.0.0.1:4011/simlogs/batch-logs?sig=x", Some("elsewhere")),
            ("https://127.0.0.1:4010/simlogs/batch-logs?sig=x", Some("elsewhere")),
            ("https://teststorage.blob.core.windows.net/fakecontainer", Some("elsewhere")),
            ("http://contoso.com", Some("elsewhere")),
            ("contoso", None),
            ("file:///etc", None),
        ] {
            assert_eq!(target(url).as_deref(), expected, "{url}");
        }
    }
}
