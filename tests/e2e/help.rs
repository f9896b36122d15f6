//! The help of the program and of every command, as a person reads it, and that the reference names all of it.

use std::fmt::Write as _;
use std::path::Path;

use crate::stage::fleetlogs;

/// The commands, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = help(&[]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // Deeper lines continue the one before.
    let starts =
        list.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    starts.filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

fn help(command: &[&str]) -> String {
    let output = fleetlogs().args(command).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The headings of options in a help, in order, each with its options, one line or more each.
fn groups(help: &str) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for paragraph in help.split("\n\n") {
        let Some((heading, list)) = paragraph.split_once(":\n").filter(|(_, list)| {
            list.lines()
                .next()
                .is_some_and(|line| line.starts_with("  ") && line.trim_start().starts_with('-'))
        }) else {
            continue;
        };
        let mut options: Vec<String> = Vec::new();
        for line in list.lines() {
            let is_first = line.len() - line.trim_start().len() <= 6 && line.trim_start().starts_with('-');
            match options.last_mut() {
                Some(option) if !is_first => {
                    option.push('\n');
                    option.push_str(line);
                }
                _ => options.push(line.to_owned()),
            }
        }
        groups.push((heading.to_owned(), options));
    }
    groups
}

fn options(help: &str) -> Vec<String> {
    groups(help).into_iter().flat_map(|(_, options)| options).collect()
}

/// The help of a command without its last group, the options that every command has.
fn own_help(command: &str) -> String {
    let help = help(&[command]);
    let (start, rest) = help.split_once("\n\nGlobal options:\n").unwrap_or_else(|| panic!("{help}"));
    let global = rest.split("\n\n").next().unwrap();
    let mut known = groups(&self::help(&[])).pop().unwrap().1;
    known.retain(|option| !option.contains("--version"));
    let flags = |text: &str| -> Vec<String> {
        text.split_whitespace().filter(|word| word.starts_with("--")).map(String::from).collect()
    };
    assert_eq!(flags(global), flags(&known.join(" ")), "the global options of `{command}`");
    format!("{start}\n\n{}", rest.split_once("\n\n").map_or("", |(_, end)| end))
}

/// The reference of the command line, which holds what the program says of itself.
const REFERENCE: &str = "../../docs/reference/cli.md";

