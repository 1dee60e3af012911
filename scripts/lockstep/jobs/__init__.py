"""Jobs on devices: what each is told, where it runs, and what its outputs were made of."""

RUN = "LOCKSTEP_RUN"
"""Environment variable with the name of the run that a job belongs to."""

TELLS = "LOCKSTEP_TELLS"
"""Environment variable that is set where the workflow engine itself says why a job failed for good,
so that what several jobs fail of is said once."""

STARTER = "LOCKSTEP_STARTER"
"""Environment variable with the process id of the workflow engine that starts jobs."""

SCRIPTS = "LOCKSTEP_SCRIPTS"
"""Environment variable with the socket of the process that does jobs' scripts, if there is one."""
