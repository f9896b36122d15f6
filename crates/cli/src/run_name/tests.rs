use super::*;

/// Some runs, and things beside them that are none.
struct Disk {
    dir: tempfile::TempDir,
    runs: RunsDir,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self { runs: RunsDir::at(&dir.path().join("runs")), dir };
        for id in ["20261129T220000Z-00a1", "20261130T002818Z-5e62", "20261130T002818Z-77b0"] {
            disk.file(&format!("runs/{id}/plan.json"));
            disk.file(&format!("runs/{id}/run.db"));
        }
        // It has no plan yet, or not any more.
        std::fs::create_dir(disk.dir.path().join("runs/20261130T010000Z-0000")).unwrap();
        disk.file("runs/20261129T220000Z-00a1/logs/contoso/stdout.txt");
        // A run that somebody gave another name.
        disk.file("runs/incident/plan.json");
        disk.file("runs/schedule.db");
        disk.file("fleetlogs.toml");
        disk.file("bundle.zip");
        disk.file("notes");
        disk.file("planned/plan.json");
        disk.file("planned/notes.txt");
        std::fs::create_dir(disk.dir.path().join("empty")).unwrap();
        disk
    }

    fn file(&self, path: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    /// What a text leads to: a directory, or a message. `DIR` stands for the directory of the test.
    fn find(&self, text: &str) -> String {
        let here = self.dir.path().to_str().unwrap();
        let text = text.replace("DIR", here);
        let found = find_run(&text, Path::new(&text), &self.runs);
        found.map_or_else(|error| error.describe(), |dir| dir.display().to_string()).replace(here, "DIR")
    }
}

