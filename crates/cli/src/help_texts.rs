//! What the help of each command says below its options: what it may need to explain, examples, and the page to read.

use std::fmt::Write as _;

use clap::Command;

/// The end of the help of a command.
pub(crate) struct HelpText {
    command: &'static str,
    /// What the options alone do not tell; may be empty.
    notes: &'static str,
    /// Command lines, and what they do.
    examples: &'static [(&'static str, &'static str)],
    /// The page about it, in the repository.
    guide: &'static str,
}

const HELP_TEXTS: &[HelpText] = &[
    HelpText {
        command: "run",
        notes: "The last line of the output names the report. Ctrl-C stops a run in order; `resume` continues it.",
        examples: &[
            ("fleetlogs run", "with fleetlogs.toml of this directory"),
            ("fleetlogs run prod.toml --pool 'render-*' --last 30m", "some pools, the last half hour"),
        ],
        guide: "docs/guide/first-run.md",
    },
    HelpText {
        command: "resume",
        notes: "Nodes that have ended are left alone, unless `--retry` names how they ended: failed (no call succeeded), \
                incomplete (files were missing at the deadline), adopted (files are there, and nothing shows whether they \
                are all), gone (the node no longer existed), empty (the node had no files).",
        examples: &[
            ("fleetlogs resume latest", "the newest run"),
            ("fleetlogs resume latest --retry failed,incomplete", "and try these nodes again"),
        ],
        guide: "docs/reference/cli.md#resume",
    },
    HelpText {
        command: "status",
        notes: "",
        examples: &[
            ("fleetlogs status latest --follow", "from a second terminal"),
            ("fleetlogs status 20261122T093000Z-1a2b --json", "for a program"),
        ],
        guide: "docs/guide/terminal.md",
    },
    HelpText {
        command: "runs",
        notes: "",
        examples: &[("fleetlogs runs", "the newest first"), ("fleetlogs runs --json", "for a program")],
        guide: "docs/reference/cli.md#runs",
    },
    HelpText {
        command: "plan",
        notes: "A node is skipped, with a reason, if the config or an option does not select it, or if it cannot answer a \
                call now: it is preempted, being created, or has no agent yet. A run does not call skipped nodes, and its \
                reports list them.",
        examples: &[
            ("fleetlogs plan --nodes", "every node by name"),
            ("fleetlogs plan --output night.plan.json", "for `run --plan`"),
        ],
        guide: "docs/guide/choosing-nodes.md",
    },
    HelpText {
        command: "check",
        notes: "",
        examples: &[
            ("fleetlogs check", "before the first run"),
            ("fleetlogs check prod.toml --probe-write", "write a blob as well"),
        ],
        guide: "docs/guide/credentials.md",
    },
    HelpText {
        command: "report",
        notes: "",
        examples: &[
            ("fleetlogs report latest", "write the reports again"),
            ("fleetlogs report latest --open", "and open the page in the browser"),
        ],
        guide: "docs/guide/report-page.md",
    },
    HelpText {
        command: "history",
        notes: "",
        examples: &[
            ("fleetlogs history", "all snapshots with `window = \"since-last\"`"),
            ("fleetlogs history prod.toml nightly --nodes", "every gap of one"),
        ],
        guide: "docs/guide/history.md",
    },
    HelpText {
        command: "verify",
        notes: "",
        examples: &[
            ("fleetlogs verify latest", "names and sizes"),
            ("fleetlogs verify latest --coverage", "also which time ranges the files cover"),
        ],
        guide: "docs/guide/verify.md",
    },
    HelpText {
        command: "fetch",
        notes: "",
        examples: &[
            ("fleetlogs fetch latest --to logs", "everything"),
            ("fleetlogs fetch latest --pool 'render-*' --missing", "what is not here yet, of these pools"),
        ],
        guide: "docs/guide/fetch.md",
    },
    HelpText {
        command: "share",
        notes: "",
        examples: &[
            ("fleetlogs share latest", "valid for 7 days"),
            ("fleetlogs share latest --for 12h > sas.txt", "into a file"),
        ],
        guide: "docs/guide/support-access.md",
    },
    HelpText {
        command: "unshare",
        notes: "",
        examples: &[
            ("fleetlogs unshare latest", "of the newest run"),
            ("fleetlogs unshare 20261122T093000Z-1a2b", "of another one"),
        ],
        guide: "docs/guide/support-access.md",
    },
    HelpText {
        command: "ticket",
        notes: "",
        examples: &[
            ("fleetlogs ticket latest --dry-run", "only show it"),
            ("fleetlogs ticket latest --problem 'Nodes stay unusable.'", "show it, ask, and send it"),
        ],
        guide: "docs/guide/ticket.md",
    },
    HelpText {
        command: "bundle",
        notes: "",
        examples: &[
            ("fleetlogs bundle latest --with-logs", "reports and logs in one file"),
            ("fleetlogs bundle --check case.zip --sha256 HEX", "is it the original?"),
        ],
        guide: "docs/guide/bundle.md",
    },
    HelpText {
        command: "schedule",
        notes: "",
        examples: &[
            ("fleetlogs schedule", "until it is told to stop"),
            ("fleetlogs schedule --list", "what runs when"),
        ],
        guide: "docs/guide/snapshots.md",
    },
    HelpText {
        command: "fan-out",
        notes: "Needs a container in [journal] and a queue in [scale_out]. Ctrl-C ends the waiting, not the run: workers \
                continue, and `fan-in` waits again. One machine is enough for most fleets; the guide says when it is not.",
        examples: &[
            ("fleetlogs fan-out", "and wait for the workers"),
            ("fleetlogs fan-out prod.toml --last 2h --detach", "and leave the rest to `fan-in`"),
        ],
        guide: "docs/guide/scale-out.md",
    },
    HelpText {
        command: "fan-in",
        notes: "Works on any machine that has the config. Messages that are missing are sent again.",
        examples: &[
            ("fleetlogs fan-in latest", "the newest run"),
            ("fleetlogs fan-in 20261122T093000Z-1a2b --json", "for a program"),
        ],
        guide: "docs/guide/scale-out.md",
    },
    HelpText {
        command: "worker",
        notes: "Give it the config file of `fan-out`. SIGTERM makes it finish calls in flight and leave the rest to other \
                workers. Exit code 3 if a partition could not be worked on.",
        examples: &[
            ("fleetlogs worker", "until the queue is empty"),
            ("fleetlogs worker prod.toml --site west --forever", "the accounts of a site, for ever"),
        ],
        guide: "docs/guide/scale-out.md",
    },
    HelpText {
        command: "demo",
        notes: "Writes a run like any other, and beside it the config demo.toml and the fleet demo-fleet.toml, to be copied and \
                changed. The fleet has a bad day, so the run ends with exit code 3, partial.",
        examples: &[
            ("fleetlogs demo", "into runs/ of this directory"),
            ("fleetlogs demo --runs-dir /tmp/demo", "elsewhere"),
        ],
        guide: "docs/guide/drills.md",
    },
    HelpText {
        command: "sim",
        notes: "`fleetlogs demo` writes a scenario to start with.",
        examples: &[
            ("fleetlogs sim runs/demo-fleet.toml --ready ready.json", "and write a config for it"),
            ("fleetlogs sim runs/demo-fleet.toml --listen 127.0.0.1:4001", "on a fixed port"),
        ],
        guide: "docs/design/simulator.md",
    },
    HelpText {
        command: "init",
        notes: "",
        examples: &[
            ("fleetlogs init", "fleetlogs.toml, with questions on a terminal"),
            ("fleetlogs init --discover", "with the accounts that you see in Azure"),
        ],
        guide: "docs/reference/config.md",
    },
    HelpText {
        command: "schema",
        notes: "",
        examples: &[
            ("fleetlogs schema config > fleetlogs.schema.json", "for an editor"),
            ("fleetlogs schema run", "what `run --json` prints"),
        ],
        guide: "docs/reference/cli.md#schemas",
    },
    HelpText {
        command: "completions",
        notes: "Completion also knows the runs, pools and accounts on this machine. It sends no request.",
        examples: &[
            ("source <(fleetlogs completions bash)", "in ~/.bashrc"),
            ("fleetlogs completions fish > ~/.config/fish/completions/fleetlogs.fish", "for fish"),
        ],
        guide: "docs/reference/cli.md#completions",
    },
    HelpText {
        command: "man",
        notes: "",
        examples: &[
            ("fleetlogs man run | man -l -", "read one page"),
            ("fleetlogs man --dir ~/.local/share/man/man1", "write all pages"),
        ],
        guide: "docs/reference/cli.md#man-pages",
    },
];

