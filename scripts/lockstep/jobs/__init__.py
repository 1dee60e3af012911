"""Jobs on devices: what each is told, where it runs, and what its outputs were made of."""

RUN = "LOCKSTEP_RUN"
"""Environment variable with the name of the run that a job belongs to."""

STARTER = "LOCKSTEP_STARTER"
"""Environment variable with the process id of the workflow engine that starts jobs."""

SCRIPTS = "LOCKSTEP_SCRIPTS"
"""Environment variable with the socket of the process that does jobs' scripts, if there is one."""
