"""The one exception type whose message is meant for the person at the terminal."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


class VoVNetError(Exception):
    """A problem the user can mend: one sentence that names the thing and says what to do.

    Entry points print the sentence without a traceback and exit with status 1.
    Anything else that is raised is a defect of this program and keeps its traceback.
    """


def explained(error: Exception) -> Exception:
    """A disk that is full or may not be written, as a sentence; any other error as it is."""
    if not isinstance(error, OSError) or not keeps_from_writing(error):
        return error
    mend = "free space" if error.errno in NO_ROOM else "set paths.runs to a writable folder"
    problem = VoVNetError(
        f"{error.filename or 'a file'}: {error.strerror}; {mend} and run the same command again: what is finished is "
        "kept."
    )
    problem.__cause__ = error
    return problem


def keeps_from_writing(error: Exception) -> bool:
    """Whether it says that a disk is full or may not be written: what ``explained`` makes a sentence of."""
    return isinstance(error, OSError) and error.errno in (*NO_ROOM, *NOT_ALLOWED)


def first_line(error: Exception) -> str:
    """The beginning of what an error says, for a sentence; its kind where it says nothing."""
    return str(error).strip().split("\n")[0] or type(error).__name__
