//! Which files of a crate import each other, read from their `use` lines. Code that only tests compile does not count.
//!
//! A file that only passes names on (`pub use child::Name` in a `mod.rs`) is looked through: whoever imports the name
//! depends on the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The files of a crate, by their paths below `src`.
pub(crate) struct Crate {
    /// Without comments, and without code that only tests compile.
    pub(crate) texts: BTreeMap<String, String>,
    pub(crate) imports: BTreeMap<String, BTreeSet<String>>,
}

impl Crate {
    pub(crate) fn read(src: &Path) -> Self {
        let mut texts = BTreeMap::new();
        collect(src, src, &mut texts);
        let for_tests: Vec<Vec<String>> =
            texts.iter().flat_map(|(file, text)| test_modules(&module(file), text)).collect();
        texts.retain(|file, _| !for_tests.iter().any(|path| module(file).starts_with(path)));
        for text in texts.values_mut() {
            *text = shipped(text);
        }
        // `engine/plan/reader.rs` is the module `plan::reader`; so is `engine/plan/reader/mod.rs`.
        let modules: BTreeMap<Vec<String>, String> =
            texts.keys().map(|file| (module(file), file.clone())).collect();
        let passed_on: BTreeMap<_, _> =
            texts.iter().flat_map(|(file, text)| passed_on(file, text, &modules)).collect();
        let imports = texts
            .iter()
            .map(|(file, text)| (file.clone(), imported(file, text, &modules, &passed_on)))
            .collect();
        Self { texts, imports }
    }
}

fn collect(src: &Path, dir: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(src, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(src).unwrap().to_string_lossy().replace('\\', "/");
            texts.insert(file, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The modules in files of their own that a file declares for tests only.
fn test_modules(own: &[String], text: &str) -> Vec<Vec<String>> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| is_for_tests(pair[0])).filter_map(|pair| {
        let (_, name) = pair[1].strip_suffix(';')?.rsplit_once("mod ")?;
        Some([own, &[name.to_owned()]].concat())
    });
    declared.collect()
}

/// A text without line comments and without what follows `#[cfg(test)]`: an item, or the module of tests at the end.
fn shipped(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.split("//").next().unwrap_or_default();
        if !is_for_tests(code) {
            kept.push_str(code);
            kept.push('\n');
            continue;
        }
        let mut depth = 0;
        for (number, line) in lines.by_ref().enumerate() {
            depth += line.matches('{').count();
            depth -= line.matches('}').count();
            // An item; or a variant, a field or an arm of a match in one line.
            let is_part = number == 0 && line.ends_with(',');
            if depth == 0 && (line.ends_with([';', '}']) || is_part) {
                break;
            }
        }
    }
    kept
}

fn is_for_tests(line: &str) -> bool {
    let line = line.trim();
    line == "#[cfg(test)]" || line.starts_with("#[cfg(all(test,")
}

fn module(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(Into::into).collect();
    if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        path.pop();
    }
    path
}

type Modules = BTreeMap<Vec<String>, String>;

/// The names that a file passes on, as paths of the crate, with the paths they stand for.
fn passed_on(file: &str, text: &str, modules: &Modules) -> Vec<(Vec<String>, Vec<String>)> {
    let own = module(file);
    let uses = used_paths(text).into_iter().filter(|used| used.is_public);
    let alias = |used: Use| {
        let path = absolute(&own, &used.path, modules)?;
        let name = used.path.last().filter(|name| *name != "self" && *name != "*")?.clone();
        Some(([own.as_slice(), &[name]].concat(), path))
    };
    uses.filter_map(alias).collect()
}

fn imported(
    file: &str,
    text: &str,
    modules: &Modules,
    passed_on: &BTreeMap<Vec<String>, Vec<String>>,
) -> BTreeSet<String> {
    let own = module(file);
    let mut files = BTreeSet::new();
    for used in used_paths(text) {
        let Some(mut path) = absolute(&own, &used.path, modules) else { continue };
        while let Some(behind) = passed_on.get(&path).filter(|behind| **behind != path) {
            path.clone_from(behind);
        }
        // The longest part that is a module; the rest is an item in it.
        while !modules.contains_key(&path) {
            path.pop();
        }
        files.extend(modules.get(&path).filter(|other| *other != file).cloned());
    }
    files
}

