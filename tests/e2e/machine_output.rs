//! What programs read: with `--json`, one document on stdout for every way a command can end.

use std::path::Path;

use serde_json::Value;

use crate::stage::{Sim, fleetlogs};

const SMALL: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 3
arrival = "50ms"
[[account.pool]]
id = "b"
nodes = 1
arrival = "50ms"
"#;

/// The exit code of a command, and its document: stdout is exactly one.
fn document(dir: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = fleetlogs().args(arguments).current_dir(dir).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error} in {stdout:?}; stderr: {stderr}"));
    (output.status.code().unwrap(), document)
}

#[test]
fn a_command_that_fails_says_so_to_a_program_as_well() {
    let sim = Sim::start(SMALL);
    let dir = sim.dir.path();
    let good = std::fs::read_to_string(sim.config("")).unwrap();
    std::fs::write(dir.join("mistakes.toml"), format!("strct = true\n{good}")).unwrap();
    std::fs::write(dir.join("wrong"), "d3Jvbmcga2V5").unwrap();
    std::fs::write(dir.join("refused.toml"), good.replace("\"ready.json.contoso.key\"", "\"wrong\""))
        .unwrap();
    std::fs::write(
        dir.join("expired"),
        "https://logs.blob.core.windows.net/c?sp=wl&se=2020-01-01&sr=c&sig=eA==",
    )
    .unwrap();
    let expired = good.replace("\"ready.json.container_url\"", "\"expired\"");
    std::fs::write(dir.join("expired.toml"), expired).unwrap();

    // The command line, its exit code, the schema of its document, a piece of its error, and a piece of its help.
    let table: &[(&str, i32, &str, &str, &str)] = &[
        ("", 2, "error", "no command", "fleetlogs --help"),
        ("list", 2, "error", "no command `list`", "fleetlogs runs"),
        ("run fleetlogs.toml --dry-run", 2, "error", "no option `--dry-run`", "fleetlogs plan"),
        ("resume", 2, "error", "needs <RUN>", "fleetlogs resume"),
        ("run https://x.blob.core.windows.net/c?sig=abc", 2, "error", "holds a SAS", "create a new SAS"),
        ("run nowhere.toml", 2, "error", "nowhere.toml", "fleetlogs init"),
        ("run mistakes.toml", 2, "error", "`strct`: unknown key", "`strict`"),
        ("plan mistakes.toml", 2, "error", "`strct`: unknown key", "`strict`"),
        ("check mistakes.toml", 2, "check", "would be refused: 1 problem", "`strict`"),
        ("status nosuch", 2, "error", "no run `nosuch`", "fleetlogs runs"),
        ("verify nosuch", 2, "error", "no run `nosuch`", "fleetlogs runs"),
        ("share nosuch", 2, "error", "no run `nosuch`", "fleetlogs runs"),
        ("bundle --check nosuch.zip", 2, "error", "nosuch.zip", ""),
        ("ticket fleetlogs.toml nosuch", 2, "error", "no run `nosuch`", "fleetlogs runs"),
        ("history fleetlogs.toml", 2, "error", "no snapshot", "[[snapshot]]"),
        ("schedule fleetlogs.toml --once nightly", 2, "error", "no snapshot", "[[snapshot]]"),
        ("run refused.toml", 5, "error", "cannot be listed", "copy the account's key again"),
        ("plan refused.toml", 5, "error", "cannot be listed", "copy the account's key again"),
        ("check refused.toml", 5, "check", "would be refused: 1 problem", "copy the account's key again"),
        ("run expired.toml", 5, "error", "expired", "create"),
        ("plan expired.toml", 5, "plan", "expired", "create"),
        ("run fleetlogs.toml --node nobody", 8, "error", "matches no node", "name one"),
        ("plan fleetlogs.toml --node nobody", 8, "plan", "matches no node", "name one"),
        ("check fleetlogs.toml --node nobody", 8, "check", "would be refused: 1 problem", "name one"),
    ];
    let mut wrong = Vec::new();
    for (line, code, schema, error, help) in table {
        let arguments: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
        let (exit, document) = document(dir, &arguments);
        let helps = document["help"].as_array().cloned().unwrap_or_default();
        let is_right = exit == *code
            && document["exit_code"] == *code
            && document["schema"] == format!("fleetlogs.{schema}/v1")
            && document["error"].as_str().is_some_and(|text| text.contains(error))
            && (help.is_empty() || helps.iter().any(|text| text.as_str().unwrap().contains(help)));
        if !is_right {
            wrong.push(format!("> {line}\nexit code: {exit}, expected {code}\n{document:#}"));
        }
        assert!(!document.to_string().contains("sig=abc"), "{line}: a secret is printed");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(sim.upload_calls(), 0);
}
