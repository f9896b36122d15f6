//! Every receiver is notified of the end of a run, and a failed notification does not change the run.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::stage::{Run, Sim, fleetlogs, signature, wait_for};

const SMALL: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 4
arrival = "50ms"
"#;

/// The parts of a webhook's URL that must not be shown.
const PATH: &str = "hooks/T0PATHSECRET";
const QUERY: &str = "code=QUERYSECRET";
const KEY: &[u8] = b"a key that signs in tests";

/// A request that a webhook got.
#[derive(Clone)]
struct Received {
    at: Instant,
    head: String,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).trim()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Somebody's webhook: answers the same to everybody, or nothing at all.
struct Hook {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Hook {
    /// `answer` is the head after `HTTP/1.1 `; none for one that hangs.
    fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{PATH}?{QUERY}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                theirs.lock().unwrap().push(read(&mut stream));
                match answer {
                    Some(answer) => {
                        let text =
                            format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                        stream.write_all(text.as_bytes()).unwrap();
                    }
                    None => drop(std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_secs(120));
                        drop(stream);
                    })),
                }
            }
        });
        Self { url, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Its table in the config. The URL is in a file that the stage takes for a secret.
    fn table(&self, sim: &Sim, name: &str, more: &str) -> String {
        std::fs::write(sim.dir.path().join(format!("secret-{name}")), &self.url).unwrap();
        format!(
            r#"
            [[notify]]
            webhook = {{ file = "secret-{name}" }}
            {more}
            "#
        )
    }
}

fn read(stream: &mut TcpStream) -> Received {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..count]);
        let so_far = String::from_utf8_lossy(&text);
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
        let head = head.replace('\r', "");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.trim().parse::<usize>().unwrap() {
            return Received { at: Instant::now(), head, body: body.to_owned() };
        }
    }
}

/// A run must not show where it told of its end.
fn assert_hides_the_url(run: &Run) {
    let everything = run.everything();
    for secret in [PATH, "PATHSECRET", "QUERYSECRET", &BASE64_STANDARD.encode(KEY)] {
        assert!(!everything.contains(secret), "{secret} is shown");
    }
}

