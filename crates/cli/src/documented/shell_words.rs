//! The calls of this program in a piece of a shell script, as far as pages need it: quotes, comments, continued lines,
//! pipes, redirections, and what starts another command.

/// The commands in a text that call this program, each as its words. `continues` at the end of a line is the shell's sign
/// that the next one belongs to it.
pub(super) fn commands(text: &str, continues: char) -> Vec<Vec<String>> {
    let text = text.replace(&format!("{continues}\n"), " ");
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.read(line);
        reader.end_command();
    }
    reader.commands.into_iter().filter_map(|words| call(&words)).collect()
}

#[derive(Default)]
struct Reader {
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    /// The next word is that of a redirection, and no argument.
    is_target: bool,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let mut quote: Option<char> = None;
        let mut chars = line.chars().peekable();
        while let Some(char) = chars.next() {
            let starts_command =
                matches!(char, '$' | '<') && chars.peek() == Some(&'(') && quote != Some('\'');
            if starts_command {
                let inside: String = chars.by_ref().skip(1).take_while(|char| *char != ')').collect();
                let mut reader = Self::default();
                reader.read(&inside);
                reader.end_command();
                self.commands.extend(reader.commands);
                self.word.get_or_insert_default().push_str("$()");
                continue;
            }
            match (char, quote) {
                (char, Some(end)) if char == end => quote = None,
                ('\'' | '"', None) => {
                    quote = Some(char);
                    self.word.get_or_insert_default();
                }
                ('#', None) if self.word.is_none() => break,
                ('|' | ';' | '&' | '(' | ')', None) => self.end_command(),
                ('{' | '}', None) if self.word.is_none() => self.end_command(),
                ('<' | '>', None) => {
                    self.end_word();
                    self.is_target = true;
                }
                (' ' | '\t', None) => self.end_word(),
                (other, _) => self.word.get_or_insert_default().push(other),
            }
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.is_target)
        {
            self.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.is_target = false;
        self.commands.push(std::mem::take(&mut self.words));
    }
}

/// The words of a command from this program's name on, if the command calls it.
fn call(words: &[String]) -> Option<Vec<String>> {
    let is_program = |word: &String| word == "fleetlogs" || word.ends_with("/fleetlogs");
    let is_before = |word: &String| word == "sudo" || word == "wsl" || word.contains('=') || word == "$";
    let start = words.iter().position(|word| !is_before(word))?;
    let start = if is_program(&words[start]) {
        start
    } else {
        // What runs another command in a place of its own: `kubectl exec POD -- fleetlogs ...`.
        let dashes = words.iter().position(|word| word == "--")?;
        words.get(dashes + 1).filter(|word| is_program(word))?;
        dashes + 1
    };
    // A function of PowerShell that passes its arguments on.
    (words.get(start + 1).map(String::as_str) != Some("@args")).then(|| words[start..].to_vec())
}

#[test]
fn calls_are_found_wherever_a_shell_starts_them() {
    let script = r#"
# fleetlogs comment
sudo fleetlogs check /etc/f.toml   # comment
KEY=1 fleetlogs run a.toml & sleep 2; kill $!
fleetlogs plan --pool 'render-*' \
    --json | jq -r '.x[] | [.a] | @tsv' > out.json
cd "$(fleetlogs fetch latest)"
source <(fleetlogs completions bash)
kubectl exec -n ns pod -- /usr/bin/fleetlogs status latest
cat fleetlogs.toml; docker logs fleetlogs
fleetlogs share latest > sas.txt
"#;
    let found: Vec<String> = commands(script, '\\').iter().map(|words| words[1..].join(" ")).collect();
    let known = [
        "check /etc/f.toml",
        "run a.toml",
        "plan --pool render-* --json",
        "fetch latest",
        "completions bash",
        "status latest",
        "share latest",
    ];
    assert_eq!(found, known);
}
