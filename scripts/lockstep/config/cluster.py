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
        description="Number of shards of each category, each on one device.",
    )
    allocation: Literal["category", "shard"] = Field(
        "category",
        description="category: one allocation on one node for all shards of a category. shard: one "
        "allocation for each shard.",
    )
    partition: Word | None = Field(
        None, description="Partition of jobs that need a device; null is the cluster's default."
    )
    cpu_partition: Word | None = Field(None, description="Partition of all other jobs.")
    account: Word | None = Field(
        None, description="Account to charge; null is the cluster's default."
    )
    gpu_model: Word | None = Field(
        None, description="Kind of GPU, by the cluster's name; null takes any."
    )
    cpus: PositiveInt = Field(8, description="Processors for each shard.")
    memory: PositiveInt = Field(
        96, description="Host memory for each shard, in GB. Each retry requests this much more."
    )
    runtime: PositiveInt = Field(
        240, description="Most minutes that a job may take. Each retry requests this much more."
    )
    node_local: PathText | None = Field(
        None,
        description="Folder on a local disk of each node. Folders of weights are copied there once "
        "for each node.",
    )
    image: str | None = Field(
        None,
        min_length=1,
        description="Image made by `snakemake --containerize`, for `--sdm conda apptainer`.",
    )
