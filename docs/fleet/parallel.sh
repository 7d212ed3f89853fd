#!/bin/bash
# A tree of videos with GNU parallel, one shard a job, each of which is tried twice:
#   bash parallel.sh in out
exec parallel --jobs 2 --retries 2 p2p-run "$1" --output "$2" --shard {}/8 ::: {1..8}
