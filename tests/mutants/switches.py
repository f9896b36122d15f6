"""Puts all mutants of a listing into one source tree, each behind a switch, so that one build has them all.

`a < b` becomes `(if crate::switch::on(7) { a > b } else { a < b })`. What cannot be a switch is left to cargo-mutants: a
`&&` in a chain with `let`, a constant, and a function that returns `impl Trait`. What does not compile is found by
compiling."""

import json
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import tree_sitter
import tree_sitter_rust

RUST = tree_sitter.Language(tree_sitter_rust.language())

SWITCH = """
//! Whether a mutant is on: one at a time, by the environment.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

enum Mode {
    Off,
    One(usize),
    /// Writes which were reached.
    Record(String),
}

static MODE: OnceLock<Mode> = OnceLock::new();
static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

fn mode() -> Mode {
    match (std::env::var("MUTANT_RECORD"), std::env::var("MUTANT")) {
        (Ok(file), _) => Mode::Record(file),
        (_, Ok(number)) => Mode::One(number.parse().unwrap()),
        _ => Mode::Off,
    }
}

/// Whether this mutant is on.
pub(crate) fn on(number: usize) -> bool {
    match MODE.get_or_init(mode) {
        Mode::Off => false,
        Mode::One(one) => *one == number,
        Mode::Record(file) => {
            if !SEEN[number].swap(true, Ordering::Relaxed) {
                let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
                file.write_all(format!("{number}\\n").as_bytes()).unwrap();
            }
            false
        }
    }
}
"""


def with_switches(source: str, mutants: list[dict]) -> tuple[str, dict[int, str]]:
    """The source with a switch for each mutant, and those that cannot be one, with the reason."""
    data = source.encode()
    root = tree_sitter.Parser(RUST).parse(data).root_node
    lines = source.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()) + 1)

    def offset(place: dict) -> int:
        line = place["line"] - 1
        return starts[line] + len(lines[line][: place["column"] - 1].encode())

    def text(node) -> str:
        return data[node.start_byte : node.end_byte].decode()

    def enclosing(begin: int, end: int, fits):
        node = root.descendant_for_byte_range(begin, end)
        while node is not None and not fits(node):
            node = node.parent
        return node

    impossible, here = {}, defaultdict(list)
    for mutant in mutants:
        begin, end = offset(mutant["span"]["start"]), offset(mutant["span"]["end"])
        match mutant["genre"]:
            case "FnValue" if "impl " in mutant["function"]["return_type"]:
                node, why = None, "returns `impl Trait`"
            case "FnValue":
                is_body = lambda node: node.type == "block" and node.parent.type == "function_item"
                node, why = enclosing(begin, end, is_body), "no body"
            case "BinaryOperator":
                kinds = ("binary_expression", "compound_assignment_expr", "let_chain")
                node, why = enclosing(begin, end, lambda node: node.type in kinds), "a chain with `let`"
                if node.type == "let_chain" or node.child_by_field_name("operator").start_byte != begin:
                    node = None
            case "UnaryOperator":
                is_unary = lambda node: node.type == "unary_expression" and node.start_byte == begin
                node, why = enclosing(begin, end, is_unary), "no operator"
            case "MatchArm":
                is_arm = lambda node: node.type == "match_arm" and node.start_byte == begin
                node, why = enclosing(begin, begin + 1, is_arm), "no arm"
            case "MatchArmGuard":
                node, why = enclosing(begin, end, lambda node: node.type == "match_arm"), "no arm"
            case "StructField":
                kinds = ("field_initializer", "shorthand_field_initializer")
                node, why = enclosing(begin, end - 1, lambda node: node.type in kinds), "no field"
            case genre:
                node, why = None, f"the genre {genre} is not known"
        if node is None:
            impossible[mutant["number"]] = why
            continue
        if node.type == "match_arm":
            node = node.child_by_field_name("pattern")
        here[node.id].append(mutant)

    def branch(mutant: dict, mutated: str) -> str:
        # The marks lead from a compiler's error to its mutant.
        number = mutant["number"]
        return f"/*<{number}*/if crate::switch::on({number}) {{ {mutated} }}/*{number}>*/"

    def content(node) -> str:
        if node.child_count == 0:
            return text(node)
        out, at = [], node.start_byte
        for child in node.children:
            out += [data[at : child.start_byte].decode(), rendered(child)]
            at = child.end_byte
        return "".join(out) + data[at : node.end_byte].decode()

    def rendered(node) -> str:
        mutants = here.get(node.id)
        if not mutants:
            return content(node)
        field = node.child_by_field_name
        match node.type:
            case "block":
                switches = [branch(mutant, f"return {mutant['replacement']};") for mutant in mutants]
                return "{ " + " ".join(switches) + content(node)[1:]
            case "binary_expression" | "compound_assignment_expr":
                left, right = text(field("left")), text(field("right"))
                switches = [branch(mutant, f"{left} {mutant['replacement']} {right}") for mutant in mutants]
                return f"({' else '.join(switches)} else {{ {content(node)} }})"
            case "unary_expression":
                operand = data[node.children[0].end_byte : node.end_byte].decode()
                return f"({branch(mutants[0], operand)} else {{ {content(node)} }})"
            case "match_pattern":
                guard = field("condition")
                switches = [branch(mutant, mutant["replacement"] or "false") for mutant in mutants]
                before = data[node.start_byte : guard.start_byte].decode() if guard else content(node) + " if "
                return f"{before}({' else '.join(switches)} else {{ {rendered(guard) if guard else 'true'} }})"
            case "field_initializer" | "shorthand_field_initializer":
                base = next(child for child in node.parent.children if child.type == "base_field_initializer")
                is_short = node.type == "shorthand_field_initializer"
                name = text(node) if is_short else text(field("field"))
                value = name if is_short else rendered(field("value"))
                return f"{name}: ({branch(mutants[0], f'({text(base)[2:]}).{name}')} else {{ {value} }})"

    return data[: root.start_byte].decode() + rendered(root) + "\n", impossible


