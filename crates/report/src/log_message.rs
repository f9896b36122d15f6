//! A line of the log as people read it: what it is about and what is wrong first, then what to do.

use crate::look::{Look, Style};

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something did not work.
    Error,
    /// Something may be wrong.
    Warning,
    /// Something happened.
    Note,
    /// For those who search for a defect.
    Detail,
}

/// `warning: contoso/render: the nodes cannot be listed: 403 …`, and `help: …` on a line of its own; wrapped to the
/// width of the terminal. `time` comes first if there is one. The text is already safe for a terminal.
#[must_use]
pub fn message_lines(
    look: &Look,
    time: Option<&str>,
    severity: Severity,
    text: &str,
    help: Option<&str>,
) -> Vec<String> {
    let (word, style) = match severity {
        Severity::Error => ("error: ", Style::BadVerdict),
        Severity::Warning => ("warning: ", Style::WarningVerdict),
        Severity::Note => ("", Style::None),
        Severity::Detail => ("debug: ", Style::Dim),
    };
    let time = time.map_or_else(String::new, |time| format!("{time} "));
    let mut lines = look.wrapped(0, 2, &format!("{time}{word}{text}"));
    if let Some(first) = lines.first_mut() {
        // The word may stand on a line of its own in a very narrow terminal, without its space.
        *first = first.replacen(
            word.trim_end(),
            &look.paint(style, word.trim_end()),
            usize::from(!word.is_empty()),
        );
    }
    if let Some(help) = help.filter(|help| !help.is_empty()) {
        lines.extend(look.wrapped(2, 8, &format!("help: {help}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "account `fabrikam` (https://fabrikam.westeurope.batch.azure.com): cannot be listed: 403 \
                        AuthenticationFailed: the key was rotated; the other accounts are planned";

    #[test]
    fn what_and_who_come_first_and_help_has_its_own_line() {
        let look = Look { width: Some(60), ..Look::default() };
        let lines = message_lines(
            &look,
            None,
            Severity::Warning,
            TEXT,
            Some("copy the account's key again, as the portal shows it"),
        );
        insta::assert_snapshot!(lines.join("\n"), @"
        warning: account `fabrikam`
          (https://fabrikam.westeurope.batch.azure.com): cannot be
          listed: 403 AuthenticationFailed: the key was rotated; the
          other accounts are planned
          help: copy the account's key again, as the portal shows it
        ");
        assert!(lines.iter().all(|line| line.len() <= 60));

        let piped = Look::default();
        let lines = message_lines(&piped, Some("09:30:00"), Severity::Note, "contoso: throttled", None);
        assert_eq!(lines, ["09:30:00 contoso: throttled"]);
        let styled = Look { styled: true, ..piped };
        let lines = message_lines(&styled, None, Severity::Error, "no", Some(""));
        assert_eq!(lines, ["\u{1b}[1;31merror:\u{1b}[0m no"]);
    }
}
