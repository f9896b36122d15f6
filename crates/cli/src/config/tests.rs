use std::time::Duration;

use fleetlogs_model::ids::{AccountName, NodeRef};

use super::*;

/// Loads a config text, with a key file beside it.
fn load_text(text: &str) -> Result<Settings, ConfigError> {
    load_text_for(text, Needs::default())
}

fn load_text_for(text: &str, needs: Needs) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleetlogs.toml");
    let url = "https://logs.blob.core.windows.net/logs?sr=c&sp=w&se=2036-01-01&sig=FAKE";
    std::fs::write(dir.path().join("url"), url).unwrap();
    let queue = "https://logs.queue.core.windows.net/work?ss=q&srt=co&sp=racup&sig=FAKE";
    std::fs::write(dir.path().join("queue"), queue).unwrap();
    std::fs::write(dir.path().join("key"), "c29tZWtleQ==\n").unwrap();
    std::fs::write(dir.path().join("not-base64"), "%%%").unwrap();
    std::fs::write(dir.path().join("clear"), "http://hooks.example.com/1a2b").unwrap();
    std::fs::write(dir.path().join("hook"), "https://hooks.example.com/1a2b").unwrap();
    std::fs::write(&path, text).unwrap();
    load_for(&path, needs)
}

fn mistakes_for(text: &str, needs: Needs) -> Vec<Mistake> {
    match load_text_for(text, needs) {
        Err(ConfigError::Mistakes(_, mistakes)) => mistakes,
        other => panic!("expected mistakes, got {other:?}"),
    }
}

/// `line key: message` of every mistake.
fn mistakes(text: &str) -> Vec<String> {
    let line = |mistake: &Mistake| {
        let help = mistake.help.as_ref().map(|help| format!(" -> {help}")).unwrap_or_default();
        format!("{} {}: {}{help}", mistake.line, mistake.key, mistake.message)
    };
    mistakes_for(text, Needs::default()).iter().map(line).collect()
}

const GOOD: &str = r#"
[destination]
container_url = { file = "url" }

[[account]]
name = "contoso"
endpoint = "https://contoso.westeurope.batch.azure.com"
auth = { shared_key = { file = "key" } }
"#;

#[test]
fn what_is_left_out_has_the_value_of_the_commented_default_config() {
    let settings = load_text(GOOD).unwrap();
    assert_eq!(settings.window, WindowSpec::Last(Duration::from_secs(7200)));
    assert_eq!(settings.limits.rate, Some(50.0));
    assert_eq!(settings.limits.concurrency, 32);
    assert_eq!(settings.limits.relist, Some(Duration::from_secs(60)));
    assert_eq!(settings.retry.attempts, 5);
    assert_eq!(settings.deadlines.call, Duration::from_secs(35));
    assert_eq!(settings.verify.settle, Duration::from_secs(600));
    assert!(settings.verification);
    assert_eq!(settings.accounts[0].api_version, DEFAULT_API_VERSION);
    assert!(settings.accounts[0].selection.pools.ids.is_match("anything"));
}

#[test]
fn the_example_of_the_commented_config_works_when_uncommented() {
    let text: String = DEFAULTS
        .lines()
        .skip_while(|line| !line.starts_with("[window]"))
        .filter(|line| !line.contains("start =") && !line.contains("end =") && !line.contains("around ="))
        .filter(|line| !line.contains("before =") && !line.contains("after ="))
        .filter(|line| !line.contains("since =") && !line.contains("margin =") && !line.contains("longest ="))
        // Other ways into the container than its URL.
        .filter(|line| {
            let keys = [
                "mint",
                "identity",
                "account",
                "container",
                "queue",
                "account_key",
                "lifetime",
                "start_time",
            ];
            !keys.iter().any(|key| line.starts_with(&format!("# {key} = ")))
        })
        .take_while(|line| !line.contains("Accounts found in subscriptions"))
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.starts_with('[') || key.contains(" = ") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let text = text.replace("env = \"FLEETLOGS_CONTAINER_URL\"", "file = \"url\"");
    let text = text.replace("env = \"FLEETLOGS_VERIFY_URL\"", "file = \"url\"");
    let text = text.replace("file = \"...\"", "file = \"key\"");
    let text = text.replace("env = \"FLEETLOGS_QUEUE_URL\"", "file = \"queue\"");
    // Of storage, for the logs, for journals and for queues; the URL tells it.
    let text = text.replacen("cloud = \"public\"", "", 3);
    let settings = load_text(&text).unwrap();
    assert_eq!(settings.accounts.len(), 1);
    assert!(settings.destination.unwrap().verify.is_some());
    assert_eq!(settings.limits.max_uploads_in_flight, Some(500));
}

