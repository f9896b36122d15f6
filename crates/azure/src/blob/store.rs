//! The container that the logs arrive in: lists over Microsoft's Blob SDK, one page per call, and parts of blobs; whole blobs
//! by hand.
//!
//! The SDK is told not to retry: how often and when to look again is for the engine to say.

mod download;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::RetryOptions;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::xml;
use azure_storage_blob::models::{BlobClientDownloadOptions, BlobContainerClientListBlobsOptions, HttpRange};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::service::{Blob, BlobDetails, BlobPage, DetailsPage, LogStore};
use futures::TryStreamExt;
use parking_lot::RwLock;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

pub(crate) use self::download::blob_url;
pub use self::download::{BlobVersion, OpenBlob, has_changed};
use crate::http_date;
use crate::redact::error_chain;
use crate::sdk_transport::{client_options, transport};
use crate::storage_error::Refusal;

/// The newest version that Azurite 3.35 knows. The SDK's own default is newer, and an emulator answers it with a 400;
/// nothing here needs more.
pub(crate) const API_VERSION: &str = "2025-11-05";

/// The most the service puts on a page.
const PAGE_SIZE: i32 = 5000;

/// For one page of a few megabytes, from connecting to its last byte.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A container, reached by a SAS with list permission. Cheap to clone; clones share their SAS.
#[derive(Clone)]
pub struct AzureLogStore(Arc<Store>);

struct Store {
    http: reqwest::Client,
    /// The container's URL without its SAS.
    container: Url,
    /// Carries the SAS. A call keeps the one it began with.
    signed: RwLock<Arc<Signed>>,
}

/// A container with the SAS that opens it.
struct Signed {
    url: Url,
    client: BlobContainerClient,
}

/// The SDK does not take the container's URL, or it is another container. The URL is not quoted.
#[derive(Debug, thiserror::Error)]
#[error("the container URL cannot be used")]
pub struct InvalidContainer;

impl AzureLogStore {
    /// A container; nothing is sent yet.
    pub fn new(http: reqwest::Client, container: &SasUrl) -> Result<Self, InvalidContainer> {
        let url = container_url(container)?;
        let signed = RwLock::new(signed(http.clone(), url.clone())?);
        Ok(Self(Arc::new(Store { http, container: without_query(url), signed })))
    }

    /// Takes a new SAS for the same container, while others list. Calls under way go on with the old one.
    pub fn replace(&self, container: &SasUrl) -> Result<(), InvalidContainer> {
        let url = container_url(container)?;
        if without_query(url.clone()) != self.0.container {
            return Err(InvalidContainer);
        }
        let signed = signed(self.0.http.clone(), url)?;
        *self.0.signed.write() = signed;
        Ok(())
    }

    fn signed(&self) -> Arc<Signed> {
        self.0.signed.read().clone()
    }

    /// A page of a listing; none where the SDK has none.
    async fn page<P: DeserializeOwned>(
        &self,
        prefix: &str,
        marker: Option<&str>,
    ) -> azure_core::Result<Option<Listing<P>>> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
            marker: marker.map(str::to_owned),
            maxresults: Some(PAGE_SIZE),
            ..Default::default()
        };
        let Some(page) = self.signed().client.list_blobs(Some(options))?.into_pages().try_next().await?
        else {
            return Ok(None);
        };
        let (_, _, body) = page.deconstruct();
        xml::from_xml::<_, Listing<P>>(&body).map(Some)
    }

    async fn range(&self, name: &str, offset: u64, length: u64) -> azure_core::Result<Vec<u8>> {
        let range = Some(HttpRange::new(offset, length));
        let options = BlobClientDownloadOptions { range, ..Default::default() };
        let part = self.signed().client.blob_client(name).download(Some(options)).await?;
        let bytes = part.body.collect().await?;
        // Whoever does not know ranges answers with all of it, and what is first would pass for what is last.
        if bytes.len() as u64 > length {
            let message = "the answer is not the part of the blob that was asked for";
            return Err(azure_core::Error::with_message(ErrorKind::Other, message));
        }
        Ok(bytes.into())
    }
}

impl fmt::Debug for AzureLogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureLogStore({}?<redacted>)", self.0.container)
    }
}