/// The commands and what they do, as a table. The help of a command has a heading.
fn table_of_commands() -> String {
    let mut table = "| command | does |\n| --- | --- |\n".to_owned();
    for command in commands() {
        let about = if command == "help" {
            "Print help".to_owned()
        } else {
            help(&[&command]).split("\n\n").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let _ = writeln!(table, "| [`{command}`](#fleetlogs-{command}) | {about} |");
    }
    table.replace("[`help`](#fleetlogs-help)", "`help`")
}

/// What every command says of itself, as a person reads it. The options that every command has stand once.
fn help_of_every_command() -> String {
    let mut pictures = format!("### fleetlogs\n\n```text\n{}```\n", help(&[]));
    for command in commands().iter().filter(|command| *command != "help") {
        let own = own_help(command);
        let _ = write!(pictures, "\n### fleetlogs {command}\n\n```text\n{}\n```\n", own.trim_end());
    }
    pictures
}

/// A page with another text between two comments: `<!-- NAME: ... -->` and `<!-- end of NAME -->`.
fn with_part(page: &str, name: &str, text: &str) -> String {
    let (before, rest) = page.split_once(&format!("<!-- {name}: ")).unwrap();
    let (note, rest) = rest.split_once(" -->\n").unwrap();
    let (_, after) = rest.split_once(&format!("<!-- end of {name} -->")).unwrap();
    format!("{before}<!-- {name}: {note} -->\n\n{text}\n<!-- end of {name} -->{after}")
}

/// The pictures are in the reference. To write them again: `FLEETLOGS_WRITE_HELP=1`.
#[test]
fn every_command_explains_itself_and_the_reference_shows_it() {
    let pictures = help_of_every_command();
    for line in pictures.lines() {
        assert!(line.chars().count() <= 100, "longer than 100 columns: {line}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFERENCE);
    let page = std::fs::read_to_string(&path).unwrap();
    let expected = with_part(&with_part(&page, "commands", &table_of_commands()), "help", &pictures);
    if std::env::var_os("FLEETLOGS_WRITE_HELP").is_some() {
        std::fs::write(&path, expected).unwrap();
    } else {
        assert_same_page(&page, &expected);
    }
}

fn assert_same_page(page: &str, expected: &str) {
    let differs = page.lines().zip(expected.lines()).enumerate().find(|(_, (is, should))| is != should);
    if let Some((number, (is, should))) = differs {
        panic!(
            "docs/reference/cli.md:{}: it has\n  {is}\nand the program says\n  {should}\n\
             To write it again: FLEETLOGS_WRITE_HELP=1 cargo test --test e2e every_command_explains_itself",
            number + 1
        );
    }
    assert_eq!(page.lines().count(), expected.lines().count(), "docs/reference/cli.md");
}

/// Ungrouped options first, then what narrows a run, and what every command has at the end.
#[test]
fn options_come_in_groups_and_the_global_ones_last() {
    let order = ["Options", "Choosing nodes", "Window", "Sharing the run out", "Output", "Global options"];
    for command in commands().iter().filter(|command| *command != "help") {
        let headings: Vec<_> = groups(&help(&[command])).into_iter().map(|(heading, _)| heading).collect();
        let places: Vec<_> =
            headings.iter().map(|heading| order.iter().position(|known| known == heading)).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some), "`{command}`: {headings:?}");
        assert_eq!(headings.last().unwrap(), "Global options", "`{command}`");
    }
}

/// The tables of the reference that are written by hand name no option that there is not.
#[test]
fn the_reference_names_only_options_that_exist() {
    let reference = include_str!("../../docs/reference/cli.md");
    let flags = |text: &str| -> Vec<String> {
        let words = text.split(|char: char| !char.is_alphanumeric() && char != '-');
        words.filter(|word| word.starts_with('-') && word.len() > 1).map(String::from).collect()
    };
    let first_lines =
        |help: String| options(&help).into_iter().filter_map(|o| o.lines().next().map(String::from));
    let of_commands = commands().into_iter().filter(|command| command != "help");
    let mut known: Vec<String> = of_commands.flat_map(|command| first_lines(help(&[&command]))).collect();
    known.extend(first_lines(help(&[])));
    let known = flags(&known.join(" "));
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `-"));
    let named: Vec<String> =
        rows.flat_map(|row| flags(&format!("-{}", row.split(" | ").next().unwrap()))).collect();
    assert!(named.len() > 20, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|flag| !known.contains(flag)).collect();
    assert!(unknown.is_empty(), "docs/reference/cli.md names {unknown:?}");
}

/// What the first column of the guide quotes is what the program says: as a piece of its sources, or of the pictures of
/// its output in these tests. Values are left out, and with them what only joins a message with its place or its cause.
#[test]
fn every_message_of_the_troubleshooting_guide_is_one_of_the_program() {
    let guide = include_str!("../../docs/guide/troubleshooting.md");
    let said = everything_said();
    let mut compared = 0;
    let mut unknown = Vec::new();
    for row in guide.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let first = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        for message in quoted(first) {
            for piece in message.split(['…', '`', ':', ';', '(', ')', '"']).map(without_placeholder) {
                if piece.split(' ').count() > 1 {
                    compared += 1;
                    if !said.contains(piece) {
                        unknown.push(format!("`{piece}` of `{message}`"));
                    }
                }
            }
        }
    }
    assert!(compared > 100, "the guide quotes {compared} pieces");
    assert!(
        unknown.is_empty(),
        "docs/guide/troubleshooting.md quotes what the program does not say:\n{}",
        unknown.join("\n")
    );
}

/// Without `ENDPOINT`, `_PROXY` or a status code at its start.
fn without_placeholder(piece: &str) -> &str {
    let piece = piece.trim();
    match piece.split_once(' ') {
        Some((first, rest)) if !first.contains(|char: char| char.is_ascii_lowercase()) => rest,
        _ => piece,
    }
}

/// What stands between backticks, single or double.
fn quoted(text: &str) -> Vec<&str> {
    let mut quoted = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let fence = if rest[start..].starts_with("``") { "``" } else { "`" };
        let Some((inside, after)) = rest[start + fence.len()..].split_once(fence) else { break };
        quoted.push(inside.trim());
        rest = after;
    }
    quoted
}

/// The sources of the program and of these tests as one line, without escapes.
fn everything_said() -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let mut dirs: Vec<_> = ["model", "engine", "azure", "report", "sim", "cli"]
        .map(|name| crates.join(name).join("src"))
        .to_vec();
    dirs.push(crates.join("../tests/e2e"));
    let mut text = String::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let text = text.replace("\\\n", "").replace("\\\"", "\"");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
