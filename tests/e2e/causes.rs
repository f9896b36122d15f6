//! Causes that a service, an identity or the network gives away: each has its own advice, in `check` and in `run`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use crate::stage::{Run, fleetlogs};

/// A server that gives the same answer to everything: status, more headers, body.
fn always(status: &'static str, headers: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
                while read_head(&mut reader).is_some() {
                    if writer.write_all(answer(status, headers, body).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// The first line of a request, once its head and body were read.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(first)
}

/// A set-up without a simulator.
struct Stage {
    dir: TempDir,
    /// The endpoint of the Batch account.
    batch: String,
    /// The value of `auth`.
    auth: &'static str,
    destination: String,
    /// Tables in place of the account.
    accounts: Option<String>,
    env: Vec<(&'static str, String)>,
}

const KEY: &str = r#"{ shared_key = { file = "secret.key" } }"#;

impl Stage {
    fn of(batch: String, auth: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret.key"), "ZmFrZSBrZXkgb2YgYSB0ZXN0").unwrap();
        let sas = "https://logs.blob.core.windows.net/logs?sr=c&sp=cw&se=2036-01-01&sig=fakefakefake";
        std::fs::write(dir.path().join("secret.sas"), sas).unwrap();
        let destination = "container_url = { file = \"secret.sas\" }\n[verify]\nenabled = false".into();
        Self { dir, batch, auth, destination, accounts: None, env: vec![] }
    }

    /// A storage account at this address, listed with a SAS.
    fn listing(mut self, storage: &str) -> Self {
        let sas = format!("{storage}/acct/logs?sr=c&sp=rcwl&se=2036-01-01&sig=fakefakefake");
        std::fs::write(self.dir.path().join("secret.sas"), sas).unwrap();
        self.destination = "container_url = { file = \"secret.sas\" }".into();
        self
    }

    fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn program(&self, name: &str, script: &str) -> PathBuf {
        let bin = self.dir.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        bin
    }

    fn does(&self, command: &str) -> Run {
        let config = self.dir.path().join("fleetlogs.toml");
        let accounts = self.accounts.clone().unwrap_or_else(|| {
            format!("[[account]]\nname = \"contoso\"\nendpoint = \"{}\"\nauth = {}\n", self.batch, self.auth)
        });
        let text = format!(
            "[retry]\nattempts = 2\nbase_delay = \"10ms\"\nmax_delay = \"20ms\"\n[destination]\n{}\n{accounts}",
            self.destination
        );
        std::fs::write(&config, text).unwrap();
        let mut program = fleetlogs();
        program.arg(command).arg(&config).env("PATH", "/usr/bin/nowhere:/bin").current_dir(self.dir.path());
        for (name, value) in &self.env {
            program.env(name, value);
        }
        Run::of(self.dir.path(), program.output().unwrap())
    }

    /// Both commands refuse, and say this.
    fn says(&self, words: &[&str]) {
        for command in ["run", "check"] {
            let run = self.does(command);
            let said = format!("{}{}", run.stdout, run.stderr);
            assert_eq!(run.code, 5, "{command}: {said}");
            assert!(run.dir.is_none(), "{command} made a run directory");
            for word in words {
                assert!(said.contains(word), "{command} does not say `{word}`: {said}");
            }
        }
    }
}

const NO_POOL: &str = r#"{"value":[{"id":"a","state":"active","allocationState":"steady"}]}"#;

#[test]
fn a_batch_account_that_refuses_is_advised_by_what_it_says() {
    let table = [
        (
            r#"{"code":"AuthenticationFailed","message":{"value":"Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.\nRequestId:1\nTime:2"},"values":[{"key":"AuthenticationErrorDetail","value":"SharedKey is not allowed for this account."}]}"#,
            &[
                "403 AuthenticationFailed: SharedKey is not allowed for this account; Server failed",
                "set `auth = \"entra\"` for this account",
            ][..],
        ),
        (
            r#"{"code":"AuthorizationFailure","message":{"value":"This request is not authorized to perform this operation."}}"#,
            &["403 AuthorizationFailure", "the network rules of the Batch account"][..],
        ),
        (
            r#"{"code":"AuthenticationFailed","message":{"value":"no"},"values":[{"key":"AuthenticationErrorDetail","value":"The MAC signature found in the HTTP request is not the same as any computed signature."}]}"#,
            &["copy the account's key again"][..],
        ),
        (
            r#"{"code":"AccountIsDisabled","message":{"value":"The account is disabled."}}"#,
            &["enable the account, or its subscription, again"][..],
        ),
    ];
    for (body, words) in table {
        Stage::of(always("403 Forbidden", "content-type: application/json\r\n", body), KEY).says(words);
    }
}

#[test]
fn a_list_whose_pages_lead_in_a_circle_is_not_called_a_refusal() {
    // The address is known only once the server listens, so the link is relative to whoever asks.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = format!(r#"{{"value":[],"odata.nextLink":"{url}/pools?api-version=x&$skiptoken=a"}}"#);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let body = body.clone();
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
                while read_head(&mut reader).is_some() {
                    let text = answer("200 OK", "content-type: application/json\r\n", &body);
                    if writer.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let stage = Stage::of(url, KEY);
    stage.says(&[
        "the service's list loops",
        "nothing was refused, but the pages of the list are not in order",
    ]);
    assert!(!stage.does("run").stderr.contains("check `endpoint`"));
}

#[test]
fn storage_that_refuses_is_advised_by_its_code() {
    let table = [
        ("KeyBasedAuthenticationNotPermitted", "", "set `mint = \"user-delegation\"`"),
        ("AuthorizationFailure", "", "through the firewall of the storage account"),
        ("AuthorizationSourceIPMismatch", "", "create the SAS without `sip`"),
        ("AuthorizationResourceTypeMismatch", "", "an account SAS needs `srt=co`"),
        (
            "AuthenticationFailed",
            "Signature did not match. String to sign used was cw",
            "its signature is not what storage computes",
        ),
        (
            "AuthenticationFailed",
            "Signature not valid in the specified time frame: Start [x] - Expiry [y]",
            "create a new SAS, or set this machine's clock",
        ),
    ];
    let batch = always("200 OK", "content-type: application/json\r\n", NO_POOL);
    for (code, detail, advice) in table {
        let headers: &'static str = format!("x-ms-error-code: {code}\r\n").leak();
        let body: &'static str = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message>\
             <AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
        )
        .leak();
        let stage = Stage::of(batch.clone(), KEY).listing(&always("403 Forbidden", headers, body));
        let run = stage.does("check");
        assert_eq!(run.code, 5, "{code}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(code) && run.stdout.contains(advice), "{code}: {}", run.stdout);
    }
}

#[test]
fn an_identity_service_and_the_azure_cli_are_quoted_and_advised_on() {
    let batch = always("200 OK", "content-type: application/json\r\n", NO_POOL);
    let stage = || Stage::of(batch.clone(), "\"entra\"");
    let several = always(
        "400 Bad Request",
        "content-type: application/json\r\n",
        r#"{"statusCode":400,"message":"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}"#,
    );
    stage().env("IDENTITY_ENDPOINT", several).env("IDENTITY_HEADER", "x").says(&[
        "no token: Multiple user assigned identities exist",
        "name one of the identities in `entra.client_id`",
    ]);
    let table = [
        (
            "echo 'AccessToken    ExpiresOn'; echo '-----'; echo 'eyJhbGciOiJSUzI1NiJ9.TOPSECRET.x  2036'",
            &[
                "`az` printed something other than JSON: `AccessToken ExpiresOn ----- <redacted> 2036`",
                "run `az account get-access-token --output json` by hand",
            ][..],
        ),
        (
            r#"echo '{"accessToken":"x","expiresOn":"2036-01-01","tokenType":"Bearer"}'"#,
            &["install Azure CLI 2.54.0 or newer"][..],
        ),
        ("echo \"Please run 'az login' to setup account.\" >&2; exit 1", &["log in with `az login`"][..]),
    ];
    for (script, words) in table {
        let stage = stage();
        let bin = stage.program("az", script);
        let path = format!("{}:/bin", bin.display());
        stage.env("PATH", path).says(words);
    }
    stage().says(&["az not found on PATH", "install `az` and log in with `az login`"]);
}

/// A proxy that answers for every host itself, with a certificate of its own authority. Returns its URL and the file
/// of that authority.
fn inspecting_proxy(dir: &TempDir, host: &'static str) -> (String, PathBuf) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![host.into()]).unwrap().signed_by(&key, &authority).unwrap();
    let file = dir.path().join("company-root.pem");
    std::fs::write(&file, authority.pem()).unwrap();

    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                assert!(read_head(&mut reader)?.starts_with(&format!("CONNECT {host}:443 ")));
                let mut stream = stream;
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
                let tls = rustls::ServerConnection::new(config).ok()?;
                let mut tls = BufReader::new(rustls::StreamOwned::new(tls, stream));
                let body = r#"{"code":"AuthorizationFailure","message":{"value":"not from here"}}"#;
                while read_head(&mut tls).is_some() {
                    let text = answer("403 Forbidden", "content-type: application/json\r\n", body);
                    tls.get_mut().write_all(text.as_bytes()).ok()?;
                }
                Some(())
            });
        }
    });
    (url, file)
}

