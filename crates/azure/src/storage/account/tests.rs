use std::sync::atomic::{AtomicI64, Ordering};

use azure_core::credentials::AccessToken;
use fleetlogs_model::ids::RunId;
use futures::future::join_all;
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::answer::SMALL;
use crate::delegation_key::tests::answer as key_answer;
use crate::http::http_client;
use crate::http_date;
use crate::sas::CreationSas;
use crate::storage::containers::{CREATION_SAS_LIFE, Removal};
use crate::test_server::{Reply, SeenRequest, TestServer};

/// Base64 of `TOPSECRET-account-key`.
pub(in crate::storage) const KEY: &str = "VE9QU0VDUkVULWFjY291bnQta2V5";
const HOUR: time::Duration = time::Duration::HOUR;
pub(in crate::storage) const DAY: Duration = Duration::from_secs(24 * 3600);
/// How much later than planned a line of a test may run.
const SLACK: time::Duration = time::Duration::seconds(20);

fn account_with(endpoint: &str, auth: StorageAuth) -> Result<StorageAccount, InvalidStorageAccount> {
    StorageAccount::new(http_client(1).unwrap(), Url::parse(endpoint).unwrap(), auth)
}

fn with_key(endpoint: &str) -> Result<StorageAccount, InvalidStorageAccount> {
    account_with(endpoint, StorageAuth::Key(Secret::new(KEY.into())))
}

fn tokens() -> TokenSource {
    let count = Arc::new(AtomicI64::new(0));
    TokenSource::new(move || {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            Ok(AccessToken::new(format!("TOPSECRET-{number}"), OffsetDateTime::now_utc() + HOUR))
        })
    })
}

fn run() -> RunId {
    "20261122T093000Z-4f2a".parse().unwrap()
}

pub(in crate::storage) fn key_account(server: &TestServer) -> StorageAccount {
    with_key(&format!("http://127.0.0.1:{}/acct", server.port())).unwrap()
}

fn entra_account(server: &TestServer) -> StorageAccount {
    account_with(&format!("http://127.0.0.1:{}/acct/", server.port()), StorageAuth::Entra(tokens())).unwrap()
}

fn grant(lifetime: Duration) -> ContainerGrant<'static> {
    ContainerGrant { container: "logs", permissions: "wc", lifetime, with_start: false }
}

