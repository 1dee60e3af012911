"""Commands for a first contact: `init` writes a configuration, `doctor` checks before a run."""
