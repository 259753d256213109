"""The folder that a test works in and empties first: ctest made it for the test, in BUILD/tests."""

import pathlib
import shutil
import sys


def empty_own_folder():
    """Ends a script that somebody has called from another folder, before it removes what is there."""
    if not pathlib.Path("../../CMakeCache.txt").exists():
        sys.exit(f"error: {pathlib.Path.cwd()} is no test's folder and would be emptied; call tests/run.sh --only NAME")
    for path in pathlib.Path(".").iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
