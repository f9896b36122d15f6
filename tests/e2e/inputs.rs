//! What people put into configs, secrets and container URLs: what has one meaning is mended, and the nodes get it
//! mended; the rest is refused by name, before anything is sent.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::stage::{Run, Sim, assert_manifest_equals_ledger, fleetlogs, service_sas_until, signature};

const FLEET: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 2
arrival = "50ms"
"#;

/// A config whose container URL is in the file `secret.url`.
fn config(sim: &Sim) -> PathBuf {
    let written = std::fs::read_to_string(sim.config("")).unwrap();
    let given = r#"container_url = { file = "ready.json.container_url" }"#;
    assert!(written.contains(given), "{written}");
    sim.write_config(&written.replace(given, r#"container_url = { file = "secret.url" }"#))
}

/// Runs with this content of the file of the container URL.
fn run_with_url(sim: &Sim, config: &Path, content: &[u8]) -> Run {
    std::fs::write(sim.dir.path().join("secret.url"), content).unwrap();
    sim.run(config)
}

/// A good container URL whose signature has a plus, a slash and an equals sign.
fn telling_url(sim: &Sim) -> String {
    let storage = &sim.ready["storage"];
    let key = BASE64_STANDARD.decode(storage["key"].as_str().unwrap()).unwrap();
    let container = sim.ready["container"].as_str().unwrap();
    let canonical = "/blob/simlogs/batch-logs";
    let urls = (0..1000).map(|second| {
        let until = time::macros::datetime!(2036-01-01 00:00 UTC) + time::Duration::seconds(second);
        service_sas_until(&key, container, canonical, "cw", until)
    });
    let telling = urls.into_iter().find(|url| url.contains("%2B") && url.contains("%2F"));
    telling.unwrap().replace("T00:", "T00%3A")
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect()
}

#[test]
fn a_container_url_that_has_one_meaning_is_mended_and_files_arrive() {
    let sim = Sim::start(FLEET);
    let config = config(&sim);
    let url = telling_url(&sim);
    let (place, query) = url.split_once('?').unwrap();
    // What the file holds, and what the warning says; none if nothing of the URL itself had to be mended.
    let table: Vec<(Vec<u8>, Option<&str>)> = vec![
        (url.clone().into(), None),
        (format!("{url}\r\n").into(), None),
        (format!("\u{feff}{url}\r\n").into(), None),
        (utf16(&format!("{url}\r\n"), u16::to_le_bytes), None),
        (utf16(&url, u16::to_be_bytes), None),
        (format!("\"{url}\"\n").into(), None),
        (format!("'{url}'\n").into(), None),
        (format!("\"{}\"\n", url.replace('&', r"\u0026")).into(), None),
        (url.replace("%2B", "+").into(), Some("`+` in `sig` became `%2B`")),
        (
            format!("{place}?restype=container&comp=list&{query}").into(),
            Some("`comp=list` was removed, `restype=container` was removed"),
        ),
        (url.replace('&', "&amp;").into(), Some("`&amp;` became `&`")),
        (url.replace('&', r"\&").into(), Some("the escape characters of a shell were removed")),
        (url.replace('%', "%%").into(), Some("`%%` became `%`")),
        (format!("{place}??{query}").into(), Some("a second `?` was removed")),
        (
            url.replace("%2", "%252").replace("%3", "%253").into(),
            Some(
                "`se` was percent-encoded twice, and is now once, `sig` was percent-encoded twice, and is now once",
            ),
        ),
        (url.replace("sig=", "Sig=").into(), Some("`SIG` became `sig`")),
    ];
    let mut called = 0;
    for (content, mend) in table {
        let shown = String::from_utf8_lossy(&content).replace(&url[url.len() - 50..], "…");
        let run = run_with_url(&sim, &config, &content);
        assert_eq!(run.code, 0, "{shown}: {}", run.stderr);
        assert_eq!(run.count("verified"), 2, "{shown}");
        called += 2;
        assert_eq!(sim.upload_calls(), called, "{shown}");
        match mend {
            Some(mend) => {
                let warned = format!("destination.container_url: its text was mended: {mend}");
                assert!(run.stderr.contains(&warned), "{shown}: {}", run.stderr);
            }
            None => assert!(!run.stderr.contains("mended"), "{shown}: {}", run.stderr),
        }
    }
    let ledger = sim.ledger();
    for node in ledger["nodes"].as_array().unwrap() {
        for directory in node["directories"].as_array().unwrap() {
            assert_eq!(directory["files_written"], directory["files_promised"], "{directory}");
        }
    }
}

#[test]
fn a_container_url_that_cannot_work_is_refused_by_name() {
    let sim = Sim::start(FLEET);
    let config = config(&sim);
    let url = telling_url(&sim);
    let account = |ss: &str, srt: &str| {
        let key = BASE64_STANDARD.decode(sim.ready["storage"]["key"].as_str().unwrap()).unwrap();
        let text = format!("simlogs\ncw\n{ss}\n{srt}\n\n2036-01-01T00:00:00Z\n\nhttps,http\n2022-11-02\n\n");
        let query = format!("sv=2022-11-02&ss={ss}&srt={srt}&sp=cw&se=2036-01-01T00:00:00Z&spr=https,http");
        format!("{}?{query}&sig={}", sim.ready["container"].as_str().unwrap(), signature(&key, &text))
    };
    let at = |host: &str| url.replace(url.split('/').nth(2).unwrap(), host).replace("http:", "https:");
    let table: Vec<(String, i32, &str)> = vec![
        // As a batch file leaves it: `%3A` becomes `A`.
        (url.replace("%3A", "A").replace("%2", ""), 2, "its percent signs are gone: `se` has lost them"),
        (at("logs.file.core.windows.net"), 2, "its host `logs.file.core.windows.net` is that of Azure Files"),
        (
            at("logs.dfs.core.windows.net"),
            2,
            "create a SAS for the container at `logs.blob.core.windows.net`",
        ),
        (at("logs-secondary.blob.core.windows.net"), 2, "cannot be written to"),
        (url.replace("/batch-logs?", "/Batch-Logs?"), 2, "its container has capitals"),
        (format!("{url}&snapshot=1"), 2, "its query has `snapshot`, which is no parameter of a SAS"),
        (format!("{url}&sp=rl"), 2, "its query has `sp` twice, with different values"),
        (url.replace("sp=cw", "sp=wc"), 2, "its `sp` is out of order: storage accepts `cw` only"),
        (url.replace("sp=cw", "sp=write,create"), 2, "not the letter of a permission"),
        (url.replace("&se=", "&sx="), 2, "its query has `sx`"),
        (url.split("&se=").next().unwrap().to_owned() + "&sr=c&sig=fakefakefake", 2, "neither `se`"),
        (url.replace("&sig=", "\n&sig="), 2, "it has white space or a line break in the middle"),
        (format!("{{\"sas\": \"{url}\"}}"), 2, "it holds JSON, not the secret alone"),
        (account("b", "s"), 5, "the account SAS lacks the resource type `o`"),
        (account("fq", "sco"), 5, "the account SAS is not for blobs"),
    ];
    let mut told = String::new();
    for (content, code, says) in table {
        let run = run_with_url(&sim, &config, content.as_bytes());
        assert_eq!(run.code, code, "{says}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
        assert!(run.stderr.contains("destination.container_url"), "{}", run.stderr);
        assert!(run.dir.is_none(), "{says}: a run directory was made");
        let _ = writeln!(told, "{}", run.stderr);
    }
    assert!(!told.contains("fakefakefake"), "{told}");
    assert_eq!(sim.upload_calls(), 0, "an upload was sent");
}

#[test]
fn a_config_is_read_in_the_encodings_of_shells_and_told_apart_from_what_is_none() {
    let sim = Sim::start(FLEET);
    let text = std::fs::read_to_string(sim.config("")).unwrap();
    let file = sim.dir.path().join("other.toml");
    let good: Vec<Vec<u8>> = vec![
        utf16(&text.replace('\n', "\r\n"), u16::to_le_bytes),
        utf16(&text, u16::to_be_bytes),
        format!("\u{feff}{text}").into(),
    ];
    for (at, content) in good.iter().enumerate() {
        std::fs::write(&file, content).unwrap();
        let run = sim.run(&file);
        assert_eq!(run.code, 0, "{at}: {}", run.stderr);
        assert_manifest_equals_ledger(&run.manifest(), &ledger_of_last(&sim, &run));
    }
    let called = sim.upload_calls();
    let mut latin = text.clone().into_bytes();
    latin.extend(b"\n# Gr\xFC\xDFe\n");
    let long = [text.as_bytes(), &vec![b'#'; 5 << 20]].concat();
    for (content, says) in
        [(&latin, "it is not text in UTF-8 or UTF-16 (line "), (&long, "it has more than 4 MiB")]
    {
        std::fs::write(&file, content).unwrap();
        let run = sim.run(&file);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    assert_eq!(sim.upload_calls(), called);
}

/// The ledger with only what the newest run did: earlier runs of the same simulator called the same nodes.
fn ledger_of_last(sim: &Sim, run: &Run) -> serde_json::Value {
    let mut ledger = sim.ledger();
    let manifest = run.manifest();
    let named: Vec<_> =
        manifest["nodes"].as_array().unwrap().iter().map(|node| &node["virtual_directory"]).collect();
    for node in ledger["nodes"].as_array_mut().unwrap() {
        node["directories"].as_array_mut().unwrap().retain(|made| named.contains(&&made["name"]));
        node["received"] = node["directories"].as_array().unwrap().len().into();
    }
    ledger
}

#[cfg(target_os = "linux")]
#[test]
fn devices_are_not_read_and_pipes_not_waited_for_without_end() {
    let sim = Sim::start(FLEET);
    let config = sim.config("");
    let config = config.to_str().unwrap();
    let told = |arguments: &[&str], says: &str| {
        let output = fleetlogs().args(arguments).current_dir(sim.dir.path()).output().unwrap();
        let run = Run::of(sim.dir.path(), output);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
        assert!(run.dir.is_none(), "{arguments:?}: a run directory was made");
    };
    let device = "it is a device, not a file";
    told(&["run", "/dev/zero"], device);
    told(&["check", "/dev/null"], device);
    told(&["sim", "/dev/zero"], device);
    told(&["run", config, "--plan", "/dev/zero"], device);
    told(&["bundle", "--check", "/dev/zero"], device);
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(
        sim.dir.path().join("zero.toml"),
        text.replace("\"ready.json.container_url\"", "\"/dev/zero\""),
    )
    .unwrap();
    told(&["run", "zero.toml"], device);
    // Events that nobody reads: ten seconds, and nothing was sent.
    let pipe = sim.dir.path().join("events.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    told(&["run", config, "--events", pipe.to_str().unwrap()], "nobody reads this pipe");
    assert_eq!(sim.upload_calls(), 0, "an upload was sent");

    // What a shell puts in place of a file is read.
    let absolute = text.replace("\"ready.json.", &format!("\"{}/ready.json.", sim.dir.path().display()));
    std::fs::write(sim.dir.path().join("absolute.toml"), absolute).unwrap();
    let mut shell = Command::new("bash");
    let script = r#""$0" run <(sleep 0.3; cat absolute.toml) --events >(cat > events.jsonl)"#;
    shell.args(["-c", script, env!("CARGO_BIN_EXE_fleetlogs")]).current_dir(sim.dir.path());
    let run = Run::of(sim.dir.path(), shell.output().unwrap());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(sim.upload_calls(), 2);
}
