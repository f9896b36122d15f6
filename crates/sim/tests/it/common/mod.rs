//! A client for the tests. It signs by itself, so that it shares no code with the simulator.

pub(crate) mod storage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use fleetlogs_sim::{LedgerSnapshot, NodeEntry, Scenario, Simulator};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;

/// A simulator on its own ports.
pub(crate) async fn simulate(toml: &str) -> Simulator {
    let scenario = Scenario::from_toml(toml).unwrap_or_else(|error| panic!("{error}"));
    Simulator::start(scenario, SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("free ports")
}

/// One account with one pool called `p`, and further lines for the account.
pub(crate) fn one_pool(pool: &str, account: &str) -> String {
    format!(
        r#"
        [[account]]
        name = "contoso"
        {account}
        [[account.pool]]
        id = "p"
        {pool}
        "#
    )
}

pub(crate) fn http() -> Client {
    let _: Result<(), _> = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client")
}

/// A client that has the key of an account.
pub(crate) struct Caller {
    pub(crate) http: Client,
    pub(crate) endpoint: String,
    pub(crate) name: String,
    pub(crate) key: Vec<u8>,
    /// Added to the date that is sent.
    pub(crate) clock: time::Duration,
}

impl Caller {
    pub(crate) fn new(simulator: &Simulator) -> Self {
        let account = &simulator.ready().accounts[0];
        Self {
            http: http(),
            endpoint: account.endpoint.clone(),
            name: account.name.clone(),
            key: BASE64_STANDARD.decode(&account.key).expect("Base64"),
            clock: time::Duration::ZERO,
        }
    }

    /// The caller's clock in this many seconds, in the form of a header.
    pub(crate) fn date(&self, later: i64) -> String {
        let format = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let date = OffsetDateTime::now_utc() + self.clock + time::Duration::seconds(later);
        date.format(format).expect("a date")
    }

    /// A signed request for `path`. The only escapes that its query may contain are `%20` and `%27`.
    pub(crate) fn request(&self, method: Method, path: &str, body: Option<&str>) -> RequestBuilder {
        self.signed(method, path, body, None)
    }

    fn signed(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        condition: Option<(&str, &str)>,
    ) -> RequestBuilder {
        let date = self.date(0);
        let content_type = body.map_or("", |_| "application/json; odata=minimalmetadata");
        let length = body.map_or(String::new(), |body| body.len().to_string());
        let (resource, query) = path.split_once('?').unwrap_or((path, ""));
        let given = |name| condition.filter(|(given, _)| *given == name).map_or("", |(_, value)| value);
        let mut text = format!(
            "{method}\n\n\n{length}\n\n{content_type}\n\n{}\n{}\n{}\n{}\n\nocp-date:{date}\n/{}{resource}",
            given("if-modified-since"),
            given("if-match"),
            given("if-none-match"),
            given("if-unmodified-since"),
            self.name
        );
        let pairs: BTreeMap<String, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        for (name, value) in pairs {
            text.extend(["\n", &name, ":", &value.replace("%20", " ").replace("%27", "'")]);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length is a key");
        mac.update(text.as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let request = self
            .http
            .request(method, format!("{}{path}", self.endpoint))
            .header("ocp-date", date)
            .header("authorization", format!("SharedKey {}:{signature}", self.name));
        let request = match condition {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        match body {
            Some(body) => request.header("content-type", content_type).body(body.to_owned()),
            None => request,
        }
    }

    /// Reads under a condition, whose header the signature includes.
    pub(crate) async fn get_if(&self, path: &str, name: &str, value: &str) -> Response {
        let path = format!("{path}?api-version=2024-07-01.20.0");
        self.signed(Method::GET, &path, None, Some((name, value))).send().await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}api-version=2024-07-01.20.0");
        self.request(Method::GET, &path, None).send().await.expect("an answer")
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    /// The page that a nextLink leads to, requested with the link unchanged.
    pub(crate) async fn follow(&self, link: &str) -> Value {
        let path = link.strip_prefix(&self.endpoint).unwrap_or_else(|| panic!("{link} is on another server"));
        self.request(Method::GET, path, None).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// All members of a list, page by page, and the number of pages.
    pub(crate) async fn walk(&self, path: &str) -> (Vec<Value>, usize) {
        let mut page = self.get_json(path).await;
        let (mut members, mut pages) = (Vec::new(), 1);
        loop {
            members.extend(page["value"].as_array().unwrap_or_else(|| panic!("no list: {page}")).clone());
            let Some(link) = page["odata.nextLink"].as_str() else { return (members, pages) };
            page = self.follow(link).await;
            pages += 1;
            assert!(pages < 1000, "the walk does not end");
        }
    }

    pub(crate) async fn node_ids(&self) -> Vec<String> {
        let (nodes, _) = self.walk("/pools/p/nodes?$select=id").await;
        nodes.iter().map(|node| node["id"].as_str().expect("an id").to_owned()).collect()
    }

    pub(crate) fn upload_of(&self, node: &str, container_url: &str) -> RequestBuilder {
        let body = json!({ "containerUrl": container_url, "startTime": "2025-01-01T00:00:00Z" }).to_string();
        self.upload_with(node, &body)
    }

    pub(crate) fn upload_with(&self, node: &str, body: &str) -> RequestBuilder {
        let path =
            format!("/pools/p/nodes/{node}/uploadbatchservicelogs?api-version=2024-07-01.20.0&timeout=30");
        self.request(Method::POST, &path, Some(body))
    }

    pub(crate) async fn upload(&self, simulator: &Simulator, node: &str) -> reqwest::Result<Response> {
        self.upload_of(node, &simulator.ready().container_url).send().await
    }
}

/// Status and Batch error code of an answer.
pub(crate) async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    (status, body["code"].as_str().expect("a code").to_owned())
}

pub(crate) fn entry(ledger: &LedgerSnapshot, node: &str) -> NodeEntry {
    ledger
        .nodes
        .iter()
        .find(|entry| entry.node == node)
        .unwrap_or_else(|| panic!("{node} was not called"))
        .clone()
}

/// Waits until `done` is true for the ledger.
pub(crate) async fn wait_for(
    simulator: &Simulator,
    done: impl Fn(&LedgerSnapshot) -> bool,
) -> LedgerSnapshot {
    for _ in 0..12_000 {
        let ledger = simulator.ledger();
        if done(&ledger) {
            return ledger;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it did not happen within five minutes: {:?}", simulator.ledger());
}

/// A token for `resource`, from the identity endpoint.
pub(crate) async fn token(simulator: &Simulator, resource: &str) -> String {
    let url = format!(
        "{}/_sim/identity?resource={resource}&api-version=2019-08-01",
        simulator.ready().accounts[0].endpoint
    );
    let answer: Value = http()
        .get(url)
        .header("x-identity-header", "any")
        .send()
        .await
        .expect("sent")
        .json()
        .await
        .expect("JSON");
    assert!(answer["expires_on"].as_str().is_some_and(|text| text.parse::<i64>().is_ok()));
    answer["access_token"].as_str().expect("a token").to_owned()
}
