//! The message of a run as an incoming webhook of Slack takes it: blocks, and a text for the list of messages.
//!
//! In mrkdwn, `&`, `<` and `>` are written as entities, and everything else that formats is literal only within a span
//! of code. So a text that could format is put into one, and loses its backticks.

use serde_json::{Value, json};

use super::chat::ChatMessage;

/// The most bytes of a header, of the text of a section, and of one of its fields. Slack counts characters.
const HEADER: usize = 150;
const SECTION: usize = 3_000;

/// What stands in a section whose lines do not all fit.
const REST: &str = "The rest is in the report.";

/// The body of the request.
pub(super) fn body(message: &ChatMessage) -> Value {
    let title = format!("fleetlogs: {}", message.title);
    let header: String = title.chars().take(HEADER).collect();
    let fields: Vec<_> =
        message.facts.iter().map(|(name, value)| mrkdwn(&format!("*{name}*\n{}", code(value)))).collect();
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": header, "emoji": false } }),
        section("", [literal(&message.verdict)]),
        json!({ "type": "section", "fields": fields }),
    ];
    if !message.causes.is_empty() {
        blocks.push(section("*Why*", message.causes.iter().map(|cause| format!("• {}", literal(cause)))));
    }
    if !message.steps.is_empty() {
        let steps = message.steps.iter().map(|step| {
            let command = step.command.as_deref().map(|command| format!("\n{}", code(command)));
            format!("• {}{}", literal(&step.text), command.unwrap_or_default())
        });
        blocks.push(section("*What to do*", steps));
    }
    json!({ "text": format!("{}: {}", escaped(&title), literal(&message.verdict)), "blocks": blocks })
}

/// A section with as many of the lines as have room in it.
fn section(title: &str, lines: impl IntoIterator<Item = String>) -> Value {
    let mut text = title.to_owned();
    for line in lines {
        if text.len() + line.len() + REST.len() + 2 > SECTION {
            text.push('\n');
            text.push_str(REST);
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    json!({ "type": "section", "text": mrkdwn(&text) })
}

/// `verbatim`: names of people and channels, and URLs, are not looked for.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// A text that is shown as it is: within a span of code if anything in it could format, or be an emoji.
fn literal(text: &str) -> String {
    let could_format = text.contains(['*', '_', '~', '`']) || text.matches(':').count() > 1;
    if could_format { code(text) } else { escaped(text) }
}

/// A span of code. A backtick would end it.
fn code(text: &str) -> String {
    format!("`{}`", escaped(text).replace('`', "'"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::chat::tests::end_with;

    /// The texts of all blocks.
    fn texts(body: &Value) -> Vec<&str> {
        let blocks = body["blocks"].as_array().unwrap();
        let fields = blocks.iter().filter_map(|block| block["fields"].as_array()).flatten();
        let of_blocks = blocks.iter().map(|block| &block["text"]).filter(|text| !text.is_null());
        of_blocks.chain(fields).map(|text| text["text"].as_str().unwrap()).collect()
    }

    #[test]
    fn nothing_in_a_hostile_text_is_markup() {
        let body = body(&ChatMessage::new(&end_with("<!channel> *a* _b_ ~c~ `d` &lt; :boom: <http://x|y>")));
        for text in texts(&body).into_iter().chain([body["text"].as_str().unwrap()]) {
            assert!(!text.contains(['<', '>']), "{text}");
            // Outside of spans of code there are only the words of this file.
            let outside: String = text.split('`').step_by(2).collect();
            assert!(text.matches('`').count() % 2 == 0, "{text}");
            for marked in ["*a*", "_b_", "~c~", ":boom:", "channel"] {
                assert!(!outside.contains(marked), "{text}");
            }
        }
        let all = texts(&body).join("\n");
        assert!(all.contains("&lt;!channel&gt; *a* _b_ ~c~ 'd' &amp;lt; :boom: &lt;http://x|y&gt;"), "{all}");
    }

    #[test]
    fn the_limits_of_slack_hold_for_the_longest_texts() {
        // Five characters for each.
        let body = body(&ChatMessage::new(&end_with(&"&".repeat(400))));
        assert!(body["blocks"].as_array().unwrap().len() <= 50);
        let texts = texts(&body);
        assert!(texts.iter().all(|text| !text.is_empty() && text.chars().count() <= SECTION));
        assert!(texts.iter().any(|text| text.ends_with(REST)), "{texts:?}");
        let fields = body["blocks"][2]["fields"].as_array().unwrap();
        assert!(fields.len() <= 10);
        assert!(fields.iter().all(|field| field["text"].as_str().unwrap().chars().count() <= 2_000));
    }
}
