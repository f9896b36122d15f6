//! The account, tested with a server that shows every byte.

use std::sync::atomic::{AtomicUsize, Ordering};

use azure_core::credentials::AccessToken;
use fleetlogs_model::access::WriteAccess;
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::secret::Secret;
use fleetlogs_model::window::Window;
use time::macros::datetime;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::answer::{PAGE, UPLOAD};
use crate::http::{http_client, list_client, unkept_client};
use crate::http_date;
use crate::test_server::{Reply, TestServer};

const ACCEPTED: &str =
    r#"{"odata.metadata":"x","virtualDirectoryName":"contoso-22EC/p/tvm_1/guid","numberOfFilesUploaded":4}"#;
const NO_POOLS: &str = r#"{"value":[]}"#;

fn clients() -> Clients {
    Clients {
        uploads: http_client(4).unwrap(),
        lists: list_client(4).unwrap(),
        unkept: unkept_client().unwrap(),
    }
}

fn account(endpoint: &str, auth: BatchAuth) -> AzureBatch {
    let settings = AccountSettings {
        endpoint: endpoint.parse().unwrap(),
        api_version: "2024-07-01.20.0".into(),
        auth,
        read_timeout: Duration::from_secs(5),
    };
    AzureBatch::new(clients(), settings).unwrap()
}

/// The account `contoso` with a key that is plainly not real.
fn with_key(server: &TestServer) -> AzureBatch {
    account(&server.url(), BatchAuth::SharedKey(key()))
}

fn key() -> SharedKey {
    let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into());
    SharedKey::new("contoso", &key).unwrap()
}

/// Tokens `token-1`, `token-2`, ... and the number of requests for one.
fn tokens() -> (TokenSource, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let source = TokenSource::new(move || {
        let text = format!("token-{}", count.fetch_add(1, Ordering::SeqCst) + 1);
        Box::pin(
            async move { Ok(AccessToken::new(text, OffsetDateTime::now_utc() + Duration::from_secs(3600))) },
        )
    });
    (source, asked)
}

fn order() -> UploadOrder {
    let sas =
        "https://logs.blob.core.windows.net/batch?sp=cw&sr=c&se=2030-01-01T00:00:00Z&sig=TOPSECRET%2B%3D";
    let window =
        Window { start: datetime!(2026-11-22 07:30:00 UTC), end: datetime!(2026-11-22 09:30:00.25 UTC) };
    UploadOrder { window, access: WriteAccess::Sas(SasUrl::parse(sas).unwrap()).into() }
}

async fn upload(batch: &AzureBatch) -> Result<Accepted, Failure> {
    upload_within(batch, Duration::from_secs(5)).await
}

async fn upload_within(batch: &AzureBatch, time_limit: Duration) -> Result<Accepted, Failure> {
    let answer = batch
        .upload_logs(&PoolId::new("p"), &NodeId::new("tvm_1"), &order(), Uuid::from_u128(7), time_limit)
        .await;
    assert!(!format!("{answer:?}").contains("TOPSECRET"), "{answer:?}");
    answer
}

