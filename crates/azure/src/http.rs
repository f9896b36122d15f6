//! The HTTP clients: Batch calls and the Azure SDK share one, with its connections; lists of Batch accounts have
//! their own, and so have calls to accounts whose answers cannot be told apart.

use std::time::Duration;

use fleetlogs_model::scrub;
use reqwest::{NoProxy, Proxy, redirect, retry};

use crate::tls;

/// Long enough for a slow handshake across continents, and well below the time limit of a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The service's front end closes idle connections after two minutes. Closing them earlier keeps an upload call from
/// being written to a connection that is just being closed, which would put the call in doubt. Much earlier, because each
/// keeps 36 KiB, and while a run begins, more are opened than are used later: a call takes the one that is free first,
/// and the one that it had asked for comes as well.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection keeps the buffer of its largest answer, and a list page is a hundred times larger than the answer to
/// an upload call. Therefore lists have connections of their own. The next page, or the next pool, is requested at once,
/// so a connection that is idle for longer than this is one of an account that has been listed.
const LISTS_IDLE_TIMEOUT: Duration = Duration::from_millis(250);

/// Hosts that must never be reached through a proxy: this machine, and the instance metadata service, where a proxy
/// would hand out the identity of the machine that the proxy runs on.
const NEVER_PROXIED: &str = "localhost,127.0.0.0/8,::1,169.254.169.254";

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The client could not be made of its settings.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// The certificates of the system cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// A proxy variable of the environment does not contain a URL. Its value may contain a password, so it is not
    /// shown.
    #[error("`{0}` does not contain the URL of a proxy")]
    Proxy(&'static str),
}

/// One HTTP client for Batch calls and the Azure SDK: one connection pool, one TLS setup.
///
/// It never follows a redirect and never sends anything twice. It uses the proxy variables of the environment
/// (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in upper or lower case), but never for loopback.
pub fn http_client(calls_at_once: usize) -> Result<reqwest::Client, HttpClientError> {
    build_client((calls_at_once, IDLE_TIMEOUT), |name| std::env::var(name).ok())
}

/// The same without connections that are kept: every call opens one of its own.
pub fn unkept_client() -> Result<reqwest::Client, HttpClientError> {
    build_client((0, IDLE_TIMEOUT), |name| std::env::var(name).ok())
}

/// The same for lists of Batch accounts, with this many requests to each account at a time.
pub fn list_client(lists_at_once: usize) -> Result<reqwest::Client, HttpClientError> {
    build_client((lists_at_once, LISTS_IDLE_TIMEOUT), |name| std::env::var(name).ok())
}

fn build_client(
    (calls_at_once, idle_timeout): (usize, Duration),
    env: impl Fn(&str) -> Option<String>,
) -> Result<reqwest::Client, HttpClientError> {
    let mut builder = reqwest::Client::builder()
        // Throttling counts requests, so multiplexing gains nothing; and a broken HTTP/1.1 connection puts one call
        // in doubt, not all calls that share it.
        .http1_only()
        .tls_backend_preconfigured(tls::settings().map_err(HttpClientError::Tls)?)
        // A credential must never follow a redirect.
        .redirect(redirect::Policy::none())
        .referer(false)
        // The upload call must not be sent twice for any reason.
        .retry(retry::never())
        .no_gzip()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        // A call may begin before the connection of the last one is back in the pool, and then opens another. If that
        // one were not kept, it would be opened again and again.
        .pool_max_idle_per_host(calls_at_once * 2)
        .pool_idle_timeout(idle_timeout)
        .user_agent(concat!("fleetlogs/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    for proxy in proxies(env)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(HttpClientError::Setup)
}

/// The proxies set in the environment.
///
/// reqwest by itself (without its `system-proxy` feature, as here) reads the same variables, but sends requests to
/// loopback through the proxy unless `NO_PROXY` lists it. Therefore the variables are read here.
fn proxies(env: impl Fn(&str) -> Option<String>) -> Result<Vec<Proxy>, HttpClientError> {
    let either = |upper: &str| {
        env(upper).or_else(|| env(&upper.to_ascii_lowercase())).filter(|value| !value.trim().is_empty())
    };
    let mut exempt = NEVER_PROXIED.to_owned();
    if let Some(more) = either("NO_PROXY") {
        exempt.push(',');
        exempt.push_str(&more);
    }
    let all = either("ALL_PROXY").map(|url| ("ALL_PROXY", url));
    let mut found = Vec::new();
    let https = either("HTTPS_PROXY").map(|url| ("HTTPS_PROXY", url)).or_else(|| all.clone());
    let http = either("HTTP_PROXY").map(|url| ("HTTP_PROXY", url)).or(all);
    for (_, url) in https.iter().chain(&http) {
        // Its password.
        scrub::learn(url);
    }
    if let Some((name, url)) = https {
        found.push(Proxy::https(&url).map_err(|_| HttpClientError::Proxy(name))?);
    }
    if let Some((name, url)) = http {
        found.push(Proxy::http(&url).map_err(|_| HttpClientError::Proxy(name))?);
    }
    Ok(found.into_iter().map(|proxy| proxy.no_proxy(NoProxy::from_string(&exempt))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::{Reply, TestServer};

    #[tokio::test]
    async fn loopback_is_reached_without_the_proxy_and_other_hosts_through_it() {
        let proxy = TestServer::start(|_| Reply::json("200 OK", "\"proxy\"")).await;
        let target = TestServer::start(|_| Reply::json("200 OK", "\"target\"")).await;
        let proxy_url = proxy.url();
        let client =
            build_client((1, IDLE_TIMEOUT), |name| (name == "http_proxy").then(|| proxy_url.clone()))
                .unwrap();

        let near = client.get(target.url()).send().await.unwrap().text().await.unwrap();
        let far = client.get("http://batch.example/").send().await.unwrap().text().await.unwrap();

        assert_eq!((near.as_str(), far.as_str()), ("\"target\"", "\"proxy\""));
    }

    #[test]
    fn a_bad_proxy_variable_is_named_and_not_shown() {
        let error = build_client((1, IDLE_TIMEOUT), |name| {
            (name == "HTTPS_PROXY").then(|| "http://user:hunter2@[".to_owned())
        });
        assert_eq!(error.unwrap_err().to_string(), "`HTTPS_PROXY` does not contain the URL of a proxy");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let server = TestServer::start(|_| {
            Reply::raw("HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")
        })
        .await;
        let answer =
            build_client((1, IDLE_TIMEOUT), |_| None).unwrap().get(server.url()).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(server.requests().len(), 1);
    }
}
