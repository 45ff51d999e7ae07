"""What the command asks of the machine: processes that it can use, room to write; what it says where that is not so."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence

from unweave.errors import MACHINE, UnsupportedError

# How many processes a launcher started, and which this one is: torchrun and accelerate, srun, mpirun (of two kinds).
# Within an allocation of several tasks Slurm's own script is one process: only a step (srun) has a number of tasks.
_LAUNCHERS = (
    ("WORLD_SIZE", ("RANK", "LOCAL_RANK")),
    ("SLURM_STEP_NUM_TASKS", ("SLURM_PROCID",)),
    ("OMPI_COMM_WORLD_SIZE", ("OMPI_COMM_WORLD_RANK",)),
    ("PMI_SIZE", ("PMI_RANK",)),
)
_MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what processes need to find each other
SERVED = ("run", "evaluate", "evidence")  # commands that several processes can share
_PATIENCE = 3.0  # seconds that the others leave the first one to say it: a launcher ends all as soon as one has ended
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SQLITE = {"SQLITE_FULL": errno.ENOSPC, "SQLITE_IOERR": errno.EIO, "SQLITE_READONLY": errno.EROFS}


def shared(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started several processes that are to share this command; False of one alone.

    Raises:
        UnsupportedError: there are several, and each would do the whole job in the same folder: this is the first; the
            others end later, without a word.
    """
    command = next((each for each in arguments if not each.startswith("-")), "")
    for size, ranks in _LAUNCHERS:
        rank = next((environment[name] for name in ranks if name in environment), None)
        if rank is None or not environment.get(size, "").isdecimal() or int(environment[size]) < 2:
            continue
        if command in SERVED and all(environment.get(name) for name in _MEETING):
            return True
        if rank != "0":
            time.sleep(_PATIENCE)
            raise SystemExit(2)
        alone = "runs in one process" if command not in SERVED else "takes several processes from torchrun alone"
        raise UnsupportedError(
            f"unweave {command} {alone}, and a launcher started {environment[size]} ({size}): each would do the whole "
            f"job in the same folder. For {', '.join(SERVED[:-1])} and {SERVED[-1]}: torchrun --nproc-per-node N -m "
            "unweave run RECIPE.yaml. Start other commands without torchrun, accelerate launch, srun or mpirun. If "
            f"none was started: env -u {size} unweave ..."
        )
    if any(name.startswith("ACCELERATE_") for name in environment) and command in SERVED:
        sys.stderr.write(
            "accelerate launch started one process. For several: torchrun --nproc-per-node N -m unweave "
            f"{command} RECIPE.yaml\n"
        )
    return False


def fault(error: BaseException) -> str:
    """What the machine has run out of, if that is what an error is about; an empty text if it is not."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return f"out of memory: {' '.join(str(each).split()) or 'the system gives no more'}"
        code = _code(each)
        if code in MACHINE:
            where = f"{each.filename}: " if isinstance(each, OSError) and each.filename else ""
            told = f"{where}{os.strerror(code).lower()}"
            kept = "What was written before is whole. Make room, and go on: the same command, of a run with --resume."
            return f"{told}. {kept}" if code in _FULL else told
        each = each.__cause__
    return ""


def _code(error: BaseException) -> int:
    """The system's number of an error, whoever reports it: Python, SQLite, or Rust's safetensors in its text."""
    if isinstance(error, OSError):
        return error.errno or 0
    name = getattr(error, "sqlite_errorname", "")
    told = re.search(r"\(os error (\d+)\)", str(error))
    return next((code for kind, code in _SQLITE.items() if name.startswith(kind)), int(told[1]) if told else 0)