/// Gives each command of a command line the end of its help.
pub(crate) fn added_to(mut command: Command) -> Command {
    for text in HELP_TEXTS {
        if command.find_subcommand(text.command).is_some() {
            command = command.mut_subcommand(text.command, |command| command.after_help(text.to_string()));
        }
    }
    command
}

/// The end of the help of a command.
pub(crate) fn of(command: &str) -> Option<&'static HelpText> {
    HELP_TEXTS.iter().find(|text| text.command == command)
}

/// A command line that uses a command.
pub(crate) fn example_of(command: &str) -> Option<&'static str> {
    of(command)?.examples.first().map(|(line, _)| *line)
}

impl HelpText {
    /// The same as sections of a manual page.
    pub(crate) fn to_roff(&self) -> String {
        let mut page = String::new();
        if !self.notes.is_empty() {
            let _ = write!(page, ".SH NOTES\n{}", roff(self.notes));
        }
        page.push_str(".SH EXAMPLES\n");
        for (line, about) in self.examples {
            let _ = write!(page, ".TP\n\\fB{}\\fR\n{}", roff(line).trim_end(), roff(about));
        }
        let _ = write!(page, ".SH \"SEE ALSO\"\n{}", roff(self.guide));
        page
    }
}

/// A text as roff: nothing in it is a request or an escape.
pub(crate) fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if text.starts_with('.') { format!("\\&{text}\n") } else { format!("{text}\n") }
}

