"""The one exception type whose message is meant for the person at the terminal."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)


class VoVNetError(Exception):
    """A problem the user can fix: one sentence that names the thing and says what to do.

    Entry points print the sentence without a traceback and exit with status 1.
    Anything else that is raised is a defect of this program and keeps its traceback.
    """


def explained(error: Exception) -> Exception:
    """A disk that is full, may not be written or holds a folder in a file's place, or too little memory, as a sentence.

    Any other error is returned as it is.
    """
    if isinstance(error, OSError) and keeps_from_writing(error):
        fix = "set paths.runs to a writable folder"
        if error.errno in NO_ROOM:
            fix = "free space"
        elif error.errno in IN_THE_WAY:
            fix = "remove what is there"
        sentence = f"{error.filename or 'a file'}: {error.strerror}; {fix}"
    elif out_of_memory(error):
        sentence = f"there is too little memory ({first_line(error)[:120]}); lower the batch or layer sizes"
    else:
        return error
    problem = VoVNetError(f"{sentence} and run the same command again: what is finished is kept.")
    problem.__cause__ = error
    return problem


def out_of_memory(error: Exception) -> bool:
    """Of Python, of a device, and of torch on the CPU, which has no type of its own for it."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def keeps_from_writing(error: Exception) -> bool:
    """Whether it says why a disk takes no file: what ``explained`` makes a sentence of."""
    return isinstance(error, OSError) and error.errno in (*NO_ROOM, *NOT_ALLOWED, *IN_THE_WAY)


def first_line(error: Exception) -> str:
    """The beginning of what an error says, for a sentence; its kind where it says nothing."""
    return str(error).strip().split("\n")[0] or type(error).__name__
