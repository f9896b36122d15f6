//! `fleetlogs ticket`: opens a support ticket for a run, or adds a message to one.
//!
//! It first shows what it would send, and asks. The ticket is named after the run, so that a second attempt finds the
//! ticket of the first.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Parser;
use fleetlogs_azure::{
    Contact, NewTicket, OpenTicket, SupportClient, SupportOption, TechnicalDetails, TicketProperties,
    http_client, safe,
};
use fleetlogs_engine::recorded_run::RunClaim;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::hex::hex;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::known_cause::Asked;
use fleetlogs_report::TicketDetails;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::args::Output;
use crate::attachments::Attachments;
use crate::config::{self, Settings, TicketSettings};
use crate::error::{CliError, Refusal, help_for};
use crate::exit::Exit;
use crate::output::{as_json, print, print_lines, say};
use crate::run::Reported;
use crate::run_name::RunArg;
use crate::tokens::Tokens;

/// The most services or problem classifications that an error lists.
const MOST_NAMED: usize = 60;

#[derive(Debug, Parser)]
#[command(allow_missing_positional = true)]
pub(crate) struct TicketArgs {
    /// The config file, which must have a [ticket] [default: the one that the run was started with]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Add a message to this ticket (name or number) instead of opening one
    #[arg(long, value_name = "TICKET")]
    pub(crate) amend: Option<String>,
    /// What you see, in your own words; becomes the start of the description
    #[arg(long, value_name = "TEXT")]
    pub(crate) problem: Option<String>,
    /// Also attach this file, unchanged
    #[arg(long, value_name = "FILE")]
    pub(crate) attach: Vec<PathBuf>,
    /// Show what would be sent, and send nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Send without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The document that is shown, and that `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    /// Whether it was sent.
    sent: bool,
    subscription: &'a str,
    /// Name of the ticket.
    ticket: &'a str,
    /// The body of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a NewTicket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a Message>,
    files: &'a Attachments,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support_ticket_id: Option<&'a str>,
}

/// A message to a ticket.
#[derive(Debug, Serialize)]
struct Message {
    name: String,
    subject: String,
    body: String,
    sender: String,
}

pub(crate) async fn ticket(args: &TicketArgs, output: &Output) -> Result<Exit, CliError> {
    let dir = args.run.find(args.config.as_deref()).await?;
    let recorded = dir.open(RunClaim::Rest).await?;
    let settings = config::load(&dir.config(&recorded.meta, args.config.as_deref())?)?;
    let Some(ticket) = &settings.ticket else {
        let help = "add a [ticket]; `fleetlogs init --full -` shows its keys";
        return Err(unusable("the config has no [ticket]", help));
    };
    let (plan, ledger) = (recorded.plan.clone(), recorded.ledger()?);
    let reported = Reported::earlier(dir.path.clone(), plan.clone(), ledger, &*recorded.journal)?;
    let known = TicketDetails {
        title: ticket.title.as_deref(),
        problem: args.problem.as_deref(),
        severity: Some(ticket.severity.as_str()),
        subscription: Some(&ticket.subscription),
        resource_id: Some(&ticket.resource_id),
    };
    let text = reported.ticket(known);
    let files = Attachments::read(&dir.path, &args.attach)?;
    let description = format!("{}\n{}", text.to_markdown(), files.described());
    let draft = Draft { args, output, settings: &settings, ticket, title: text.title(), description, files };
    let may_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !(args.dry_run || args.yes || may_ask) {
        let help = "check the ticket with `--dry-run`, then send it with `--yes`";
        return Err(unusable("there is no terminal to ask on whether to send this", help));
    }
    match &args.amend {
        Some(name) => draft.amend(name, &plan.run_id).await,
        None => draft.open(&format!("fleetlogs-{}", plan.run_id)).await,
    }
}

/// A ticket that is ready but for what only the service knows.
struct Draft<'a> {
    args: &'a TicketArgs,
    output: &'a Output,
    settings: &'a Settings,
    ticket: &'a TicketSettings,
    title: String,
    description: String,
    files: Attachments,
}

