use std::sync::atomic::{AtomicUsize, Ordering};

use azure_core::credentials::AccessToken;
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::secret::Secret;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::http::http_client;
use crate::test_server::{Reply, SeenRequest, TestServer};
use crate::token::TokenSource;

const HIDDEN: Duration = Duration::from_secs(60);

fn item() -> WorkItem {
    let run = RunId::new(datetime!(2026-11-22 09:30:00 UTC), 7);
    WorkItem { run, partition: AccountName::new("contoso") }
}

fn queue(server: &TestServer) -> AzureWorkQueue {
    let url = format!("{}account?sv=2022-11-02&ss=q&sig=TOPSECRET", server.url()).parse().unwrap();
    AzureWorkQueue::new(http_client(1).unwrap(), QueueAccess::Sas(url), "work").unwrap()
}

/// An answer of the service.
fn answer(status: &str, headers: &str, body: &str) -> Reply {
    Reply::raw(&format!(
        "HTTP/1.1 {status}\r\n{headers}content-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn delivered(text: &str, number: u32) -> Reply {
    let text = text.replace('"', "&quot;");
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList><QueueMessage>\
         <MessageId>id-1</MessageId><InsertionTime>Sun, 22 Nov 2026 09:30:00 GMT</InsertionTime>\
         <ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime><PopReceipt>AgAA+w==</PopReceipt>\
         <TimeNextVisible>Sun, 22 Nov 2026 09:31:00 GMT</TimeNextVisible><DequeueCount>{number}</DequeueCount>\
         <MessageText>{text}</MessageText></QueueMessage></QueueMessagesList>"
    );
    answer("200 OK", "", &body)
}

fn refused(status: &str, code: &str) -> Reply {
    answer(status, &format!("x-ms-error-code: {code}\r\n"), "<Error><Message>No.</Message></Error>")
}

fn is(request: &SeenRequest, method: &str, path: &str) -> bool {
    request.line().starts_with(&format!("{method} /account/{path}?"))
}

#[tokio::test]
async fn a_message_is_taken_hidden_with_its_newest_receipt_and_deleted() {
    let server = TestServer::start(|number| match number {
        1 => delivered(&item().text(), 3),
        2 => answer("204 No Content", "x-ms-popreceipt: second+w==\r\n", ""),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    let queue = queue(&server);
    let mut delivery = queue.receive(HIDDEN).await.unwrap().unwrap();
    assert_eq!((&delivery.item, delivery.number, delivery.failures()), (&item(), 3, 2));
    delivery.excuse_one();
    queue.hide(&mut delivery, Duration::ZERO).await.unwrap();
    queue.delete(&delivery).await.unwrap();
    let seen = server.requests();
    assert!(is(&seen[0], "GET", "work/messages"), "{}", seen[0].line());
    assert!(seen[0].line().contains("visibilitytimeout=60") && seen[0].line().contains("numofmessages=1"));
    assert_eq!(seen[0].header("x-ms-version"), Some(API_VERSION));
    assert!(is(&seen[1], "PUT", "work/messages/id-1"), "{}", seen[1].line());
    assert!(seen[1].line().contains("popreceipt=AgAA%2Bw%3D%3D"), "{}", seen[1].line());
    assert!(seen[1].line().contains("visibilitytimeout=0"), "{}", seen[1].line());
    assert!(seen[1].body.contains("excused") && seen[1].body.contains("contoso"), "{}", seen[1].body);
    assert!(is(&seen[2], "DELETE", "work/messages/id-1"), "{}", seen[2].line());
    assert!(seen[2].line().contains("popreceipt=second%2Bw%3D%3D"), "{}", seen[2].line());
}

#[tokio::test]
async fn a_message_is_sent_once_and_never_expires() {
    let server = TestServer::start(|_| Reply::Reset).await;
    let QueueError::Failed(failure) = queue(&server).send(&item()).await.unwrap_err() else { panic!() };
    assert!(failure.class.is_passing(), "{failure:?}");
    let seen = server.requests();
    assert_eq!(seen.len(), 1, "no second message");
    assert!(is(&seen[0], "POST", "work/messages"), "{}", seen[0].line());
    assert!(seen[0].line().contains("messagettl=-1"), "{}", seen[0].line());
}

#[tokio::test]
async fn an_empty_queue_has_no_message_and_says_how_many_are_hidden() {
    let server = TestServer::start(|number| match number {
        1 => answer("200 OK", "", "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList />"),
        2 => answer("200 OK", "x-ms-approximate-messages-count: 3\r\n", ""),
        _ => answer("200 OK", "", ""),
    })
    .await;
    let queue = queue(&server);
    assert_eq!(queue.receive(HIDDEN).await.unwrap(), None);
    assert_eq!(queue.left().await.unwrap(), 3);
    assert!(queue.left().await.is_err(), "no number is not zero");
}

#[tokio::test]
async fn a_message_that_another_worker_got_or_deleted_is_no_longer_ours() {
    let server = TestServer::start(|number| match number {
        1 => delivered(&item().text(), 1),
        2 => refused("400 Pop receipt", "PopReceiptMismatch"),
        3 => refused("404 Not found", "MessageNotFound"),
        _ => refused("404 Not found", "QueueNotFound"),
    })
    .await;
    let queue = queue(&server);
    let mut delivery = queue.receive(HIDDEN).await.unwrap().unwrap();
    assert!(matches!(queue.hide(&mut delivery, HIDDEN).await, Err(QueueError::NotOurs)));
    assert!(matches!(queue.delete(&delivery).await, Err(QueueError::NotOurs)));
    let Err(QueueError::Failed(failure)) = queue.receive(HIDDEN).await else { panic!() };
    assert!(!failure.class.is_passing(), "a queue that is not there will not come: {failure}");
    assert_eq!(failure.code.as_deref(), Some("QueueNotFound"));
}

#[tokio::test]
async fn a_message_of_somebody_else_goes_to_the_poison_queue_and_the_next_one_is_taken() {
    let server = TestServer::start(|number| match number {
        1 => delivered("not for us", 1),
        2 => answer("201 Created", "", "<QueueMessagesList />"),
        3 => answer("204 No Content", "", ""),
        _ => delivered(&item().text(), 1),
    })
    .await;
    let delivery = queue(&server).receive(HIDDEN).await.unwrap().unwrap();
    assert_eq!(delivery.item, item());
    let seen = server.requests();
    assert!(is(&seen[1], "POST", "work-poison/messages") && seen[1].body.contains("not for us"));
    assert!(is(&seen[2], "DELETE", "work/messages/id-1"));
}

#[tokio::test]
async fn a_buried_message_is_in_the_poison_queue_with_its_reason_before_it_is_deleted() {
    let server = TestServer::start(|number| match number {
        1 => delivered(&item().text(), 6),
        2 => answer("201 Created", "", "<QueueMessagesList />"),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    let queue = queue(&server);
    let delivery = queue.receive(HIDDEN).await.unwrap().unwrap();
    queue.bury(&delivery, "its worker died 5 times").await.unwrap();
    let seen = server.requests();
    assert!(is(&seen[1], "POST", "work-poison/messages"), "{}", seen[1].line());
    assert!(seen[1].body.contains("its worker died 5 times"), "{}", seen[1].body);
    assert!(is(&seen[2], "DELETE", "work/messages/id-1"), "{}", seen[2].line());
}

#[tokio::test]
async fn with_the_accounts_key_every_request_has_a_sas_of_its_own() {
    let server = TestServer::start(|_| answer("200 OK", "x-ms-approximate-messages-count: 1\r\n", "")).await;
    let url = format!("{}account", server.url()).parse().unwrap();
    let access = QueueAccess::Account(url, StorageAuth::Key(Secret::new("c2VjcmV0IGtleQ==".into())));
    let queue = AzureWorkQueue::new(http_client(1).unwrap(), access, "work").unwrap();
    assert_eq!(queue.left().await.unwrap(), 1);
    let seen = server.requests();
    let line = seen[0].line();
    assert!(line.starts_with("GET /account/work?comp=metadata&sv="), "{line}");
    assert!(line.contains("&ss=q&srt=co&sp=racup&sig="), "{line}");
}

#[test]
fn what_is_no_queue_is_refused_before_anything_is_sent() {
    let refused = |url: &str, auth: Option<StorageAuth>, name: &str| {
        let url = url.parse().unwrap();
        let access = match auth {
            Some(auth) => QueueAccess::Account(url, auth),
            None => QueueAccess::Sas(url),
        };
        AzureWorkQueue::new(http_client(1).unwrap(), access, name).err()
    };
    let key = |key: &str| Some(StorageAuth::Key(Secret::new(key.into())));
    let service = "https://account.queue.core.windows.net";
    assert_eq!(refused(service, key("c2VjcmV0"), "fleetlogs-west-1"), None);
    for name in ["ab", "Work", "a--b", "-work", "work-", "a_b", &"a".repeat(57)] {
        assert_eq!(refused(service, key("c2VjcmV0"), name), Some(InvalidQueue::Name), "{name}");
    }
    let plain = "http://account.queue.core.windows.net";
    assert_eq!(refused(plain, None, "work"), Some(InvalidQueue::Scheme));
    assert_eq!(refused(service, key("no key!"), "work"), Some(InvalidQueue::Key));
    let with_path = "https://account.queue.core.windows.net/work";
    assert_eq!(refused(with_path, key("c2VjcmV0"), "work"), Some(InvalidQueue::Service));
}

#[tokio::test]
async fn no_error_and_no_debug_output_shows_the_signature() {
    let server = TestServer::start(|_| refused("403 Forbidden", "AuthenticationFailed")).await;
    let queue = queue(&server);
    let error = queue.receive(HIDDEN).await.unwrap_err();
    assert!(!format!("{error} {error:?} {queue:?}").contains("TOPSECRET"), "{error:?}");
    let url: Url = "https://account.queue.core.windows.net/?sig=TOPSECRET".parse().unwrap();
    assert!(!format!("{:?}", QueueAccess::Sas(url)).contains("TOPSECRET"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let server = TestServer::start_seeing(|_, request| match request.header("authorization") {
        Some("Bearer token-2") => answer("200 OK", "x-ms-approximate-messages-count: 0\r\n", ""),
        _ => refused("401 Unauthorized", "InvalidAuthenticationInfo"),
    })
    .await;
    let asked = AtomicUsize::new(0);
    let tokens = TokenSource::new(move || {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            let expires = OffsetDateTime::now_utc() + time::Duration::HOUR;
            Ok(AccessToken::new(format!("token-{number}"), expires))
        })
    });
    let url = format!("{}account", server.url()).parse().unwrap();
    let queue = AzureWorkQueue::new(
        http_client(1).unwrap(),
        QueueAccess::Account(url, StorageAuth::Entra(tokens)),
        "work",
    )
    .unwrap();
    assert_eq!(queue.left().await.unwrap(), 0);
    assert_eq!(server.requests().len(), 2);
    assert!(!format!("{queue:?}").contains("token-"));
}

fn counted(messages: u32) -> Reply {
    answer("200 OK", &format!("x-ms-approximate-messages-count: {messages}\r\n"), "")
}

fn sent() -> Reply {
    let body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList><QueueMessage><MessageId>id-9</MessageId>\
        <PopReceipt>first</PopReceipt></QueueMessage></QueueMessagesList>";
    answer("201 Created", "", body)
}

#[tokio::test]
async fn a_trial_uses_a_message_that_no_worker_sees() {
    let server = TestServer::start(|number| match number {
        1 => counted(7),
        2 => counted(2),
        3 => sent(),
        4 => answer("204 No Content", "x-ms-popreceipt: second\r\n", ""),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    assert_eq!(queue(&server).try_out().await.unwrap(), QueueContents { left: 7, poisoned: 2 });
    let seen = server.requests();
    assert!(is(&seen[2], "POST", "work/messages"), "{}", seen[2].line());
    // Hidden until it expires, should the rest of the trial fail.
    assert!(seen[2].line().contains("visibilitytimeout=60"), "{}", seen[2].line());
    assert!(seen[2].line().contains("messagettl=61"), "{}", seen[2].line());
    assert!(is(&seen[3], "PUT", "work/messages/id-9") && seen[3].line().contains("popreceipt=first"));
    assert!(seen[3].line().contains("visibilitytimeout=60"), "{}", seen[3].line());
    assert!(is(&seen[4], "DELETE", "work/messages/id-9"), "{}", seen[4].line());
    assert!(seen[4].line().contains("popreceipt=second"), "{}", seen[4].line());
    assert!(!seen.iter().any(|request| request.line().starts_with("GET /account/work/messages")));
}

#[tokio::test]
async fn a_trial_names_the_step_that_failed() {
    for (fails, step) in
        [(1, "count messages"), (3, "send a message"), (4, "change a message"), (5, "delete a message")]
    {
        let server = TestServer::start(move |number| match number {
            number if number == fails => refused("403 Forbidden", "AuthorizationPermissionMismatch"),
            1 | 2 => counted(0),
            3 => sent(),
            _ => answer("204 No Content", "", ""),
        })
        .await;
        let failed = queue(&server).try_out().await.unwrap_err();
        assert_eq!(failed.step, step);
        assert_eq!(failed.failure.code.as_deref(), Some("AuthorizationPermissionMismatch"));
        assert_eq!(server.requests().len(), fails);
    }
}
