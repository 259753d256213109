# shellcheck shell=bash disable=SC2034
# A cluster of CPU nodes: two sockets of 64 cores here; change the numbers to yours.
#   sbatch --account=A --partition=P --nodes=16 --ntasks-per-node=16 --cpus-per-task=8 jobscripts/phase1.slurm
# One rank for 8 cores that share a cache; tasks a node x cores a task are the node's cores, not its hardware threads:
# the scripts ask for one thread a core, by --hint=nomultithread.
# Not yet run on this machine. Its options and the job scripts were: November 2026, Debian 12 with Slurm 22.05.8 and Open
# MPI 4.1.4, two node names on one host, by tests/slurm/jobs.sh; bindings have no effect there.

# Modules: the ones with which jobscripts/setup.sh built, for example
# module purge
# module load gcc/13 openmpi/5 hdf5-parallel/1.14

# Each rank keeps its own cores.
srun_options+=(--cpu-bind=cores)
export OMP_PROC_BIND=close OMP_PLACES=cores

# For protalbert_pretrain, before PROTALBERT_OPTIONS: with fewer tokens at a time than GPUs want, 16 ranks of ProtAlbert
# fit into a node of 256 GB (phase1.slurm and phase2.slurm have the numbers). Feed-forward products of 1024 tokens
# reached nine tenths of the rate of 2048 on two cores; on eight nobody has measured it.
pretrain_options+=(--set train.batch_tokens=1024)

# Open MPI starts by PMIx; MPICH and Intel MPI by pmi2; Cray's by cray_shasta. `srun --mpi=list` tells what Slurm has.
MPI_TYPE=pmix
