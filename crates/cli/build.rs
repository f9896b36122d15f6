//! Tells the program which commit it is built from, for `--version`. Nothing here can fail a build.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["FLEETLOGS_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    set("TARGET", std::env::var("TARGET").ok());
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(Command::new(rustc).arg("--version")));
    set("RUSTC", rustc.and_then(|text| text.split_whitespace().nth(1).map(String::from)));

    let named = std::env::var("FLEETLOGS_COMMIT").ok().filter(|commit| !commit.is_empty());
    // A build for development does not change with every commit, so that it need not be repeated.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let found = if named.is_none() && is_release && is_tracked() { commit() } else { None };
    let date = found.as_ref().map(|(_, date)| date.clone());
    set("COMMIT", named.or(found.map(|(commit, _)| commit)));
    set("DATE", std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| day(&seconds)).or(date));
}

fn set(name: &str, value: Option<String>) {
    // Not more than one line, whatever an environment holds.
    let value = value.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned();
    println!("cargo::rustc-env=FLEETLOGS_BUILD_{name}={value}");
}

/// Whether git knows this file: a package may have been unpacked inside another repository.
fn is_tracked() -> bool {
    git(&["ls-files", "--error-unmatch", "build.rs"]).is_some()
}

/// The commit, and its date.
fn commit() -> Option<(String, String)> {
    // What a commit or a checkout changes, also where several work trees share a repository.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"])?;
    for name in ["HEAD", &branch, "packed-refs"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let line = git(&["log", "-1", "--abbrev=10", "--format=%h %cd", "--date=format-local:%Y-%m-%d"])?;
    let (commit, date) = line.split_once(' ')?;
    Some((commit.to_owned(), date.to_owned()))
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments).env("TZ", "UTC"))
}

/// What a program prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The UTC day of a time in seconds since 1970, as year, month and day.
fn day(seconds: &str) -> Option<String> {
    let days = i64::try_from(seconds.trim().parse::<u64>().ok()? / 86_400).ok()?;
    // Howard Hinnant's civil_from_days: years begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}
