"""Rubrics: what a judge is asked, how its replies are read, and how scores combine."""
