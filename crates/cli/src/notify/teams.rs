//! The message of a run as a workflow of Teams takes it: one adaptive card.
//!
//! A `TextBlock` reads Markdown, and so does a `FactSet`. A `TextRun` does not, so every text is in one, as it is.

use fleetlogs_model::outcome::RunOutcome;
use serde_json::{Value, json};

use super::chat::ChatMessage;

/// The version of the schema: the newest that Teams shows everywhere.
const VERSION: &str = "1.4";

/// The body of the request.
pub(super) fn body(message: &ChatMessage) -> Value {
    let title = json!({
        "type": "TextRun", "text": format!("fleetlogs: {}", message.title),
        "size": "Large", "weight": "Bolder", "color": color(message.outcome),
    });
    let mut parts = vec![paragraph("Small", &[title]), paragraph("Small", &[run(&message.verdict)])];
    for (at, (name, value)) in message.facts.iter().enumerate() {
        let spacing = if at == 0 { "Medium" } else { "None" };
        parts.push(paragraph(spacing, &[bold(&format!("{name}: ")), run(value)]));
    }
    if !message.causes.is_empty() {
        parts.push(paragraph("Medium", &[bold("Why")]));
        parts.extend(message.causes.iter().map(|cause| paragraph("Small", &[run(cause)])));
    }
    if !message.steps.is_empty() {
        parts.push(paragraph("Medium", &[bold("What to do")]));
    }
    for step in &message.steps {
        parts.push(paragraph("Small", &[run(&step.text)]));
        parts.extend(step.command.as_deref().map(|command| paragraph("None", &[monospace(command)])));
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": Value::Null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": VERSION,
                "msteams": { "width": "Full" },
                "body": parts,
            },
        }],
    })
}

fn paragraph(spacing: &str, runs: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "spacing": spacing, "inlines": runs })
}

fn run(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text })
}

fn bold(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "weight": "Bolder" })
}

fn monospace(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "fontType": "Monospace" })
}

fn color(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Complete => "Good",
        RunOutcome::Partial | RunOutcome::Interrupted => "Warning",
        RunOutcome::NothingCollected | RunOutcome::BudgetSpent => "Attention",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::chat::tests::end_with;

    #[test]
    fn every_text_is_where_no_markdown_is_read() {
        let hostile = "**a** [b](http://x) <at>c</at>";
        let body = body(&ChatMessage::new(&end_with(hostile)));
        let parts = body["attachments"][0]["content"]["body"].as_array().unwrap();
        assert!(parts.iter().all(|part| part["type"] == "RichTextBlock"));
        let runs: Vec<_> = parts.iter().flat_map(|part| part["inlines"].as_array().unwrap()).collect();
        assert!(runs.iter().all(|run| run["type"] == "TextRun"));
        assert!(runs.iter().any(|run| run["text"] == hostile), "it is shown as it is");
    }

    #[test]
    fn the_longest_message_is_within_the_limit_of_teams() {
        for text in ["\"", "😀", "a"].map(|char| char.repeat(2_000)) {
            let body = body(&ChatMessage::new(&end_with(&text))).to_string();
            // 28 KB, and nobody says of which encoding.
            let bytes = (2 * body.encode_utf16().count()).max(body.len());
            assert!(bytes <= 28 * 1024, "{bytes}");
        }
        // The longest command.
        let body = body(&ChatMessage::new(&end_with(&"\"".repeat(400)))).to_string();
        assert!(2 * body.len() <= 28 * 1024, "{}", body.len());
    }
}