fn param(sas: &SasUrl, name: &str) -> Option<String> {
    let url = Url::parse(sas.expose()).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[track_caller]
fn assert_near(moment: OffsetDateTime, expected: OffsetDateTime) {
    assert!((moment - expected).abs() < SLACK, "{moment} is not about {expected}");
}

async fn key_server(life: time::Duration) -> TestServer {
    TestServer::start(move |_| Reply::json("200 OK", &key_answer(OffsetDateTime::now_utc(), life))).await
}

async fn server_of(answers: &'static [(&'static str, &'static str)]) -> TestServer {
    TestServer::start(move |number| match answers.get(number - 1) {
        Some((status, headers)) => Reply::with_headers(status, headers, ""),
        None => Reply::json("200 OK", &key_answer(OffsetDateTime::now_utc(), 7 * 24 * HOUR)),
    })
    .await
}

/// The time in an element of the body that requests a key.
fn asked(seen: &SeenRequest, element: &str) -> OffsetDateTime {
    let (_, rest) = seen.body.split_once(&format!("<{element}>")).unwrap();
    OffsetDateTime::parse(rest.split_once('<').unwrap().0, &Rfc3339).unwrap()
}

#[test]
fn the_endpoint_names_the_account() {
    for (endpoint, name, container) in [
        ("https://logs0.blob.core.windows.net", "logs0", "https://logs0.blob.core.windows.net/c"),
        ("https://logs0.blob.core.windows.net/", "logs0", "https://logs0.blob.core.windows.net/c"),
        ("http://127.0.0.1:10000/devstore", "devstore", "http://127.0.0.1:10000/devstore/c"),
        ("http://localhost:10000/devstore/", "devstore", "http://localhost:10000/devstore/c"),
        ("http://[::1]:10000/devstore", "devstore", "http://[::1]:10000/devstore/c"),
    ] {
        let account = with_key(endpoint).unwrap();
        assert_eq!(account.name(), name, "{endpoint}");
        assert_eq!(account.container_url("c"), container, "{endpoint}");
    }
}

#[test]
fn what_is_no_storage_account_is_refused_and_not_quoted() {
    use InvalidStorageAccount::{Endpoint, Key, Scheme};
    for (endpoint, why) in [
        ("http://logs0.blob.core.windows.net", Scheme),
        ("ftp://127.0.0.1/a", Scheme),
        ("https://logs0.blob.core.windows.net/container", Endpoint),
        ("https://logs0.blob.core.windows.net/?sv=1&sig=TOPSECRET", Endpoint),
        ("https://user:TOPSECRET@logs0.blob.core.windows.net", Endpoint),
        ("https://logs0", Endpoint),
        ("https://logs_0.blob.core.windows.net", Endpoint),
        ("http://127.0.0.1:10000", Endpoint),
        ("http://127.0.0.1:10000/a/b", Endpoint),
    ] {
        let error = with_key(endpoint).unwrap_err();
        assert_eq!(error, why, "{endpoint}");
        assert!(!format!("{error} {error:?}").contains("TOPSECRET"));
    }
    for key in ["", "TOPSECRET!"] {
        let auth = StorageAuth::Key(Secret::new(key.into()));
        assert_eq!(account_with("https://a.blob.core.windows.net", auth).unwrap_err(), Key);
    }
}

#[tokio::test]
async fn a_key_makes_a_service_sas_and_sends_nothing() {
    let account = with_key("https://logs0.blob.core.windows.net").unwrap();

    let sas = account.grant(grant(DAY)).await.unwrap();

    assert_eq!(sas.without_query(), "https://logs0.blob.core.windows.net/logs");
    assert_eq!(sas.permissions.as_deref(), Some("cw"));
    assert_eq!(sas.starts_at, None);
    assert_near(sas.expires_at.unwrap(), OffsetDateTime::now_utc() + DAY);
    assert_eq!(param(&sas, "spr").as_deref(), Some("https"));
    let signed = ContainerSas {
        account: "logs0",
        container: "logs",
        permissions: "cw",
        starts_at: None,
        expires_at: &param(&sas, "se").unwrap(),
        protocol: Protocol::Https,
    };
    let query = signed.with_account_key(&SigningKey::from_base64(KEY).unwrap());
    assert_eq!(sas.expose(), format!("https://logs0.blob.core.windows.net/logs?{query}"));
}

#[tokio::test]
async fn a_start_is_five_minutes_ago_and_emulators_take_http() {
    let account = with_key("http://127.0.0.1:1/devstoreaccount1").unwrap();
    let sas = account.grant(ContainerGrant { with_start: true, ..grant(DAY) }).await.unwrap();
    assert_near(sas.starts_at.unwrap(), OffsetDateTime::now_utc() - START_BEFORE_NOW);
    assert_eq!(param(&sas, "spr").as_deref(), Some("https,http"));
    // Far beyond any calendar.
    let sas = account.grant(grant(Duration::MAX)).await.unwrap();
    assert_eq!(param(&sas, "se").as_deref(), Some("9999-12-31T23:59:59Z"));
}

#[tokio::test]
async fn odd_containers_and_permissions_are_refused_before_anything_is_signed() {
    let account = with_key("http://127.0.0.1:1/devstoreaccount1").unwrap();
    for container in ["", "Logs", "logs/x", "logs\nx", "l?x"] {
        let failure = account.grant(ContainerGrant { container, ..grant(DAY) }).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Config, "{container}");
        assert_eq!(
            account.create_container(container, &run()).await.unwrap_err().class,
            FailureClass::Config
        );
    }
    for permissions in ["", "wq"] {
        let failure = account.grant(ContainerGrant { permissions, ..grant(DAY) }).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Config, "{permissions}");
    }
}

