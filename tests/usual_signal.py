"""Signals as a program has them that was not started by nohup, under which tests may run, too."""

import signal


def usual_signal(number: signal.Signals) -> signal.Handlers:
    """Give a signal its usual action, until the test run ends; returns it."""
    signal.signal(number, signal.SIG_DFL)
    return signal.SIG_DFL
