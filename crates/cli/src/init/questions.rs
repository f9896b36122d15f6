//! The questions of `fleetlogs init` on a terminal. Enter takes the default, and what cannot be meant is asked again.

use std::io::{self, BufRead};

use super::draft::{CONTAINER, ConfigDraft, DraftStorage, URL_VARIABLE};
use crate::config::{Misread, SecretForm, corrected_endpoint, name_in_endpoint, times};

/// What is asked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Endpoint,
    Name,
    Auth,
    Storage,
    Container,
    Window,
}

impl Question {
    pub(crate) const ALL: [Self; 6] =
        [Self::Endpoint, Self::Name, Self::Auth, Self::Storage, Self::Container, Self::Window];

    /// The question, or none if the answers before it make it pointless.
    fn text(self, draft: &ConfigDraft) -> Option<String> {
        let account = &draft.accounts[0];
        Some(match self {
            Self::Endpoint => {
                "Endpoint of the Batch account, such as contoso.westeurope.batch.azure.com [later]".into()
            }
            Self::Name if needs_name(draft) => "Name of the Batch account".into(),
            Self::Auth if account.endpoint.is_some() => {
                "Authenticate with `entra` (az login, managed identity) or with the account's `key` [entra]"
                    .into()
            }
            Self::Name | Self::Auth => return None,
            Self::Storage => {
                format!(
                    "Storage account in which fleetlogs creates its SAS [none: a SAS URL in {URL_VARIABLE}]"
                )
            }
            Self::Container => match draft.storage {
                DraftStorage::Minted { .. } => format!("Container [{CONTAINER}, a new one for each run]"),
                DraftStorage::Variable => return None,
            },
            Self::Window => format!("Logs of the last [{}]", draft.last),
        })
    }

    /// Puts an answer into the draft.
    fn take(self, answer: &str, draft: &mut ConfigDraft) -> Result<(), Misread> {
        let account = &mut draft.accounts[0];
        match self {
            Self::Endpoint => {
                let Some(url) = corrected_endpoint(answer) else {
                    return Err(wrong(
                        "this is not the endpoint of a Batch account",
                        "write ACCOUNT.REGION.batch.azure.com",
                    ));
                };
                account.endpoint = Some(url.as_str().trim_end_matches('/').to_owned());
            }
            Self::Name => account.name = Some(answer.to_owned()),
            Self::Auth => match answer {
                "entra" => account.with_key = false,
                "key" => account.with_key = true,
                _ => {
                    return Err(wrong(
                        "this is neither",
                        "write `entra` or `key`; the key itself goes into a variable",
                    ));
                }
            },
            Self::Storage => {
                if let Some(form) = SecretForm::of(answer).filter(|form| *form != SecretForm::Url) {
                    let help =
                        format!("press Enter, and set {URL_VARIABLE}; secrets never stand in a config");
                    return Err(wrong(&format!("this is {}", form.name()), &help));
                }
                let is_name = (3..=24).contains(&answer.len())
                    && answer.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit());
                if !is_name && !answer.starts_with("https://") && !answer.starts_with("http://") {
                    return Err(wrong(
                        "this is not the name of a storage account",
                        "it has 3 to 24 lower-case letters and digits",
                    ));
                }
                let (container, comment) = (CONTAINER.to_owned(), String::new());
                draft.storage =
                    DraftStorage::Minted { account: answer.to_owned(), container, comment, others: vec![] };
            }
            Self::Container => {
                if let DraftStorage::Minted { container, .. } = &mut draft.storage {
                    answer.clone_into(container);
                }
            }
            Self::Window => {
                times::duration(answer)?;
                answer.clone_into(&mut draft.last);
            }
        }
        Ok(())
    }
}

/// Whether the endpoint does not tell the name of the account.
fn needs_name(draft: &ConfigDraft) -> bool {
    let endpoint = draft.accounts[0].endpoint.as_deref();
    endpoint.is_some_and(|text| url::Url::parse(text).is_ok_and(|url| name_in_endpoint(&url).is_none()))
}

fn wrong(message: &str, help: &str) -> Misread {
    Misread::new(message, help)
}

