//! What a program reads about an exit other than success: the members of every `--json` document, and a document for
//! commands that failed before they could print their own.

use serde::Serialize;

use crate::error::{CliError, Refusal};
use crate::exit::Exit;

/// Members of every document of a command that may end with another code than 0.
#[derive(Debug, Serialize)]
pub(crate) struct EndOfCommand {
    exit_code: u8,
    /// What is wrong, in one line; null if nothing is.
    error: Option<String>,
    /// What to do about it, the most important first.
    help: Vec<String>,
}

impl EndOfCommand {
    /// The command succeeded.
    pub(crate) fn success() -> Self {
        Self { exit_code: Exit::Complete as u8, error: None, help: vec![] }
    }

    /// The command did its work, and the result is not what was hoped for. A success has neither error nor help.
    pub(crate) fn with(exit: Exit, error: impl Into<String>, help: impl IntoIterator<Item = String>) -> Self {
        if exit == Exit::Complete {
            return Self::success();
        }
        let mut once: Vec<String> = Vec::new();
        for help in help {
            if !once.contains(&help) {
                once.push(help);
            }
        }
        Self { exit_code: exit as u8, error: Some(error.into()), help: once }
    }

    /// How a command ends.
    pub(crate) fn of(result: &Result<Exit, CliError>) -> Self {
        match result {
            Ok(exit) => Self { exit_code: *exit as u8, ..Self::success() },
            Err(error) => {
                let help = error.refusals.iter().filter_map(|refusal| refusal.help.clone());
                Self::with(error.exit, error.reason(), help)
            }
        }
    }
}

/// The document of a command that failed.
#[derive(Serialize)]
pub(crate) struct ErrorDocument<'a> {
    schema: &'static str,
    #[serde(flatten)]
    end: EndOfCommand,
    refusals: Vec<RefusalMember<'a>>,
}

/// One thing that is wrong.
#[derive(Serialize)]
struct RefusalMember<'a> {
    about: Option<&'a str>,
    error: &'a str,
    seen: &'a [String],
    help: Option<&'a str>,
}

impl<'a> ErrorDocument<'a> {
    pub(crate) fn of(error: &'a CliError) -> Self {
        let member = |refusal: &'a Refusal| RefusalMember {
            about: refusal.about.as_deref(),
            error: &refusal.what,
            seen: &refusal.seen,
            help: refusal.help.as_deref(),
        };
        Self {
            schema: "fleetlogs.error/v1",
            end: EndOfCommand::of(&Err(error.clone())),
            refusals: error.refusals.iter().map(member).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_says_what_is_wrong_and_each_next_step_once() {
        let error = CliError::refused([
            Refusal::new("it is locked", "open it").about("door"),
            Refusal::new("it is locked", "open it").about("window"),
            Refusal::without_help("it is dark"),
        ]);
        insta::assert_snapshot!(serde_json::to_string(&ErrorDocument::of(&error)).unwrap(), @r#"{"schema":"fleetlogs.error/v1","exit_code":5,"error":"door: it is locked; window: it is locked; it is dark","help":["open it"],"refusals":[{"about":"door","error":"it is locked","seen":[],"help":"open it"},{"about":"window","error":"it is locked","seen":[],"help":"open it"},{"about":null,"error":"it is dark","seen":[],"help":null}]}"#);
        let end = serde_json::to_string(&EndOfCommand::of(&Ok(Exit::Complete))).unwrap();
        assert_eq!(end, r#"{"exit_code":0,"error":null,"help":[]}"#);
        assert_eq!(EndOfCommand::with(Exit::Complete, "no", ["help".into()]).error, None);
    }
}
