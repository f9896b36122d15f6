//! Reads blobs without the SDK: the SDK reads ahead in pieces of its own. Here a file may be large, is read from some
//! byte on, and must stay the same from its first byte to its last.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_model::failure::{Failure, FailureClass};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_MATCH, RANGE};
use reqwest::{Method, Response};
use tokio::time::timeout;

use super::store::{AzureLogStore, TIME_LIMIT};
use super::urls::blob_url;
use crate::answer::{Answer, SMALL};
use crate::redact::error_chain;
use crate::request::{API_VERSION, VERSION};
use crate::storage_error::storage_refusal;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// MD5 of the whole blob, in the answer to a request for a part of it.
const WHOLE_MD5: HeaderName = HeaderName::from_static("x-ms-blob-content-md5");

/// Longest silence in the middle of a blob.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Status of an answer that says that the blob no longer has the requested `ETag`.
const CHANGED: u16 = 412;

/// A version of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobVersion {
    /// Its size in bytes.
    pub size: u64,
    /// Changes whenever the blob changes.
    pub etag: String,
    /// MD5 of its content, if storage has one.
    pub md5: Option<[u8; 16]>,
}

/// A blob that is being read.
#[derive(Debug)]
pub struct OpenBlob {
    /// The version that is being read.
    pub version: BlobVersion,
    response: Response,
}

impl AzureLogStore {
    /// The current version of a blob.
    ///
    /// Cancel safety: may be dropped at any time.
    pub async fn blob_version(&self, name: &str) -> Result<BlobVersion, Failure> {
        let response = self.ask(Method::HEAD, name, &[]).await?;
        read_version(
            response.headers(),
            header(response.headers(), &CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        )
    }

    /// Reads a blob from a byte on; with `etag`, only if it is still that version (see [`has_changed`]).
    ///
    /// Cancel safety: may be dropped at any time.
    pub async fn open_blob(&self, name: &str, from: u64, etag: Option<&str>) -> Result<OpenBlob, Failure> {
        let mut headers = vec![];
        if from > 0 {
            headers.push((RANGE, format!("bytes={from}-")));
        }
        headers.extend(etag.map(|etag| (IF_MATCH, etag.to_owned())));
        let response = self.ask(Method::GET, name, &headers).await?;
        let known = response.headers();
        let size = match header(known, &CONTENT_RANGE).map(parse_content_range) {
            Some(range) => range.filter(|(first, _)| *first == from).map(|(_, total)| total),
            None if from == 0 => header(known, &CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            None => None,
        };
        Ok(OpenBlob { version: read_version(known, size)?, response })
    }

    /// Sends a request about a blob; the answer must be a good one.
    async fn ask(
        &self,
        method: Method,
        name: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, Failure> {
        let url = blob_url(&self.signed().url, name)?;
        let mut request = self.http().request(method, url).header(VERSION, API_VERSION);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = match timeout(TIME_LIMIT, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let class = if error.is_connect() { FailureClass::NotSent } else { FailureClass::Transient };
                return Err(Failure::new(class, error_chain(&error)));
            }
            Err(_) => return Err(timed_out(TIME_LIMIT)),
        };
        if matches!(response.status().as_u16(), 200 | 206) {
            return Ok(response);
        }
        match timeout(TIME_LIMIT, Answer::read(response, SMALL)).await {
            Ok(answer) => Err(storage_refusal(&answer)),
            Err(_) => Err(timed_out(TIME_LIMIT)),
        }
    }
}

impl OpenBlob {
    /// The next bytes; none at the end. The caller must count whether the blob is complete.
    ///
    /// Cancel safety: bytes under way are lost; the blob must be opened again.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        match timeout(STALL_LIMIT, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| Failure::new(FailureClass::Transient, error_chain(&error))),
            Err(_) => Err(timed_out(STALL_LIMIT)),
        }
    }
}

/// Whether a blob could not be read because it is no longer the requested version.
#[must_use]
pub fn has_changed(failure: &Failure) -> bool {
    failure.status == Some(CHANGED)
}

/// Whether a call failed because storage sent nothing for a minute.
#[must_use]
pub fn fell_silent(failure: &Failure) -> bool {
    failure.status.is_none() && failure.message.starts_with(SENT_NOTHING)
}

const SENT_NOTHING: &str = "storage sent nothing for";

pub(super) fn timed_out(limit: Duration) -> Failure {
    Failure::new(FailureClass::Transient, format!("{SENT_NOTHING} {} seconds", limit.as_secs()))
}