#[test]
fn the_ticket_of_the_commented_config_works_when_uncommented() {
    let lines: Vec<_> = DEFAULTS
        .lines()
        .skip_while(|line| *line != "# [ticket]")
        .take_while(|line| !line.is_empty())
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    let table = lines.join("\n") + "\n";
    let ticket = load_text(&format!("{table}{GOOD}")).unwrap().ticket.unwrap();
    assert_eq!(ticket.subscription, "00000000-0000-0000-0000-000000000000");
    assert_eq!((ticket.service.as_str(), ticket.severity.as_str()), ("Batch", "moderate"));
    assert_eq!(ticket.management.as_str(), "https://management.azure.com/");
    let least = table.lines().filter(|line| {
        ["[ticket]", "resource_id", "problem", "contact"].iter().any(|key| line.starts_with(key))
    });
    let least: Vec<_> = least.collect();
    let least = load_text(&format!("{}\n{GOOD}", least.join("\n"))).unwrap().ticket.unwrap();
    assert_eq!(least.contact, ticket.contact);
    assert_eq!((least.title, least.support_plan, least.advanced_diagnostic_consent), (None, None, false));
}

#[test]
fn all_mistakes_are_found_at_once_each_with_line_key_and_help() {
    let text = r#"
[window]
last = "2 fortnights"

[limits]
rte = 200
concurrency = "many"

[destination]
container_url = "https://logs.blob.core.windows.net/logs?sig=LEAK"

[deadlnes]
call = "35s"

[[account]]
name = "contoso"
endpoint = "http://contoso.westeurope.batch.azure.com"
auth = { shared_key = { env = "FLEETLOGS_TEST_UNSET" } }

[[account]]
name = "Contoso"
endpoint = "not a url"
auth = "password"
pols = ["a"]
nodes = { states = ["idel"] }
"#;
    let found = mistakes(text);
    let expect = [
        "3 window.last: `2 fortnights` is not a duration",
        "6 limits.rte: unknown key -> did you mean `rate`?",
        "7 limits.concurrency: expected a whole number, found a string",
        "10 destination.container_url: a secret must not be written in the config itself",
        "12 deadlnes: unknown key -> did you mean `deadlines`?",
        "17 account[0].endpoint: must start with https://",
        "18 account[0].auth.shared_key.env: the environment variable `FLEETLOGS_TEST_UNSET` is not set",
        "21 account[1].name: two accounts are named `Contoso`; the first is on line 16",
        "22 account[1].endpoint: `not a url` is not a URL",
        "23 account[1].auth: `password` is not a way to authenticate",
        "24 account[1].pols: unknown key -> did you mean `pools`?",
        "25 account[1].nodes.states[0]: `idel` is not a node state -> did you mean `idle`?",
    ];
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for (found, expect) in found.iter().zip(expect) {
        assert!(found.starts_with(expect), "{found}\nis not\n{expect}");
    }
    assert!(!found.concat().contains("LEAK"), "a secret is never quoted");
}

#[test]
fn a_webhook_is_called_over_tls_only() {
    let with = |file: &str| format!("{GOOD}\n[[notify]]\nwebhook = {{ file = \"{file}\" }}");
    let needs = Needs { notify: true, ..Needs::default() };
    let found = mistakes_for(&with("clear"), needs);
    assert_eq!(found[0].message, "this is not the URL of a webhook");
    assert!(load_text_for(&with("hook"), needs).is_ok());
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let found = mistakes("[window]\nlast = \n");
    assert!(found[0].starts_with("2 : not TOML: "), "{found:?}");
}

