//! What authorizes the nodes to write into the container.

use time::OffsetDateTime;
use url::Url;

use crate::sas::SasUrl;

/// The authorization that a node gets with its order.
#[derive(Clone, Debug)]
pub enum WriteAccess {
    /// A SAS with write permission.
    Sas(SasUrl),
    /// A user-assigned managed identity that is attached to the node's pool and may write into the container.
    Identity {
        /// The container, without a query.
        container: Url,
        /// ARM id of the identity.
        resource_id: Box<str>,
    },
}

impl WriteAccess {
    /// The container URL in the form that the service needs, signature included: for the request, never for a
    /// message.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Sas(sas) => sas.expose(),
            Self::Identity { container, .. } => container.as_str(),
        }
    }

    /// The container URL without its query: safe to show.
    #[must_use]
    pub fn without_query(&self) -> String {
        match self {
            Self::Sas(sas) => sas.without_query(),
            Self::Identity { container, .. } => container.as_str().to_owned(),
        }
    }

    /// When it expires; none for an identity, and if a stored access policy has the expiry.
    #[must_use]
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Sas(sas) => sas.expires_at,
            Self::Identity { .. } => None,
        }
    }

    /// ARM id of the identity, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Sas(_) => None,
            Self::Identity { resource_id, .. } => Some(resource_id),
        }
    }

    /// The SAS, if it is one.
    #[must_use]
    pub fn sas(&self) -> Option<&SasUrl> {
        match self {
            Self::Sas(sas) => Some(sas),
            Self::Identity { .. } => None,
        }
    }
}
