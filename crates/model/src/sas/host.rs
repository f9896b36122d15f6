//! Hosts that are not those of blobs: a SAS for them is refused by storage with words that blame the signature.

use url::Url;

use super::error::SasUrlError;

/// The services of a storage account other than blobs, by the part of the host that names them.
const SERVICES: [(&str, &str); 5] = [
    ("file", "Azure Files"),
    ("dfs", "Data Lake Storage"),
    ("queue", "Queue Storage"),
    ("table", "Table Storage"),
    ("web", "static websites"),
];

/// Other hosts of Azure, whose URLs are at hand when a container URL is wanted.
const OTHERS: [(&str, &str); 4] = [
    ("batch.azure.com", "a Batch account"),
    ("portal.azure.com", "the Azure portal"),
    ("management.azure.com", "Azure Resource Manager"),
    ("vault.azure.net", "a key vault"),
];

/// Refuses the host of another service, and that of a read-only copy.
pub fn check_blob_host(url: &Url) -> Result<(), SasUrlError> {
    let Some(host) = url.domain() else { return Ok(()) };
    let labels: Vec<_> = host.split('.').collect();
    // ACCOUNT.SERVICE.core.SUFFIX, ACCOUNT.ZONE.SERVICE.core.SUFFIX, ACCOUNT.ZONE.SERVICE.storage.azure.net
    let is_storage = labels.contains(&"core") || host.ends_with(".storage.azure.net");
    let named = SERVICES.iter().find_map(|(label, service)| {
        let at = labels.iter().skip(1).position(|part| part == label)? + 1;
        Some((at, *service))
    });
    if let (true, Some((at, service))) = (is_storage, named) {
        let mut blob = labels.clone();
        blob[at] = "blob";
        if service == "static websites" {
            // The zone of a website is in no other host of the account.
            blob.drain(1..at);
        }
        return Err(SasUrlError::OtherService {
            host: host.into(),
            service,
            blob_host: Some(blob.join(".")),
        });
    }
    if is_storage && labels[0].ends_with("-secondary") {
        return Err(SasUrlError::Secondary(host.into()));
    }
    match OTHERS.iter().find(|(suffix, _)| host == *suffix || host.ends_with(&format!(".{suffix}"))) {
        Some((_, service)) => Err(SasUrlError::OtherService { host: host.into(), service, blob_host: None }),
        None => Ok(()),
    }
}
