"""The part of the configuration that says what jobs on a cluster ask for."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from lockstep.config.section import PathText, Section

# these become options of sbatch, and no shell may find more in them
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]


class ClusterSettings(Section):
    """What jobs on a cluster ask for."""

    shards: PositiveInt = Field(
        le=10_000,
        description="Shards of each category, one on a device; without `cluster` all runs here.",
    )
    allocation: Literal["category", "shard"] = Field(
        "category",
        description="One allocation on one node for all shards of a category, or one a shard.",
    )
    partition: Word | None = Field(
        None, description="Partition of jobs on a device; null takes the cluster's default."
    )
    cpu_partition: Word | None = Field(None, description="Partition of all other jobs.")
    account: Word | None = Field(None, description="Whom to charge; null takes the default.")
    gpu_model: Word | None = Field(
        None, description="Kind of GPU, as the cluster calls it; null takes any."
    )
    cpus: PositiveInt = Field(8, description="Processors of a shard.")
    memory: PositiveInt = Field(
        96, description="Host memory of a shard in GB; each retry asks for as much again."
    )
    runtime: PositiveInt = Field(
        240, description="Most minutes that a job may take; each retry asks for as much again."
    )
    node_local: PathText | None = Field(
        None,
        description="Folder on a disk of each node that model folders are copied to, once a node.",
    )
    image: str | None = Field(
        None,
        min_length=1,
        description="Image of `snakemake --containerize` for `--sdm conda apptainer`.",
    )
