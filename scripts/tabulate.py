"""Write the table and the summary of one editor and category."""

from pathlib import Path

from lockstep import alike, records, tables
from lockstep.joblog import job_log
from lockstep.rubric import read_rubric

with job_log(snakemake.log[0]):
    rubric = read_rubric(Path(snakemake.input.rubric))
    edits, scores = snakemake.input.edits, snakemake.input.scores
    folder = Path(snakemake.output.table).parent
    frame = tables.table(Path(snakemake.input.manifest), edits, scores, rubric, folder)
    edited = frame[["id", "status", "error"]].itertuples(index=False, name=None)
    alike.check_edits(str(folder), edited)
    records.write_text(snakemake.output.table, tables.to_csv(frame))
    summary = tables.summary(frame, edits, scores, rubric, snakemake.params.threshold)
    records.write_json(snakemake.output.summary, summary)
