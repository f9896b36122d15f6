use std::sync::{Arc, OnceLock};

use azure_core::credentials::AccessToken;
use time::OffsetDateTime;

use super::*;
use crate::http::http_client;
use crate::test_server::{Reply, SeenRequest, TestServer};

const TICKET: &str = r#"{"properties":{"supportTicketId":"123","status":"open","fileWorkspaceName":""}}"#;

/// A server whose answers may refer to it as `{server}`.
async fn server(
    answer: impl Fn(usize, &SeenRequest) -> (&'static str, &'static str, &'static str) + Send + Sync + 'static,
) -> (SupportClient, TestServer) {
    let own = Arc::new(OnceLock::<String>::new());
    let url = own.clone();
    let server = TestServer::start_seeing(move |number, seen| {
        let (status, headers, body) = answer(number, seen);
        let server = url.get().map_or("", |url| url.trim_end_matches('/'));
        Reply::with_headers(status, &headers.replace("{server}", server), &body.replace("{server}", server))
    })
    .await;
    own.set(server.url()).unwrap();
    let tokens = TokenSource::new(|| {
        let ends = OffsetDateTime::now_utc() + time::Duration::HOUR;
        Box::pin(std::future::ready(Ok(AccessToken::new("fake-token".to_owned(), ends))))
    });
    let management = Url::parse(&server.url()).unwrap();
    (SupportClient::new(http_client(1).unwrap(), management, "sub", tokens), server)
}

fn ticket() -> NewTicket {
    NewTicket {
        properties: TicketProperties {
            service_id: "/s".into(),
            problem_classification_id: "/p".into(),
            title: "t".into(),
            description: "d".into(),
            severity: Severity::HighestCriticalImpact,
            advanced_diagnostic_consent: "No",
            contact_details: Contact {
                first_name: "a".into(),
                last_name: "b".into(),
                preferred_contact_method: "email".into(),
                primary_email_address: "a@contoso.example".into(),
                phone_number: None,
                preferred_time_zone: "UTC".into(),
                country: "USA".into(),
                preferred_support_language: "en-us".into(),
            },
            technical_ticket_details: TechnicalDetails { resource_id: "/r".into() },
            file_workspace_name: None,
            support_plan_id: None,
        },
    }
}

#[tokio::test]
async fn a_ticket_is_waited_for_until_it_is_there() {
    let (client, server) = server(|number, _| match number {
        1 => {
            ("202 Accepted", "azure-asyncoperation: {server}/op?x=1\r\nlocation: {server}/elsewhere\r\n", "")
        }
        2 => ("200 OK", "", r#"{"status":"InProgress"}"#),
        3 => ("200 OK", "", r#"{"status":"Succeeded"}"#),
        _ => ("200 OK", "", TICKET),
    })
    .await;
    let open = client.open("name", &ticket()).await.unwrap();
    assert_eq!(open.support_ticket_id.as_deref(), Some("123"));
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(SeenRequest::line).collect();
    let path =
        "/subscriptions/sub/providers/Microsoft.Support/supportTickets/name?api-version=2024-04-01 HTTP/1.1";
    assert_eq!(
        lines,
        [&*format!("PUT {path}"), "GET /op?x=1 HTTP/1.1", "GET /op?x=1 HTTP/1.1", &*format!("GET {path}")]
    );
    let body: serde_json::Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body["properties"]["severity"], "highestcriticalimpact");
    assert!(body["properties"].get("fileWorkspaceName").is_none());
}

#[tokio::test]
async fn an_operation_that_fails_or_leads_elsewhere_is_told() {
    let (client, _server) = server(|number, _| match number {
        1 => ("202 Accepted", "azure-asyncoperation: {server}/op\r\n", ""),
        _ => ("200 OK", "", r#"{"status":"Failed","error":{"code":"NoPlan","message":"no plan"}}"#),
    })
    .await;
    let failure = client.open("name", &ticket()).await.unwrap_err();
    assert!(failure.message.contains("NoPlan: no plan"), "{failure}");

    let (client, elsewhere) =
        server(|_, _| ("202 Accepted", "azure-asyncoperation: http://127.0.0.1:9/op\r\n", "")).await;
    let failure = client.open("name", &ticket()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused);
    assert_eq!(elsewhere.requests().len(), 1, "no token went elsewhere");
}

/// With the paused clock, waiting for connections is impossible, so only the calls that send are tested against the
/// limit.
#[tokio::test]
async fn a_passing_refusal_is_waited_out_and_another_is_not() {
    let (client, server) = server(|number, _| match number {
        1 => ("429 Too Many Requests", "retry-after: 0\r\n", ""),
        _ => ("200 OK", "", TICKET),
    })
    .await;
    assert!(client.ticket("name").await.unwrap().is_some());
    assert_eq!(server.requests().len(), 2);

    let (client, server) = self::server(|_, _| {
        ("403 Forbidden", "", r#"{"error":{"code":"AuthorizationFailed","message":"no role"}}"#)
    })
    .await;
    let failure = client.ticket("name").await.unwrap_err();
    assert_eq!(failure.to_string(), "403 AuthorizationFailed: no role");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_file_goes_in_two_pieces_at_most() {
    let (client, server) = server(|_, _| ("201 Created", "", "{}")).await;
    client.attach("ws", "a b.csv", &vec![b'x'; LONGEST_PIECE + 3]).await.unwrap();
    let requests = server.requests();
    assert!(requests[0].line().contains("/fileWorkspaces/ws/files/a%20b.csv?"), "{}", requests[0].line());
    assert_eq!(
        requests[0].body,
        r#"{"properties":{"chunkSize":2500000,"fileSize":2500003,"numberOfChunks":2}}"#
    );
    assert!(requests[1].body.contains(r#""chunkIndex":0"#) && requests[2].body.contains(r#""chunkIndex":1"#));
    assert!(requests[2].body.contains(r#""content":"eHh4""#));
}
