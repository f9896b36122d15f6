//! `fleetlogs init`: writes a config. On a terminal it asks what to write; `--discover` asks Azure.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Parser;
use fleetlogs_azure::Cloud;
use url::Url;

use crate::args::Output;
use crate::config::DEFAULTS;
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::init::{ConfigDraft, Question, ask, find};
use crate::output::{print, say};
use crate::run_dir::as_argument;

#[derive(Debug, Parser)]
pub(crate) struct InitArgs {
    /// The config to write; `-` prints it
    #[arg(default_value = "fleetlogs.toml", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write every key with its default and a comment
    #[arg(long, conflicts_with = "discover")]
    pub(crate) full: bool,
    /// Fill in the Batch and storage accounts that the signed-in identity sees, of one subscription or of all
    #[arg(long, value_name = "SUBSCRIPTION", num_args = 0..=1, default_missing_value = "", value_parser = subscription)]
    pub(crate) discover: Option<String>,
    /// Ask nothing
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The cloud to search: public, us-government or china
    #[arg(long, value_name = "CLOUD", requires = "discover", value_parser = cloud)]
    pub(crate) cloud: Option<Cloud>,
    /// Azure Resource Manager [default: that of the cloud]
    #[arg(long, value_name = "URL", requires = "discover")]
    pub(crate) management: Option<Url>,
}

/// The id of a subscription, or nothing for all.
fn subscription(text: &str) -> Result<String, String> {
    if text.is_empty() || crate::config::is_guid(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("this is not the id of a subscription, which is a GUID; write the name of the file before `--discover`".into())
}

fn cloud(text: &str) -> Result<Cloud, String> {
    let known = Cloud::ALL.into_iter().find(|cloud| cloud.as_str() == text);
    known.ok_or_else(|| format!("use {}", Cloud::ALL.map(Cloud::as_str).join(", ")))
}

pub(crate) async fn init(args: &InitArgs, output: &Output) -> Result<Exit, CliError> {
    let is_printed = args.file == Path::new("-");
    if !is_printed {
        refuse_existing(&args.file)?;
    }
    let draft = match &args.discover {
        _ if args.full => None,
        Some(subscription) => {
            let cloud = args.cloud.unwrap_or_default();
            let management = args.management.clone().or_else(|| Url::parse(cloud.management()).ok());
            let management = management.expect("the address of a cloud is a URL");
            let only = Some(subscription.as_str()).filter(|id| !id.is_empty());
            let found = find(only, cloud, &management).await?;
            say_unless(output, &found.describe());
            Some(ConfigDraft::of_found(&found))
        }
        None => Some(ConfigDraft::default()),
    };
    let asks = args.discover.is_none()
        && !args.yes
        && !is_printed
        && !output.quiet
        && io::stdin().is_terminal()
        && io::stderr().is_terminal();
    let draft = match draft {
        Some(draft) if asks => {
            say(&format!(
                "{} is written after these questions; Enter takes what is in brackets.\n",
                args.file.display()
            ));
            Some(answered(draft)?)
        }
        draft => draft,
    };
    let text = draft.as_ref().map_or_else(full, ConfigDraft::text);
    if is_printed {
        return print(&text);
    }
    write(&args.file, &text)?;
    say_unless(output, &next_steps(&args.file, draft.as_ref()));
    Ok(Exit::Complete)
}

fn say_unless(output: &Output, text: &str) {
    if !output.quiet {
        say(text);
    }
}

/// Every key, with the line that tells editors of the schema.
fn full() -> String {
    format!("{}\n{DEFAULTS}", ConfigDraft::SCHEMA_LINE)
}

fn answered(draft: ConfigDraft) -> Result<ConfigDraft, CliError> {
    let mut answers = BufReader::new(io::stdin());
    let mut show = |text: &str| {
        say(text);
        Ok(())
    };
    ask(draft, &Question::ALL, &mut answers, &mut show).map_err(CliError::from)
}

/// An empty file has nothing to lose: a shell makes one for `fleetlogs init > fleetlogs.toml`.
fn refuse_existing(path: &Path) -> Result<(), CliError> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if metadata.is_dir() {
        let what = format!("`{}` is a directory", path.display());
        let help = format!("name the file: `fleetlogs init {}`", as_argument(&path.join("fleetlogs.toml")));
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Ok(());
    }
    Err(exists(path))
}

fn exists(path: &Path) -> CliError {
    let what = format!("`{}` exists, and is not overwritten", path.display());
    let help = "name another file, or print the config with `fleetlogs init -`";
    CliError::usage(Refusal::new(what, help))
}

/// A config holds no secret, so whoever may read the directory may read it.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let opened = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            refuse_existing(path)?;
            OpenOptions::new().write(true).open(path)
        }
        opened => opened,
    };
    let written = opened.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| CliError::file(path, &error))
}

/// What is left to do. Of a discovered config, the storage account has to be confirmed.
fn next_steps(path: &Path, draft: Option<&ConfigDraft>) -> String {
    let file = as_argument(path);
    let mut text = format!("wrote {}\nnext:\n", path.display());
    let mut number = 0;
    let mut step = |what: String| {
        number += 1;
        let _ = writeln!(text, "  {number}. {what}");
    };
    match draft {
        Some(draft) => draft.left_to_do(&file).into_iter().for_each(&mut step),
        None => step(format!("fill in `[destination]` and an `[[account]]` in {file}")),
    }
    let named = if path == Path::new("fleetlogs.toml") { String::new() } else { format!(" {file}") };
    step(format!("fleetlogs check{named}"));
    step(format!("fleetlogs run{named}"));
    text.push_str("for completion in editors: fleetlogs schema config > fleetlogs.schema.json, beside it\n");
    text
}
