//! The account as a client without fleetlogs calls it.

use serde_json::{Value, json};

use crate::server::Server;

/// A client with a token.
#[derive(Clone)]
pub(crate) struct Account {
    client: reqwest::Client,
    endpoint: String,
    token: String,
    upload: String,
}

/// What became of a call.
pub(crate) enum Answer {
    Good(Value),
    /// Throttled or busy; how long to wait if that was said, in seconds.
    NotNow(Option<u64>),
}

impl Account {
    pub(crate) async fn of(server: &ServerTexts) -> Self {
        let client = fleetlogs_azure::http_client(256).expect("a client");
        let url =
            format!("{}?resource=https://batch.core.windows.net/&api-version=2019-08-01", server.identity);
        let answer = client.get(url).header("X-IDENTITY-HEADER", "x").send().await.expect("a token");
        let token: Value = answer.json().await.expect("JSON");
        let token = format!("Bearer {}", token["access_token"].as_str().expect("a token"));
        let upload = json!({
            "containerUrl": server.container_url,
            "startTime": "2026-01-01T00:00:00Z",
            "endTime": "2026-01-01T02:00:00Z",
        });
        Self { client, endpoint: server.endpoint.clone(), token, upload: upload.to_string() }
    }

    /// Reads a pool, or its nodes.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}?api-version=2024-07-01.20.0&$select=id", self.endpoint);
        Self::answer(self.client.get(url).header("Authorization", &self.token)).await
    }

    pub(crate) async fn upload(&self, pool: &str, node: &str) -> Answer {
        let url = format!(
            "{}/pools/{pool}/nodes/{node}/uploadbatchservicelogs?api-version=2024-07-01.20.0&timeout=30",
            self.endpoint
        );
        let call = self
            .client
            .post(url)
            .header("Authorization", &self.token)
            .header("Content-Type", "application/json; odata=minimalmetadata")
            .body(self.upload.clone());
        Self::answer(call).await
    }

    async fn answer(call: reqwest::RequestBuilder) -> Answer {
        let answer = call.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let wait = answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok());
        let wait = wait.and_then(|wait| wait.parse().ok());
        let body = answer.bytes().await.expect("a body");
        match status {
            200 => Answer::Good(serde_json::from_slice(&body).expect("JSON")),
            429 | 503 => Answer::NotNow(wait),
            _ => panic!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

/// What a client must know of the server.
pub(crate) struct ServerTexts {
    endpoint: String,
    identity: String,
    container_url: String,
}

impl ServerTexts {
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            endpoint: server.text("/accounts/0/endpoint"),
            identity: server.text("/ledger").replace("ledger", "identity"),
            container_url: server.text("/container_url"),
        }
    }
}

/// The account's entry in the ledger.
pub(crate) fn ledger(server: &Server) -> Value {
    let url = server.text("/ledger");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ledger: Value = runtime.block_on(async {
        let client = fleetlogs_azure::http_client(1).expect("a client");
        client.get(url).send().await.expect("the ledger").json().await.expect("JSON")
    });
    ledger["accounts"][0].clone()
}