fn read_version(headers: &HeaderMap, size: Option<u64>) -> Result<BlobVersion, Failure> {
    let md5 = header(headers, &WHOLE_MD5).or_else(|| {
        // For a part, this would be the MD5 of the part.
        header(headers, &CONTENT_MD5).filter(|_| !headers.contains_key(CONTENT_RANGE))
    });
    let (Some(size), Some(etag)) = (size, header(headers, &ETAG)) else {
        let message = "the answer does not identify the blob: no `ETag`, or not the requested range";
        return Err(Failure::new(FailureClass::Refused, message));
    };
    let md5 = md5.and_then(|text| BASE64_STANDARD.decode(text).ok()?.try_into().ok());
    Ok(BlobVersion { size, etag: etag.to_owned(), md5 })
}

/// First byte and total size, from `bytes 4-9/10`.
fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::sas::SasUrl;

    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    const MD5: &str = "eB5eJF1ptWaXm4bijSPyxw==";

    fn store(port: u16) -> AzureLogStore {
        let url = format!(
            "http://127.0.0.1:{port}/devstoreaccount1/logs/?sp=rl&sr=c&se=2036-01-01&sig=TOPSECRET%2B%3D"
        );
        AzureLogStore::new(http_client(1).unwrap(), &SasUrl::parse(&url).unwrap()).unwrap()
    }

    async fn read(mut blob: OpenBlob) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![];
        while let Some(chunk) = blob.chunk().await? {
            bytes.extend_from_slice(chunk.as_ref());
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_blob_is_read_from_a_byte_on_if_it_is_the_same_still() {
        let answer =
            format!("etag: \"0x1\"\r\ncontent-range: bytes 4-9/10\r\nx-ms-blob-content-md5: {MD5}\r\n");
        let server =
            TestServer::start(move |_| Reply::with_headers("206 Partial Content", &answer, "456789")).await;

        let blob = store(server.port()).open_blob("a b/é?.log", 4, Some("\"0x1\"")).await.unwrap();

        assert_eq!((blob.version.size, blob.version.etag.as_str()), (10, "\"0x1\""));
        assert_eq!(blob.version.md5.map(|md5| md5[0]), Some(0x78));
        assert_eq!(read(blob).await.unwrap(), b"456789");
        let seen = &server.requests()[0];
        assert!(
            seen.line().starts_with("GET /devstoreaccount1/logs/a%20b/%C3%A9%3F.log?sp=rl&"),
            "{}",
            seen.line()
        );
        assert_eq!((seen.header("range"), seen.header("if-match")), (Some("bytes=4-"), Some("\"0x1\"")));
        assert_eq!(seen.header("x-ms-version"), Some(API_VERSION));
    }

    #[tokio::test]
    async fn what_is_not_the_range_asked_for_is_no_answer() {
        for (status, headers) in [
            ("200 OK", "etag: \"0x1\"\r\n"),
            ("206 Partial Content", "etag: \"0x1\"\r\ncontent-range: bytes 3-9/10\r\n"),
            ("206 Partial Content", "content-range: bytes 4-9/10\r\n"),
        ] {
            let server = TestServer::start(move |_| Reply::with_headers(status, headers, "456789")).await;
            let failure = store(server.port()).open_blob("x", 4, None).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Refused, "{status} {headers}");
        }
    }

    #[tokio::test]
    async fn a_blob_that_changed_is_told_from_other_refusals_and_no_secret_shows() {
        let failed = async |status: &'static str, headers: &'static str| {
            let server = TestServer::start(move |_| Reply::with_headers(status, headers, "")).await;
            store(server.port()).open_blob("x", 0, None).await.unwrap_err()
        };
        assert!(has_changed(
            &failed("412 Precondition Failed", "x-ms-error-code: ConditionNotMet\r\n").await
        ));
        let refused = failed("403 Forbidden", "x-ms-error-code: AuthorizationPermissionMismatch\r\n").await;
        assert!(!has_changed(&refused) && refused.class == FailureClass::Auth);

        let server = TestServer::start(|_| Reply::Reset).await;
        let failure = store(server.port()).open_blob("x", 0, None).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(!failure.to_string().contains("TOPSECRET"), "{failure}");
    }

    #[tokio::test]
    async fn a_blob_that_breaks_off_is_a_passing_failure() {
        let server = TestServer::start(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\netag: \"0x1\"\r\ncontent-length: 10\r\n\r\n0123")
        })
        .await;
        let blob = store(server.port()).open_blob("x", 0, None).await.unwrap();
        assert_eq!((blob.version.size, blob.version.md5), (10, None));
        assert_eq!(read(blob).await.unwrap_err().class, FailureClass::Transient);
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_not_asked_for() {
        let server = TestServer::start(|_| Reply::Reset).await;
        for name in ["a/../b", "..", "", "a\nb", "./x"] {
            let failure = store(server.port()).blob_version(name).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Refused, "{name:?}");
        }
        assert_eq!(server.requests().len(), 0);
    }
}