def put_in(tree: Path, package: Path, mutants: list[dict], unviable: set[int]) -> dict[int, str]:
    """Puts the switches into the tree. Returns the mutants that cannot be one."""
    files, impossible = defaultdict(list), {}
    for mutant in mutants:
        if mutant["number"] not in unviable:
            files[mutant["file"]].append(mutant)
    for file, of_file in files.items():
        source, of_file = with_switches((tree / file).read_text(), of_file)
        (tree / file).write_text(source)
        impossible |= of_file
    lib = tree / package / "src/lib.rs"
    lib.write_text(lib.read_text() + "\npub(crate) mod switch;\n")
    (lib.parent / "switch.rs").write_text(SWITCH.replace("COUNT", str(len(mutants))))
    return impossible


def arms_of_match(source: bytes, after: int) -> list[int]:
    """The mutants that take an arm away from the match whose value ends here. To the compiler such an arm has a guard."""
    begin = end = source.index(b"{", after)
    depth = 0
    while True:
        depth += {b"{": 1, b"}": -1}.get(source[end : end + 1], 0)
        end += 1
        if depth == 0:
            break
    return [int(number) for number in re.findall(rb"/\*<(\d+)\*/if [^{]*{ false }/", source[begin:end])]


def refused(tree: Path, package: str) -> dict[int, str]:
    """Compiles. Returns the mutants that do not, with the error."""
    command = ["cargo", "check", "--locked", "--package", package, "--lib", "--message-format=json"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    found, others = {}, []
    for line in done.stdout.splitlines():
        message = json.loads(line).get("message")
        if not isinstance(message, dict) or message["level"] != "error" or not message["spans"]:
            continue
        for span in sorted(message["spans"], key=lambda span: not span["is_primary"]):
            source = (tree / span["file_name"]).read_bytes()
            around = []
            for mark in re.finditer(rb"/\*<(\d+)\*/", source):
                end = source.find(b"/*%s>*/" % mark[1], mark.end())
                if mark.start() <= span["byte_start"] and span["byte_end"] <= end:
                    around.append((end - mark.start(), int(mark[1])))
            if around:
                found[min(around)[1]] = message["message"]
                break
        else:
            arms = []
            if (message["code"] or {}).get("code") == "E0004":
                span = next(span for span in message["spans"] if span["is_primary"])
                arms = arms_of_match((tree / span["file_name"]).read_bytes(), span["byte_end"])
            found |= {number: message["message"] for number in arms}
            if not arms:
                others.append(message["rendered"])
    if done.returncode and not found:
        raise SystemExit("\n".join(others) or done.stderr)
    return found
