//! Lists of blobs, read while they arrive, and parts of blobs over Microsoft's Blob SDK.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::http::{Method, Request, RetryOptions, UrlExt};
use azure_storage_blob::models::{BlobClientDownloadOptions, HttpRange};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::service::{BlobPage, DetailsPage, LogStore};
use parking_lot::RwLock;
use time::OffsetDateTime;
use tokio::time::timeout;
use url::Url;

use super::download::timed_out;
use super::listing::ListedBlob;
use super::listing_reader::{ListingPage, ListingReader, ListingTrouble};
use super::sdk_failure::sdk_failure;
use super::urls::{InvalidContainer, container_url, without_query};
use crate::http_date;
use crate::request::API_VERSION;
use crate::sdk_transport::{BoundedClient, client_options, transport};

const DATE: HeaderName = HeaderName::from_static("date");

/// The largest page of the service.
const PAGE_SIZE: &str = "5000";

/// For one page of a few megabytes, from connecting to its last byte.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A container and a SAS with list permission. Cheap to clone; clones share their SAS.
#[derive(Clone)]
pub struct AzureLogStore(Arc<ContainerStore>);

struct ContainerStore {
    http: reqwest::Client,
    /// What listings are read through.
    listings: BoundedClient,
    /// The container's URL without its SAS.
    container: Url,
    /// Contains the SAS. A call keeps the one it began with.
    signed: RwLock<Arc<SignedContainer>>,
}

/// A container with a SAS for it.
pub(super) struct SignedContainer {
    pub(super) url: Url,
    client: BlobContainerClient,
}

impl AzureLogStore {
    /// A container; sends nothing.
    pub fn new(http: reqwest::Client, container: &SasUrl) -> Result<Self, InvalidContainer> {
        let url = container_url(container)?;
        let signed = RwLock::new(signed(http.clone(), url.clone())?);
        let listings = BoundedClient::new(http.clone());
        Ok(Self(Arc::new(ContainerStore { http, listings, container: without_query(url), signed })))
    }

    /// Replaces the SAS with a new one for the same container, while others list. Calls under way keep the old SAS.
    pub fn replace(&self, container: &SasUrl) -> Result<(), InvalidContainer> {
        let url = container_url(container)?;
        if without_query(url.clone()) != self.0.container {
            return Err(InvalidContainer);
        }
        let signed = signed(self.0.http.clone(), url)?;
        *self.0.signed.write() = signed;
        Ok(())
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(super) fn signed(&self) -> Arc<SignedContainer> {
        self.0.signed.read().clone()
    }

    /// A page of a listing, and its `Date`. The SDK would hold the page as a whole, and parse it twice.
    async fn page<U: ListedBlob + Send>(
        &self,
        prefix: &str,
        marker: Option<&str>,
    ) -> Result<(ListingPage<U>, Option<OffsetDateTime>), Failure> {
        let mut url = self.signed().url.clone();
        let mut query = url.query_builder();
        query.set_pair("comp", "list").set_pair("restype", "container").set_pair("maxresults", PAGE_SIZE);
        if !prefix.is_empty() {
            query.set_pair("prefix", prefix);
        }
        if let Some(marker) = marker {
            query.set_pair("marker", marker);
        }
        query.build();
        let mut request = Request::new(url, Method::Get);
        request.insert_header("accept", "application/xml");
        request.insert_header("x-ms-version", API_VERSION);
        let mut page = ListingReader::default();
        let headers =
            self.0.listings.read(&mut request, &mut page).await.map_err(|error| sdk_failure(&error))?;
        let page = page.finish().map_err(|trouble| match trouble {
            ListingTrouble::Form => Failure::new(FailureClass::Transient, trouble.to_string()),
            ListingTrouble::Odd(_) => Failure::new(FailureClass::Refused, trouble.to_string()),
        })?;
        Ok((page, headers.get_optional_str(&DATE).and_then(http_date::parse)))
    }

    async fn range(&self, name: &str, offset: u64, length: u64) -> azure_core::Result<Vec<u8>> {
        let range = Some(HttpRange::new(offset, length));
        let options = BlobClientDownloadOptions { range, ..Default::default() };
        let part = self.signed().client.blob_client(name).download(Some(options)).await?;
        let bytes = part.body.collect().await?;
        // A server without support for ranges answers with the whole blob, and its beginning would be taken for its
        // end.
        if bytes.len() as u64 > length {
            let message = "the answer is not the requested part of the blob";
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

fn signed(http: reqwest::Client, url: Url) -> Result<Arc<SignedContainer>, InvalidContainer> {
    let options = BlobContainerClientOptions {
        client_options: client_options(transport(http), RetryOptions::none()),
        version: API_VERSION.into(),
    };
    // The SDK's error quotes the URL with its signature.
    let client = BlobContainerClient::new(url.clone(), None, Some(options)).map_err(|_| InvalidContainer)?;
    Ok(Arc::new(SignedContainer { url, client }))
}

impl LogStore for AzureLogStore {
    async fn list(&self, prefix: &str, marker: Option<&str>) -> Result<BlobPage, Failure> {
        let (ListingPage { blobs, next }, date) = within_time_limit(self.page(prefix, marker)).await?;
        Ok(BlobPage { blobs, next, date })
    }

    async fn list_details(&self, prefix: &str, marker: Option<&str>) -> Result<DetailsPage, Failure> {
        let (ListingPage { blobs, next }, _) = within_time_limit(self.page(prefix, marker)).await?;
        Ok(DetailsPage { blobs, next })
    }

    async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let range = async { self.range(name, offset, length).await.map_err(|error| sdk_failure(&error)) };
        within_time_limit(range).await
    }
}

/// The answer to a call, within the time limit of one call.
async fn within_time_limit<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(TIME_LIMIT, call).await.unwrap_or_else(|_| Err(timed_out(TIME_LIMIT)))
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::service::Blob;
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
        let date = "date: Sun, 22 Nov 2026 09:31:07 GMT\r\n";
        let server = TestServer::start(move |_| Reply::with_headers("200 OK", date, PAGE)).await;

        let page = store(server.port()).list("batch-22EC/pool/", Some("1!m=/+")).await.unwrap();

        assert_eq!(page.date, Some(datetime!(2026-11-22 09:31:07 UTC)), "storage's clock");

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
            "403 AuthenticationFailed: Signature not valid in the specified time frame; sig=<redacted>; Server failed to authenticate."
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

        // Port 1 of loopback: nothing listens there.
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
