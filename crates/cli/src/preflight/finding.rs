//! The findings of the preflight checks.

use serde::Serialize;

use crate::error::{CliError, Refusal};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// All is well.
    Good,
    /// A run would start, but collect or verify less than it could.
    Warning,
    /// A run would be refused.
    Refusal,
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// The key of the config, or the account.
    pub(crate) about: String,
    pub(crate) message: String,
    /// What to do.
    pub(crate) fix: Option<String>,
}

/// The results of all checks, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn good(&mut self, about: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding { level: Level::Good, about: about.into(), message: message.into(), fix: None });
    }

    pub(crate) fn warn(
        &mut self,
        about: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (about, message, fix) = (about.into(), message.into(), Some(fix.into()));
        self.0.push(Finding { level: Level::Warning, about, message, fix });
    }

    pub(crate) fn refuse(
        &mut self,
        about: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (about, message, fix) = (about.into(), message.into(), Some(fix.into()));
        self.0.push(Finding { level: Level::Refusal, about, message, fix });
    }

    /// Lists the refusals of a step as findings. Any other error ends the checks.
    pub(crate) fn take<T>(&mut self, step: Result<T, CliError>) -> Result<Option<T>, CliError> {
        match step {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.refuses_run() => {
                let finding = |Refusal { about, what, help, .. }| Finding {
                    level: Level::Refusal,
                    about: about.unwrap_or_else(|| "run".into()),
                    message: what,
                    fix: help,
                };
                self.0.extend(error.refusals.into_iter().map(finding));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn all(&self) -> &[Finding] {
        &self.0
    }

    pub(crate) fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    /// Logs every warning, and returns the refusals as an error.
    pub(crate) fn settle(&mut self) -> Result<(), CliError> {
        let mut refusals = Vec::new();
        for Finding { level, about, message, fix } in self.0.drain(..) {
            match level {
                Level::Good => {}
                Level::Warning => tracing::warn!(help = fix, "{about}: {message}"),
                Level::Refusal => {
                    let about = Some(about);
                    refusals.push(Refusal { about, help: fix, ..Refusal::without_help(message) });
                }
            }
        }
        if refusals.is_empty() { Ok(()) } else { Err(CliError::refused(refusals)) }
    }
}