/// Asks, until each question has an answer that can be meant. The end of the input takes the defaults.
pub(crate) fn ask(
    mut draft: ConfigDraft,
    questions: &[Question],
    answers: &mut dyn BufRead,
    show: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<ConfigDraft> {
    for question in questions {
        while let Some(text) = question.text(&draft) {
            show(&format!("{text}: "))?;
            let mut answer = String::new();
            if answers.read_line(&mut answer)? == 0 {
                show("\n")?;
                return Ok(draft);
            }
            let answer = answer.trim();
            // A name has no default.
            if answer.is_empty() && *question != Question::Name {
                break;
            }
            match question.take(answer, &mut draft) {
                Ok(()) => break,
                Err(Misread { message, help }) => show(&format!("  {message}: {help}\n"))?,
            }
        }
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown and written, for the lines that somebody types.
    fn talk(typed: &str) -> (String, ConfigDraft) {
        let mut shown = String::new();
        let mut show = |text: &str| {
            shown.push_str(text);
            Ok(())
        };
        let draft = ask(ConfigDraft::default(), &Question::ALL, &mut typed.as_bytes(), &mut show).unwrap();
        (shown, draft)
    }

    #[test]
    fn enter_takes_every_default_and_so_does_the_end() {
        let (_, draft) = talk("\n\n\n\n\n\n");
        assert_eq!(draft, ConfigDraft::default());
        assert_eq!(talk("").1, ConfigDraft::default());
    }

    #[test]
    fn answers_are_filled_in_and_what_cannot_be_meant_is_asked_again() {
        let (shown, draft) = talk(
            "contoso\ncontoso.westeurope.batch.azure.com/\nhunter2\nkey\n\
             https://a.blob.core.windows.net/c?sv=1&sig=fake\ncontosologs\n\n2 fortnights\n30m\n",
        );
        assert!(!shown.contains("hunter2") && !shown.contains("sig=fake"), "{shown}");
        insta::assert_snapshot!(shown, @r#"
        Endpoint of the Batch account, such as contoso.westeurope.batch.azure.com [later]:   this is not the endpoint of a Batch account: write ACCOUNT.REGION.batch.azure.com
        Endpoint of the Batch account, such as contoso.westeurope.batch.azure.com [later]: Authenticate with `entra` (az login, managed identity) or with the account's `key` [entra]:   this is neither: write `entra` or `key`; the key itself goes into a variable
        Authenticate with `entra` (az login, managed identity) or with the account's `key` [entra]: Storage account in which fleetlogs creates its SAS [none: a SAS URL in FLEETLOGS_CONTAINER_URL]:   this is a URL with a SAS: press Enter, and set FLEETLOGS_CONTAINER_URL; secrets never stand in a config
        Storage account in which fleetlogs creates its SAS [none: a SAS URL in FLEETLOGS_CONTAINER_URL]: Container [incident-{run_id}, a new one for each run]: Logs of the last [2h]:   `2 fortnights` is not a duration: unknown time unit "fortnights", supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations): write a number with its unit, such as "90s", "10m" or "2h"
        Logs of the last [2h]:
        "#);
        insta::assert_snapshot!(draft.text(), @r#"
        #:schema ./fleetlogs.schema.json
        # A short config; `fleetlogs init --full -` prints every key. Check it with `fleetlogs check`.

        [window]
        last = "30m"   # the logs of this long, up to now; or `start` and `end`, or `around`

        [destination]
        # fleetlogs creates short-lived SAS with your login, which needs the roles Storage Blob Delegator and
        # Storage Blob Data Contributor on this storage account.
        mint = "user-delegation"
        account = "contosologs"
        container = "incident-{run_id}"   # each run creates its own

        [[account]]
        endpoint = "https://contoso.westeurope.batch.azure.com"
        auth = { shared_key = { env = "FLEETLOGS_BATCH_KEY" } }
        "#);
        assert_eq!(draft.left_to_do("fleetlogs.toml"), ["set FLEETLOGS_BATCH_KEY to the account's key"]);
    }
}