#[tokio::test]
async fn an_upload_is_sent_as_the_reference_says() {
    let server = TestServer::start(|_| Reply::json("200 OK", ACCEPTED)).await;

    let accepted = upload(&with_key(&server)).await.unwrap();

    assert_eq!(
        accepted,
        Accepted {
            directory: "contoso-22EC/p/tvm_1/guid".into(),
            files: Some(4),
            request_id: Some("fbe93aba-21e0".into())
        }
    );
    let seen = &server.requests()[0];
    assert_eq!(
        seen.line(),
        "POST /pools/p/nodes/tvm_1/uploadbatchservicelogs?api-version=2024-07-01.20.0&timeout=30 HTTP/1.1"
    );
    assert_eq!(
        seen.body,
        r#"{"containerUrl":"https://logs.blob.core.windows.net/batch?sp=cw&sr=c&se=2030-01-01T00:00:00Z&sig=TOPSECRET%2B%3D","startTime":"2026-11-22T07:30:00.000Z","endTime":"2026-11-22T09:30:00.250Z"}"#
    );
    assert_eq!(seen.header("content-type"), Some("application/json; odata=minimalmetadata"));
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("client-request-id"), Some("00000000-0000-0000-0000-000000000007"));
    assert_eq!(seen.header("return-client-request-id"), Some("true"));
    assert_eq!(seen.header("accept-encoding"), None);
    assert_eq!(seen.header("user-agent"), Some(concat!("fleetlogs/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent() {
    let server = TestServer::start(|_| Reply::json("200 OK", ACCEPTED)).await;

    upload(&with_key(&server)).await.unwrap();

    let seen = &server.requests()[0];
    let signed = SignedParts {
        method: "POST",
        content_length: Some(seen.header("content-length").unwrap().parse().unwrap()),
        content_type: seen.header("content-type").unwrap(),
        ocp_date: seen.header("ocp-date").unwrap(),
        path: "/pools/p/nodes/tvm_1/uploadbatchservicelogs",
        query: b"\napi-version:2024-07-01.20.0\ntimeout:30",
    };
    assert_eq!(seen.header("authorization"), Some(key().authorization(&signed).to_str().unwrap()));
}

#[tokio::test]
async fn a_next_link_reaches_the_wire_byte_for_byte() {
    let server = TestServer::start(|_| Reply::json("200 OK", NO_POOLS)).await;
    let rest = "/pools?maxresults=1&api-version=2024-07-01.20.0&$skiptoken=WATV2:vT6wP3Wu.../sgtH27!*()~^m^Dg|d{}`[]\\+%2b%5E;@,JCKO0:1$1==";
    let link = PageLink(format!("http://127.0.0.1:{}{rest}", server.port()));

    with_key(&server).list_pools(Some(&link)).await.unwrap();

    assert_eq!(server.requests()[0].line(), format!("GET {rest} HTTP/1.1"));
}

#[tokio::test]
async fn a_next_link_elsewhere_gets_no_request() {
    let home = TestServer::start(|_| Reply::json("200 OK", NO_POOLS)).await;
    let elsewhere = TestServer::start(|_| Reply::json("200 OK", NO_POOLS)).await;
    let link = PageLink(format!("{}pools?$skiptoken=1", elsewhere.url()));

    let failure = with_key(&home).list_nodes(&PoolId::new("p"), Some(&link)).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::Refused);
    assert!(failure.message.contains("leads away from"), "{failure}");
    assert!(home.requests().is_empty() && elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_page_of_nodes_is_read_with_its_link() {
    let body = r#"{"value":[{"id":"tvm_1","state":"idle"},{"id":"tvm_2","state":"novel"}],"odata.nextLink":"http://h/x?$skiptoken=^"}"#;
    let server = TestServer::start(move |_| Reply::json("200 OK", body)).await;

    let page = with_key(&server).list_nodes(&PoolId::new("p"), None).await.unwrap();

    assert_eq!(page.items[1].id.as_str(), "tvm_2");
    assert_eq!(page.next, Some(PageLink("http://h/x?$skiptoken=^".into())));
    assert!(
        server.requests()[0]
            .line()
            .starts_with("GET /pools/p/nodes?api-version=2024-07-01.20.0&maxresults=1000&$select=id,")
    );
}

#[tokio::test]
async fn nodes_in_states_are_filtered_by_the_service_and_its_link_carries_on() {
    let server =
        TestServer::start(|_| Reply::json("200 OK", r#"{"value":[{"id":"tvm_1","state":"Unusable"}]}"#))
            .await;
    let batch = with_key(&server);
    let (pool, states) = (PoolId::new("p"), [NodeState::Unusable, NodeState::StartTaskFailed]);
    let link = PageLink(format!("http://127.0.0.1:{}/pools/p/nodes?$skiptoken=^", server.port()));

    let page = batch.list_nodes_in(&pool, &states, None).await.unwrap();
    batch.list_nodes_in(&pool, &states, Some(&link)).await.unwrap();

    assert_eq!(page.items[0].facts.state, Some(NodeState::Unusable));
    let filter =
        "&$filter=state%20eq%20%27unusable%27%20or%20state%20eq%20%27starttaskfailed%27&$select=id,state,";
    let lines: Vec<_> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    assert!(lines[0].contains(filter), "{}", lines[0]);
    assert_eq!(lines[1], "GET /pools/p/nodes?$skiptoken=^ HTTP/1.1");
}

#[tokio::test]
async fn a_200_that_is_no_list_is_not_an_empty_one() {
    for body in
        ["", "{}", "[]", "<html>", r#"{"value":null}"#, r#"{"value":[{"state":"active"}]}"#, r#"{"value":["#]
    {
        let server = TestServer::start(move |_| Reply::json("200 OK", body)).await;
        let failure = with_key(&server).list_pools(None).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient, "{body}: {failure}");
        assert_eq!(failure.request_id.as_deref(), Some("fbe93aba-21e0"));
    }
}

#[tokio::test]
async fn an_upload_whose_connection_is_reset_is_in_doubt_and_sent_once() {
    let server = TestServer::start(|_| Reply::Reset).await;

    let failure = upload(&with_key(&server)).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::InDoubt, "{failure}");
    assert!(!failure.message.contains("127.0.0.1"), "{failure}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_an_upload_leaves_it_in_doubt_and_sent_once() {
    let server = TestServer::start_seeing(|number, seen| match number {
        1 => Reply::json("200 OK", NO_POOLS).echoing(seen),
        2 => Reply::keep_alive(ACCEPTED).echoing(seen),
        _ => Reply::Reset,
    })
    .await;
    let batch = with_key(&server);
    batch.list_pools(None).await.unwrap();
    upload(&batch).await.unwrap();

    let failure = upload(&batch).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::InDoubt, "{failure}");
    assert_eq!((server.requests().len(), server.connections()), (3, 2));
}

#[tokio::test]
async fn a_read_whose_connection_is_reset_is_transient_and_sent_once() {
    let server = TestServer::start(|_| Reply::Reset).await;
    let failure = with_key(&server).list_pools(None).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_upload_without_an_answer_in_time_is_in_doubt() {
    let server = TestServer::start(|_| Reply::Silence).await;
    let failure = upload_within(&with_key(&server), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!((failure.class, &*failure.message), (FailureClass::InDoubt, "operation timed out"));
}

#[tokio::test]
async fn a_200_that_is_not_an_answer_leaves_an_upload_in_doubt() {
    let truncated = format!("HTTP/1.1 200 OK\r\nrequest-id: r-1\r\ncontent-length: 500\r\n\r\n{ACCEPTED}");
    let long = format!("HTTP/1.1 200 OK\r\nrequest-id: r-1\r\ncontent-length: {}\r\n\r\n", UPLOAD + 1);
    let body = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nrequest-id: r-1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let endless =
        format!("HTTP/1.1 200 OK\r\nrequest-id: r-1\r\nconnection: close\r\n\r\n{}", " ".repeat(UPLOAD + 1));
    for answer in [
        truncated,
        long,
        endless,
        body(""),
        body("<html>"),
        body(&ACCEPTED[..ACCEPTED.len() - 1]),
        body(r#"{"numberOfFilesUploaded":4}"#),
        body(r#"{"virtualDirectoryName":"","numberOfFilesUploaded":4}"#),
        body(&format!(r#"{{"virtualDirectoryName":"a/{}"}}"#, "b".repeat(1021))),
        "HTTP/1.1 202 Accepted\r\nrequest-id: r-1\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ] {
        let reply = answer.clone();
        let server = TestServer::start(move |_| Reply::raw(&reply)).await;

        let failure = upload(&with_key(&server)).await.unwrap_err();

        let answer = answer.trim_end();
        assert_eq!(failure.class, FailureClass::InDoubt, "{answer}: {failure}");
        assert_eq!(failure.request_id.as_deref(), Some("r-1"), "{answer}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_huge_error_is_judged_by_its_status_and_not_kept() {
    let body = "x".repeat(2 << 20);
    let server =
        TestServer::start(move |_| Reply::with_headers("429 Busy", "retry-after: 9\r\n", &body)).await;
    let failure = upload(&with_key(&server)).await.unwrap_err();
    assert_eq!((failure.class, failure.retry_after_ms), (FailureClass::Throttled, Some(9000)));
    assert_eq!(&*failure.message, "the answer is longer than 65536 bytes");
}

#[tokio::test]
async fn a_page_beyond_all_proportion_is_refused_unread() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PAGE + 1);
    let server = TestServer::start(move |_| Reply::raw(&head)).await;
    let failure = with_key(&server).list_pools(None).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused, "{failure}");
    assert_eq!(&*failure.message, "the answer is longer than 25165824 bytes");
}

#[tokio::test]
async fn an_upload_that_never_connected_is_not_sent() {
    // Port 1 of loopback: nothing listens there.
    let batch = account("http://127.0.0.1:1", BatchAuth::SharedKey(key()));
    let failure = upload(&batch).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotSent);
    assert!(failure.message.contains("Connection refused"), "{failure}");
    assert!(!failure.message.contains("127.0.0.1"), "{failure}");
}

#[tokio::test]
async fn an_upload_whose_tls_handshake_fails_is_not_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"this is no TLS\r\n").await.unwrap();
    });
    let failure = upload(&account(&endpoint, BatchAuth::SharedKey(key()))).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotSent, "{failure}");
}

#[tokio::test]
async fn a_redirect_gets_no_second_request() {
    let server = TestServer::start(|_| {
        Reply::with_headers("307 Temporary Redirect", "location: /elsewhere?x=1\r\n", "")
    })
    .await;
    let failure = upload(&with_key(&server)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused);
    assert_eq!(&*failure.message, "the service redirects to `/elsewhere`, which is not followed");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_upload_sent_again() {
    let server = TestServer::start(|number| match number {
        1 => Reply::json("401 Unauthorized", r#"{"code":"AuthenticationFailed","message":{"value":"no"}}"#),
        _ => Reply::json("200 OK", ACCEPTED),
    })
    .await;
    let (tokens, asked) = tokens();

    let batch = account(&server.url(), BatchAuth::Entra(tokens));
    upload(&batch).await.unwrap();
    upload(&batch).await.unwrap();

    let sent = server.requests();
    let sent: Vec<_> = sent.iter().map(|seen| seen.header("authorization").unwrap()).collect();
    assert_eq!(sent, ["Bearer token-1", "Bearer token-2", "Bearer token-2"]);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_that_stays_refused_is_tried_twice_and_a_missing_role_once() {
    for (body, requests) in [
        (r#"{"code":"AuthenticationFailed","message":{"value":"no"}}"#, 2),
        (r#"{"code":"InsufficientAccountPermissions","message":{"value":"no"}}"#, 1),
    ] {
        let server = TestServer::start(move |_| Reply::json("403 Forbidden", body)).await;
        let batch = account(&server.url(), BatchAuth::Entra(tokens().0));
        let failure = batch.list_pools(None).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Auth);
        assert_eq!(server.requests().len(), requests, "{body}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = TestServer::start(|_| Reply::json("200 OK", ACCEPTED)).await;
    let tokens = TokenSource::new(|| Box::pin(futures::future::pending()));
    let batch = account(&server.url(), BatchAuth::Entra(tokens));

    let failure = upload_within(&batch, Duration::from_millis(50)).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::NotSent);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_service_clock_is_compared_with_ours() {
    for off in [time::Duration::minutes(20), time::Duration::hours(25), time::Duration::days(-40)] {
        let server = TestServer::start(move |_| {
            let date = http_date::format(OffsetDateTime::now_utc() + off);
            Reply::with_headers("200 OK", &format!("date: {date}\r\n"), NO_POOLS)
        })
        .await;
        let batch = with_key(&server);
        assert_eq!(batch.clock_offset(), None);

        batch.list_pools(None).await.unwrap();

        let offset = batch.clock_offset().unwrap();
        assert!((offset - off).abs() < time::Duration::seconds(5), "{offset}");
    }
}

#[test]
fn a_credential_never_goes_out_in_the_clear() {
    let settings = |endpoint: &str| AccountSettings {
        endpoint: endpoint.parse().unwrap(),
        api_version: "v".into(),
        auth: BatchAuth::SharedKey(key()),
        read_timeout: Duration::from_secs(1),
    };
    assert!(AzureBatch::new(clients(), settings("http://contoso.westeurope.batch.azure.com")).is_err());
    assert!(AzureBatch::new(clients(), settings("http://127.0.0.1:4001")).is_ok());
    assert!(!format!("{:?}", settings("http://127.0.0.1:4001")).contains("MDEy"));
}

#[tokio::test]
async fn an_accepted_call_is_accepted_whatever_it_says_of_the_number_of_files() {
    for (number, files) in
        [("", None), (r#","numberOfFilesUploaded":"4""#, Some(4)), (r#","numberOfFilesUploaded":-1"#, None)]
    {
        let reply = format!(r#"{{"virtualDirectoryName":"d"{number}}}"#);
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{reply}", reply.len());
        let server = TestServer::start(move |_| Reply::raw(&reply)).await;

        let accepted = upload(&with_key(&server)).await.unwrap();

        assert_eq!((&*accepted.directory, accepted.files), ("d", files));
    }
}

/// An answer that accepts a call, with this echo, on a connection that stays open.
fn accepted_echoing(directory: &str, echo: Option<&str>) -> Vec<u8> {
    let body = format!(r#"{{"virtualDirectoryName":"{directory}","numberOfFilesUploaded":4}}"#);
    let echo = echo.map_or(String::new(), |echo| format!("client-request-id: {echo}\r\n"));
    format!("HTTP/1.1 200 OK\r\n{echo}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An account that is known to echo.
async fn echoing(server: &TestServer) -> AzureBatch {
    let batch = with_key(server);
    batch.list_pools(None).await.unwrap();
    batch
}

#[tokio::test]
async fn an_answer_with_the_id_of_another_call_is_not_taken_and_no_connection_is_kept_after_it() {
    let server = TestServer::start_seeing(|number, seen| match number {
        1 => Reply::json("200 OK", NO_POOLS).echoing(seen),
        3 => Reply::KeepAlive(accepted_echoing("another", Some(&Uuid::from_u128(8).to_string()))),
        _ => Reply::KeepAlive(accepted_echoing("ours", seen.header("client-request-id"))),
    })
    .await;
    let batch = echoing(&server).await;
    upload(&batch).await.unwrap();

    let failure = upload(&batch).await.unwrap_err();

    assert_eq!(
        (failure.class, &*failure.message),
        (FailureClass::InDoubt, "the answer has the `client-request-id` of another call")
    );
    assert_eq!((failure.status, failure.request_id), (None, None), "they are not those of this call");
    assert_eq!(server.connections(), 2, "one for the list, one for both uploads");
    for connections in 3..5 {
        assert_eq!(&*upload(&batch).await.unwrap().directory, "ours");
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_second_answer_in_one_write_is_never_taken_for_that_to_the_next_call() {
    // With and without an echo in the answer that nobody asked for.
    for echo in [true, false] {
        let server = TestServer::start_seeing(move |number, seen| {
            if number == 1 {
                return Reply::json("200 OK", NO_POOLS).echoing(seen);
            }
            let id = seen.header("client-request-id");
            let early = accepted_echoing("early", id.filter(|_| echo));
            Reply::KeepAlive([accepted_echoing("ours", id), early].concat())
        })
        .await;
        let batch = echoing(&server).await;
        for number in 0..30_u128 {
            let (pool, node) = (PoolId::new("p"), NodeId::new("n"));
            let limit = Duration::from_secs(5);
            match batch.upload_logs(&pool, &node, &order(), Uuid::from_u128(number), limit).await {
                Ok(accepted) => assert_eq!(&*accepted.directory, "ours"),
                Err(failure) => assert_eq!(failure.class, FailureClass::InDoubt, "{failure}"),
            }
        }
    }
}

#[tokio::test]
async fn an_account_that_does_not_echo_is_called_on_new_connections() {
    let server = TestServer::start(|number| match number {
        1 => Reply::json("200 OK", NO_POOLS),
        _ => Reply::KeepAlive([accepted_echoing("ours", None), accepted_echoing("early", None)].concat()),
    })
    .await;
    let batch = echoing(&server).await;
    for connections in 2..6 {
        assert_eq!(&*upload(&batch).await.unwrap().directory, "ours");
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn on_a_kept_connection_a_good_answer_needs_an_echo_and_an_error_of_a_gateway_does_not() {
    let server = TestServer::start_seeing(|number, seen| match number {
        1 => Reply::json("200 OK", NO_POOLS).echoing(seen),
        3 => Reply::json("429 Busy", ""),
        7 => Reply::KeepAlive(accepted_echoing("whose", None)),
        _ => Reply::KeepAlive(accepted_echoing("ours", seen.header("client-request-id"))),
    })
    .await;
    let batch = echoing(&server).await;
    let mut ends = vec![];
    for _ in 0..7 {
        ends.push(match upload(&batch).await {
            Ok(accepted) => String::from(accepted.directory),
            Err(failure) => format!("{:?}", failure.class),
        });
    }
    assert_eq!(ends, ["ours", "Throttled", "ours", "ours", "ours", "InDoubt", "ours"]);
}

#[tokio::test]
async fn a_page_with_the_id_of_another_call_is_asked_for_again() {
    let server = TestServer::start_seeing(|number, seen| match number {
        1 => Reply::with_headers(
            "200 OK",
            "client-request-id: {00000000-0000-0000-0000-000000000001}\r\n",
            NO_POOLS,
        ),
        _ => Reply::json("200 OK", NO_POOLS).echoing(seen),
    })
    .await;
    let batch = with_key(&server);
    assert_eq!(batch.list_pools(None).await.unwrap_err().class, FailureClass::Transient);
    batch.list_pools(None).await.unwrap();
}

#[tokio::test]
async fn a_page_with_more_items_or_longer_ids_than_the_service_sends_is_refused() {
    let many = format!(r#"{{"value":[{}]}}"#, vec![r#"{"id":"p"}"#; 1001].join(","));
    let long = format!(r#"{{"value":[{{"id":"{}"}}]}}"#, "p".repeat(1 << 20));
    for (body, said) in [(many, "more than 1000 items"), (long, "longer than any id of the service")] {
        let server = TestServer::start(move |_| Reply::json("200 OK", &body)).await;
        let failure = with_key(&server).list_pools(None).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Refused, "{failure}");
        assert!(failure.message.contains(said) && failure.message.len() < 200, "{failure}");
    }
}

#[tokio::test]
async fn of_large_pages_one_of_each_account_is_read_at_a_time() {
    let body = format!(r#"{{"value":[{{"id":"p","more":"{}"}}]}}"#, "x".repeat(5 << 20));
    let server = TestServer::start(move |_| Reply::json("200 OK", &body)).await;
    let batch = with_key(&server);
    let held = batch.0.large_pages.turn(Instant::now() + Duration::from_secs(5)).await;
    let mut waiting = Box::pin(batch.list_pools(None));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    drop(held);
    assert_eq!(waiting.await.unwrap().items.len(), 1);
}
