#!/bin/bash
# A tree of videos as a Slurm array, one shard a task:
#   sbatch --array=1-40 slurm.sh in out
#SBATCH --job-name=p2p-run
#SBATCH --cpus-per-task=2
#SBATCH --requeue
exec p2p-run "$1" --output "$2"
