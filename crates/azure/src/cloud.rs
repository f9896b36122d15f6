//! The Azure clouds: where tokens come from, and what they must be made out for.

use azure_core::cloud::CloudConfiguration;
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

    /// What a token for Batch must be made out for. The slash at the end is part of the name: the service
    /// refuses a token for the same text without it.
    #[must_use]
    pub fn batch_resource(self) -> &'static str {
        match self {
            Self::Public => "https://batch.core.windows.net/",
            Self::UsGovernment => "https://batch.core.usgovcloudapi.net/",
            Self::China => "https://batch.chinacloudapi.cn/",
        }
    }

    /// How the hosts of its Batch accounts end.
    #[must_use]
    pub fn endpoint_suffix(self) -> &'static str {
        match self {
            Self::Public => "batch.azure.com",
            Self::UsGovernment => "batch.usgovcloudapi.net",
            Self::China => "batch.chinacloudapi.cn",
        }
    }

    /// The cloud of an account, told from its endpoint; none for a host of no known cloud, such as loopback.
    #[must_use]
    pub fn of_endpoint(endpoint: &Url) -> Option<Self> {
        let host = endpoint.host_str()?;
        let ends =
            |cloud: &Self| host.strip_suffix(cloud.endpoint_suffix()).is_some_and(|rest| rest.ends_with('.'));
        Self::ALL.into_iter().find(ends)
    }

    /// The SDK's name for it.
    pub(crate) fn configuration(self) -> CloudConfiguration {
        match self {
            Self::Public => CloudConfiguration::AzurePublic,
            Self::UsGovernment => CloudConfiguration::AzureGovernment,
            Self::China => CloudConfiguration::AzureChina,
        }
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
