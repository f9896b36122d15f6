use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetlogs_model::sas::SasUrl;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::*;
use crate::http::http_client;
use crate::test_server::{Reply, SeenRequest, TestServer};

const LEASE: Duration = Duration::from_secs(15);

fn sas(port: u16, number: usize, ends: OffsetDateTime) -> SasUrl {
    let ends = crate::sas::time_text(ends);
    let url = format!("http://127.0.0.1:{port}/acct/state?sp=rcw&sr=c&se={ends}&sig=TOPSECRET{number}%2B%3D");
    SasUrl::parse(&url).unwrap()
}

/// A home whose SAS are valid for this long, and the number of requests for one.
fn home_with(server: &TestServer, life: Duration) -> (BlobStateHome, Arc<AtomicUsize>) {
    let (port, asked) = (server.port(), Arc::new(AtomicUsize::new(0)));
    let counted = asked.clone();
    let source = Arc::new(move || {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let sas = sas(port, number, OffsetDateTime::now_utc() + life);
        Box::pin(async move { Ok(sas) }) as Pin<Box<_>>
    });
    (BlobStateHome::new(http_client(1).unwrap(), source, "fleetlogs/schedule.db".into(), LEASE), asked)
}

fn home(server: &TestServer) -> BlobStateHome {
    home_with(server, Duration::from_secs(3600)).0
}

fn reply(status: &str, code: &str) -> Reply {
    let headers = if code.is_empty() { String::new() } else { format!("x-ms-error-code: {code}\r\n") };
    Reply::with_headers(status, &headers, "")
}

/// A storage that accepts everything: the state `first`, and a new version with each write.
async fn storage() -> TestServer {
    TestServer::start_seeing(|number, seen| {
        let etag = format!("etag: \"0x{number}\"\r\n");
        match seen.line().split(' ').next().unwrap() {
            "GET" => Reply::with_headers("200 OK", &etag, "first"),
            "HEAD" => Reply::raw(&format!(
                "HTTP/1.1 200 OK\r\n{etag}content-length: 0\r\nconnection: close\r\n\r\n"
            )),
            _ if action(seen) == Some("acquire") => reply("201 Created", ""),
            _ if action(seen).is_some() => reply("200 OK", ""),
            _ => Reply::with_headers("201 Created", &etag, ""),
        }
    })
    .await
}

fn action(seen: &SeenRequest) -> Option<&str> {
    seen.header("x-ms-lease-action")
}

/// An owner whose next request gets this answer.
async fn owner(status: &'static str, code: &'static str) -> (TestServer, BlobStateHome) {
    let server = TestServer::start(move |number| match number {
        1 => reply("201 Created", ""),
        2 => Reply::with_headers("200 OK", "etag: \"0x1\"\r\n", "state"),
        _ => reply(status, code),
    })
    .await;
    let home = home(&server);
    home.acquire().await.unwrap();
    (server, home)
}

#[tokio::test]
async fn the_state_is_read_under_the_lease_and_each_write_takes_the_place_of_a_version() {
    let server = storage().await;
    let home = home(&server);

    assert_eq!(home.acquire().await.unwrap().as_deref(), Some(&b"first"[..]));
    home.publish(b"second".to_vec()).await.unwrap();
    home.publish(b"third".to_vec()).await.unwrap();
    home.renew().await.unwrap();
    home.release().await.unwrap();

    let seen = server.requests();
    assert!(
        seen[0].line().starts_with("PUT /acct/state/fleetlogs/schedule.db?")
            && seen[0].line().contains("comp=lease")
            && seen[0].line().contains("sp=rcw&"),
        "{}",
        seen[0].line()
    );
    assert_eq!(seen[0].header("x-ms-lease-duration"), Some("15"));
    let id = seen[0].header("x-ms-proposed-lease-id").unwrap();
    assert!(seen[1..].iter().all(|seen| seen.header("x-ms-lease-id") == Some(id)), "{seen:?}");
    assert_eq!(seen[2].body, "second");
    assert_eq!(seen[2].header("x-ms-blob-type"), Some("BlockBlob"));
    assert_eq!((seen[2].header("if-match"), seen[3].header("if-match")), (Some("\"0x2\""), Some("\"0x3\"")));
    assert_eq!((action(&seen[4]), action(&seen[5])), (Some("renew"), Some("release")));
    assert_eq!(seen.len(), 6);
}

#[tokio::test]
async fn a_home_that_is_not_there_is_made_empty_and_never_over_another() {
    let server = TestServer::start(|number| match number {
        1 => reply("404 Not Found", "BlobNotFound"),
        2 => reply("409 Conflict", "BlobAlreadyExists"),
        3 => reply("201 Created", ""),
        _ => Reply::with_headers("200 OK", "etag: \"0x1\"\r\n", ""),
    })
    .await;
    assert_eq!(home(&server).acquire().await.unwrap(), None);
    let made = &server.requests()[1];
    assert_eq!((made.header("if-none-match"), made.header("content-length")), (Some("*"), Some("0")));
}