/// On Linux, the roots are those of the system or of `SSL_CERT_FILE`; elsewhere, those of the system alone.
#[cfg(target_os = "linux")]
#[test]
fn a_proxy_with_a_root_of_its_own_needs_ssl_cert_file() {
    let host = "contoso.westeurope.batch.azure.com";
    let roots = tempfile::tempdir().unwrap();
    let (proxy, file) = inspecting_proxy(&roots, host);
    let stage = || Stage::of(format!("https://{host}"), KEY).env("HTTPS_PROXY", proxy.clone());
    stage().says(&["UnknownIssuer", "let `SSL_CERT_FILE` name a file with the root certificates"]);
    // With it, the proxy is understood: what it answers comes through.
    stage()
        .env("SSL_CERT_FILE", file.to_str().unwrap())
        .says(&["403 AuthorizationFailure: not from here", "the network rules of the Batch account"]);
}

#[test]
fn a_proxy_that_demands_a_password_is_told() {
    let proxy = always("407 Proxy Authentication Required", "proxy-authenticate: Basic\r\n", "");
    Stage::of("https://contoso.westeurope.batch.azure.com".into(), KEY)
        .env("HTTPS_PROXY", proxy)
        .says(&["write user and password into the URL in `HTTPS_PROXY`"]);
}