/// The config of a signed webhook, and a run that told it of its end.
fn signed_run() -> (Run, Received) {
    let sim = Sim::start(SMALL);
    let hook = Hook::start(Some("204 No Content"));
    let key = format!("whsec_{}", BASE64_STANDARD.encode(KEY));
    std::fs::write(sim.dir.path().join("secret-key"), key).unwrap();
    let config = sim.config(&hook.table(&sim, "hook", r#"key = { file = "secret-key" }"#));
    let run = sim.run_with(&config, &["--json", "-vv"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_hides_the_url(&run);
    let received = hook.received();
    assert_eq!(received.len(), 1, "it is told once");
    (run, received[0].clone())
}

#[test]
fn a_webhook_gets_what_json_prints_signed() {
    let (run, received) = signed_run();
    let body = received.json();
    assert!(received.head.starts_with(&format!("POST /{PATH}?{QUERY} ")), "{}", received.head);
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!((&body["schema"], &body["type"]), (&"fleetlogs.notification/v1".into(), &"run.ended".into()));
    assert_eq!(body["run"], serde_json::from_str::<Value>(&run.stdout).unwrap());
    assert_eq!((&body["run"]["outcome"], &body["snapshot"]), (&"complete".into(), &Value::Null));
    let summary = body["summary"].as_str().unwrap();
    assert!(summary.contains("is complete: 4 of 4 nodes collected"), "{summary}");
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    assert_eq!(body["id"], id);
    let age = time::OffsetDateTime::now_utc().unix_timestamp() - at.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{at}");
    let expected = signature(KEY, &format!("{id}.{at}.{}", received.body));
    let expected = expected.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    assert_eq!(received.header("webhook-signature"), format!("v1,{expected}"));
}

#[test]
#[ignore = "needs standardwebhooks in tests/tools; tests/all.sh installs it and runs this"]
fn the_reference_library_of_standard_webhooks_takes_the_signature() {
    let (_, received) = signed_run();
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/venv/bin/python");
    let program = "import json, sys, standardwebhooks\n\
        key, headers, body = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]\n\
        standardwebhooks.Webhook(key).verify(body, headers)\n";
    let headers: serde_json::Map<String, Value> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.to_owned(), received.header(name).into()))
        .collect();
    let headers = Value::Object(headers).to_string();
    let key = format!("whsec_{}", BASE64_STANDARD.encode(KEY));
    let verify =
        |body: &str| Command::new(&python).args(["-c", program, &key, &headers, body]).output().unwrap();
    let verified = verify(&received.body);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    // A library that takes anything would prove nothing.
    let forged = verify(&received.body.replace("complete", "partial"));
    assert!(String::from_utf8_lossy(&forged.stderr).contains("WebhookVerificationError"));
}

/// A fleet with a pool whose name is a mention and markup, and with a node that cannot be called.
const HOSTILE: &str = r#"
[[account]]
name = "contoso"
any_ids = true
[[account.pool]]
id = "<!channel> *a* `b` [c](d) &amp;"
nodes = 4
arrival = "50ms"
[[account.fault]]
kind = "code"
status = 404
code = "NodeNotFound"
nodes = 0
"#;

/// What a webhook of Slack, one of Teams and one of neither get after a run on that fleet.
fn told_in_chats() -> [Received; 3] {
    let sim = Sim::start(HOSTILE);
    let formats = ["slack", "teams", "json"];
    let hooks = formats.map(|_| Hook::start(Some("200 OK")));
    let tables = formats.iter().zip(&hooks);
    let tables: Vec<_> =
        tables.map(|(format, hook)| hook.table(&sim, format, &format!("format = \"{format}\""))).collect();
    let run = sim.run(&sim.config(&tables.concat()));
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_hides_the_url(&run);
    let received = hooks.map(|hook| hook.received());
    assert!(received.iter().all(|received| received.len() == 1 && !received[0].body.contains("sig=")));
    let ids: Vec<_> = received.iter().map(|received| received[0].header("webhook-id").to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    received.map(|received| received[0].clone())
}

#[test]
fn a_chat_gets_a_message_for_people_in_which_no_name_is_markup() {
    let [slack, teams, own] = told_in_chats().map(|received| received.json());
    let run = &own["run"];
    assert_eq!(own["schema"], "fleetlogs.notification/v1");
    let (run_id, step) = (run["run_id"].as_str().unwrap(), run["next"][0]["text"].as_str().unwrap());

    let texts = slack["blocks"].to_string();
    assert_eq!(slack["blocks"][0]["text"]["text"], "fleetlogs: the run is partial");
    assert!(
        texts.contains(run_id) && texts.contains(step) && texts.contains("3 verified, 1 gone"),
        "{texts}"
    );
    assert!(
        texts.contains("`1 node gone in contoso, &lt;!channel&gt; *a* 'b' [c](d) &amp;amp;: 404"),
        "{texts}"
    );
    assert!(!texts.contains('<'), "{texts}");

    let card = &teams["attachments"][0]["content"];
    assert_eq!((&teams["type"], &card["type"]), (&"message".into(), &"AdaptiveCard".into()));
    let texts = card["body"].to_string();
    assert!(
        texts.contains(run_id) && texts.contains(step) && texts.contains("3 verified, 1 gone"),
        "{texts}"
    );
    assert!(texts.contains("in contoso, <!channel> *a* `b` [c](d) &amp;: 404"), "{texts}");
    assert!(!texts.contains("\"TextBlock\""), "Markdown would be read in it: {texts}");
}

#[test]
#[ignore = "needs slack-sdk and adaptivecards in tests/tools; tests/all.sh installs them and runs this"]
fn the_libraries_of_slack_and_microsoft_take_the_messages_of_chats() {
    let [slack, teams, _] = told_in_chats();
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let wrong = |body: &str| {
        let (tool, script, more) = if body.contains("attachments") {
            ("node".into(), "notify/teams.cjs", vec![tests.join("tools/node_modules/adaptivecards")])
        } else {
            (tests.join("tools/venv/bin/python"), "notify/slack.py", vec![])
        };
        let mut command = Command::new(tool);
        command.arg(tests.join(script)).args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert_eq!(output.status.success(), said.is_empty(), "{said}");
        said
    };
    assert_eq!((wrong(&slack.body), wrong(&teams.body)), (String::new(), String::new()));
    // Libraries that take anything would prove nothing.
    for (body, is, becomes, says) in [
        (&slack.body, "\"mrkdwn\"", "\"markup\"", "blocks[1]"),
        (&slack.body, "\"header\"", "\"heading\"", "no block heading"),
        (&slack.body, "\"verbatim\"", "\"literal\"", "'literal'"),
        (&teams.body, "\"inlines\"", "\"runs\"", "has no runs"),
        (&teams.body, "\"Bolder\"", "\"Fat\"", "Fat"),
        (&teams.body, "\"RichTextBlock\"", "\"RichText\"", "RichText"),
    ] {
        assert!(body.contains(is), "{is}");
        let said = wrong(&body.replace(is, becomes));
        assert!(said.contains(says), "{becomes}: {said}");
    }
}

#[test]
fn a_format_is_one_of_three_and_only_for_a_webhook() {
    let sim = Sim::start(SMALL);
    let run = sim.run(&sim.config(
        r#"
        [[notify]]
        command = ["true"]
        format = "discord"
        "#,
    ));
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:2: `notify[0]`: `format` needs `webhook`
      help: remove it
    error: DIR/fleetlogs.toml:4: `notify[0].format`: `discord` is not a format of notifications
      help: use one of json, slack, teams
    ");
    assert_eq!(sim.upload_calls(), 0);
}

#[test]
fn a_webhook_that_fails_or_hangs_holds_nothing_up() {
    let sim = Sim::start(SMALL);
    let (broken, hanging) = (Hook::start(Some("500 Oops")), Hook::start(None));
    let config = format!(
        "{}{}",
        broken.table(&sim, "broken", r#"timeout = "3s""#),
        hanging.table(&sim, "hanging", r#"timeout = "3s""#)
    );
    let run = sim.run(&sim.config(&config));
    let ended = Instant::now();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.manifest()["outcome"], "complete");
    let first = hanging.received()[0].at;
    // It never answers.
    assert!(ended - first < Duration::from_secs(60), "{:?}: longer than its timeout", ended - first);
    assert!(hanging.received().len() > 1, "one attempt that hangs takes all the time");
    let attempts = broken.received();
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|attempt| attempt.header("webhook-id") == attempts[0].header("webhook-id")));
    let told: Vec<_> = run.stderr.lines().filter(|line| line.contains("webhook at 127.0.0.1")).collect();
    assert_eq!(told.len(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("it answered 500"), "{}", run.stderr);
    assert_hides_the_url(&run);
}

#[test]
fn a_receiver_that_asks_for_an_absurd_pause_is_given_up() {
    let sim = Sim::start(SMALL);
    let absurd = ["18446744073709551615", "9223372036854775807", "99999999999999999999999", "-1"];
    let asking = absurd.map(|pause| {
        let answer = format!("503 Busy\r\nretry-after: {pause}");
        Hook::start(Some(Box::leak(answer.into_boxed_str())))
    });
    let tables: Vec<_> = asking
        .iter()
        .enumerate()
        .map(|(number, hook)| hook.table(&sim, &format!("hook-{number}"), r#"timeout = "5s""#))
        .collect();
    let run = sim.run(&sim.config(&tables.concat()));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("it answered 503").count(), 4, "{}", run.stderr);
    // What is not a number of seconds asks for nothing.
    assert_eq!(asking.map(|hook| hook.received().len()), [1, 1, 3, 3]);
}

#[test]
fn a_refusal_is_not_repeated_and_a_redirect_not_followed() {
    let sim = Sim::start(SMALL);
    let elsewhere = Hook::start(Some("200 OK"));
    let location = format!("307 Over There\r\nlocation: {}", elsewhere.url);
    let (refusing, moved) =
        (Hook::start(Some("410 Gone")), Hook::start(Some(Box::leak(location.into_boxed_str()))));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(sim.dir.path().join("secret-closed"), format!("http://{closed}/{PATH}")).unwrap();
    let config = format!(
        r#"
        {}
        {}
        [[notify]]
        webhook = {{ file = "secret-closed" }}
        timeout = "2s"
        "#,
        refusing.table(&sim, "refusing", ""),
        moved.table(&sim, "moved", "")
    );
    let run = sim.run(&sim.config(&config));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!((refusing.received().len(), moved.received().len(), elsewhere.received().len()), (1, 1, 0));
    assert!(run.stderr.contains("cannot connect"), "{}", run.stderr);
    assert_hides_the_url(&run);
}

#[test]
fn only_wanted_outcomes_are_told() {
    let sim = Sim::start(SMALL);
    let (all, bad) = (Hook::start(Some("200 OK")), Hook::start(Some("200 OK")));
    let config = format!(
        "{}{}",
        all.table(&sim, "all", ""),
        bad.table(&sim, "bad", r#"on = ["partial", "nothing-collected"]"#)
    );
    assert_eq!(sim.run(&sim.config(&config)).code, 0);
    assert_eq!((all.received().len(), bad.received().len()), (1, 0));
}

#[test]
fn a_command_gets_the_message_and_may_work_with_the_run() {
    let sim = Sim::start(SMALL);
    // Reports can be written again only when no process works on the run any more.
    let script = format!(
        "#!/bin/sh\ncat > message.json\nenv | grep ^FLEETLOGS_ > environment\n\
         {} report \"$FLEETLOGS_RUN_DIR\" --json > report.json || echo \"cannot report\" >&2\n\
         echo said something\nhead -c 300000 /dev/zero | tr '\\0' x\n",
        env!("CARGO_BIN_EXE_fleetlogs")
    );
    std::fs::write(sim.dir.path().join("hook.sh"), script).unwrap();
    let run = sim.run(&sim.config(
        r#"
        [[notify]]
        command = ["sh", "hook.sh"]
        "#,
    ));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let read = |name| std::fs::read_to_string(sim.dir.path().join(name)).unwrap();
    let message: Value = serde_json::from_str(&read("message.json")).unwrap();
    assert_eq!(message["type"], "run.ended");
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(message["run"]["counts"], report["counts"]);
    let (environment, dir) = (read("environment"), run.dir.as_ref().unwrap());
    for line in [
        "FLEETLOGS_OUTCOME=complete".to_owned(),
        format!("FLEETLOGS_RUN_ID={}", message["run"]["run_id"].as_str().unwrap()),
        format!("FLEETLOGS_RUN_DIR={}", dir.canonicalize().unwrap().display()),
        "FLEETLOGS_SNAPSHOT=".into(),
    ] {
        assert!(environment.lines().any(|known| known == line), "no {line} in {environment}");
    }
    let log = run.file("log.jsonl");
    assert!(log.contains("said something") && log.len() < 100_000, "{} bytes of log", log.len());
    assert!(!run.stdout.contains("said something") && !run.stderr.contains("xxxx"));
}

#[test]
fn a_command_gets_no_secret_of_the_config() {
    let sim = Sim::start(SMALL);
    let config = sim.config(
        r#"
        [[notify]]
        command = ["sh", "-c", "env > environment"]
        [schedule.listener]
        secret = { env = "LISTENER_SECRET" }
        "#,
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let of_env = text.replace(r#"{ file = "ready.json.container_url" }"#, r#"{ env = "CONTAINER_SECRET" }"#);
    assert_ne!(text, of_env);
    let config = sim.write_config(&of_env);
    let output = fleetlogs()
        .arg("run")
        .arg(&config)
        .current_dir(sim.dir.path())
        .env("CONTAINER_SECRET", sim.ready["container_url"].as_str().unwrap())
        .env("LISTENER_SECRET", "not needed by a run")
        .env("AZURE_CLIENT_SECRET", "not a secret at all")
        .env("ANYTHING_ELSE", "is handed on")
        .output()
        .unwrap();
    let run = Run::of(sim.dir.path(), output);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let environment = std::fs::read_to_string(sim.dir.path().join("environment")).unwrap();
    assert!(environment.contains("ANYTHING_ELSE=is handed on\n"), "{environment}");
    assert!(!environment.contains("_SECRET=") && !environment.contains("sig="), "{environment}");
}

#[test]
fn only_commands_that_need_a_secret_ask_for_it() {
    let sim = Sim::start(SMALL);
    let config = sim.config(
        r#"
        [[notify]]
        webhook = { env = "NOBODY_SET_HOOK" }
        "#,
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let schedule = r#"
        [[snapshot]]
        name = "a"
        [schedule.listener]
        secret = { env = "NOBODY_SET_LISTENER" }
    "#;
    std::fs::write(&config, format!("{text}\n{schedule}")).unwrap();
    let said = |arguments: &[&str]| {
        let output = fleetlogs().args(arguments).arg(&config).current_dir(sim.dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [&["plan"][..], &["check"], &["schedule", "--list"]] {
        let (code, stderr) = said(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    }
    let (code, stderr) = said(&["run"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("NOBODY_SET_HOOK") && !stderr.contains("NOBODY_SET_LISTENER"), "{stderr}");
    let (code, stderr) = said(&["schedule", "--once", "a"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("NOBODY_SET_HOOK") && stderr.contains("NOBODY_SET_LISTENER"), "{stderr}");
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    let sim = Sim::start(SMALL);
    let script = "echo $$ > leader; sh -c 'echo $$ > child; sleep 300' & wait";
    let config = sim.config(&format!(
        r#"
        [[notify]]
        command = ["sh", "-c", "{script}"]
        timeout = "2s"
        "#
    ));
    let run = sim.run(&config);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("did not end within 2s"), "{}", run.stderr);
    for name in ["leader", "child"] {
        let id = std::fs::read_to_string(sim.dir.path().join(name)).unwrap();
        wait_for("its end", || {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
            (status.is_empty() || status.contains(") Z ")).then_some(())
        });
    }
}

#[test]
fn a_command_that_fails_is_a_warning() {
    let sim = Sim::start(SMALL);
    let failing = r#"
        [[notify]]
        command = ["sh", "-c", "exit 3"]
    "#;
    let run = sim.run(&sim.config(&format!(
        r#"
        {failing}
        [[notify]]
        command = ["/nowhere/hook"]
        "#
    )));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("it failed (exit status: 3)"), "{}", run.stderr);
    assert!(run.stderr.contains("`/nowhere/hook`: not notified") && run.stderr.contains("cannot be run"));
}

#[test]
fn an_interrupted_run_is_told_and_so_is_its_resumption() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "300ms"
        [[account.pool]]
        id = "a"
        nodes = 60
        arrival = "50ms"
        "#,
    );
    let hook = Hook::start(Some("200 OK"));
    let limits = "limits = { rate = 10, concurrency = 10 }";
    let config = sim.config(&format!("{limits}\n{}", hook.table(&sim, "hook", "")));
    let child = fleetlogs()
        .arg("run")
        .arg(&config)
        .current_dir(sim.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the first call", || (sim.upload_calls() > 3).then_some(()));
    assert!(Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap().success());
    let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
    assert_eq!(run.code, 6, "{}", run.stderr);
    let resumed = fleetlogs()
        .arg("resume")
        .arg(run.dir.as_ref().unwrap())
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    assert_eq!(Run::of(sim.dir.path(), resumed).code, 0);
    let told: Vec<_> = hook.received().iter().map(Received::json).collect();
    let outcomes: Vec<_> = told.iter().map(|told| told["run"]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["interrupted", "complete"]);
    assert!(told[0]["summary"].as_str().unwrap().contains("stopped by a signal"), "{}", told[0]);
    assert!(told[0]["run"]["resume"].as_str().unwrap().starts_with("fleetlogs resume "));
    assert_ne!(told[0]["id"], told[1]["id"]);
}

#[test]
fn a_second_signal_does_not_wait_for_those_who_are_told() {
    let sim = Sim::start(SMALL);
    let hook = Hook::start(None);
    let config = sim.config(&hook.table(&sim, "hook", r#"timeout = "10m""#));
    let child = fleetlogs()
        .arg("run")
        .arg(&config)
        .current_dir(sim.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the notification", || (!hook.received().is_empty()).then_some(()));
    let told = Instant::now();
    for _ in 0..2 {
        assert!(Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(200));
    }
    let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
    assert!(told.elapsed() < Duration::from_secs(300), "{:?}", told.elapsed());
    assert_eq!(run.code, 0, "the run itself is complete: {}", run.stderr);
}

#[test]
fn a_key_that_is_no_key_is_a_mistake() {
    let sim = Sim::start(SMALL);
    let hook = Hook::start(Some("200 OK"));
    std::fs::write(sim.dir.path().join("secret-key"), "whsec_this is no Base64").unwrap();
    let run = sim.run(&sim.config(&hook.table(&sim, "hook", r#"key = { file = "secret-key" }"#)));
    assert!(!run.stderr.contains("this is no Base64"), "{}", run.stderr);
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:4: `notify[0].key`: the part after `whsec_` is not Base64
      help: copy the signing secret again as the receiver shows it
    ");
    assert_eq!(sim.upload_calls(), 0);
}