#[tokio::test]
async fn somebody_elses_lease_is_held_and_a_container_that_is_not_there_is_not_made() {
    let failure = async |status, code| {
        let server = TestServer::start(move |_| reply(status, code)).await;
        let error = home(&server).acquire().await.unwrap_err();
        assert_eq!(server.requests().len(), 1);
        error
    };
    assert!(matches!(failure("409 Conflict", "LeaseAlreadyPresent").await, HomeError::Held));
    assert!(matches!(failure("409 Conflict", "").await, HomeError::Held));
    let gone = failure("404 Not Found", "ContainerNotFound").await;
    assert!(matches!(gone, HomeError::Failed(failure) if failure.class == FailureClass::Gone));
    let refused = failure("403 Forbidden", "AuthorizationPermissionMismatch").await;
    assert!(matches!(refused, HomeError::Failed(failure) if failure.class == FailureClass::Auth));
}

#[tokio::test]
async fn what_tells_that_the_lease_is_another_s_is_a_loss_and_nothing_else_is() {
    for (status, code) in [
        ("412 Precondition Failed", "LeaseIdMismatchWithBlobOperation"),
        ("412 Precondition Failed", "LeaseNotPresentWithBlobOperation"),
        ("412 Precondition Failed", "LeaseLost"),
        ("409 Conflict", "LeaseIdMismatchWithLeaseOperation"),
        ("409 Conflict", "LeaseNotPresentWithLeaseOperation"),
        ("409 Conflict", "LeaseIsBrokenAndCannotBeRenewed"),
        ("412 Precondition Failed", ""),
        ("409 Conflict", ""),
    ] {
        let (_, home) = owner(status, code).await;
        assert!(matches!(home.publish(b"x".to_vec()).await, Err(HomeError::Lost)), "{code}");
        let (_, home) = owner(status, code).await;
        assert!(matches!(home.renew().await, Err(HomeError::Lost)), "{code}");
        let (_, home) = owner(status, code).await;
        assert!(home.release().await.is_ok(), "{code}");
    }
    for (status, code, class) in [
        ("412 Precondition Failed", "ConditionNotMet", FailureClass::Transient),
        ("503 Busy", "ServerBusy", FailureClass::Throttled),
        ("403 Forbidden", "AuthenticationFailed", FailureClass::Auth),
        ("404 Not Found", "ContainerNotFound", FailureClass::Gone),
    ] {
        let (_, home) = owner(status, code).await;
        let error = home.publish(b"x".to_vec()).await.unwrap_err();
        assert!(matches!(error, HomeError::Failed(failure) if failure.class == class), "{code}");
    }
}

#[tokio::test]
async fn after_a_lost_answer_the_same_id_is_proposed_and_after_a_loss_another() {
    let server = TestServer::start(|number| match number {
        1 => Reply::Reset,
        3 | 6 => Reply::with_headers("200 OK", "etag: \"0x1\"\r\n", "state"),
        4 => reply("409 Conflict", "LeaseIdMismatchWithLeaseOperation"),
        _ => reply("201 Created", ""),
    })
    .await;
    let home = home(&server);
    assert!(matches!(home.acquire().await, Err(HomeError::Failed(_))));
    home.acquire().await.unwrap();
    assert!(matches!(home.renew().await, Err(HomeError::Lost)));
    home.acquire().await.unwrap();

    let seen = server.requests();
    let proposed = |at: usize| seen[at].header("x-ms-proposed-lease-id").unwrap();
    assert_eq!(proposed(0), proposed(1));
    assert_ne!(proposed(1), proposed(4));
}

#[tokio::test]
async fn the_version_is_asked_for_after_the_answer_of_a_write_was_lost() {
    let server = TestServer::start(|number| match number {
        1 => reply("201 Created", ""),
        2 => Reply::with_headers("200 OK", "etag: \"0x1\"\r\n", "state"),
        3 => Reply::Reset,
        4 => Reply::raw("HTTP/1.1 200 OK\r\netag: \"0x2\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        _ => Reply::with_headers("201 Created", "etag: \"0x3\"\r\n", ""),
    })
    .await;
    let home = home(&server);
    home.acquire().await.unwrap();
    assert!(matches!(home.publish(b"a".to_vec()).await, Err(HomeError::Failed(_))));
    home.publish(b"b".to_vec()).await.unwrap();

    let seen = server.requests();
    assert!(seen[3].line().starts_with("HEAD ") && seen[3].header("x-ms-lease-id").is_some());
    assert_eq!((seen[2].header("if-match"), seen[4].header("if-match")), (Some("\"0x1\""), Some("\"0x2\"")));
}

