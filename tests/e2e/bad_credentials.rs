//! A table of credentials that are not good enough: each is refused before any upload, and the message says what to
//! do.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use time::OffsetDateTime;

use crate::bad_setups::{FLEET, account, destination, entra, refusals, sas};
use crate::stage::Sim;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn credentials_that_are_not_good_enough() {
    let sim = Sim::start(FLEET);
    std::fs::write(sim.dir.path().join("secret.wrong"), BASE64_STANDARD.encode([7; 64])).unwrap();
    let day = |days: i64| {
        let day = (OffsetDateTime::now_utc() + time::Duration::days(days)).date();
        format!("{day}T00:00:00Z")
    };
    let in_five_minutes = {
        let at = OffsetDateTime::now_utc() + time::Duration::minutes(5);
        format!("{}T{:02}:{:02}:{:02}Z", at.date(), at.hour(), at.minute(), at.second())
    };
    let (past, tomorrow, later) = (day(-1), day(1), day(2));
    let http = ("spr", "https,http");
    let write = |name: &str, parameters: &[(&str, &str)]| {
        let sas = sas(&sim, name, parameters);
        format!(
            r#"
            container_url = {sas}
            verify_url = {{ file = "ready.json.verify_url" }}
            "#
        )
    };
    let verify = |name: &str, parameters: &[(&str, &str)]| {
        let sas = sas(&sim, name, parameters);
        format!(
            r#"
            container_url = {{ file = "ready.json.container_url" }}
            verify_url = {sas}
            "#
        )
    };
    let forged = std::fs::read_to_string(sim.dir.path().join("ready.json.verify_url")).unwrap();
    std::fs::write(sim.dir.path().join("secret.forged"), forged.replace("sp=rl", "sp=rwl")).unwrap();
    let missing = sim.ready["container_url"].as_str().unwrap().replace("/batch-logs?", "/other-logs?");
    std::fs::write(sim.dir.path().join("secret.missing"), missing).unwrap();
    let storage = sim.ready["storage"]["endpoint"].as_str().unwrap();
    let table = vec![
        destination(write("expired", &[("sp", "w"), ("se", &past), http])),
        destination(write("short", &[("sp", "w"), ("se", &in_five_minutes), http])),
        destination(write("read", &[("sp", "rl"), ("se", &tomorrow), http])),
        destination(write("future", &[("sp", "w"), ("st", &tomorrow), ("se", &later), http])),
        destination(write("blob", &[("sp", "w"), ("se", &tomorrow), ("sr", "b"), http])),
        destination(verify("nolist", &[("sp", "r"), ("se", &tomorrow), http])),
        destination(verify("oldverify", &[("sp", "rl"), ("se", &past), http])),
        destination(verify("https", &[("sp", "rl"), ("se", &tomorrow), ("spr", "https")])),
        destination(
            r#"
            container_url = { file = "ready.json.container_url" }
            verify_url = { file = "secret.forged" }
            "#,
        ),
        destination(
            r#"
            container_url = { file = "secret.missing" }
            verify_url = { file = "secret.missing" }
            "#,
        ),
        destination(format!(
            r#"
                mint = "account-key"
                account = "{storage}"
                container = "batch-logs"
                account_key = {{ file = "secret.wrong" }}
                "#
        )),
        destination(format!(
            r#"
                mint = "account-key"
                account = "{storage}"
                container = "other-logs"
                account_key = {{ file = "secret.storage" }}
                "#
        )),
        destination(format!(
            r#"
                mint = "user-delegation"
                account = "{storage}"
                container = "batch-logs"
                "#
        )),
        account(r#"auth = { shared_key = { file = "secret.wrong" } }"#),
        account(
            r#"
            auth = { shared_key = { file = "ready.json.contoso.key" } }
            endpoint = "http://127.0.0.1:1"
            "#,
        ),
        account(r#"auth = "entra""#),
        entra(r#"entra = { credential = "client-secret" }"#),
        entra(r#"entra = { credential = "workload-identity" }"#),
    ];
    std::fs::write(sim.dir.path().join("secret.storage"), sim.ready["storage"]["key"].as_str().unwrap())
        .unwrap();
    insta::assert_snapshot!(refusals(&sim, table), @r#"
    > container_url = { file = "secret.expired" }
    > verify_url = { file = "ready.json.verify_url" }
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS expired at TIME
      help: create a new SAS
    no upload was sent

    > container_url = { file = "secret.short" }
    > verify_url = { file = "ready.json.verify_url" }
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS expires at TIME, and the run needs it until TIME
      help: create a SAS that is valid longer, or lower `destination.upload_allowance`, or raise `limits.rate`
    no upload was sent

    > container_url = { file = "secret.read" }
    > verify_url = { file = "ready.json.verify_url" }
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS lacks the permission `w` (nodes write their logs with it)
      help: create a container SAS with the permission `w` (write)
    no upload was sent

    > container_url = { file = "secret.future" }
    > verify_url = { file = "ready.json.verify_url" }
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS starts only at TIME
      help: create a SAS without a start time (`st`), or check this machine's clock
    no upload was sent

    > container_url = { file = "secret.blob" }
    > verify_url = { file = "ready.json.verify_url" }
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS is for a blob or directory, not for a container
      help: create a SAS for the container itself (`sr=c`)
    no upload was sent

    > container_url = { file = "ready.json.container_url" }
    > verify_url = { file = "secret.nolist" }
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the SAS lacks the permission `l` (verification lists the container with it)
      help: create a container SAS with the permissions `r` and `l` for `verify_url`
    error: destination.verify_url: the container cannot be listed: 403 AuthorizationPermissionMismatch: This request is not authorized to perform this operation using this permission.
      help: create a SAS with the permission that is missing; if an identity signed it, give that identity the role Storage Blob Data Contributor on the container
    no upload was sent

    > container_url = { file = "ready.json.container_url" }
    > verify_url = { file = "secret.oldverify" }
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the SAS expired at TIME
      help: create a new SAS
    error: destination.verify_url: the container cannot be listed: 403 AuthenticationFailed: Signature not valid in the specified time frame: expired; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: create a new SAS, or set this machine's clock
    no upload was sent

    > container_url = { file = "ready.json.container_url" }
    > verify_url = { file = "secret.https" }
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the container cannot be listed: 403 AuthorizationProtocolMismatch: This request is not authorized to perform this operation using this protocol.
      help: use https:// in the URL, or create the SAS without `spr=https`
    no upload was sent

    > container_url = { file = "ready.json.container_url" }
    > verify_url = { file = "secret.forged" }
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the container cannot be listed: 403 AuthenticationFailed: Signature did not match; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the whole SAS or key again, or create a new one: its signature is not what storage computes
    no upload was sent

    > container_url = { file = "secret.missing" }
    > verify_url = { file = "secret.missing" }
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the SAS lacks the permission `l` (verification lists the container with it)
      help: create a container SAS with the permissions `r` and `l` for `verify_url`
    error: destination.verify_url: the container cannot be listed: 403 AuthenticationFailed: Signature did not match; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the whole SAS or key again, or create a new one: its signature is not what storage computes
    no upload was sent

    > mint = "account-key"
    > account = "http://127.0.0.1:PORT/simlogs"
    > container = "batch-logs"
    > account_key = { file = "secret.wrong" }
    exit code: 5
    ----- stderr -----
    error: destination.mint: the container cannot be listed: 403 AuthenticationFailed: Signature did not match; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the whole SAS or key again, or create a new one: its signature is not what storage computes
    no upload was sent

    > mint = "account-key"
    > account = "http://127.0.0.1:PORT/simlogs"
    > container = "other-logs"
    > account_key = { file = "secret.storage" }
    exit code: 5
    ----- stderr -----
    error: destination.mint: the container cannot be listed: 404 ContainerNotFound: The specified container does not exist.
      help: create the container, or correct the URL: uploads to a missing container are lost
    no upload was sent

    > mint = "user-delegation"
    > account = "http://127.0.0.1:PORT/simlogs"
    > container = "batch-logs"
    exit code: 5
    ----- stderr -----
    error: destination.mint: no SAS can be created for `http://127.0.0.1:PORT/simlogs`: no token: AzureCliCredential authentication failed. az not found on PATH - az not found on PATH AzureDeveloperCliCredential authentication failed. azd not found on PATH - azd not found on PATH
      help: install `az` and log in with `az login`, or set up another credential in `[entra]`
    no upload was sent

    > auth = { shared_key = { file = "secret.wrong" } }
    exit code: 5
    ----- stderr -----
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: 403 AuthenticationFailed: The MAC signature found in the HTTP request is not the same as any computed signature; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the account's key again as the portal shows it: this one was cut off, rotated, or is another account's
    no upload was sent

    > auth = { shared_key = { file = "ready.json.contoso.key" } }
    > endpoint = "http://127.0.0.1:PORT"
    exit code: 5
    ----- stderr -----
    warning: contoso: a list cannot be read; retrying: cannot connect: tcp connect error: Connection refused (os error 111) (attempt=1)
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: cannot connect: tcp connect error: Connection refused (os error 111)
      help: check `endpoint`, DNS, proxy and firewall; a private endpoint needs a machine in its network
    no upload was sent

    > auth = "entra"
    exit code: 5
    ----- stderr -----
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: no token: AzureCliCredential authentication failed. az not found on PATH - az not found on PATH AzureDeveloperCliCredential authentication failed. azd not found on PATH - azd not found on PATH
      help: install `az` and log in with `az login`, or set up another credential in `[entra]`
    no upload was sent

    > entra = { credential = "client-secret" }
    > auth = "entra"
    exit code: 5
    ----- stderr -----
    error: entra: no token: a client secret needs a tenant id (AZURE_TENANT_ID) and a client id (AZURE_CLIENT_ID) and the secret (AZURE_CLIENT_SECRET)
      help: set what is missing, in `[entra]` or the environment, or choose another `credential`
    no upload was sent

    > entra = { credential = "workload-identity" }
    > auth = "entra"
    exit code: 5
    ----- stderr -----
    error: entra: no token: a workload identity needs a tenant id (AZURE_TENANT_ID) and a client id (AZURE_CLIENT_ID) and a token file (AZURE_FEDERATED_TOKEN_FILE)
      help: set what is missing, in `[entra]` or the environment, or choose another `credential`
    no upload was sent
    "#);
}

#[test]
fn storage_that_does_not_let_us_make_what_the_run_needs() {
    let mut told = String::new();
    for (refusal, container) in
        [("refuse_delegation_key", "batch-logs"), ("refuse_create", "incident-{run_id}")]
    {
        let sim = Sim::start(&format!("[storage]\n{refusal} = true\n{FLEET}"));
        let destination = format!(
            r#"
            mint = "user-delegation"
            account = {}
            container = "{container}"
            "#,
            sim.ready["storage"]["endpoint"]
        );
        let path = crate::credentials::config(&sim, &destination, "");
        let run = crate::credentials::with_identity(&sim, &["run", path.to_str().unwrap()]);
        assert_eq!(sim.upload_calls(), 0);
        assert!(run.dir.is_none());
        told += &run.picture();
    }
    insta::assert_snapshot!(told, @r"
    exit code: 5
    ----- stderr -----
    error: destination.mint: no SAS can be created for `http://127.0.0.1:PORT/simlogs`: 403 AuthorizationPermissionMismatch: This request is not authorized to perform this operation using this permission.
      help: give the identity the role Storage Blob Delegator on the account and Storage Blob Data Contributor on the container; `fleetlogs check` shows which credential is used
    no upload was sent
    exit code: 5
    ----- stderr -----
    error: destination.container: `incident-RUN` cannot be created in `simlogs`: 403 AuthorizationPermissionMismatch: This request is not authorized to perform this operation using this permission.
      help: give the identity the role Storage Blob Data Contributor on the storage account, or name an existing container
    no upload was sent
    ");
}

#[test]
fn an_identity_that_the_pool_does_not_have() {
    let sim = Sim::start(FLEET);
    let destination = format!(
        r#"
        identity = "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/logs"
        account = {}
        container = "batch-logs"
        "#,
        sim.ready["storage"]["endpoint"]
    );
    let path = crate::credentials::config(&sim, &destination, "");
    let run = crate::credentials::with_identity(&sim, &["run", path.to_str().unwrap()]);
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 5
    ----- stderr -----
    error: account `contoso`, pool `a`: no identity is attached to the pool
      help: attach that of `destination.identity`, exclude the pool (`exclude_pools`), or let fleetlogs create a SAS (`mint`)
    no upload was sent
    ");
    assert_eq!(sim.upload_calls(), 0);
}
