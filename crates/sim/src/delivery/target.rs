//! Where a `containerUrl` leads to.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use url::Url;

use crate::blob::Sas;
use crate::http::{Query, decode};
use crate::ledger::lock;

/// A container, and the right to write to it.
pub(crate) enum Target {
    /// The simulator's own storage account.
    Here { container: String, sas: Option<Sas> },
    /// The same, by the identity of the node instead of a SAS.
    HereByIdentity { container: String },
    /// Any other server.
    Elsewhere { url: Url },
}

/// Without the URL: it may hold a SAS of real storage.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here { .. } => "Here",
            Self::HereByIdentity { .. } => "HereByIdentity",
            Self::Elsewhere { .. } => "Elsewhere",
        })
    }
}

impl Target {
    fn new(url: Url, by_identity: bool, here: SocketAddr, account: &str) -> Self {
        let is_here = url.scheme() == "http"
            && url.port_or_known_default() == Some(here.port())
            && url.host_str().is_some_and(|host| host == "localhost" || host == here.ip().to_string());
        let path = url.path().strip_prefix('/').and_then(|path| path.strip_prefix(account));
        let container =
            path.and_then(|path| path.strip_prefix('/')).map(|c| decode(c).trim_end_matches('/').to_owned());
        match container {
            Some(container) if is_here && by_identity => Self::HereByIdentity { container },
            Some(container) if is_here => {
                Self::Here { container, sas: Sas::find(&Query::parse(url.query().unwrap_or(""))) }
            }
            _ => Self::Elsewhere { url },
        }
    }
}

/// Targets already understood: a whole fleet is usually given one and the same URL.
#[derive(Default)]
pub(crate) struct Targets {
    known: Mutex<HashMap<(String, bool), Arc<Target>>>,
}

impl Targets {
    /// Enough for many runs with a SAS of their own; beyond, everything is forgotten and learnt again.
    const MOST: usize = 1000;

    /// None if `text` is no URL.
    pub(crate) fn find(
        &self,
        text: &str,
        by_identity: bool,
        here: SocketAddr,
        account: &str,
    ) -> Option<Arc<Target>> {
        let mut known = lock(&self.known);
        let key = (text.to_owned(), by_identity);
        if let Some(target) = known.get(&key) {
            return Some(Arc::clone(target));
        }
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return None;
        }
        let target = Arc::new(Target::new(url, by_identity, here, account));
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
        let target = Targets::default().find(url, false, here, "simlogs")?;
        Some(match &*target {
            Target::Here { container, sas } => format!("{container} {}", sas.is_some()),
            Target::HereByIdentity { .. } => "identity".to_owned(),
            Target::Elsewhere { .. } => "elsewhere".to_owned(),
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
