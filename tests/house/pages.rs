//! The pages of the manual: every link leads somewhere, for a reader of the repository and for one of the book, and every
//! page is in the book and in an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::{read, root};

/// The pages of the repository that are no part of the book.
const OUTSIDE: [&str; 4] = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// The index of the book, and the one for readers of the repository. Neither is a page of the book.
const SUMMARY: &str = "docs/SUMMARY.md";
const INDEX: &str = "docs/README.md";

/// Every page, by its path from the root.
fn pages() -> BTreeMap<String, String> {
    let mut pages: BTreeMap<_, _> =
        OUTSIDE.iter().map(|name| ((*name).to_owned(), read(&root().join(name)))).collect();
    let mut dirs = vec![root().join("docs")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                pages.insert(name, read(&path));
            }
        }
    }
    assert!(pages.len() > 70, "{} pages", pages.len());
    pages
}

/// The lines of a page that are not in a block of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// A text without what stands between backticks.
fn without_code(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        kept.push_str(&rest[..start]);
        let fence: String = rest[start..].chars().take_while(|char| *char == '`').collect();
        let inside = &rest[start + fence.len()..];
        rest = inside.find(&fence).map_or("", |end| &inside[end + fence.len()..]);
    }
    kept + rest
}

/// Where the links of a page lead, as written.
fn links(page: &str) -> Vec<String> {
    let text = without_code(&prose(page).collect::<Vec<_>>().join("\n"));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split_whitespace().collect()).collect()
}

/// The anchors of the headings of a page, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(page) {
        let text = line.trim_start_matches('#');
        if text.len() == line.len() || !text.starts_with(' ') {
            continue;
        }
        // Of a link, only its text is seen.
        let mut seen = String::new();
        for piece in text.trim().split("](") {
            let piece =
                if seen.is_empty() { piece } else { piece.split_once(')').map_or(piece, |(_, rest)| rest) };
            seen.push_str(piece);
        }
        let letters = seen.to_lowercase();
        let is_kept = |char: &char| char.is_alphanumeric() || matches!(char, '-' | '_' | ' ');
        let anchor = letters.chars().filter(is_kept).collect::<String>().replace(' ', "-");
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// A path from the root, without `.` and `..`. None if it leads out of the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    Some(normal)
}

/// What is wrong with a link on a page.
fn mistake(pages: &BTreeMap<String, String>, page: &str, link: &str) -> Option<&'static str> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let beside = Path::new(page).parent().unwrap().join(path);
    let target = if path.is_empty() { PathBuf::from(page) } else { normal(&beside)? };
    let name = target.to_str().unwrap();
    let is_in_book = |name: &str| name.starts_with("docs/") && name != INDEX;
    if !root().join(&target).exists() {
        return Some("leads nowhere");
    }
    if is_in_book(page) && !is_in_book(name) {
        return Some("leads out of the book: name the place in `backticks`");
    }
    if is_in_book(page) && root().join(&target).is_dir() {
        return Some("is a directory, which a book cannot show");
    }
    let anchor = anchor?;
    let is_there = pages.get(name).is_some_and(|text| anchors(text).contains(anchor));
    (!is_there).then_some("there is no such heading")
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let pages = pages();
    let mut followed = 0;
    let mut wrong = Vec::new();
    for (page, text) in &pages {
        for link in links(text).into_iter().filter(|link| !link.contains("://")) {
            followed += 1;
            if let Some(mistake) = mistake(&pages, page, &link) {
                wrong.push(format!("{page}: {link}: {mistake}"));
            }
        }
    }
    assert!(followed > 500, "{followed} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_book_once_and_in_an_index() {
    let pages = pages();
    let targets = |index: &str| -> Vec<String> {
        let dir = Path::new(index).parent().unwrap();
        let to_pages = links(&pages[index]).into_iter().filter(|link| !link.contains("://"));
        let to_pages = to_pages.filter_map(|link| normal(&dir.join(link.split('#').next().unwrap())));
        to_pages.map(|path| path.to_str().unwrap().to_owned()).collect()
    };
    let in_book = targets(SUMMARY);
    let indexes = [INDEX, "docs/design/README.md", "docs/deploy/README.md"];
    let listed: BTreeSet<_> = indexes.into_iter().flat_map(targets).collect();
    let mut wrong = Vec::new();
    for page in pages.keys().filter(|page| page.starts_with("docs/")) {
        if page == SUMMARY || page == INDEX {
            continue;
        }
        let times = in_book.iter().filter(|name| *name == page).count();
        if times != 1 {
            wrong.push(format!("{page} is in {SUMMARY} {times} times"));
        }
        if !listed.contains(page) {
            wrong.push(format!("{page} is in none of {indexes:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn anchors_are_those_of_github() {
    let page = "# The `[window]` table\n\n## History --json\n\n## `[window]`, [again](x.md#y)\n```text\n# no heading\n```\n## A\n## A\n";
    let known = ["the-window-table", "history---json", "window-again", "a", "a-1"];
    assert_eq!(anchors(page), known.map(String::from).into());
    assert_eq!(links("[a](b.md) `[c](d.md)` [e\nf](g.md#h)\n```\n[i](j)\n```"), ["b.md", "g.md#h"]);
}
