//! `fleetlogs demo`: a run on the simulated fleet that is built in. It needs no config, and nothing leaves the machine.

use std::path::{Path, PathBuf};

use clap::Parser;
use fleetlogs_engine::stop::StopHandle;
use fleetlogs_model::whole_file::write_whole;

use super::run_told::tell;
use crate::args::Output;
use crate::config::{self, Needs};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::logging::Logs;
use crate::output::{say, watchers};
use crate::run::{RunRequest, run_to_end};
use crate::run_dir::{as_argument, as_typed};
use crate::runs_dir::RunsDir;
use crate::signals;

/// The config of the demo, and the scenario that it names.
const CONFIG: (&str, &str) = ("demo.toml", include_str!("../../../../config/demo.toml"));
const SCENARIO: (&str, &str) = ("demo-fleet.toml", include_str!("../../../../config/demo-fleet.toml"));

#[derive(Debug, Parser)]
pub(crate) struct DemoArgs {
    /// Write the run and the files of the demo into this directory instead of `output.dir` of the config
    #[arg(long, value_name = "DIR")]
    pub(crate) runs_dir: Option<PathBuf>,
}

pub(crate) async fn demo(args: &DemoArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    // Where the other commands look for it.
    let runs_dir = RunsDir::find(args.runs_dir.as_deref(), None).path;
    let (config, scenario) = write_files(&runs_dir)?;
    let mut settings = config::load_for(&config, Needs::RUN)?;
    settings.output_dir = runs_dir;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let request = RunRequest { config: &config, plan: None, snapshot: None };
    let finished = Box::pin(run_to_end(request, &settings, stop.clone(), &watchers(output, logs))).await?;
    let run = settings.output_dir.join(finished.reported.plan().run_id.as_str());
    let exit = tell(finished, &settings, &stop, output).await?;
    if !output.json && !output.quiet {
        say(&next_steps(exit, &run, &scenario));
    }
    Ok(exit)
}

/// Writes the config and its scenario as files, which commands on the run, `run` and `sim` can read, and people can
/// change. A file that somebody changed is theirs.
fn write_files(dir: &Path) -> Result<(PathBuf, PathBuf), CliError> {
    let paths = [CONFIG, SCENARIO].map(|(name, text)| (dir.join(name), name, text));
    let mut missing = Vec::new();
    for (path, name, text) in &paths {
        match std::fs::read(path) {
            Ok(found) if found == text.as_bytes() => {}
            Ok(_) => return Err(changed(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push((path, name, text)),
            Err(error) => return Err(CliError::file(path, &error)),
        }
    }
    std::fs::create_dir_all(dir).map_err(|error| CliError::file(dir, &error))?;
    for (path, name, text) in missing {
        write_whole(dir, name, text.as_bytes()).map_err(|error| CliError::file(path, &error))?;
    }
    let [(config, ..), (scenario, ..)] = paths;
    Ok((config, scenario))
}

fn changed(path: &Path) -> CliError {
    let what = format!("`{}` is not the file of this demo, and is not overwritten", as_typed(path).display());
    CliError::usage(Refusal::new(
        what,
        "rename it, or write the demo into another directory with `--runs-dir`",
    ))
}

/// What to try on the run, and after it.
fn next_steps(exit: Exit, run: &Path, scenario: &Path) -> String {
    let verdict = match exit {
        Exit::Partial => {
            "This fleet is simulated, and has a bad day: partial, exit code 3, is the right answer.\n"
        }
        _ => "",
    };
    let (run, scenario) = (as_argument(run), as_argument(scenario));
    let steps = [
        (format!("fleetlogs report {run} --open"), "the whole run on one page, in the browser"),
        (format!("fleetlogs bundle {run}"), "one zip file for a support request"),
        (format!("fleetlogs sim {scenario} --ready ready.json"), "serve this fleet, for every other command"),
        ("fleetlogs init".to_owned(), "a config for your own accounts"),
    ];
    let steps = steps.map(|(command, about)| format!("  {command}\n      {about}\n"));
    format!("\n{verdict}next:\n{}", steps.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_where_they_are_missing_and_never_over_others() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("some/runs");
        let (config, scenario) = write_files(&runs).unwrap();
        assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG.1);
        assert_eq!(std::fs::read_to_string(&scenario).unwrap(), SCENARIO.1);
        std::fs::remove_file(&config).unwrap();
        write_files(&runs).unwrap();
        assert!(config.is_file());

        std::fs::write(&scenario, "seed = 7\n").unwrap();
        let refused = write_files(&runs).unwrap_err().describe();
        assert!(refused.contains("is not the file of this demo"), "{refused}");
        assert_eq!(std::fs::read_to_string(&scenario).unwrap(), "seed = 7\n");
    }
}
