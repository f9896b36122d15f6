//! Which runs are in a container.

use std::sync::Arc;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::RunId;
use reqwest::Method;
use tokio::time::Instant;

use super::blobs::patiently;
use crate::blob::container_url;
use crate::request::{Request, TIME_LIMIT, exchange_up_to};
use crate::sas_source::SasSource;
use crate::storage_error::storage_refusal;

/// A page of 5,000 directories is below a megabyte.
const LARGEST: usize = 8 << 20;

/// A run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRunName {
    /// Its id.
    pub run_id: RunId,
    /// Its directory in the container.
    pub dir: String,
}

/// The runs whose directories are in the directory `prefix`, such as `fleetlogs`, of a container, newest first.
///
/// # Errors
/// The container cannot be listed.
pub async fn recorded_runs(
    http: &reqwest::Client,
    source: &SasSource,
    prefix: &str,
) -> Result<Vec<RecordedRunName>, Failure> {
    let (mut runs, mut marker) = (vec![], None);
    loop {
        let (http, source, current) = (http.clone(), Arc::clone(source), marker.take());
        let page =
            patiently(|| page(http.clone(), Arc::clone(&source), prefix.to_owned(), current.clone())).await?;
        runs.extend(page.names.iter().filter_map(|name| {
            let run_id = name.trim_end_matches('/').rsplit('/').next()?.parse().ok()?;
            Some(RecordedRunName { dir: format!("{prefix}/{run_id}"), run_id })
        }));
        match page.next {
            // A marker that leads back here would list for ever.
            Some(next) if Some(&next) != current.as_ref() => marker = Some(next),
            _ => break,
        }
    }
    // An id begins with the time of its run.
    runs.sort_by(|one, other| other.run_id.as_str().cmp(one.run_id.as_str()));
    Ok(runs)
}

/// The directories on a page of a listing.
#[derive(Debug, PartialEq, Eq)]
struct DirectoryPage {
    names: Vec<String>,
    next: Option<String>,
}

/// The SDK cannot list directories.
async fn page(
    http: reqwest::Client,
    source: SasSource,
    prefix: String,
    marker: Option<String>,
) -> Result<DirectoryPage, Failure> {
    let sas = source().await?;
    let unusable = || Failure::new(FailureClass::Config, "the container URL cannot be used");
    let mut url = container_url(&sas).map_err(|_| unusable())?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("restype", "container").append_pair("comp", "list").append_pair("delimiter", "/");
        query.append_pair("prefix", &format!("{prefix}/"));
        if let Some(marker) = &marker {
            query.append_pair("marker", marker);
        }
    }
    let request = Request { method: Method::GET, url: url.clone(), headers: &[], body: String::new() };
    let answer = exchange_up_to(LARGEST, request.builder(&http), &url, Instant::now() + TIME_LIMIT).await?;
    if answer.status != 200 {
        return Err(storage_refusal(&answer));
    }
    answer.whole_body(FailureClass::Transient)?;
    let text = answer.body.unwrap_or_default();
    read_page(&String::from_utf8_lossy(&text))
        .ok_or_else(|| Failure::new(FailureClass::Transient, "the answer is not a whole page of a listing"))
}

/// Reads a page; none if it is not one. Names of runs need no unescaping, and no other names are of interest.
fn read_page(text: &str) -> Option<DirectoryPage> {
    if !text.contains("<Blobs") || !text.trim_end().ends_with("</EnumerationResults>") {
        return None;
    }
    let element = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    let names = text.split("<BlobPrefix>").skip(1).filter_map(|part| element(part, "Name")).collect();
    let next = element(text, "NextMarker").filter(|marker| !marker.is_empty());
    Some(DirectoryPage { names, next: next.map(|marker| marker.replace("&amp;", "&")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};
    use fleetlogs_model::sas::SasUrl;

    fn text(blobs: &str, next: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        )
    }

    #[tokio::test]
    async fn runs_are_listed_newest_first_and_other_names_are_skipped() {
        let older = "<Blob><Name>fleetlogs/schedule.db</Name><Properties/></Blob>\
            <BlobPrefix><Name>fleetlogs/20261122T093000Z-4f2a/</Name></BlobPrefix>\
            <BlobPrefix><Name>fleetlogs/notes/</Name></BlobPrefix>";
        let newer = "<BlobPrefix><Name>fleetlogs/20261123T093000Z-0001/</Name></BlobPrefix>";
        let pages = [text(older, "2!a&amp;b"), text(newer, "")];
        let server = TestServer::start(move |number| Reply::json("200 OK", &pages[number - 1])).await;
        let url =
            format!("http://127.0.0.1:{}/acct/state?sp=rl&sr=c&se=2036-01-01&sig=TOPSECRET", server.port());
        let sas = SasUrl::parse(&url).unwrap();
        let source: SasSource = Arc::new(move || {
            let sas = sas.clone();
            Box::pin(async move { Ok(sas) })
        });

        let runs = recorded_runs(&http_client(1).unwrap(), &source, "fleetlogs").await.unwrap();

        let dirs: Vec<_> = runs.iter().map(|run| run.dir.as_str()).collect();
        assert_eq!(dirs, ["fleetlogs/20261123T093000Z-0001", "fleetlogs/20261122T093000Z-4f2a"]);
        let requests = server.requests();
        let line = requests[1].line();
        for expected in
            ["delimiter=%2F", "prefix=fleetlogs%2F", "marker=2%21a%26b", "comp=list", "sig=TOPSECRET"]
        {
            assert!(line.contains(expected), "{expected} in {line}");
        }
        assert!(!requests[0].line().contains("marker"));
    }

    #[test]
    fn a_page_of_something_else_is_not_an_empty_container() {
        for text in ["", "<html>please log in</html>", "<EnumerationResults><Blobs>"] {
            assert_eq!(read_page(text), None, "{text}");
        }
    }
}