impl std::fmt::Display for HelpText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.notes.is_empty() {
            write!(f, "{}\n\n", self.notes)?;
        }
        f.write_str("Examples:\n")?;
        let widest = self.examples.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
        for (line, about) in self.examples {
            writeln!(f, "  {line:widest$}  # {about}")?;
        }
        write!(f, "\nGuide: {}", self.guide)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::command_line::Args;

    #[test]
    fn every_command_has_two_examples_that_it_understands_and_a_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let commands = Args::command();
        for command in commands.get_subcommands() {
            let name = command.get_name();
            let text = HELP_TEXTS.iter().find(|text| text.command == name);
            let text = text.unwrap_or_else(|| panic!("`{name}` has no examples in help_texts.rs"));
            assert!(text.examples.len() >= 2, "examples of `{name}`");
            let page = text.guide.split('#').next().unwrap();
            assert!(root.join(page).is_file(), "`{name}`: there is no page {page}");
            let is_long = |line: &str| line.chars().count() > 100;
            assert!(!text.to_string().lines().filter(|line| line.starts_with("  ")).any(is_long), "{text}");
            for (line, _) in text.examples {
                assert!(line.contains(&format!("fleetlogs {name}")), "{line} does not use `{name}`");
                let words = words_of(line);
                let found = Args::command().try_get_matches_from(&words);
                let is_fine = found.as_ref().map_or_else(|error| !error.use_stderr(), |_| true);
                assert!(is_fine, "{line}: {}", found.unwrap_err());
            }
        }
    }

    /// The words of the program's part of a shell command.
    fn words_of(line: &str) -> Vec<String> {
        let line = line.trim_start_matches("source <(").trim_end_matches(')');
        let line = line.split(" > ").next().unwrap().split(" | ").next().unwrap();
        let mut words = Vec::new();
        for (at, part) in line.split('\'').enumerate() {
            if at % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(String::from));
            }
        }
        words
    }
}
