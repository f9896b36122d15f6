//! `fleetlogs man`: the manual pages, from the same declarations as the help.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Command, CommandFactory, Parser};
use clap_mangen::Man;

use crate::command_line::{Args, EXIT_CODES};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::help_texts;
use crate::output::print;

#[derive(Debug, Parser)]
pub(crate) struct ManArgs {
    /// The command [default: the program itself]
    command: Option<String>,
    /// Write every page to this directory instead of printing one
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &ManArgs) -> Result<Exit, CliError> {
    // The name of a page is not an argument of the command `help`.
    let mut program = Args::command().disable_help_subcommand(true);
    program.build();
    let Some(dir) = &args.dir else {
        return print(&page(named(&program, args.command.as_deref())?)?);
    };
    std::fs::create_dir_all(dir).map_err(|error| CliError::file(dir, &error))?;
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        let path = dir.join(format!("{}.1", name_of(command)));
        std::fs::write(&path, page(command)?).map_err(|error| CliError::file(&path, &error))?;
    }
    Ok(Exit::Complete)
}

fn named<'a>(program: &'a Command, name: Option<&str>) -> Result<&'a Command, CliError> {
    let Some(name) = name else { return Ok(program) };
    program.find_subcommand(name).ok_or_else(|| {
        let what = format!("there is no command `{name}`");
        CliError::usage(Refusal::new(what, "`fleetlogs --help` lists the commands"))
    })
}

/// `fleetlogs`, or `fleetlogs-run`.
fn name_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// A page in roff.
fn page(command: &Command) -> Result<String, CliError> {
    let man = Man::new(command.clone().after_help(""))
        .title(name_of(command).to_uppercase())
        .source(format!("fleetlogs {}", env!("CARGO_PKG_VERSION")))
        .manual("fleetlogs manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    // As the help has it: the page lists the options below, in their groups.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    write!(page, ".SH SYNOPSIS\n{}", help_texts::roff(usage))?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8_lossy(&page).into_owned();
    if let Some(text) = help_texts::of(command.get_name()) {
        page.push_str(&text.to_roff());
    }
    page.push_str(".SH \"EXIT STATUS\"\n");
    page.push_str(&help_texts::roff(EXIT_CODES));
    Ok(page)
}
