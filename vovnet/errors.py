"""The one exception type whose message is meant for the person at the terminal."""


class VoVNetError(Exception):
    """A problem the user can mend: one sentence that names the thing and says what to do.

    Entry points print the sentence without a traceback and exit with status 1.
    Anything else that is raised is a defect of this program and keeps its traceback.
    """
