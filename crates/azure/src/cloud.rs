//! The Azure clouds: where tokens come from, and for which resource they must be issued.

use url::Url;

/// An Azure cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// The public one.
    #[default]
    Public,
    /// US Government.
    UsGovernment,
    /// China, run by 21Vianet.
    China,
}

impl Cloud {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// Its name in config and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGovernment => "us-government",
            Self::China => "china",
        }
    }

    /// The resource of a token for Batch. The slash at the end is part of the name: the service refuses a token for
    /// the same text without it.
    #[must_use]
    pub fn batch_resource(self) -> &'static str {
        match self {
            Self::Public => "https://batch.core.windows.net/",
            Self::UsGovernment => "https://batch.core.usgovcloudapi.net/",
            Self::China => "https://batch.chinacloudapi.cn/",
        }
    }

    /// The resource of a token for storage: the same in all clouds.
    #[must_use]
    pub fn storage_resource(self) -> &'static str {
        "https://storage.azure.com/"
    }

    /// Where Entra issues tokens.
    #[must_use]
    pub fn authority_host(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        }
    }

    /// The domain of its storage accounts, for blobs.
    #[must_use]
    pub fn blob_suffix(self) -> &'static str {
        match self {
            Self::Public => "blob.core.windows.net",
            Self::UsGovernment => "blob.core.usgovcloudapi.net",
            Self::China => "blob.core.chinacloudapi.cn",
        }
    }

    /// The domain of its storage accounts, for queues.
    #[must_use]
    pub fn queue_suffix(self) -> &'static str {
        match self {
            Self::Public => "queue.core.windows.net",
            Self::UsGovernment => "queue.core.usgovcloudapi.net",
            Self::China => "queue.core.chinacloudapi.cn",
        }
    }

    /// The domain of its Batch accounts.
    #[must_use]
    pub fn endpoint_suffix(self) -> &'static str {
        match self {
            Self::Public => "batch.azure.com",
            Self::UsGovernment => "batch.usgovcloudapi.net",
            Self::China => "batch.chinacloudapi.cn",
        }
    }

    /// The endpoint of its Azure Resource Manager, which is also the resource of tokens for it.
    #[must_use]
    pub fn management(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com/",
            Self::UsGovernment => "https://management.usgovcloudapi.net/",
            Self::China => "https://management.chinacloudapi.cn/",
        }
    }

    /// The cloud of an account, derived from its endpoint; none for a host outside all known clouds, such as
    /// loopback.
    #[must_use]
    pub fn of_endpoint(endpoint: &Url) -> Option<Self> {
        let host = endpoint.host_str()?;
        let ends =
            |cloud: &Self| host.strip_suffix(cloud.endpoint_suffix()).is_some_and(|rest| rest.ends_with('.'));
        Self::ALL.into_iter().find(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_names_the_cloud() {
        let cloud = |url: &str| Cloud::of_endpoint(&Url::parse(url).unwrap());
        assert_eq!(cloud("https://contoso.westeurope.batch.azure.com"), Some(Cloud::Public));
        assert_eq!(cloud("https://contoso.chinaeast2.batch.chinacloudapi.cn/"), Some(Cloud::China));
        assert_eq!(cloud("https://evilbatch.azure.com"), None);
        assert_eq!(cloud("http://127.0.0.1:4001"), None);
    }
}
