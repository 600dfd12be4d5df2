"""The command line.

It is the whole process, and every thread in it is one that LeakMatch starts: a library that filled all cores by itself
would take them from the workers. The environment is read when numpy is imported, which is after this.
"""

import os

from leakmatch.offered import ONE_THREAD

os.environ.update(ONE_THREAD)
