"""Jobs on devices: what each is told, where it runs, and what its outputs were made of."""

STARTER = "LOCKSTEP_STARTER"
"""Environment variable with the process id of the workflow engine that starts jobs."""