#[tokio::test]
async fn a_token_asks_for_a_delegation_key_and_that_signs() {
    let server = key_server(7 * 24 * HOUR).await;
    let account = entra_account(&server);

    let sas = account.grant(grant(DAY)).await.unwrap();

    let seen = &server.requests()[0];
    assert_eq!(seen.line(), "POST /acct/?restype=service&comp=userdelegationkey HTTP/1.1");
    assert_eq!(seen.header("authorization"), Some("Bearer TOPSECRET-1"));
    assert_eq!(seen.header("x-ms-version"), Some("2025-11-05"));
    assert_eq!(seen.header("content-type"), Some("application/xml"));
    assert_eq!(seen.head.to_ascii_lowercase().matches("content-length").count(), 1);
    assert_near(asked(seen, "Start"), OffsetDateTime::now_utc() - START_BEFORE_NOW);
    assert_eq!(asked(seen, "Expiry") - asked(seen, "Start"), time::Duration::days(7));

    assert_eq!(param(&sas, "skoid").as_deref(), Some("oid-1"));
    assert_eq!(param(&sas, "sktid").as_deref(), Some("tid-1"));
    assert_eq!(param(&sas, "sks").as_deref(), Some("b"));
    assert_eq!(param(&sas, "skv").as_deref(), Some("2025-11-05"));
    assert_eq!(param(&sas, "sv").as_deref(), Some("2022-11-02"));
    assert_near(sas.expires_at.unwrap(), OffsetDateTime::now_utc() + DAY);
    assert_eq!(sas.grants('w'), Some(true));
}