impl Draft<'_> {
    async fn open(&self, name: &str) -> Result<Exit, CliError> {
        let looked_up = |text: &str| format!("(looked up: {text})");
        let mut request = self.request(
            looked_up(&self.ticket.service),
            looked_up(&self.ticket.problem_classification),
            self.files.is_some().then(|| looked_up("a new one")),
        );
        if self.args.dry_run {
            return self.show_only(&self.document(name, Some(&request), None));
        }
        let client = self.client()?;
        if let Some(open) = client.ticket(name).await.map_err(failed)? {
            if !self.output.quiet {
                say(&format!("this run already has a ticket; add to it with `--amend {name}`\n"));
            }
            return self.print_ticket(name, &open, false);
        }
        if let Some(why) = client.name_is_taken(name).await.map_err(failed)? {
            let what = format!("a ticket cannot be called `{name}`: {why}");
            return Err(CliError::not_done(Refusal::new(
                what,
                "a ticket of this name may exist that you are not allowed to see",
            )));
        }
        let services = client.services().await.map_err(failed)?;
        let service = choose(&services, &self.ticket.service, "ticket.service")?;
        let problems = client.problem_classifications(&service.id).await.map_err(failed)?;
        let problem =
            choose(&problems, &self.ticket.problem_classification, "ticket.problem_classification")?;
        // Each attempt has its own workspace, so that it contains no partial file of an earlier one.
        let workspace = self.files.is_some().then(|| format!("{name}-{:04x}", fastrand::u16(..)));
        request = self.request(service.id.clone(), problem.id.clone(), workspace.clone());
        self.confirm(&self.document(name, Some(&request), None))?;
        if let Some(workspace) = &workspace {
            client.create_workspace(workspace).await.map_err(failed)?;
            self.attach(&client, workspace).await?;
        }
        let open = client.open(name, &request).await.map_err(failed)?;
        self.print_ticket(name, &open, true)
    }

    async fn amend(&self, name: &str, run: &RunId) -> Result<Exit, CliError> {
        let (subject, body) = (self.title.clone(), self.description.clone());
        let sender = self.ticket.contact.primary_email_address.clone();
        // The same text sent again is the same message.
        let digest = hex(&Sha256::digest(format!("{subject}\n{body}")));
        let message = Message { name: format!("fleetlogs-{run}-{}", &digest[..8]), subject, body, sender };
        let document = self.document(name, None, Some(&message));
        if self.args.dry_run {
            return self.show_only(&document);
        }
        let client = self.client()?;
        let Some(open) = client.ticket(name).await.map_err(failed)? else {
            let what = format!("the subscription has no ticket `{}`", safe(name));
            return Err(unusable(what, "pass the name of an existing ticket, or open one without `--amend`"));
        };
        self.confirm(&document)?;
        match &open.file_workspace {
            Some(workspace) => self.attach(&client, workspace).await?,
            None if self.files.is_some() => say("the ticket has no workspace for files; none is attached\n"),
            None => {}
        }
        let Message { name: own, subject, body, sender } = &message;
        let added = client.add_message(name, own, (subject, body), sender).await.map_err(failed)?;
        if !added && !self.output.quiet {
            say("the ticket already has this message\n");
        }
        self.print_ticket(name, &open, false)
    }

    fn request(&self, service_id: String, problem: String, workspace: Option<String>) -> NewTicket {
        let TicketSettings { severity, contact, resource_id, support_plan, .. } = self.ticket;
        NewTicket {
            properties: TicketProperties {
                service_id,
                problem_classification_id: problem,
                title: self.title.clone(),
                description: self.description.clone(),
                severity: *severity,
                advanced_diagnostic_consent: if self.ticket.advanced_diagnostic_consent {
                    "Yes"
                } else {
                    "No"
                },
                contact_details: contact.clone(),
                technical_ticket_details: TechnicalDetails { resource_id: resource_id.clone() },
                file_workspace_name: workspace,
                support_plan_id: support_plan.clone(),
            },
        }
    }

    fn client(&self) -> Result<SupportClient, CliError> {
        let http = http_client(1)?;
        let tokens = Tokens::new(http.clone(), self.settings.entra.clone());
        let TicketSettings { cloud, management, subscription, .. } = self.ticket;
        let source = tokens.of(*cloud, cloud.management())?;
        Ok(SupportClient::new(http, management.clone(), subscription, source))
    }

    async fn attach(&self, client: &SupportClient, workspace: &str) -> Result<(), CliError> {
        for (file, content) in self.files.contents() {
            client.attach(workspace, file, content).await.map_err(failed)?;
        }
        Ok(())
    }

    fn document<'a>(
        &'a self,
        name: &'a str,
        request: Option<&'a NewTicket>,
        message: Option<&'a Message>,
    ) -> Document<'a> {
        Document {
            schema: "fleetlogs.ticket/v1",
            sent: false,
            subscription: &self.ticket.subscription,
            ticket: name,
            request,
            message,
            files: &self.files,
            opened: None,
            support_ticket_id: None,
        }
    }

    fn show_only(&self, document: &Document<'_>) -> Result<Exit, CliError> {
        if !self.output.quiet {
            say("dry run: nothing is sent\n");
        }
        if self.output.json { print(&as_json(document)?) } else { print_lines(&self.rendered(document)) }
    }

    /// What is sent, as support will see it.
    fn rendered(&self, document: &Document<'_>) -> String {
        let Document { subscription, ticket, request, message, files, .. } = document;
        let Contact { first_name, last_name, primary_email_address, country, .. } = &self.ticket.contact;
        let mut head = vec![("subscription", (*subscription).to_owned()), ("ticket", (*ticket).to_owned())];
        if let Some(NewTicket { properties }) = request {
            head.extend([
                ("title", properties.title.clone()),
                ("severity", properties.severity.as_str().to_owned()),
                ("service", properties.service_id.clone()),
                ("kind", properties.problem_classification_id.clone()),
                ("resource", properties.technical_ticket_details.resource_id.clone()),
                ("contact", format!("{first_name} {last_name}, {primary_email_address}, {country}")),
                ("diagnostics", properties.advanced_diagnostic_consent.to_owned()),
            ]);
        }
        if let Some(Message { subject, sender, .. }) = message {
            head.extend([("subject", subject.clone()), ("sender", sender.clone())]);
        }
        head.push(("files", files.summed_up()));
        let mut lines: Vec<String> = head.iter().map(|(label, text)| format!("{label:<13} {text}")).collect();
        lines.extend([String::new(), self.description.clone()]);
        lines.join("\n")
    }

    /// Shows what will be sent, and asks.
    fn confirm(&self, document: &Document<'_>) -> Result<(), CliError> {
        if self.args.yes && self.output.quiet {
            return Ok(());
        }
        let shown = if self.output.json { as_json(document)? } else { self.rendered(document) };
        say(&format!("this will be sent to {}:\n\n{shown}\n", self.ticket.management));
        if self.args.yes {
            return Ok(());
        }
        say("send it? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(unusable(
            "nothing was sent",
            "change the ticket with [ticket] in the config and with `--problem`",
        ))
    }

    fn print_ticket(&self, name: &str, open: &OpenTicket, opened: bool) -> Result<Exit, CliError> {
        let number = open.support_ticket_id.as_deref();
        if self.output.json {
            let document = Document {
                sent: true,
                opened: Some(opened),
                support_ticket_id: number,
                ..self.document(name, None, None)
            };
            return print(&as_json(&document)?);
        }
        let status = open.status.as_deref().unwrap_or("of unknown status");
        print_lines(&format!(
            "ticket {name}, support request {}, {status}\n",
            number.unwrap_or("without a number yet")
        ))
    }
}

