"""The scripts of a release do what its workflow expects of them."""

import os
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

from recipe import ROOT

# Writes what the real program writes, in less than 100 MB.
PROGRAM = """#!/bin/sh
case "$1 $2" in
    '--version ') echo 'fleetlogs 1.2.3 (abc 2026-01-01)'; echo 'built for: a test' ;;
    'man --dir') touch "$3/fleetlogs.1" ;;
    'completions '*) echo "of $2" ;;
    'demo ') mkdir runs; exit ${CODE:-3} ;;
    *) exit 2 ;;
esac
"""


def bash(*words: object, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    command = ["bash", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | env)


class Release(unittest.TestCase):
    def setUp(self) -> None:
        self.here = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_an_archive_has_all_and_is_tried(self) -> None:
        program = self.here / "built"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        made = bash("packaging/archive.sh", "some-target", program, self.here / "dist")
        archive = self.here / "dist/fleetlogs-1.2.3-some-target.tar.gz"
        self.assertEqual((made.returncode, made.stdout.strip()), (0, str(archive)), made.stderr)
        with tarfile.open(archive) as tar:
            names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
            mode = tar.getmember("fleetlogs-1.2.3-some-target/fleetlogs").mode
        self.assertEqual(mode, 0o755)
        self.assertEqual(
            names - {"man", "completions"},
            {"fleetlogs", "man/fleetlogs.1", "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"}
            | {f"completions/{name}" for name in ("fleetlogs.bash", "fleetlogs.fish", "_fleetlogs")},
        )
        self.assertEqual(bash("packaging/try.sh", archive).returncode, 0)
        self.assertEqual(bash("packaging/try.sh", archive, CODE="0").returncode, 1)

    def test_notes_are_the_section_of_the_version_and_of_no_other(self) -> None:
        copy = self.here / "copy"
        (copy / "packaging").mkdir(parents=True)
        shutil.copy(ROOT / "packaging/notes.sh", copy / "packaging")
        (copy / "Cargo.toml").write_text('[workspace]\nversion = "9"\n[workspace.package]\nversion = "0.2.0"\n')
        (copy / "CHANGELOG.md").write_text(
            "# C\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- [A](docs/a.md).\n\n## [0.1.0] - 2026-11-01\n\n- B.\n"
        )
        notes = bash("packaging/notes.sh", "0.2.0", "https://x.invalid/y", cwd=copy)
        self.assertEqual(notes.stdout, "### Added\n\n- [A](https://x.invalid/y/docs/a.md).\n", notes.stderr)
        for version in ("0.1.0", "Unreleased", "0.2"):
            refused = bash("packaging/notes.sh", version, cwd=copy)
            self.assertEqual((refused.returncode, refused.stdout), (1, ""), version)

    def test_the_change_log_has_notes_now(self) -> None:
        self.assertEqual(bash("packaging/notes.sh", "Unreleased").returncode, 0)


if __name__ == "__main__":
    unittest.main()
