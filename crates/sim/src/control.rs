//! What every port answers in addition to its service: ledger, tickets, ready document and tokens, all under
//! `/_sim/`.

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;

use crate::http::{Query, ReplyBody};
use crate::scenario::Skew;
use crate::world::World;

/// Returns none if the request is for the service on this port.
pub(crate) fn answer(world: &World, request: &Request<Incoming>) -> Option<Response<ReplyBody>> {
    let what = request.uri().path().strip_prefix("/_sim/")?;
    if what == "clock" && request.method() == Method::POST {
        let query = Query::parse(request.uri().query().unwrap_or(""));
        return Some(match query.get("by").and_then(|text| text.parse::<Skew>().ok()) {
            Some(by) => json(StatusCode::OK, &world.clock.shift(by.0).as_seconds_f64()),
            None => json(StatusCode::BAD_REQUEST, &"by must be a duration with a sign such as -20m"),
        });
    }
    if request.method() != Method::GET {
        return Some(json(StatusCode::METHOD_NOT_ALLOWED, &"GET only"));
    }
    Some(match what {
        "ledger" => json(StatusCode::OK, &world.ledger()),
        "tickets" => json(StatusCode::OK, &world.support.snapshot()),
        "ready" => json(StatusCode::OK, world.ready()),
        "identity" => {
            let query = Query::parse(request.uri().query().unwrap_or(""));
            let (status, answer) = world.tokens.answer(
                request.headers().contains_key("x-identity-header"),
                query.get("resource"),
                query.get("api-version").is_some(),
                OffsetDateTime::now_utc(),
            );
            json(status, &answer)
        }
        _ => json(StatusCode::NOT_FOUND, &"only ledger, tickets, ready and identity exist"),
    })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<ReplyBody> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(ReplyBody::sized(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