#[tokio::test]
async fn the_state_is_read_without_a_lease_and_there_may_be_none() {
    let server = TestServer::start(|number| match number {
        1 => reply("404 Not Found", "BlobNotFound"),
        2 => Reply::with_headers("200 OK", "", ""),
        _ => Reply::with_headers("200 OK", "", "state"),
    })
    .await;
    let home = home(&server);
    assert_eq!(home.read().await.unwrap(), None);
    assert_eq!(home.read().await.unwrap(), None);
    assert_eq!(home.read().await.unwrap().as_deref(), Some(&b"state"[..]));
    assert!(server.requests().iter().all(|seen| seen.header("x-ms-lease-id").is_none()));
}

/// A part of a blob that is four bytes longer than what one request downloads.
fn part(from: usize, text: &str) -> Reply {
    let (to, total) = (from + text.len() - 1, PART.get() + 4);
    let range = format!("etag: \"0x7\"\r\ncontent-range: bytes {from}-{to}/{total}\r\n");
    Reply::with_headers("206 Partial Content", &range, text)
}

#[tokio::test]
async fn the_parts_of_a_large_state_are_of_one_version() {
    let first = "x".repeat(PART.get());
    let server = TestServer::start(move |number| match number {
        1 | 3 => part(0, &first),
        2 => part(PART.get(), "last"),
        5 => part(0, "short"),
        6 => part(5, &first[1..]),
        _ => reply("412 Precondition Failed", "ConditionNotMet"),
    })
    .await;
    let home = home(&server);
    let state = home.read().await.unwrap().unwrap();
    assert!(state.len() == PART.get() + 4 && state.ends_with(b"xlast"), "{} bytes", state.len());
    let seen = server.requests();
    assert_eq!((seen[0].header("if-match"), seen[1].header("if-match")), (None, Some("\"0x7\"")));
    // The owner published another one in between: the next attempt may succeed. A part that is too short, likewise.
    for _ in 0..2 {
        let Err(HomeError::Failed(failure)) = home.read().await else { panic!("it is no state") };
        assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    }
}

#[tokio::test]
async fn an_empty_blob_has_no_state_also_for_storage_that_refuses_its_range() {
    let server = TestServer::start(|number| match number {
        1 => reply("201 Created", ""),
        2 => reply("416 Range Not Satisfiable", "InvalidRange"),
        _ => Reply::with_headers("200 OK", "etag: \"0x1\"\r\n", ""),
    })
    .await;
    assert_eq!(home(&server).acquire().await.unwrap(), None);
}

#[tokio::test]
async fn a_write_is_one_request_whatever_its_size() {
    let server = storage().await;
    let home = home(&server);
    home.acquire().await.unwrap();
    home.publish(vec![b'x'; 9 << 20]).await.unwrap();
    let seen = server.requests();
    assert_eq!((seen.len(), seen[2].body.len()), (3, 9 << 20));
    assert_eq!(
        (seen[2].header("x-ms-blob-type"), seen[2].header("if-match")),
        (Some("BlockBlob"), Some("\"0x2\""))
    );
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_kept_while_the_state_is_fetched_for_longer() {
    let server = TestServer::start_seeing(|_, seen| match action(seen) {
        Some("acquire") => reply("201 Created", ""),
        Some("renew") => reply("409 Conflict", "LeaseIdMismatchWithLeaseOperation"),
        _ => Reply::Silence,
    })
    .await;
    let began = Instant::now();
    assert!(matches!(home(&server).acquire().await, Err(HomeError::Lost)));
    assert!(began.elapsed() < LEASE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_within_the_lease() {
    let server = TestServer::start(|_| Reply::Silence).await;
    let home = home(&server);
    for call in [home.renew(), home.release()] {
        let began = Instant::now();
        assert!(matches!(call.await, Err(HomeError::Failed(_))));
        assert!(began.elapsed() <= LEASE / 2, "{:?}", began.elapsed());
    }
    let began = Instant::now();
    assert!(home.acquire().await.is_err());
    assert!(began.elapsed() <= LEASE / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_sas_is_kept_until_it_ends_soon_or_is_refused_and_does_not_show() {
    let server = storage().await;
    let (home, asked) = home_with(&server, Duration::from_secs(3600));
    home.acquire().await.unwrap();
    home.renew().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(!format!("{home:?}").contains("TOPSECRET"));

    let server = TestServer::start(|_| {
        Reply::with_headers(
            "403 Forbidden",
            "x-ms-error-code: AuthenticationFailed\r\n",
            "<Error><Message>sig=TOPSECRET1%2B%3D</Message></Error>",
        )
    })
    .await;
    let (home, asked) = home_with(&server, Duration::from_secs(3600));
    for number in 1..=2 {
        let error = home.renew().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("TOPSECRET"), "{error:?}");
        assert_eq!(asked.load(Ordering::SeqCst), number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sas_that_ends_soon_makes_room_for_another_once_a_minute() {
    let server = storage().await;
    let (home, asked) = home_with(&server, Duration::from_secs(300));
    for (waited, expected) in [(0, 1), (30, 1), (31, 2)] {
        sleep(Duration::from_secs(waited)).await;
        home.renew().await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), expected, "{waited}");
    }
}
