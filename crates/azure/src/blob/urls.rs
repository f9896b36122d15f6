//! URLs of a container and of its blobs, each with its SAS.

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::SasUrl;
use url::Url;

/// The SDK does not accept the container's URL, or it is another container. The URL is not quoted.
#[derive(Debug, thiserror::Error)]
#[error("the container URL cannot be used")]
pub struct InvalidContainer;

/// The URL with its SAS. A slash after the container's name would be taken for a blob without a name.
pub(crate) fn container_url(container: &SasUrl) -> Result<Url, InvalidContainer> {
    let mut url = Url::parse(container.expose()).map_err(|_| InvalidContainer)?;
    url.path_segments_mut().map_err(|()| InvalidContainer)?.pop_if_empty();
    Ok(url)
}

/// The URL without any authorization: safe to show.
pub(super) fn without_query(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    // Only a URL without a host refuses these two.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// The URL of a blob, with the container's SAS.
pub(crate) fn blob_url(container: &Url, name: &str) -> Result<Url, Failure> {
    // A URL would turn such a name into another one.
    let odd = name.split('/').any(|part| matches!(part, "." | "..")) || name.contains(['\t', '\n', '\r']);
    let mut url = container.clone();
    match url.path_segments_mut() {
        Ok(mut segments) if !odd && !name.is_empty() => {
            segments.extend(name.split('/'));
        }
        _ => return Err(Failure::new(FailureClass::Refused, "a blob with this name cannot be requested")),
    }
    Ok(url)
}
