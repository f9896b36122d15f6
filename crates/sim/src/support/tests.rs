use super::*;

const SUBSCRIPTION: &str = "00000000-0000-4000-8000-000000000000";

fn call(support: &Support, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, "api-version=2024-04-01"));
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let body = body.to_string();
    let request = SupportRequest {
        method,
        segments: &segments,
        query: &Query::parse(query),
        body: body.as_bytes(),
        base: "http://here",
    };
    match support.answer(&request) {
        Ok((status, _, Some(link))) => (status.as_u16(), link.into()),
        Ok((status, body, None)) => (status.as_u16(), body),
        Err(error) => (error.status.as_u16(), format!("{}: {}", error.code, error.message).into()),
    }
}

fn own(path: &str) -> String {
    format!("subscriptions/{SUBSCRIPTION}/providers/Microsoft.Support/{path}")
}

fn ticket() -> Value {
    json!({ "properties": {
        "title": "t", "description": "d", "severity": "moderate", "advancedDiagnosticConsent": "No",
        "serviceId": "/providers/Microsoft.Support/services/11111111-0000-4000-8000-000000000001",
        "problemClassificationId": "/providers/Microsoft.Support/services/11111111-0000-4000-8000-000000000001/\
            problemClassifications/22222222-0000-4000-8000-000000000001",
        "contactDetails": {
            "firstName": "a", "lastName": "b", "primaryEmailAddress": "a@contoso.example",
            "preferredContactMethod": "email", "preferredTimeZone": "UTC", "country": "USA",
            "preferredSupportLanguage": "en-us",
        },
        "technicalTicketDetails": { "resourceId": format!("/subscriptions/{SUBSCRIPTION}/x") },
    } })
}

#[test]
fn a_ticket_is_there_once_it_is_done_and_once_only() {
    let support = Support::default();
    let put = || call(&support, &Method::PUT, &own("supportTickets/a"), &ticket());
    let get = || call(&support, &Method::GET, &own("supportTickets/a"), &Value::Null);
    let (status, link) = put();
    assert_eq!(status, 202);
    assert_eq!(put().0, 409);
    let link = link.as_str().expect("a link").strip_prefix("http://here/").expect("here").to_owned();
    for expected in ["InProgress", "InProgress", "Succeeded"] {
        assert_eq!(get().0, 404);
        assert_eq!(call(&support, &Method::GET, &link, &Value::Null).1["status"], expected);
    }
    assert_eq!(get().1["properties"]["supportTicketId"], "120000000000000");
    assert_eq!(put().0, 409);
}

#[test]
fn a_ticket_that_lacks_something_is_refused() {
    let support = Support::default();
    for (pointer, value) in [
        ("/properties/title", json!("")),
        ("/properties/severity", json!("high")),
        ("/properties/contactDetails/country", json!("US")),
        ("/properties/contactDetails/preferredContactMethod", json!("phone")),
        ("/properties/problemClassificationId", json!("/other")),
        ("/properties/technicalTicketDetails/resourceId", json!("/subscriptions/other/x")),
    ] {
        let mut ticket = ticket();
        *ticket.pointer_mut(pointer).expect("a member") = value;
        assert_eq!(call(&support, &Method::PUT, &own("supportTickets/a"), &ticket).0, 400, "{pointer}");
    }
    let old = own("supportTickets/a?api-version=2019-01-01");
    assert_eq!(call(&support, &Method::PUT, &old, &ticket()).0, 400);
}

#[test]
fn pieces_of_a_file_come_in_order_and_in_full() {
    let support = Support::default();
    call(&support, &Method::PUT, &own("fileWorkspaces/w"), &Value::Null);
    let declared = |size: u64, piece: u64, pieces: u64| {
        let body =
            json!({ "properties": { "fileSize": size, "chunkSize": piece, "numberOfChunks": pieces } });
        call(&support, &Method::PUT, &own("fileWorkspaces/w/files/f"), &body).0
    };
    assert_eq!([declared(9, 3, 3), declared(6 << 20, 2 << 20, 3), declared(5, 3, 1)], [400; 3]);
    assert_eq!(declared(5, 3, 2), 201);
    let piece = |index: u64, content: &str| {
        let body = json!({ "chunkIndex": index, "content": content });
        call(&support, &Method::POST, &own("fileWorkspaces/w/files/f/upload"), &body).0
    };
    assert_eq!([piece(1, "ZGU="), piece(0, "YQ=="), piece(0, "!")], [400; 3]);
    let mut with_files = ticket();
    with_files["properties"]["fileWorkspaceName"] = "w".into();
    assert_eq!([piece(0, "YWJj"), piece(0, "YWJj")], [204; 2], "the same once more does no harm");
    assert_eq!(call(&support, &Method::PUT, &own("supportTickets/a"), &with_files).0, 400, "half a file");
    assert_eq!(piece(1, "ZGU="), 204);
    assert_eq!(call(&support, &Method::PUT, &own("supportTickets/a"), &with_files).0, 202);
}