#[test]
fn every_form_of_the_window_is_read() {
    let window = |lines: &str| load_text(&format!("[window]\n{lines}\n{GOOD}")).unwrap().window;
    let moment = time::macros::datetime!(2025-11-22 09:00:00 UTC);
    assert_eq!(window("last = \"90m\""), WindowSpec::Last(Duration::from_secs(5400)));
    assert_eq!(window("start = 2025-11-22T09:00:00Z"), WindowSpec::From(moment, None));
    let half = time::Duration::minutes(30);
    assert_eq!(
        window("around = \"2025-11-22T10:00:00+01:00\"\nbefore = \"1h\""),
        WindowSpec::From(moment - half * 2, Some(moment + half))
    );
    let frozen = window("last = \"1h\"").freeze(moment);
    assert_eq!((frozen.start, frozen.end), (moment - half * 2, moment));
}

#[test]
fn a_window_of_two_forms_or_backwards_is_refused() {
    let found = |lines: &str| mistakes(&format!("[window]\n{lines}\n{GOOD}")).join("\n");
    assert!(found("last = \"1h\"\nstart = 2025-11-22T09:00:00Z").contains("more than one form"));
    let backwards = "start = 2025-11-22T09:00:00Z\nend = 2025-11-22T08:00:00Z";
    assert!(found(backwards).contains("`end` is not after `start`"));
    assert!(found("end = 2025-11-22T09:00:00Z").contains("window.start: this key is missing"));
    assert!(found("start = 2025-11-22").contains("is not a time with an offset"));
    for odd in [
        "around = 9999-12-31T23:59:59Z",
        "start = 2025-11-22T09:00:00Z\nend = \"9999-12-31T23:59:59-23:59\"",
        "start = 0000-01-01T00:00:00+23:59",
    ] {
        assert!(found(odd).contains("is not between the years 1 and 8999"), "{odd}: {}", found(odd));
    }
}

#[test]
fn secrets_have_one_source_that_must_work() {
    let with = |source: &str| GOOD.replace("{ file = \"key\" }", source);
    let found = |source: &str| mistakes(&with(source)).join("\n");
    assert!(found("{ file = \"missing\" }").contains("cannot read"));
    assert!(found("{ env = \"A\", file = \"key\" }").contains("exactly one source"));
    assert!(found("{ file = \"not-base64\" }").contains("account[0].auth.shared_key"));
    assert!(found("{ command = [\"false\"] }").contains("`false` failed"));
    assert!(load_text(&with("{ command = [\"printf\", \"c29tZWtleQ==\"] }")).is_ok());
}

#[test]
fn rates_have_bounds() {
    for rate in ["1e-300", "0", "-1", "inf", "nan", "1e12"] {
        let found = mistakes(&format!("[limits]\nrate = {rate}\n{GOOD}"));
        assert!(found[0].contains("must be from 0.01 to 1000000"), "{rate}: {found:?}");
    }
    assert_eq!(load_text(&format!("[limits]\nrate = \"unlimited\"\n{GOOD}")).unwrap().limits.rate, None);
}

#[test]
fn a_budget_is_a_number_or_a_share() {
    use fleetlogs_engine::settings::Allowed;
    let budget = load_text(&format!("[budget]\nrun = \"5%\"\naccount = 30\n{GOOD}")).unwrap().budget;
    assert_eq!((budget.run, budget.account), (Some(Allowed::Percent(5)), Some(Allowed::Nodes(30))));
    assert_eq!(Allowed::Percent(5).of(10), 1);
    assert!(mistakes(&format!("[budget]\nrun = \"many\"\n{GOOD}")).join("").contains("is not a budget"));
    assert!(mistakes(&format!("[budget]\nrun = \"101%\"\n{GOOD}")).join("").contains("is not a budget"));
}

#[test]
fn without_an_account_there_is_nothing_to_do() {
    assert!(
        mistakes("[destination]\ncontainer_url = { file = \"url\" }")
            .join("")
            .contains("there is no Batch account")
    );
    assert!(mistakes("").join("").contains("destination.container_url: this key is missing"));
}