/// The item whose id or name is `wanted`, or the only one whose name contains it.
fn choose<'a>(offered: &'a [SupportOption], wanted: &str, key: &str) -> Result<&'a SupportOption, CliError> {
    let wanted_lower = wanted.to_lowercase();
    let by_id = |item: &&SupportOption| {
        let id = item.id.to_lowercase();
        id == wanted_lower || id.rsplit('/').next() == Some(&wanted_lower)
    };
    let by_name = |item: &&SupportOption| item.name.to_lowercase() == wanted_lower;
    if let Some(found) = offered.iter().find(by_id).or_else(|| offered.iter().find(by_name)) {
        return Ok(found);
    }
    let mut fit: Vec<_> =
        offered.iter().filter(|item| item.name.to_lowercase().contains(&wanted_lower)).collect();
    let for_accounts = |item: &&SupportOption| {
        item.resource_types.iter().any(|kind| kind.eq_ignore_ascii_case("Microsoft.Batch/batchAccounts"))
    };
    if fit.len() > 1 && fit.iter().any(for_accounts) {
        fit.retain(for_accounts);
    }
    if let [one] = fit.as_slice() {
        return Ok(one);
    }
    let many = !fit.is_empty();
    let from = if many { fit } else { offered.iter().collect() };
    let names: Vec<_> = from.iter().take(MOST_NAMED).map(|item| format!("`{}`", safe(&item.name))).collect();
    let what = if many { "more than one matches" } else { "nothing matches" };
    Err(unusable(format!("`{key}`: {what} `{wanted}`"), format!("name one of {}", names.join(", "))))
}

fn unusable(what: impl Into<String>, help: impl Into<String>) -> CliError {
    CliError::usage(Refusal::new(what, help))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it by value")]
fn failed(failure: Failure) -> CliError {
    let help = match failure.class {
        FailureClass::Auth => {
            "give the identity the role Support Request Contributor on the subscription of `ticket.subscription`"
        }
        FailureClass::Config => {
            "see the message above: the service does not accept the support plan or a value in [ticket]"
        }
        _ => "run the same command again: it first checks whether the ticket exists",
    };
    let help = help_for(Asked::ResourceManager, &failure, help);
    CliError::not_done(Refusal::new(format!("Azure support: {failure}"), help))
}
