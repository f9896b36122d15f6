//! The table `[ticket]`: how to open a support ticket, and in whose name. Only `fleetlogs ticket` uses it.

use fleetlogs_azure::{Cloud, Contact, Severity};
use url::Url;

use super::account::cloud;
use super::discover::management;
use super::reader::{Table, Value};
use super::secret_form::is_guid;

/// How to open a support ticket.
#[derive(Clone, Debug)]
pub(crate) struct TicketSettings {
    pub(crate) subscription: String,
    /// The ARM id of the Batch account.
    pub(crate) resource_id: String,
    pub(crate) severity: Severity,
    /// The name or the id of the service.
    pub(crate) service: String,
    /// The id of the problem classification, or a part of its name.
    pub(crate) problem_classification: String,
    pub(crate) title: Option<String>,
    pub(crate) contact: Contact,
    pub(crate) support_plan: Option<String>,
    pub(crate) advanced_diagnostic_consent: bool,
    pub(crate) cloud: Cloud,
    /// The endpoint of Azure Resource Manager.
    pub(crate) management: Url,
}

pub(super) fn ticket(table: Table<'_>) -> Option<TicketSettings> {
    let example = "\"/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Batch/batchAccounts/NAME\"";
    let resource_id = table.require("resource_id", example).and_then(|value| resource_id(&value, example));
    let subscription = match table.get("subscription") {
        // The account's id contains it.
        None => resource_id.as_deref().and_then(|id| id.split('/').nth(2)).map(str::to_owned),
        Some(value) => value.string().and_then(|text| {
            if !is_guid(text) {
                let help = "write a GUID, or leave the key out to use the subscription of `resource_id`";
                value.wrong(format!("`{text}` is not the id of a subscription"), Some(help.into()));
                return None;
            }
            Some(text.to_owned())
        }),
    };
    let severity = table.get("severity").map_or(Some(Severity::Moderate), |value| severity(&value));
    let service = filled(&table, "service", "Batch");
    let problem_classification =
        table.require("problem_classification", "\"Node is unusable\"").and_then(|value| not_empty(&value));
    let title = table.optional("title", not_empty);
    let support_plan = table.optional("support_plan", not_empty);
    let consent = table.get("advanced_diagnostic_consent").map_or(Some(false), |value| value.boolean());
    let contact = table.require("contact", CONTACT).and_then(|value| contact(&value));
    let cloud = table.get("cloud").map_or(Some(Cloud::Public), |value| cloud(&value));
    let management = management(&table, cloud);
    table.finish();
    Some(TicketSettings {
        subscription: subscription?,
        resource_id: resource_id?,
        severity: severity?,
        service: service?,
        problem_classification: problem_classification?,
        title: title.ok()?,
        contact: contact?,
        support_plan: support_plan.ok()?,
        advanced_diagnostic_consent: consent?,
        cloud: cloud?,
        management: management?,
    })
}

const CONTACT: &str =
    "{ first_name = \"...\", last_name = \"...\", email = \"name@contoso.example\", country = \"USA\" }";

fn contact(value: &Value<'_>) -> Option<Contact> {
    if !value.is_table() {
        value.wrong("expected a table", Some(format!("write {CONTACT}")));
        return None;
    }
    let table = value.table()?;
    let name = |key| table.require(key, "\"...\"").and_then(|value| not_empty(&value));
    let (first_name, last_name) = (name("first_name"), name("last_name"));
    let email = table.require("email", "\"name@contoso.example\"").and_then(|value| {
        let text = not_empty(&value)?;
        if !text.contains('@') {
            value.wrong(
                format!("`{text}` is not an e-mail address"),
                Some("write it as \"name@contoso.example\"".into()),
            );
            return None;
        }
        Some(text)
    });
    let country = table.require("country", "\"USA\"").and_then(|value| {
        let text = value.string()?;
        if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            let help = "write the three letters of ISO 3166-1, such as \"USA\" or \"DEU\"";
            value.wrong(format!("`{text}` is not a country"), Some(help.into()));
            return None;
        }
        Some(text.to_ascii_uppercase())
    });
    let language = filled(&table, "language", "en-us");
    let time_zone = filled(&table, "time_zone", "UTC");
    let phone = table.optional("phone", not_empty);
    let method = match table.get("preferred_method") {
        None => Some("email".to_owned()),
        Some(value) => value.string().and_then(|text| match text {
            "phone" if !table.has("phone") => {
                value.wrong("this needs a `phone`", Some("add `phone = \"...\"`".into()));
                None
            }
            "email" | "phone" => Some(text.to_owned()),
            other => {
                let help = "use `email` or `phone`";
                value.wrong(format!("`{other}` is not a contact method"), Some(help.into()));
                None
            }
        }),
    };
    table.finish();
    Some(Contact {
        first_name: first_name?,
        last_name: last_name?,
        preferred_contact_method: method?,
        primary_email_address: email?,
        phone_number: phone.ok()?,
        preferred_time_zone: time_zone?,
        country: country?,
        preferred_support_language: language?,
    })
}

fn resource_id(value: &Value<'_>, example: &str) -> Option<String> {
    let text = value.string()?;
    let parts: Vec<_> = text.split('/').map(str::to_ascii_lowercase).collect();
    let fits = parts.len() == 9
        && parts[0].is_empty()
        && parts[1] == "subscriptions"
        && is_guid(&parts[2])
        && parts[6] == "microsoft.batch"
        && parts[7] == "batchaccounts"
        && !parts[8].is_empty();
    if !fits {
        value.wrong(
            format!("`{text}` is not the ARM id of a Batch account"),
            Some(format!("write {example}")),
        );
        return None;
    }
    Some(text.to_owned())
}

fn severity(value: &Value<'_>) -> Option<Severity> {
    let text = value.string()?;
    let found = Severity::ALL.into_iter().find(|severity| severity.as_str() == text);
    if found.is_none() {
        let help = "use `minimal`, `moderate`, `critical` or `highestcriticalimpact`";
        value.wrong(format!("`{text}` is not a severity"), Some(help.into()));
    }
    found
}

/// Reads a text that has a default.
fn filled(table: &Table<'_>, key: &'static str, otherwise: &str) -> Option<String> {
    table.get(key).map_or_else(|| Some(otherwise.to_owned()), |value| not_empty(&value))
}

fn not_empty(value: &Value<'_>) -> Option<String> {
    let text = value.string()?.trim();
    if text.is_empty() {
        value.wrong("must not be empty", Some("write a text, or remove the key if it has a default".into()));
        return None;
    }
    Some(text.to_owned())
}