#[test]
fn settings_can_be_printed_without_showing_a_secret() {
    let shown = format!("{:?}", load_text(GOOD).unwrap());
    assert!(!shown.contains("FAKE") && !shown.contains("c29tZWtleQ"), "{shown}");
}

#[test]
fn exact_nodes_leave_their_accounts_only() {
    let text = format!(
        r#"
        {GOOD}
        [[account]]
        name = "fabrikam"
        endpoint = "https://fabrikam.westeurope.batch.azure.com"
        auth = {{ shared_key = {{ file = "key" }} }}
        "#
    );
    let mut settings = load_text(&text).unwrap();
    let node = NodeRef {
        account: AccountName::new("fabrikam"),
        pool: fleetlogs_model::ids::PoolId::new("p"),
        node: fleetlogs_model::ids::NodeId::new("n"),
    };

    settings.only_nodes(&[node]);

    let names: Vec<_> = settings.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["fabrikam"]);
    let exact = settings.accounts[0].selection.exact.as_ref().unwrap();
    assert_eq!(exact.accounts().map(AccountName::as_str).collect::<Vec<_>>(), ["fabrikam"]);
}

/// A schedule of several machines that listens and tells, with secrets that nobody has set.
const SECRETS_ELSEWHERE: &str = r#"
[schedule.listener]
secret = { env = "FLEETLOGS_TEST_UNSET_LISTENER" }

[schedule.lease]
container_url = { env = "FLEETLOGS_TEST_UNSET_LEASE" }

[[notify]]
webhook = { env = "FLEETLOGS_TEST_UNSET_WEBHOOK" }
key = { file = "no-such-file" }
"#;

#[test]
fn secrets_are_read_only_for_commands_that_need_them() {
    let text = format!("{SECRETS_ELSEWHERE}{GOOD}");
    let settings = load_text(&text).unwrap();
    assert!(settings.schedule.lease.is_none() && settings.notify.is_empty());
    let missing =
        |needs| mistakes_for(&text, needs).into_iter().map(|mistake| mistake.key).collect::<Vec<_>>();
    let (listener, lease) = ("schedule.listener.secret.env", "schedule.lease.container_url.env");
    let notify = ["notify[0].webhook.env", "notify[0].key.file"];
    assert_eq!(missing(Needs::RUN), notify);
    assert_eq!(missing(Needs::LIST), [lease]);
    assert_eq!(missing(Needs::SCHEDULE), [listener, lease, notify[0], notify[1]]);
}

#[test]
fn secrets_that_are_not_needed_must_still_be_written_as_such() {
    let text = SECRETS_ELSEWHERE
        .replace("{ env = \"FLEETLOGS_TEST_UNSET_LISTENER\" }", "\"in the clear\"")
        .replace("{ env = \"FLEETLOGS_TEST_UNSET_LEASE\" }", "{ evn = \"NAME\" }")
        .replace("{ env = \"FLEETLOGS_TEST_UNSET_WEBHOOK\" }", "{ env = \"https://a.example/hook\" }")
        .replace("{ file = \"no-such-file\" }", "{ file = \"a\", env = \"B\" }");
    let found = mistakes(&format!("{text}{GOOD}")).join("\n");
    for part in [
        "schedule.listener.secret: a secret must not be written in the config itself",
        "schedule.lease.container_url.evn: unknown key",
        "notify[0].webhook.env: this is not the name of an environment variable",
        "notify[0].key: a secret has exactly one source",
    ] {
        assert!(found.contains(part), "no `{part}` in\n{found}");
    }
    assert!(!found.contains("in the clear") && !found.contains("a.example"), "{found}");
}