/// The URL with its SAS. A slash after the container's name would be taken for a blob of no name.
pub(crate) fn container_url(container: &SasUrl) -> Result<Url, InvalidContainer> {
    let mut url = Url::parse(container.expose()).map_err(|_| InvalidContainer)?;
    url.path_segments_mut().map_err(|()| InvalidContainer)?.pop_if_empty();
    Ok(url)
}

/// The URL without anything that gives authority: safe to show.
fn without_query(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    // Only a URL without a host refuses these two.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn signed(http: reqwest::Client, url: Url) -> Result<Arc<Signed>, InvalidContainer> {
    let options = BlobContainerClientOptions {
        client_options: client_options(transport(http), RetryOptions::none()),
        version: API_VERSION.into(),
    };
    // The SDK's error quotes the URL, signature and all.
    let client = BlobContainerClient::new(url.clone(), None, Some(options)).map_err(|_| InvalidContainer)?;
    Ok(Arc::new(Signed { url, client }))
}

impl LogStore for AzureLogStore {
    async fn list(&self, prefix: &str, marker: Option<&str>) -> Result<BlobPage, Failure> {
        Ok(in_time(self.page::<Properties>(prefix, marker)).await?.map(BlobPage::from).unwrap_or_default())
    }

    async fn list_details(&self, prefix: &str, marker: Option<&str>) -> Result<DetailsPage, Failure> {
        let page = in_time(self.page::<AllProperties>(prefix, marker)).await?;
        Ok(page.map(DetailsPage::from).unwrap_or_default())
    }

    async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        in_time(self.range(name, offset, length)).await
    }
}

/// A call's answer, within the time that one may take.
async fn in_time<T>(call: impl Future<Output = azure_core::Result<T>>) -> Result<T, Failure> {
    match timeout(TIME_LIMIT, call).await {
        Ok(answer) => answer.map_err(|error| failure(&error)),
        Err(_) => Err(Failure::new(
            FailureClass::Transient,
            format!("storage did not answer within {} seconds", TIME_LIMIT.as_secs()),
        )),
    }
}

/// A page as storage spells it. The SDK's own model lacks `ResourceType`, and fails on a page with one bad date.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing<P> {
    /// There is always one, if an empty one. Without it this is some other page, which must not pass for an empty
    /// container: an upload in doubt would be sent again.
    blobs: Blobs<P>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