#[test]
fn a_run_is_found_by_every_name_that_it_has() {
    let disk = Disk::new();
    let table = [
        ("20261130T002818Z-5e62", "DIR/runs/20261130T002818Z-5e62"),
        ("20261130T002818Z-7", "DIR/runs/20261130T002818Z-77b0"),
        ("20261130t002818z-7", "DIR/runs/20261130T002818Z-77b0"),
        ("20261129", "DIR/runs/20261129T220000Z-00a1"),
        // The newest with a plan.
        ("latest", "DIR/runs/20261130T002818Z-77b0"),
        ("incident", "DIR/runs/incident"),
        ("DIR/runs/20261129T220000Z-00a1", "DIR/runs/20261129T220000Z-00a1"),
        ("DIR/runs/20261129T220000Z-00a1/", "DIR/runs/20261129T220000Z-00a1"),
        ("DIR/runs/20261129T220000Z-00a1/plan.json", "DIR/runs/20261129T220000Z-00a1"),
        ("DIR/runs/20261129T220000Z-00a1/logs/contoso/stdout.txt", "DIR/runs/20261129T220000Z-00a1"),
        ("DIR/planned", "DIR/planned"),
    ];
    for (text, dir) in table {
        assert_eq!(disk.find(text), dir, "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a message for each kind")]
fn what_is_no_run_is_told_with_what_there_is() {
    let disk = Disk::new();
    let told = |texts: &[&str]| {
        let told = texts.iter().map(|text| format!("{text}\n{}", disk.find(text)));
        told.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(told(&["nosuch", "5e62", "lastest", "20261130T002818Z-5e63", "20261130T02818", "20261130T00", ""]), @r"
    nosuch
    error: there is no run `nosuch`
      looked in `DIR/runs` (named); the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them

    5e62
    error: there is no run `5e62`
      looked in `DIR/runs` (named); the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: did you mean `20261130T002818Z-5e62`?

    lastest
    error: there is no run `lastest`
      looked in `DIR/runs` (named); the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: did you mean `latest`?

    20261130T002818Z-5e63
    error: there is no run `20261130T002818Z-5e63`
      looked in `DIR/runs` (named); the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: did you mean `20261130T002818Z-5e62`?

    20261130T02818
    error: there is no run `20261130T02818`
      looked in `DIR/runs` (named); the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: did you mean `20261130T002818Z-77b0`?

    20261130T00
    error: `20261130T00` is the beginning of 2 run ids in `DIR/runs`
        20261130T002818Z-77b0
        20261130T002818Z-5e62
      help: write more of the id, or `latest` for the newest of all runs


    error: the name of the run is empty
      help: name a run, or pass `latest`
    ");
    insta::assert_snapshot!(told(&[
        "DIR/runs", "DIR", "DIR/empty", "DIR/notes", "DIR/fleetlogs.toml", "DIR/bundle.zip", "DIR/planned/notes.txt",
        "DIR/absent", "DIR/runs/20261129T220000Z-00a2", "DIR/runs/20261130T010000Z-0000", "DIR/notes/x",
        "20261130T010000Z-0000",
    ]), @r"
    DIR/runs
    error: `DIR/runs` is the directory that runs are in, not a run
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: name one of them, or pass `latest`

    DIR
    error: `DIR` is not the directory of a run: it has no plan.json
      help: `fleetlogs runs` lists the runs

    DIR/empty
    error: `DIR/empty` is an empty directory, not a run directory
      help: `fleetlogs runs` lists the runs

    DIR/notes
    error: `DIR/notes` is a file that is in no run directory
      help: name a run, such as `latest`; `fleetlogs runs` lists them

    DIR/fleetlogs.toml
    error: `DIR/fleetlogs.toml` is a config, not a run
      help: name a run, such as `latest`; `fleetlogs runs` lists them

    DIR/bundle.zip
    error: `DIR/bundle.zip` is a bundle, not a run
      help: `fleetlogs bundle --check DIR/bundle.zip` checks it; extract it to read it

    DIR/planned/notes.txt
    error: `DIR/planned/notes.txt` is a file that is in no run directory
      help: name a run, such as `latest`; `fleetlogs runs` lists them

    DIR/absent
    error: there is no run `DIR/absent`
      looked in `DIR`: it has no run
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them

    DIR/runs/20261129T220000Z-00a2
    error: there is no run `DIR/runs/20261129T220000Z-00a2`
      looked in `DIR/runs`; the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: did you mean `DIR/runs/20261129T220000Z-00a1`?

    DIR/runs/20261130T010000Z-0000
    error: `DIR/runs/20261130T010000Z-0000` is an empty directory, not a run directory
      help: `fleetlogs runs` lists the runs

    DIR/notes/x
    error: there is no run `DIR/notes/x`
      looked in `DIR/runs` (named); the newest runs there:
        20261130T010000Z-0000
        20261130T002818Z-77b0
        20261130T002818Z-5e62
        20261129T220000Z-00a1
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them

    20261130T010000Z-0000
    error: `DIR/runs/20261130T010000Z-0000` is an empty directory, not a run directory
      help: `fleetlogs runs` lists the runs
    ");
}

#[test]
fn without_any_run_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let told = |runs: &RunsDir, text: &str| {
        let error = find_run(text, Path::new(text), runs).unwrap_err().describe();
        error.replace(dir.path().to_str().unwrap(), "DIR")
    };
    let absent = RunsDir { path: dir.path().join("absent"), named_by: "the default".into() };
    insta::assert_snapshot!(told(&absent, "latest"), @r"
    error: there is no run yet
      looked in `DIR/absent` (the default): it does not exist
      help: start one with `fleetlogs run`, or name the directory of all runs with `--runs-dir`
    ");
    insta::assert_snapshot!(told(&RunsDir::at(dir.path()), "2026"), @r"
    error: there is no run `2026`
      looked in `DIR` (named): it has no run
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them
    ");
}

#[test]
fn many_runs_are_listed_in_part() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..9 {
        std::fs::create_dir(dir.path().join(format!("20261130T00000{number}Z-aaaa"))).unwrap();
    }
    let runs = RunsDir { path: dir.path().into(), named_by: "`--runs-dir`".into() };
    let told = |text: &str| {
        let error = find_run(text, Path::new(text), &runs).unwrap_err().describe();
        error.replace(dir.path().to_str().unwrap(), "DIR")
    };
    insta::assert_snapshot!(told("20261130"), @r"
    error: `20261130` is the beginning of 9 run ids in `DIR`
        20261130T000008Z-aaaa
        20261130T000007Z-aaaa
        20261130T000006Z-aaaa
        20261130T000005Z-aaaa
        20261130T000004Z-aaaa
        and 4 more
      help: write more of the id, or `latest` for the newest of all runs
    ");
    insta::assert_snapshot!(told("nosuch"), @r"
    error: there is no run `nosuch`
      looked in `DIR` (`--runs-dir`); the newest runs there:
        20261130T000008Z-aaaa
        20261130T000007Z-aaaa
        20261130T000006Z-aaaa
        20261130T000005Z-aaaa
        20261130T000004Z-aaaa
        and 4 more
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them
    ");
}

#[test]
fn a_run_that_was_named_just_now_may_still_come() {
    let now = time::macros::datetime!(2026-11-30 00:30:00 UTC);
    let may_come = |run: &str| RunArg { run: run.into(), runs_dir: None }.may_still_come(now);
    assert!(may_come("20261130T002818Z-5e62"));
    // The clock of another machine, or one that was set.
    assert!(may_come("20261130T003100Z-5e62"));
    for other in ["20261130T001959Z-5e62", "20271130T002818Z-5e62", "20261130T002818Z", "latest", "runs"] {
        assert!(!may_come(other), "{other}");
    }
}

#[cfg(unix)]
#[test]
fn a_run_of_another_user_is_told_with_its_owner() {
    use std::os::unix::fs::MetadataExt as _;
    // Of a directory that this user may not look into, which root may look into as well.
    let error = io::Error::from(ErrorKind::PermissionDenied);
    let dir = tempfile::tempdir().unwrap();
    let told = |path: &Path| unreadable(path, &error).describe().replace(dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(told(dir.path()), @r"
    error: `DIR` cannot be read: you own it, but its permissions deny access
      help: allow it with `chmod u+rwx DIR`
    ");
    let theirs = |shown: &str, closed: &str| no_access(shown, closed, Some("user `root`")).describe();
    insta::assert_snapshot!(theirs("runs/20261130T002818Z-5e62", "runs/20261130T002818Z-5e62"), @r"
    error: `runs/20261130T002818Z-5e62` belongs to user `root`, and you have no access to it
      help: run this as user `root`, or have user `root` create a bundle of the run with `fleetlogs bundle`
    ");
    insta::assert_snapshot!(theirs("runs/20261130T002818Z-5e62", "runs"), @r"
    error: `runs/20261130T002818Z-5e62` cannot be read: `runs` belongs to user `root`, and you have no access to it
      help: run this as user `root`, or have user `root` create a bundle of the run with `fleetlogs bundle`
    ");
    assert!(owner(&dir.path().metadata().unwrap()).is_none());
    let root = Path::new("/").metadata().unwrap();
    let is_root = rustix::process::geteuid().as_raw() == root.uid();
    assert_eq!(owner(&root), (!is_root).then(|| "user `root`".into()));
}
