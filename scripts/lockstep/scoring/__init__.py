"""Judging the edits of one shard: each judgement is made once and kept."""