struct Blobs<P> {
    #[serde(rename = "Blob", default = "Vec::new")]
    items: Vec<Item<P>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item<P> {
    name: Name,
    properties: Option<P>,
}

#[derive(Deserialize)]
struct Name {
    /// Whether the name is percent-encoded, for it holds what XML cannot.
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

#[derive(Default, Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length")]
    length: Option<u64>,
    #[serde(rename = "Creation-Time")]
    created: Option<String>,
    #[serde(rename = "ResourceType")]
    resource_type: Option<String>,
}

/// All that is of use for a file by itself. Each takes memory for every blob of a page, so the verifier does without.
#[derive(Default, Deserialize)]
struct AllProperties {
    #[serde(rename = "Content-Length")]
    length: Option<u64>,
    #[serde(rename = "Creation-Time")]
    created: Option<String>,
    #[serde(rename = "Last-Modified")]
    modified: Option<String>,
    #[serde(rename = "Etag")]
    etag: Option<String>,
    #[serde(rename = "Content-MD5")]
    md5: Option<String>,
    #[serde(rename = "ResourceType")]
    resource_type: Option<String>,
}

/// In an account with a hierarchical namespace a listing shows directories as well; they are no files.
const DIRECTORY: &str = "directory";

impl Name {
    fn decoded(self) -> String {
        if self.encoded { percent_decode_str(&self.text).decode_utf8_lossy().into_owned() } else { self.text }
    }
}

impl From<Listing<Properties>> for BlobPage {
    fn from(listing: Listing<Properties>) -> Self {
        let blobs = listing.blobs.items.into_iter().filter_map(|Item { name, properties }| {
            let properties = properties.unwrap_or_default();
            if properties.resource_type.as_deref() == Some(DIRECTORY) {
                return None;
            }
            Some(Blob {
                name: name.decoded(),
                size: properties.length.unwrap_or(0),
                created_at: properties.created.as_deref().and_then(http_date::parse),
            })
        });
        Self { blobs: blobs.collect(), next: listing.next_marker.filter(|marker| !marker.is_empty()) }
    }
}

impl From<Listing<AllProperties>> for DetailsPage {
    fn from(listing: Listing<AllProperties>) -> Self {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let time = |text: Option<String>| text.as_deref().and_then(http_date::parse);
        let blobs = listing.blobs.items.into_iter().filter_map(|Item { name, properties }| {
            let properties = properties.unwrap_or_default();
            if properties.resource_type.as_deref() == Some(DIRECTORY) {
                return None;
            }
            Some(BlobDetails {
                name: name.decoded(),
                size: properties.length.unwrap_or(0),
                created_at: time(properties.created),
                last_modified: time(properties.modified),
                // Some write the quotes of the header, others leave them out.
                etag: said(properties.etag).map(|etag| etag.trim_matches('"').into()),
                content_md5: said(properties.md5).map(Into::into),
            })
        });
        Self { blobs: blobs.collect(), next: listing.next_marker.filter(|marker| !marker.is_empty()) }
    }
}

/// What the SDK's error means for a listing or a part of a blob.
fn failure(error: &azure_core::Error) -> Failure {
    let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() else {
        let class = match error.kind() {
            ErrorKind::Connection => FailureClass::NotSent,
            // Broken off in the middle, of the connection or of its XML.
            ErrorKind::Io | ErrorKind::DataConversion => FailureClass::Transient,
            _ => FailureClass::Refused,
        };
        return Failure::new(class, error_chain(error as &(dyn Error + 'static)));
    };
    let headers = raw_response.as_ref().map(|response| response.headers());
    let refusal = Refusal {
        status: u16::from(*status),
        code: headers.and_then(|headers| header(headers, "x-ms-error-code")).or(error_code.as_deref()),
        request_id: headers.and_then(|headers| header(headers, "x-ms-request-id")),
        retry_after_ms: headers
            .and_then(|headers| header(headers, "retry-after")?.trim().parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1000)),
        body: raw_response.as_ref().map(|response| response.body().as_ref()),
    };
    refusal.failure()
}

fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    const PAGE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<EnumerationResults ServiceEndpoint="https://logs.example/" ContainerName="logs"><Blobs><Blob>
<Name>batch-22EC/pool/tvm_1/guid/agent &amp; 1.log</Name><Properties><Creation-Time>Sun, 22 Nov 2026 09:30:00 GMT</Creation-Time>
<Content-Length>42</Content-Length><BlobType>AppendBlob</BlobType></Properties></Blob>
<Blob><Name>batch-22EC/pool/tvm_1</Name><Properties><ResourceType>directory</ResourceType><Content-Length>0</Content-Length></Properties></Blob></Blobs><NextMarker>2!76!abc=/+</NextMarker></EnumerationResults>"#;

    fn store(port: u16) -> AzureLogStore {
        let url = format!(
            "http://127.0.0.1:{port}/devstoreaccount1/logs/?sp=rl&sr=c&se=2030-01-01&sig=TOPSECRET%2B%3D"
        );
        AzureLogStore::new(http_client(1).unwrap(), &SasUrl::parse(&url).unwrap()).unwrap()
    }

    async fn refused(status: &'static str, headers: &'static str, body: &'static str) -> Failure {
        let server = TestServer::start(move |_| Reply::with_headers(status, headers, body)).await;
        let failure = store(server.port()).list("p/", None).await.unwrap_err();
        assert_eq!(server.requests().len(), 1, "the SDK sent it again");
        assert!(!format!("{failure:?}").contains("TOPSECRET"), "{failure:?}");
        failure
    }

    #[tokio::test]
    async fn a_page_is_asked_for_with_prefix_and_marker_and_read() {
        let server = TestServer::start(|_| Reply::json("200 OK", PAGE)).await;

        let page = store(server.port()).list("batch-22EC/pool/", Some("1!m=/+")).await.unwrap();

        assert_eq!(
            page.blobs,
            [Blob {
                name: "batch-22EC/pool/tvm_1/guid/agent & 1.log".into(),
                size: 42,
                created_at: Some(datetime!(2026-11-22 09:30:00 UTC)),
            }]
        );
        assert_eq!(page.next.as_deref(), Some("2!76!abc=/+"));
        let seen = &server.requests()[0];
        let url = Url::parse(&format!("http://h{}", seen.line().split(' ').nth(1).unwrap())).unwrap();
        let query: Vec<_> = url.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        for expected in [
            "comp=list",
            "restype=container",
            "maxresults=5000",
            "prefix=batch-22EC/pool/",
            "marker=1!m=/+",
            "sp=rl",
            "sig=TOPSECRET+=",
        ] {
            assert!(query.iter().any(|have| have == expected), "{expected} in {query:?}");
        }
        assert_eq!(url.path(), "/devstoreaccount1/logs");
        assert_eq!(seen.header("x-ms-version"), Some(API_VERSION));
        assert_eq!(seen.header("authorization"), None);
    }

    #[test]
    fn encoded_names_are_decoded_and_bad_dates_are_no_dates() {
        let listing = "<EnumerationResults><Blobs><Blob><Name Encoded=\"true\">a%EF%BF%BE/b</Name>\
            <Properties><Creation-Time>soon</Creation-Time></Properties></Blob></Blobs><NextMarker/></EnumerationResults>";
        let page: BlobPage = xml::from_xml::<_, Listing<Properties>>(listing.as_bytes()).unwrap().into();
        assert_eq!(page.blobs, [Blob { name: "a\u{fffe}/b".into(), size: 0, created_at: None }]);
        assert_eq!(page.next, None);

        let empty: BlobPage = xml::from_xml::<_, Listing<Properties>>(
            b"<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>",
        )
        .unwrap()
        .into();
        assert!(empty.blobs.is_empty() && empty.next.is_none());
    }

    #[tokio::test]
    async fn details_are_what_the_page_has_of_them() {
        let page = PAGE.replace(
            "<BlobType>",
            "<Last-Modified>Sun, 22 Nov 2026 09:31:00 GMT</Last-Modified><Etag>\"0x8D\"</Etag>\
             <Content-MD5>CY9rzUYh03PK3k6DJie09g==</Content-MD5><BlobType>",
        );
        let server =
            TestServer::start(move |number| Reply::json("200 OK", if number == 1 { &page } else { PAGE }));
        let store = store(server.await.port());

        let page = store.list_details("batch-22EC/pool/", None).await.unwrap();
        let [blob] = &page.blobs[..] else { panic!("{page:?}") };
        assert_eq!((blob.name.as_str(), blob.size), ("batch-22EC/pool/tvm_1/guid/agent & 1.log", 42));
        assert_eq!(blob.last_modified, Some(datetime!(2026-11-22 09:31:00 UTC)));
        assert_eq!(
            (blob.etag.as_deref(), blob.content_md5.as_deref()),
            (Some("0x8D"), Some("CY9rzUYh03PK3k6DJie09g=="))
        );

        let bare = store.list_details("batch-22EC/pool/", None).await.unwrap();
        assert_eq!((&bare.blobs[0].etag, bare.blobs[0].last_modified), (&None, None));
    }

    #[tokio::test]
    async fn a_part_of_a_blob_is_asked_for_and_nothing_else_taken_for_it() {
        let server = TestServer::start(|number| match number {
            1 => Reply::with_headers("206 Partial Content", "content-range: bytes 100-103/200\r\n", "abcd"),
            _ => Reply::with_headers("200 OK", "", "all of it, from its beginning"),
        });
        let server = server.await;
        let store = store(server.port());

        let part = store.read_range("batch-22EC/pool/tvm_1/guid/agent & 1.log", 100, 4).await;
        assert_eq!(part.unwrap(), b"abcd");
        let seen = &server.requests()[0];
        assert!(
            seen.header("range").or(seen.header("x-ms-range")).unwrap().ends_with("bytes=100-103"),
            "{seen:?}"
        );
        assert!(seen.line().contains("agent%20&%201.log?") || seen.line().contains("agent%20%26%201.log?"));

        store.read_range("a.log", 100, 4).await.unwrap_err();
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn a_page_of_something_else_is_not_an_empty_container() {
        for body in
            ["", "<html><body>please log in</body></html>", "<EnumerationResults></EnumerationResults>", "{}"]
        {
            assert_eq!(refused("200 OK", "", body).await.class, FailureClass::Transient, "{body}");
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code_and_says_why() {
        let failure = refused(
            "403 Forbidden",
            "x-ms-error-code: AuthenticationFailed\r\nx-ms-request-id: r-9\r\n",
            "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate.\nRequestId:r-9\nTime:2026</Message>\
             <AuthenticationErrorDetail>Signature not valid in the specified time frame; sig=TOPSECRET</AuthenticationErrorDetail></Error>",
        )
        .await;
        assert_eq!(failure.class, FailureClass::Auth);
        assert_eq!(
            failure.to_string(),
            "403 AuthenticationFailed: Server failed to authenticate.; Signature not valid in the specified time frame; sig=<redacted>"
        );
        assert_eq!(failure.request_id.as_deref(), Some("r-9"));
    }

    #[tokio::test]
    async fn every_refusal_has_its_class() {
        use FailureClass::{Auth, Config, Gone, Refused, Throttled, Transient};
        for (status, code, class) in [
            ("404 Not Found", "x-ms-error-code: ContainerNotFound\r\n", Gone),
            ("404 Not Found", "x-ms-error-code: ResourceNotFound\r\n", Refused),
            ("403 Forbidden", "x-ms-error-code: AuthorizationPermissionMismatch\r\n", Auth),
            ("400 Bad Request", "x-ms-error-code: InvalidHeaderValue\r\n", Config),
            ("503 Busy", "x-ms-error-code: ServerBusy\r\nretry-after: 3\r\n", Throttled),
            ("500 Error", "", Transient),
            ("302 Found", "location: https://evil.example/?sig=TOPSECRET\r\n", Refused),
            ("200 OK", "", Transient),
        ] {
            assert_eq!(refused(status, code, "").await.class, class, "{status} {code}");
        }
    }

    #[tokio::test]
    async fn a_broken_connection_does_not_show_the_url() {
        let server = TestServer::start(|_| Reply::Reset).await;
        let failure = store(server.port()).list("", None).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(!failure.to_string().contains("127.0.0.1"), "{failure}");
        assert_eq!(server.requests().len(), 1);

        // Port 1 of loopback: nobody listens there.
        let failure = store(1).list("", None).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::NotSent);
        assert!(failure.message.contains("refused") && !failure.message.contains("TOPSECRET"), "{failure}");
    }

    fn sas(port: u16, container: &str, signature: &str) -> SasUrl {
        let url = format!(
            "http://127.0.0.1:{port}/devstoreaccount1/{container}?sp=rl&sr=c&se=2030-01-01&sig={signature}"
        );
        SasUrl::parse(&url).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_sas_serves_the_next_call_and_the_one_under_way_keeps_the_old() {
        let (answer, held) = std::sync::mpsc::channel::<()>();
        let held = parking_lot::Mutex::new(held);
        let server = TestServer::start(move |number| {
            if number == 1 {
                tokio::task::block_in_place(|| held.lock().recv().unwrap());
            }
            Reply::json("200 OK", PAGE)
        });
        let server = server.await;
        let store = AzureLogStore::new(http_client(1).unwrap(), &sas(server.port(), "logs", "OLD")).unwrap();
        let lister = store.clone();
        let under_way = tokio::spawn(async move { lister.list("", None).await });
        while server.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        store.replace(&sas(server.port(), "logs/", "NEW")).unwrap();
        answer.send(()).unwrap();

        under_way.await.unwrap().unwrap();
        store.clone().list("", None).await.unwrap();
        let lines: Vec<_> = server.requests().iter().map(|seen| seen.line().to_owned()).collect();
        assert!(lines[0].contains("sig=OLD") && lines[1].contains("sig=NEW"), "{lines:?}");
    }

    #[tokio::test]
    async fn another_container_does_not_take_the_place_of_this_one() {
        let server = TestServer::start(|_| Reply::json("200 OK", PAGE)).await;
        let store = AzureLogStore::new(http_client(1).unwrap(), &sas(server.port(), "logs", "OLD")).unwrap();
        assert!(store.replace(&sas(server.port(), "other", "NEW")).is_err());
        assert!(store.replace(&sas(1, "logs", "NEW")).is_err());
        store.list("", None).await.unwrap();
        assert!(server.requests()[0].line().contains("sig=OLD"));
        assert!(!format!("{store:?}").contains("OLD"), "{store:?}");
    }
}