#[test]
fn variables_that_hold_secrets_are_known_also_where_they_are_not_needed() {
    load_text(&format!("{SECRETS_ELSEWHERE}{GOOD}")).unwrap();
    let known = secret_variables();
    for name in ["FLEETLOGS_TEST_UNSET_LISTENER", "FLEETLOGS_TEST_UNSET_WEBHOOK", "AZURE_CLIENT_SECRET"] {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn a_state_that_nodes_can_write_to_is_refused() {
    let with = |lease: &str, destination: &str| {
        let text = GOOD.replace("container_url = { file = \"url\" }", destination);
        format!("[schedule.lease]\n{lease}\n{text}")
    };
    let given = "container_url = { file = \"url\" }";
    let minted = |account: &str, container: &str| {
        format!("mint = \"user-delegation\"\naccount = \"{account}\"\ncontainer = \"{container}\"")
    };
    let lease =
        |account: &str, container: &str| format!("account = \"{account}\"\ncontainer = \"{container}\"");
    for (text, refused) in [
        (with(given, given), true),
        (with(&lease("logs", "logs"), given), true),
        (with(&lease("https://LOGS.blob.core.windows.net/", "logs"), given), true),
        (with(given, &minted("logs", "logs")), true),
        (with(&lease("contoso", "logs"), given), false),
        (with(&lease("logs", "state"), given), false),
        (with(given, &minted("logs", "logs-{run_id}")), false),
    ] {
        let found = match load_text_for(&text, Needs::LIST) {
            Ok(_) => String::new(),
            Err(ConfigError::Mistakes(_, mistakes)) => mistakes
                .iter()
                .map(|mistake| format!("{}: {}", mistake.key, mistake.message))
                .collect::<Vec<_>>()
                .join(";"),
            Err(other) => panic!("{other:?}"),
        };
        let expected = if refused {
            "schedule.lease: the nodes can write to the container of the shared state, and so change what the schedule does"
        } else {
            ""
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_journal_is_on_the_disk_unless_a_container_is_named() {
    let load = |journal: &str, needs| load_text_for(&format!("[journal]\n{journal}\n{GOOD}"), needs);
    let of = |journal: &str| load(journal, Needs::JOURNAL).unwrap().journal;
    assert!(of("").is_none() && load_text_for(GOOD, Needs::RUN).unwrap().journal.is_none());
    let elsewhere = "account = \"logs\"\ncontainer = \"journals\"\n";
    let journal = of(elsewhere).unwrap();
    assert_eq!((&*journal.prefix, journal.lease), ("fleetlogs", Duration::from_secs(60)));
    assert_eq!(journal.container.url(), "https://logs.blob.core.windows.net/journals");
    assert!(load(elsewhere, Needs::default()).unwrap().journal.is_none(), "the command does not need it");
    let found = |journal: &str| match load(journal, Needs::JOURNAL) {
        Err(ConfigError::Mistakes(_, mistakes)) => {
            let line = |mistake: &Mistake| format!("{}: {}", mistake.key, mistake.message);
            mistakes.iter().map(line).collect::<Vec<_>>().join("; ")
        }
        other => panic!("{journal}: {other:?}"),
    };
    insta::assert_snapshot!([
        "container_url = { file = \"url\" }",
        "account = \"logs\"\ncontainer = \"logs\"",
        "account = \"logs\"\ncontainer = \"journals-{run_id}\"",
        "container = \"journals\"",
        "account = \"logs\"\ncontainer = \"journals\"\ncontainer_url = { file = \"url\" }",
        "cloud = \"china\"",
        "prefix = \"a/../b\"\nlease = \"5m\"",
        "url = \"x\"",
    ].map(found).join("\n"), @r"
    journal: the nodes can write to the container of the journal, and so change what a run has on record
    journal: the nodes can write to the container of the journal, and so change what a run has on record
    journal: the journal needs one container for all runs
    journal.account: this key is missing
    journal: `account` cannot be combined with `container_url`; journal: `container` cannot be combined with `container_url`; journal: the nodes can write to the container of the journal, and so change what a run has on record
    journal: `cloud` needs `account` and `container`
    journal.prefix: `a/../b` is not a directory in a container; journal.lease: must be 15 to 60 whole seconds, the limits of blob leases
    journal.url: unknown key
    ");
}

/// The settings of `[scale_out]`, or every mistake.
fn scale_out(lines: &str, other: &str, needs: Needs) -> Result<Settings, String> {
    let text = format!("[scale_out]\n{lines}\n{other}\n{GOOD}");
    match load_text_for(&text, needs) {
        Err(ConfigError::Mistakes(_, mistakes)) => {
            let line = |mistake: &Mistake| format!("{}: {}", mistake.key, mistake.message);
            Err(mistakes.iter().map(line).collect::<Vec<_>>().join("; "))
        }
        loaded => Ok(loaded.unwrap()),
    }
}

const STATE: &str = "[journal]\naccount = \"logs\"\ncontainer = \"state\"\n";

#[test]
fn queues_are_named_by_account_or_url_and_by_the_sites_of_the_accounts() {
    let of = |lines: &str| scale_out(lines, STATE, Needs::SCALE_OUT).unwrap();
    let settings = of("account = \"logs\"\nqueue = \"work\"\n");
    assert_eq!(settings.sites().into_iter().collect::<Vec<_>>(), [None]);
    let scale_out = settings.scale_out.unwrap();
    assert_eq!((scale_out.lease, scale_out.heartbeat), (Duration::from_secs(60), Duration::from_secs(15)));
    assert_eq!((scale_out.poison_after, scale_out.partitions_at_once), (5, 4));
    let QueueService::Account { endpoint, key: None, .. } = scale_out.queue.service else { panic!() };
    assert_eq!(endpoint.as_str(), "https://logs.queue.core.windows.net/");
    assert_eq!(queue_of_site(&scale_out.queue.name, None), "work");
    assert_eq!(queue_of_site(&scale_out.queue.name, Some("west")), "work-west");

    let other = "account = \"logs\"\nqueue = \"work\"\ncloud = \"china\"\naccount_key = { file = \"key\" }\n";
    let QueueService::Account { endpoint, cloud, key } = of(other).scale_out.unwrap().queue.service else {
        panic!()
    };
    assert_eq!(endpoint.as_str(), "https://logs.queue.core.chinacloudapi.cn/");
    assert!(cloud.as_str() == "china" && key.is_some());

    let settings = of("queue_url = { file = \"queue\" }");
    assert!(!format!("{settings:?}").contains("FAKE"), "{settings:?}");
    assert_eq!(settings.scale_out.unwrap().queue.name, "work");

    // Not for commands without workers, and not if no queue is named.
    let no_secret = "queue_url = { env = \"FLEETLOGS_TEST_UNSET\" }";
    assert!(scale_out_of(no_secret, Needs::RUN).is_none() && scale_out_of("", Needs::SCALE_OUT).is_none());
}

fn scale_out_of(lines: &str, needs: Needs) -> Option<ScaleOutSettings> {
    scale_out(lines, STATE, needs).unwrap().scale_out
}

#[test]
fn accounts_have_sites_of_their_own_or_that_of_the_defaults() {
    let second =
        "[[account]]\nname = \"b\"\nendpoint = \"https://b.westeurope.batch.azure.com\"\nauth = \"entra\"\n";
    let text = format!("{GOOD}site = \"west-2\"\n{second}");
    let sites = |text: &str| load_text(text).unwrap().sites().into_iter().collect::<Vec<_>>();
    assert_eq!(sites(&text), [None, Some("west-2".to_owned())]);
    let shared = format!("[defaults]\nsite = \"north\"\n{text}");
    assert_eq!(sites(&shared), [Some("north".to_owned()), Some("west-2".to_owned())]);
    let found = "[discover]\nsubscriptions = [\"00000000-0000-0000-0000-000000000000\"]\n";
    assert_eq!(sites(&format!("{found}{GOOD}site = \"west\"\n")), [None, Some("west".to_owned())]);
}

#[test]
fn what_cannot_work_with_workers_is_refused() {
    let queue = "account = \"logs\"\nqueue = \"work\"\n";
    let long = "q".repeat(50);
    let simulated = "[simulator]\nscenario = \"key\"\n";
    let found = |(lines, other): (&str, &str)| scale_out(lines, other, Needs::SCALE_OUT).unwrap_err();
    let longest = format!("account = \"logs\"\nqueue = \"{long}\"\n");
    let site = format!("{STATE}[defaults]\nsite = \"west-side\"");
    let short_journal = format!("{STATE}lease = \"30s\"\n");
    let long_calls = format!("{STATE}[deadlines]\ncall = \"56s\"\n");
    insta::assert_snapshot!([
        (queue, ""),
        (queue, "[journal]\nlease = \"45s\"\n"),
        (&format!("{queue}lease = \"39s\"\nheartbeat = \"10s\"\n"), STATE),
        (queue, &short_journal),
        (queue, &long_calls),
        (&format!("{queue}heartbeat = \"21s\"\n"), STATE),
        (&format!("{queue}heartbeat = \"500ms\"\n"), STATE),
        (&format!("{queue}lease = \"61s\"\n"), STATE),
        (&format!("{queue}poison_after = 0\npartitions_at_once = 65\n"), STATE),
        ("account = \"logs\"\nqueue = \"Work\"\n", STATE),
        ("account = \"logs\"\nqueue = \"a--b\"\n", STATE),
        (&longest, &site),
        ("account = \"https://logs.blob.core.windows.net\"\nqueue = \"work\"\n", STATE),
        ("queue = \"work\"\n", STATE),
        ("cloud = \"china\"\n", STATE),
        ("queue_url = { file = \"queue\" }\nqueue = \"work\"\n", STATE),
        ("queue_url = { file = \"url\" }\n", STATE),
        ("queue_url = { file = \"key\" }\n", STATE),
        ("queue_url = \"https://logs.queue.core.windows.net/work\"\n", STATE),
        (queue, &format!("{STATE}[defaults]\nsite = \"West\"")),
        (queue, &format!("{STATE}[defaults]\nsite = \"poison\"")),
        (queue, &format!("{STATE}[defaults]\nsite = \"west-poison\"")),
        (queue, &format!("{STATE}{simulated}")),
    ].map(found).join("\n"), @r"
    scale_out: workers share the record of a run, but it is on the disk of this machine
    scale_out: workers share the record of a run, but it is on the disk of this machine
    scale_out.lease: no call could be sent: a worker must hold its partition for 40 s, which is `deadlines.call` and a margin
    journal.lease: no call could be sent: a worker must hold its partition for 40 s, which is `deadlines.call` and a margin
    scale_out.lease: no call could be sent: a worker must hold its partition for 61 s, which is `deadlines.call` and a margin; journal.lease: no call could be sent: a worker must hold its partition for 61 s, which is `deadlines.call` and a margin
    scale_out.heartbeat: must be 1 s to a third of `lease`, here 20 s: a heartbeat that is lost must not cost the partition
    scale_out.heartbeat: must be 1 s to a third of `lease`, here 20 s: a heartbeat that is lost must not cost the partition
    scale_out.lease: must be 15 to 60 whole seconds, the limits of blob leases
    scale_out.poison_after: must be from 1 to 100; scale_out.partitions_at_once: must be from 1 to 64
    scale_out.queue: `Work` is not the name of a queue, or too long for `Work-poison`
    scale_out.queue: `a--b` is not the name of a queue, or too long for `a--b-poison`
    scale_out: `qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq-west-side-poison` is too long for the name of a queue
    scale_out.account: `https://logs.blob.core.windows.net` is not the endpoint of queues
    scale_out.account: this key is missing
    scale_out: `cloud` needs `account` and `queue`
    scale_out: `queue` cannot be combined with `queue_url`
    scale_out.queue_url: this is the URL of another service, not that of a queue
    scale_out.queue_url: this is not the URL of a queue
    scale_out.queue_url: a secret must not be written in the config itself
    account[0].site: `West` is not a site
    account[0].site: a site must not end in `poison`: its queue would be a poison queue
    account[0].site: a site must not end in `poison`: its queue would be a poison queue
    : [simulator] and [scale_out] cannot be combined: the simulator ends with its process, and no other worker reaches it; : [simulator] and [[account]] cannot be combined
    ");
}

#[test]
fn a_key_that_is_a_secret_is_not_quoted() {
    for text in [
        format!("\"https://logs.blob.core.windows.net/c?sr=c&sig=TOPSECRET%3D\" = 1\n{GOOD}"),
        format!("{GOOD}\"AccountKey=TOPSECRET==\" = 1"),
        format!("[limits.\"sig%3DTOPSECRET\"]\nx = 1\n{GOOD}"),
        "[destination]\ncontainer_url = { \"https://a.example/c?sig=TOPSECRET\" = \"x\" }".to_owned(),
    ] {
        let found = mistakes(&text).join("\n");
        assert!(found.contains("<redacted>") && !found.contains("TOPSECRET"), "{found}");
    }
}

#[test]
fn the_endpoint_of_another_service_is_named_wherever_storage_is() {
    let found = |lines: &str| mistakes(&GOOD.replace("container_url = { file = \"url\" }", lines)).join("\n");
    let minted = "mint = \"user-delegation\"\ncontainer = \"logs\"\naccount = ";
    let said = found(&format!("{minted}\"https://logs.dfs.core.windows.net\""));
    assert!(said.contains("its host `logs.dfs.core.windows.net` is that of Data Lake Storage"), "{said}");
    assert!(said.contains("at `logs.blob.core.windows.net`"), "{said}");
    let said = found(&format!("{minted}\"https://logs-secondary.blob.core.windows.net\""));
    assert!(said.contains("the secondary endpoint, which cannot be written to"), "{said}");
    let identity =
        "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/l";
    let url = "https://logs.file.core.windows.net/logs";
    let said = found(&format!("identity = \"{identity}\"\ncontainer_url = \"{url}\""));
    assert!(said.contains("is that of Azure Files"), "{said}");
    // A host of one's own has no such parts.
    assert!(
        load_text(
            &GOOD.replace(
                "container_url = { file = \"url\" }",
                &format!("{minted}\"https://storage.example\"")
            )
        )
        .is_ok()
    );
}

#[test]
fn a_config_is_read_with_a_byte_order_mark_and_digests_are_of_the_file() {
    let plain = load_text(GOOD).unwrap();
    let marked = load_text(&format!("\u{feff}{GOOD}")).unwrap();
    assert_eq!(plain.accounts[0].name, marked.accounts[0].name);
    assert_ne!(plain.digest, marked.digest);
}

#[test]
fn the_short_config_of_init_works_once_two_values_are_filled_in() {
    let short = crate::init::ConfigDraft::default().text();
    let found = mistakes(&short);
    let [secret, endpoint] = found.as_slice() else { panic!("two are missing: {found:#?}") };
    assert!(secret.contains("the environment variable `FLEETLOGS_CONTAINER_URL` is not set"), "{secret}");
    assert!(endpoint.contains("account[0].endpoint: this is still to be filled in"), "{endpoint}");
    let filled = short
        .replace("{ env = \"FLEETLOGS_CONTAINER_URL\" }", "{ file = \"url\" }")
        .replace("ACCOUNT.REGION", "contoso.westeurope");
    let settings = load_text(&filled).unwrap();
    assert_eq!(settings.accounts[0].name, AccountName::new("contoso"), "told by the endpoint");
}

#[test]
fn the_endpoint_tells_the_name_of_an_account_in_azure_only() {
    let with = |endpoint: &str| {
        GOOD.replace("name = \"contoso\"\n", "")
            .replace("https://contoso.westeurope.batch.azure.com", endpoint)
    };
    let name = |endpoint: &str| load_text(&with(endpoint)).unwrap().accounts[0].name.to_string();
    assert_eq!(name("https://contoso.westeurope.batch.azure.com"), "contoso");
    assert!(
        mistakes(&with("http://127.0.0.1:4001")).join("").contains("account[0].name: this key is missing")
    );
    let twice = format!(
        "{}{}",
        with("https://a.b.batch.azure.com"),
        with("https://A.c.batch.azure.com").replace("[destination]\ncontainer_url = { file = \"url\" }", "")
    );
    assert!(mistakes(&twice).join("").contains("two accounts are named `a`"), "{:?}", mistakes(&twice));
}
