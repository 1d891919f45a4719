"""The command line: `trimtab …`.

Nothing heavy is imported before a command runs, so that `--help` answers at once. Errors are one sentence on stderr;
exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the data server cannot be reached.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from trimtab.errors import TrimtabError, Unavailable

OK, FAILED, USAGE, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error becomes one sentence on stderr."""
    from trimtab_worker.cli.app import UsageError, app

    try:
        code = app(args=list(arguments), prog_name="trimtab", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except UsageError as error:
        return _usage(error)
    except TrimtabError as error:
        return _fail(str(error), UNAVAILABLE if isinstance(error, Unavailable) else FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`trimtab … | head`); what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        return _unexpected(error)


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{context.get_help()}\n")
        return USAGE
    message = getattr(error, "format_message", error.__str__)().strip()
    stop = "" if message.endswith((".", "?", "!")) else "."
    path = context.command_path if context is not None else "trimtab"
    return _fail(f"{message}{stop} Try: {path} --help", USAGE)


def _unexpected(error: Exception) -> int:
    """A connection that broke, or a bug: either way a sentence, and the traceback only for who asks for it."""
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    from redis.exceptions import OutOfMemoryError, RedisError

    from trimtab.adapters.redis.connection import UNREACHABLE, unavailable
    from trimtab_worker.cli.session import services

    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, UNREACHABLE):
        return _fail(str(unavailable(error, services().client)), UNAVAILABLE)
    if isinstance(error, OutOfMemoryError):
        return _fail("The data server's memory is full: raise its maxmemory, and see `trimtab doctor`.", FAILED)
    if isinstance(error, RedisError):
        return _fail(f"The data server refused a command: {text}. See `trimtab doctor`.", FAILED)
    if os.environ.get("TRIMTAB_LOG_LEVEL") == "DEBUG":
        return _fail("".join(traceback.format_exception(error)).rstrip(), FAILED)
    return _fail(f"Unexpected {type(error).__name__}: {text}. Set TRIMTAB_LOG_LEVEL=DEBUG to see where.", FAILED)


def _fail(sentence: str, code: int) -> int:
    from trimtab.telemetry import redact

    sys.stdout.flush()
    sys.stderr.write(f"{redact(sentence)}\n")
    return code
