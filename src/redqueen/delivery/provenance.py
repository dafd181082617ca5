"""Where a folder's files come from, as git tells it: commit, author, branch, whether the tree was clean.

A folder outside of any repository has no provenance, which is no error; a ref that was asked for
must be one. git runs confined: it can read, but neither write (but for the export) nor reach the
network, whatever the repository's settings say. Enter at `provenance` and `export`.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Final

from redqueen import processes
from redqueen.delivery.model import Provenance
from redqueen.errors import Exhausted, InvalidInput
from redqueen.processes import Confinement

_LIMIT_S: Final = 60.0
_MAX_EXPORT_BYTES: Final = 1 << 30


async def provenance(folder: Path, ref: str = "") -> Provenance:
    """Return where `folder` comes from; with a `ref`, where that does. Raises InvalidInput when it is no ref."""
    commit = await _commit(folder, ref or "HEAD")
    if commit is None:
        if ref:
            raise _no_ref(folder, ref)
        return Provenance()
    words = await _told(folder, "show", "-s", "--format=%an <%ae>%n%s", commit)
    author, _, subject = (words or "").partition("\n")
    branch = ref or await _told(folder, "rev-parse", "--abbrev-ref", "HEAD") or ""
    return Provenance(
        commit=commit,
        author=author[:200],
        subject=subject[:200],
        ref="" if branch == "HEAD" else branch[:200],
        clean=True if ref else await _is_clean(folder),
    )


async def export(folder: Path, ref: str, into: Path) -> None:
    """Write the files that `folder` has at a git ref into the folder `into`. Raises InvalidInput, Exhausted."""
    commit = await _commit(folder, ref)
    if commit is None:
        raise _no_ref(folder, ref)
    packed = into.with_name(f"{into.name}.tar")
    # In a folder below the repository's root, git exports just that folder.
    done = await _git(folder, "archive", "--format=tar", f"--output={packed}", commit, write=packed.parent)
    if done is None or done.exit_code:
        why = done.stderr.decode(errors="replace").strip()[-300:] if done else "there is no git"
        raise InvalidInput("release.ref", f"{ref} cannot be exported", why=why, hint="Does it have this folder?")
    try:
        if packed.stat().st_size > _MAX_EXPORT_BYTES:
            raise Exhausted("release.too_large", f"{ref} has more than {_MAX_EXPORT_BYTES} bytes", hint="Ship less")
        with tarfile.open(packed, "r:") as files:
            # `data` refuses whatever would lie or point outside of the folder.
            files.extractall(into, filter="data")
    except tarfile.FilterError as error:
        raise InvalidInput(
            "release.ref", f"{ref} cannot be exported", why=str(error), hint="Change it there"
        ) from error
    finally:
        packed.unlink(missing_ok=True)


async def _is_clean(folder: Path) -> bool | None:
    told = await _told(folder, "-c", "core.fsmonitor=false", "status", "--porcelain", "--", ".")
    return None if told is None else not told


async def _commit(folder: Path, ref: str) -> str | None:
    # A ref that begins with a dash would be an option.
    if ref.startswith("-") or not ref.isprintable():
        return None
    return await _told(folder, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")


async def _told(folder: Path, *words: str) -> str | None:
    """Return what git prints, None where it fails."""
    done = await _git(folder, *words)
    return done.stdout.decode(errors="replace").strip() if done is not None and done.exit_code == 0 else None


async def _git(folder: Path, *words: str, write: Path | None = None) -> processes.Completed | None:
    git = shutil.which("git")
    if git is None:
        return None
    # git opens /dev/null for writing at its start; packs are mapped into memory whole.
    writable = (Path("/dev/null"), *((write,) if write else ()))
    limits = Confinement(read=(Path("/"),), write=writable, memory_bytes=64 << 30, niceness=0)
    # --no-optional-locks: looking must not write the index, which somebody else may be changing.
    return await processes.run(
        [git, "-C", str(folder), "--no-optional-locks", *words], timeout_s=_LIMIT_S, limits=limits
    )


def _no_ref(folder: Path, ref: str) -> InvalidInput:
    return InvalidInput(
        "release.ref", f"{ref!r} is no commit of the repository of {folder}", hint="See: git log --oneline --all"
    )