#[test]
fn an_account_without_an_endpoint_is_left_out_by_name_and_the_other_is_used() {
    let kind = "content-type: application/json\r\n";
    let batch = always("200 OK", kind, NO_POOL);
    let accounts = format!(
        r#"{{"value":[{{"name":"halfmade","location":"x","properties":{{"provisioningState":"Failed"}}}},
            {{"name":"good","location":"x","properties":{{"accountEndpoint":"{}"}}}}]}}"#,
        batch.trim_start_matches("http://")
    );
    let expires = time::OffsetDateTime::now_utc().unix_timestamp() + 3600;
    let token = format!(
        r#"{{"access_token":"TOKEN","expires_in":"3600","expires_on":"{expires}","resource":"r","token_type":"Bearer"}}"#
    );
    let mut stage = Stage::of(batch, "\"entra\"")
        .env("IDENTITY_ENDPOINT", always("200 OK", kind, token.leak()))
        .env("IDENTITY_HEADER", "x");
    stage.accounts = Some(format!(
        "[discover]\nsubscriptions = [\"00000000-0000-0000-0000-000000000001\"]\nmanagement = \"{}\"\n",
        always("200 OK", kind, accounts.leak())
    ));
    let check = stage.does("check");
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    for words in [
        "warning  account `halfmade`: cannot be listed: Azure Resource Manager names no endpoint of it",
        "ok  account `good`: 1 pool and 1 node selected",
    ] {
        assert!(check.stdout.contains(words), "{words}: {}", check.stdout);
    }
}
