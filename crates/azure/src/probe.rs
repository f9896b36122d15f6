//! A test: can a container be written to with this SAS?

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::SasUrl;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::request::{Request, TIME_LIMIT, exchange};
use crate::storage_error::storage_refusal;

const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");

/// The prefix of the names of test blobs. The directories of nodes begin with `batch-`, so a test blob is never
/// mistaken for a log.
const NAME: &str = "fleetlogs-write-test";

/// What became of the blob that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEnd {
    /// It was deleted again.
    Deleted,
    /// It is still there, under this name.
    Left(String),
}

/// Writes a small blob with a SAS and removes it again.
///
/// The answer is about writing only. If the SAS does not allow removing the blob, the blob stays; it has a fixed name
/// if the SAS allows writing it again.
///
/// Cancel safety: a dropped call may leave the blob behind.
pub async fn probe_write(http: &reqwest::Client, container: &SasUrl) -> Result<ProbeEnd, Failure> {
    let removable = container.grants('d') != Some(false);
    let repeatable = !removable && container.grants('w') == Some(true);
    let name = if repeatable { format!("{NAME}.txt") } else { format!("{NAME}-{}.txt", Uuid::new_v4()) };
    let deadline = Instant::now() + TIME_LIMIT;
    let mut url = Url::parse(container.expose())
        .map_err(|_| Failure::new(FailureClass::Config, "the container URL cannot be used"))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(&name);
    }

    let write = Request {
        method: Method::PUT,
        url: url.clone(),
        headers: &[(BLOB_TYPE, "BlockBlob"), (CONTENT_TYPE, "text/plain")],
        body: "fleetlogs was here to see whether logs can be written\n".to_owned(),
    };
    let answer = exchange(write.builder(http), &write.url, deadline).await?;
    if answer.status != 201 {
        return Err(storage_refusal(&answer));
    }

    if removable {
        let remove = Request { method: Method::DELETE, url, headers: &[], body: String::new() };
        let removed = match exchange(remove.builder(http), &remove.url, deadline).await {
            Ok(answer) if answer.status == 202 => Ok(()),
            Ok(answer) => Err(storage_refusal(&answer)),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = removed {
            tracing::warn!(%failure, blob = name, "a blob written as a test could not be removed");
            return Ok(ProbeEnd::Left(name));
        }
        return Ok(ProbeEnd::Deleted);
    }
    Ok(ProbeEnd::Left(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    const CREATED: (&str, &str) = ("201 Created", "");
    const REMOVED: (&str, &str) = ("202 Accepted", "");
    const REFUSED: (&str, &str) = ("403 Forbidden", "x-ms-error-code: AuthorizationPermissionMismatch\r\n");

    async fn probe(
        permissions: &str,
        answers: &'static [(&'static str, &'static str)],
    ) -> (Result<ProbeEnd, Failure>, Vec<crate::test_server::SeenRequest>) {
        let server = TestServer::start(move |number| {
            let (status, headers) = answers[number - 1];
            Reply::with_headers(status, headers, "")
        })
        .await;
        let sas = SasUrl::parse(&format!(
            "http://127.0.0.1:{}/acct/logs/?sr=c&sp={permissions}&se=2030-01-01&sig=TOPSECRET%2B",
            server.port()
        ))
        .unwrap();
        let answer = probe_write(&http_client(1).unwrap(), &sas).await;
        assert!(!format!("{answer:?}").contains("TOPSECRET"), "{answer:?}");
        (answer, server.requests())
    }

    #[tokio::test]
    async fn a_blob_is_written_and_removed() {
        let (answer, seen) = probe("cwd", &[CREATED, REMOVED]).await;
        assert_eq!(answer, Ok(ProbeEnd::Deleted));
        assert_eq!(seen.len(), 2);
        let path = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
        assert!(seen[0].line().starts_with("PUT /acct/logs/fleetlogs-write-test-"), "{}", seen[0].line());
        assert!(seen[0].line().contains("sig=TOPSECRET%2B"), "{}", seen[0].line());
        assert!(seen[1].line().starts_with("DELETE "), "{}", seen[1].line());
        assert_eq!(path(seen[0].line()), path(seen[1].line()));
        assert_eq!(seen[0].header("x-ms-blob-type"), Some("BlockBlob"));
        assert_eq!(seen[0].header("x-ms-version"), Some("2025-11-05"));
        assert_eq!(seen[0].header("content-length"), Some(seen[0].body.len().to_string().as_str()));
        assert_eq!(seen[0].header("authorization"), None);
    }

    #[tokio::test]
    async fn a_sas_that_cannot_write_is_told() {
        let (answer, seen) = probe("rl", &[REFUSED]).await;
        let failure = answer.unwrap_err();
        assert_eq!(failure.class, FailureClass::Auth);
        assert_eq!(failure.code.as_deref(), Some("AuthorizationPermissionMismatch"));
        assert_eq!(seen.len(), 1);
    }

    #[tokio::test]
    async fn a_sas_that_cannot_remove_writes_the_same_blob_each_time() {
        let (answer, seen) = probe("cw", &[CREATED]).await;
        assert_eq!(answer, Ok(ProbeEnd::Left("fleetlogs-write-test.txt".into())));
        assert!(seen[0].line().starts_with("PUT /acct/logs/fleetlogs-write-test.txt?"), "{}", seen[0].line());
        assert_eq!(seen.len(), 1);
        // A SAS that can only create must not collide with the blob of an earlier test.
        let (_, seen) = probe("c", &[CREATED]).await;
        assert!(seen[0].line().starts_with("PUT /acct/logs/fleetlogs-write-test-"), "{}", seen[0].line());
    }

    #[tokio::test]
    async fn a_blob_that_stays_is_no_failure_to_write() {
        assert!(matches!(probe("wd", &[CREATED, REFUSED]).await.0, Ok(ProbeEnd::Left(_))));
    }
}