/// A path from the root of the crate; none for one of another crate.
fn absolute(own: &[String], path: &[String], modules: &Modules) -> Option<Vec<String>> {
    let joined = |base: &[String], rest: &[String]| [base, rest].concat();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(joined(own, &path[1..])),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            Some(joined(&own[..own.len().saturating_sub(up)], &path[up..]))
        }
        first => {
            let child = joined(own, &[first.to_owned()]);
            modules.contains_key(&child).then(|| joined(own, path))
        }
    }
}

/// A path of a `use` declaration.
struct Use {
    path: Vec<String>,
    /// Whether it passes the name on.
    is_public: bool,
}

/// The paths of all `use` declarations, with every group taken apart.
fn used_paths(text: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let before = text[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_public = before == "pub" || before.starts_with("pub(") && before.ends_with(')');
        if !(before.is_empty() || is_public) {
            continue;
        }
        if let Some(end) = text[at..].find(';') {
            let mut paths = Vec::new();
            take_apart(&[], &text[at + 4..at + end], &mut paths);
            uses.extend(paths.into_iter().map(|path| Use { path, is_public }));
        }
    }
    uses
}

fn take_apart(before: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let parts = |text: &str| -> Vec<String> {
        let text = text.split(" as ").next().unwrap_or_default();
        text.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    };
    let Some(open) = tree.find('{') else {
        paths.push([before, &parts(tree)].concat());
        return;
    };
    let before = [before, &parts(&tree[..open])].concat();
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut begins) = (0, 0);
    for (at, char) in inner.char_indices().chain([(inner.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inner[begins..at].trim();
                if !item.is_empty() {
                    take_apart(&before, item, paths);
                }
                begins = at + 1;
            }
            _ => {}
        }
    }
}

/// The groups of files that reach each other, each in order; a file alone is none.
pub(crate) fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = imports.get(from).into_iter().flatten().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file.clone()) {
                next.extend(imports.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reached(file))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, others) in &reach {
        let mutual = others.iter().filter(|other| reach.get(other).is_some_and(|back| back.contains(*file)));
        let circle: BTreeSet<_> = mutual.cloned().collect();
        if circle.len() > 1 {
            found.insert(circle.into_iter().collect());
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let edge = |(from, to): &(&str, &[&str])| {
            ((*from).to_owned(), to.iter().map(|to| (*to).to_owned()).collect())
        };
        edges.iter().map(edge).collect()
    }

    #[test]
    fn a_circle_is_every_file_that_reaches_itself_through_the_others() {
        let imports = graph(&[("a", &["b"]), ("b", &["c", "d"]), ("c", &["a"]), ("d", &[])]);
        assert_eq!(circles(&imports), [["a", "b", "c"]]);
        assert!(circles(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])).is_empty());
    }

    #[test]
    fn a_name_that_is_passed_on_leads_to_the_file_that_defines_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        for (file, text) in [
            ("lib.rs", "mod a;\nmod user;\n"),
            (
                "a/mod.rs",
                "mod leaf;\nmod top;\n#[cfg(test)]\nmod tests;\npub(crate) use leaf::Leaf;\npub(crate) use top::Top;\n",
            ),
            ("a/leaf.rs", "pub(crate) struct Leaf;\n"),
            ("a/top.rs", "use crate::user::User;\npub(crate) struct Top;\n"),
            ("a/tests.rs", "use crate::user::User;\n"),
            ("user.rs", "use crate::a::Leaf;\npub(crate) struct User;\n"),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let files = Crate::read(dir.path());
        assert_eq!(files.imports["user.rs"], BTreeSet::from(["a/leaf.rs".into()]));
        assert!(!files.imports.contains_key("a/tests.rs"));
        assert!(circles(&files.imports).is_empty());
    }

    #[test]
    fn groups_renames_and_code_for_tests_are_understood() {
        let text = "use crate::a::{B, c::{self, D as E}};\n#[cfg(test)]\nuse crate::x;\npub(crate) use child::F;\n\
                    // use crate::y;\n#[cfg(test)]\nmod tests {\n    use crate::z;\n}\n";
        let paths: Vec<_> = used_paths(&shipped(text)).iter().map(|used| used.path.join("::")).collect();
        assert_eq!(paths, ["crate::a::B", "crate::a::c::self", "crate::a::c::D", "child::F"]);
    }
}
