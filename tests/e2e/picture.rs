//! The picture of a terminal: everything a person sees of one command, as one text for a snapshot.

use std::fmt::Write as _;
use std::path::Path;

use time::{Date, Duration, OffsetDateTime};

/// What differs from run to run. `9` is a digit, `#` one digit or more, `%` a hexadecimal digit.
const VARYING: &[(&str, &str)] = &[
    ("99999999T999999Z-%%%%", "RUN"),
    // In the name of a container.
    ("99999999t999999z-%%%%", "RUN"),
    ("%%%%%%%%-%%%%-%%%%-%%%%-%%%%%%%%%%%%", "ID"),
    ("127.0.0.1:#", "127.0.0.1:PORT"),
    (", in #m 99s.", ", in A WHILE."),
    (", in #s.", ", in A WHILE."),
    (", in #m 99s;", ", in A WHILE;"),
    (", in #s;", ", in A WHILE;"),
    ("took #m 99s:", "took A WHILE:"),
    ("took #s:", "took A WHILE:"),
    ("it is #m 99s behind", "it is A WHILE behind"),
    ("clock is #m 99s behind", "clock is A WHILE behind"),
    ("it is # seconds off", "it is SECONDS off"),
    (", #s ago,", ", A WHILE ago,"),
    ("(process #;", "(process PID;"),
];

/// Exit code, stdout and stderr of a command that ran in a directory. Replaced are run ids, ports, request ids,
/// times around now, how long a run took, and the path of the directory. Lines of progress are left out: which of
/// them appear depends on the speed of the machine. So is the first line of a run: `naming.rs` looks at it.
pub(crate) fn picture(dir: &Path, code: i32, stdout: &str, stderr: &str) -> String {
    let mut picture = format!("exit code: {code}\n");
    for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
        let lines: Vec<_> = text.lines().filter(|line| !is_progress(line)).collect();
        if !lines.is_empty() {
            let _ = writeln!(picture, "----- {name} -----\n{}", lines.join("\n"));
        }
    }
    without_what_varies(&picture.replace(&dir.display().to_string(), "DIR"))
}

/// `10:15:03 run 20261122T093000Z-4f2a: 2 of 9 nodes done (22%), 2 verified`, or the first line of a run.
fn is_progress(line: &str) -> bool {
    matching("99:99:99 ", line).is_some() || matching("run 99999999T999999Z-%%%% in ", line).is_some()
}

pub(crate) fn without_what_varies(text: &str) -> String {
    let today = OffsetDateTime::now_utc().date();
    // A week, as long as a user delegation key lives, and some slack.
    let near: Vec<Date> = (-2..=8).map(|days| today + Duration::days(days)).collect();
    let mut out = String::new();
    let mut rest = text;
    'text: while let Some(first) = rest.chars().next() {
        for date in &near {
            for form in ["T99:99:99.#Z", "T99:99:99Z", " 99:99:99", " 99:99"] {
                if let Some(length) =
                    rest.strip_prefix(&date.to_string()).and_then(|time| matching(form, time))
                {
                    out.push_str("TIME");
                    rest = &rest[date.to_string().len() + length..];
                    continue 'text;
                }
            }
        }
        for (pattern, name) in VARYING {
            if let Some(length) = matching(pattern, rest) {
                out.push_str(name);
                rest = &rest[length..];
                continue 'text;
            }
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}

/// How many bytes of a text, from its start, a pattern covers.
fn matching(pattern: &str, text: &str) -> Option<usize> {
    let mut rest = text;
    for wanted in pattern.chars() {
        let length = match wanted {
            '#' => rest.chars().take_while(char::is_ascii_digit).count(),
            '9' => usize::from(rest.starts_with(|char: char| char.is_ascii_digit())),
            '%' => usize::from(rest.starts_with(|char: char| char.is_ascii_hexdigit())),
            _ => rest.strip_prefix(wanted).map_or(0, |_| wanted.len_utf8()),
        };
        if length == 0 {
            return None;
        }
        rest = &rest[length..];
    }
    Some(text.len() - rest.len())
}

#[test]
fn what_varies_is_replaced_and_nothing_else() {
    let now = OffsetDateTime::now_utc().date();
    let text = format!(
        "runs/20261130T042934Z-06d2 at {now}T04:29:34.5Z, {now} 04:29 UTC, until 2036-01-01T00:00:00Z; 127.0.0.1:8080, in 1m 05s."
    );
    assert_eq!(
        without_what_varies(&text),
        "runs/RUN at TIME, TIME UTC, until 2036-01-01T00:00:00Z; 127.0.0.1:PORT, in A WHILE."
    );
}
