"""Whether a run can learn: before its first step, and while it is in progress."""
