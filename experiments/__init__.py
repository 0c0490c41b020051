"""Entry points: compose a configuration, call vovnet, show the result."""

import signal
import sys

# While `python -m experiments.NAME` imports its modules, an interrupt ends it at once, without a traceback of them;
# ``vovnet.launch`` takes over from there.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