#[tokio::test]
async fn one_delegation_key_serves_many_grants() {
    let server = key_server(7 * 24 * HOUR).await;
    let account = entra_account(&server);
    let grants = join_all((0..50).map(|_| {
        let account = account.clone();
        async move { account.grant(ContainerGrant { with_start: true, ..grant(DAY) }).await }
    }));
    assert!(grants.await.iter().all(Result::is_ok));
    account.grant(grant(DAY)).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_sas_ends_with_its_delegation_key() {
    let server = key_server(HOUR).await;
    let account = entra_account(&server);
    for _ in 0..3 {
        let sas = account.grant(grant(DAY)).await.unwrap();
        assert_near(sas.expires_at.unwrap(), OffsetDateTime::now_utc() + HOUR);
        assert_eq!(param(&sas, "se"), param(&sas, "ske"));
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    const UNKNOWN: (&str, &str) = ("401 Unauthorized", "x-ms-error-code: InvalidAuthenticationInfo\r\n");
    const ENDED: (&str, &str) = ("403 Forbidden", "x-ms-error-code: AuthenticationFailed\r\n");

    let server = server_of(&[UNKNOWN]).await;
    entra_account(&server).grant(grant(DAY)).await.unwrap();
    let sent: Vec<_> =
        server.requests().iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer TOPSECRET-1", "Bearer TOPSECRET-2"]);

    let server = server_of(&[ENDED, UNKNOWN]).await;
    let failure = entra_account(&server).create_container("logs", &run()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Auth);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_token_without_the_right_is_not_renewed() {
    let server = server_of(&[(
        "403 Forbidden",
        "x-ms-error-code: AuthorizationPermissionMismatch\r\nx-ms-request-id: r-1\r\n",
    )])
    .await;
    let failure = entra_account(&server).grant(grant(DAY)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Auth);
    assert_eq!(failure.code.as_deref(), Some("AuthorizationPermissionMismatch"));
    assert_eq!(failure.request_id.as_deref(), Some("r-1"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_is_no_delegation_key_is_not_quoted() {
    let server = TestServer::start(|number| {
        let body = match number {
            1 => "<UserDelegationKey><Value>TOPSECRET</Value></UserDelegationKey>".to_owned(),
            2 => key_answer(OffsetDateTime::now_utc(), -HOUR),
            _ => "x".repeat(SMALL + 1),
        };
        Reply::json("200 OK", &body)
    })
    .await;
    let account = entra_account(&server);
    for class in [FailureClass::Transient, FailureClass::Transient, FailureClass::Refused] {
        let failure = account.grant(grant(DAY)).await.unwrap_err();
        assert_eq!(failure.class, class);
        assert!(failure.to_string().len() < 200 && !failure.to_string().contains("TOPSECRET"), "{failure}");
    }
}

#[tokio::test]
async fn a_container_is_created_with_an_account_sas() {
    let server = server_of(&[
        ("201 Created", ""),
        ("409 Conflict", "x-ms-error-code: ContainerAlreadyExists\r\n"),
        ("409 Conflict", "x-ms-error-code: ContainerBeingDeleted\r\n"),
        ("403 Forbidden", "x-ms-error-code: AuthenticationFailed\r\n"),
        ("503 Busy", "x-ms-error-code: ServerBusy\r\nretry-after: 3\r\n"),
    ])
    .await;
    let account = key_account(&server);
    assert_eq!(account.create_container("logs", &run()).await, Ok(true));
    assert_eq!(account.create_container("logs", &run()).await, Ok(false));
    for class in [FailureClass::Gone, FailureClass::Auth, FailureClass::Throttled] {
        let failure = account.create_container("logs", &run()).await.unwrap_err();
        assert_eq!(failure.class, class);
        assert!(!failure.to_string().contains("sig"), "{failure}");
    }

    let seen = &server.requests()[0];
    let target = seen.line().strip_prefix("PUT ").unwrap().strip_suffix(" HTTP/1.1").unwrap();
    let sas = Url::parse(&format!("http://h{target}")).unwrap();
    assert_eq!(sas.path(), "/acct/logs");
    let value = |name: &str| sas.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(value("restype"), "container");
    assert_eq!((value("ss"), value("srt"), value("sp")), ("b".into(), "c".into(), "c".into()));
    let expires_at = OffsetDateTime::parse(&value("se"), &Rfc3339).unwrap();
    assert_near(expires_at, OffsetDateTime::now_utc() + CREATION_SAS_LIFE);
    let signed = CreationSas { account: "acct", expires_at: &value("se"), protocol: Protocol::HttpsOrHttp };
    let expected = signed.with_account_key(&SigningKey::from_base64(KEY).unwrap());
    assert_eq!(sas.query().unwrap(), format!("restype=container&{expected}"));
    assert_eq!(seen.header("x-ms-meta-fleetlogsrun"), Some(run().as_str()));
    assert_eq!(seen.header("content-length"), Some("0"));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("x-ms-version"), Some("2025-11-05"));
}

#[tokio::test]
async fn a_container_is_created_with_a_token() {
    let server = server_of(&[("201 Created", ""), ("404 Not Found", "")]).await;
    let account = entra_account(&server);
    assert_eq!(account.create_container("logs", &run()).await, Ok(true));
    assert_eq!(account.create_container("logs", &run()).await.unwrap_err().class, FailureClass::Refused);
    let seen = &server.requests()[0];
    assert_eq!(seen.line(), "PUT /acct/logs?restype=container HTTP/1.1");
    assert_eq!(seen.header("authorization"), Some("Bearer TOPSECRET-1"));
    assert_eq!(seen.header("content-length"), Some("0"));
}

const MADE_BY_RUN: &str =
    "x-ms-meta-fleetlogsrun: 20261122T093000Z-4f2a\r\nlast-modified: Sun, 22 Nov 2026 09:30:00 GMT\r\n";

#[tokio::test]
async fn a_container_is_deleted_by_the_run_that_made_it() {
    for with_key in [true, false] {
        let server = server_of(&[("200 OK", MADE_BY_RUN), ("202 Accepted", "")]).await;
        let account = if with_key { key_account(&server) } else { entra_account(&server) };
        assert_eq!(account.delete_container("logs", &run()).await, Ok(Removal::Removed));
        let seen = server.requests();
        assert_eq!(seen[0].line(), "GET /acct/logs?restype=container HTTP/1.1");
        assert_eq!(seen[1].line(), "DELETE /acct/logs?restype=container HTTP/1.1");
        assert_eq!(seen[1].header("if-unmodified-since"), Some("Sun, 22 Nov 2026 09:30:00 GMT"));
        let authorization = seen[1].header("authorization").unwrap();
        let expected = if with_key { "SharedKey acct:" } else { "Bearer TOPSECRET-1" };
        assert!(authorization.starts_with(expected), "{authorization}");
    }
}

#[tokio::test]
async fn a_container_that_the_run_did_not_make_stays() {
    for headers in [
        "last-modified: Sun, 22 Nov 2026 09:30:00 GMT\r\n",
        "x-ms-meta-fleetlogsrun: 20261122T093000Z-4f2b\r\nlast-modified: Sun, 22 Nov 2026 09:30:00 GMT\r\n",
    ] {
        let server = TestServer::start(move |_| Reply::with_headers("200 OK", headers, "")).await;
        assert_eq!(key_account(&server).delete_container("logs", &run()).await, Ok(Removal::NotOurs));
        assert_eq!(server.requests().len(), 1, "{headers}");
    }
    let absent = ("404 Not Found", "x-ms-error-code: ContainerNotFound\r\n");
    let changed = ("412 Precondition Failed", "x-ms-error-code: ConditionNotMet\r\n");
    for (answers, expected) in [
        (vec![absent], Removal::Absent),
        (vec![("200 OK", MADE_BY_RUN), absent], Removal::Absent),
        (vec![("200 OK", MADE_BY_RUN), changed], Removal::NotOurs),
    ] {
        let server = server_of(answers.leak()).await;
        assert_eq!(key_account(&server).delete_container("logs", &run()).await, Ok(expected));
    }
    let refused = ("403 Forbidden", "x-ms-error-code: AuthorizationPermissionMismatch\r\n");
    for answers in
        [vec![refused], vec![("200 OK", MADE_BY_RUN), refused], vec![("200 OK", &MADE_BY_RUN[..47])]]
    {
        let server = server_of(answers.leak()).await;
        assert!(key_account(&server).delete_container("logs", &run()).await.is_err());
    }
}

#[tokio::test]
async fn a_wrong_clock_here_is_put_right_by_the_first_answer() {
    let server = TestServer::start(|_| {
        let date = format!("date: {}\r\n", http_date::format(OffsetDateTime::now_utc() + 2 * HOUR));
        Reply::with_headers("201 Created", &date, "")
    })
    .await;
    let account = key_account(&server);
    account.create_container("logs", &run()).await.unwrap();
    let sas = account.grant(ContainerGrant { with_start: true, ..grant(DAY) }).await.unwrap();
    assert_near(sas.expires_at.unwrap(), OffsetDateTime::now_utc() + 2 * HOUR + DAY);
    assert_near(sas.starts_at.unwrap(), OffsetDateTime::now_utc() + 2 * HOUR - START_BEFORE_NOW);
}

#[tokio::test]
async fn a_delegation_key_made_with_a_wrong_clock_is_asked_for_again() {
    // This machine's clock is two hours ahead, so the first key would begin in the future.
    let server = TestServer::start(|number| {
        let now = OffsetDateTime::now_utc() - 2 * HOUR;
        let date = format!("date: {}\r\n", http_date::format(now));
        let status = if number == 1 { "400 Bad Request" } else { "200 OK" };
        Reply::with_headers(status, &date, &key_answer(now, 7 * 24 * HOUR))
    })
    .await;
    let account = entra_account(&server);

    let sas = account.grant(grant(DAY)).await.unwrap();

    let seen = server.requests();
    assert_eq!(seen.len(), 2);
    assert_near(asked(&seen[0], "Start"), OffsetDateTime::now_utc() - START_BEFORE_NOW);
    assert_near(asked(&seen[1], "Start"), OffsetDateTime::now_utc() - 2 * HOUR - START_BEFORE_NOW);
    assert_near(sas.expires_at.unwrap(), OffsetDateTime::now_utc() - 2 * HOUR + DAY);
}

#[tokio::test(start_paused = true)]
async fn silence_does_not_last_for_ever() {
    let server = TestServer::start(|_| Reply::Silence).await;
    let started = Instant::now();
    assert!(entra_account(&server).grant(grant(DAY)).await.is_err());
    assert!(key_account(&server).create_container("logs", &run()).await.is_err());
    assert!(started.elapsed() <= 2 * TIME_LIMIT + Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_broken_connection_shows_no_url() {
    let server = TestServer::start(|_| Reply::Reset).await;
    for (account, class) in [
        (key_account(&server), FailureClass::Transient),
        (with_key("http://127.0.0.1:1/acct").unwrap(), FailureClass::NotSent),
    ] {
        let failure = account.create_container("logs", &run()).await.unwrap_err();
        assert_eq!(failure.class, class);
        assert!(!failure.to_string().contains("sig") && !failure.to_string().contains("http"), "{failure}");
    }
}

/// The text of an error is untrusted: here storage sends back what it received.
#[tokio::test]
async fn nothing_public_shows_a_secret() {
    let server = TestServer::start(|_| {
        let body = "<Error><Message>no: https://a.example/c?sp=w&amp;sig=TOPSECRET%2B%3D&amp;se=1, \
                    Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.TOPSECRET.x</Message></Error>";
        Reply::with_headers("403 Forbidden", "x-ms-error-code: AuthorizationFailure\r\n", body)
    })
    .await;
    let secret = || Secret::new("TOPSECRET".into());
    let settings = crate::EntraSettings {
        client_secret: Some(secret()),
        tenant_id: Some("t".into()),
        client_id: Some("c".into()),
        ..Default::default()
    };
    let source = |settings: &crate::EntraSettings| {
        TokenSource::entra(http_client(1).unwrap(), crate::Cloud::Public, "https://r/", settings, |_| None)
    };
    let plain_authority = crate::EntraSettings {
        authority: Some(Url::parse("http://u:TOPSECRET@h/?p=TOPSECRET").unwrap()),
        ..settings.clone()
    };
    let by_key = key_account(&server);
    let by_token = entra_account(&server);
    let sas = by_key.grant(grant(DAY)).await.unwrap();
    let signature = param(&sas, "sig").unwrap();
    let store = crate::AzureLogStore::new(http_client(1).unwrap(), &sas).unwrap();
    let chosen = source(&settings).unwrap();
    let refused_authority = source(&plain_authority).unwrap_err();
    let failures = [
        by_key.create_container("logs", &run()).await.unwrap_err(),
        by_token.create_container("logs", &run()).await.unwrap_err(),
        by_token.grant(grant(DAY)).await.unwrap_err(),
        crate::probe_write(&http_client(1).unwrap(), &sas).await.unwrap_err(),
    ];

    let mut shown = vec![
        format!("{settings:?}"),
        format!("{plain_authority:?}"),
        format!("{chosen:?} {}", chosen.describe()),
        format!("{refused_authority} {refused_authority:?}"),
        format!("{:?}", tokens().claims().await),
        format!("{:?} {:?}", StorageAuth::Key(secret()), StorageAuth::Entra(tokens())),
        format!("{by_key:?} {by_token:?} {:?}", grant(DAY)),
        format!("{sas:?} {store:?} {}", by_key.container_url("logs")),
        format!("{:?} {}", InvalidStorageAccount::Key, crate::InvalidContainer),
    ];
    shown.extend(failures.iter().map(|failure| format!("{failure} {failure:?}")));
    for text in shown {
        for secret in ["TOPSECRET", KEY, &signature] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
