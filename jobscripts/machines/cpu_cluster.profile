# shellcheck shell=bash disable=SC2034
# A cluster of CPU nodes: two sockets of 64 cores here; change the numbers to yours.
#   sbatch --account=A --partition=P --nodes=16 --ntasks-per-node=16 --cpus-per-task=8 jobscripts/phase1.slurm
# One rank for 8 cores that share a cache; tasks a node x cores a task are the node's cores (not its hardware threads).
# Not yet run on this machine. Its options and the job scripts were: November 2026, Debian 12 with Slurm 22.05.8 and Open
# MPI 4.1.4, two node names on one host, by tests/slurm/jobs.sh; bindings have no effect there.

# Modules: the ones with which jobscripts/setup.sh built, for example
# module purge
# module load gcc/13 openmpi/5 hdf5-parallel/1.14

# Each rank keeps its own cores; hardware threads stay idle.
srun_options+=(--cpu-bind=cores --hint=nomultithread)
export OMP_PROC_BIND=close OMP_PLACES=cores

# Open MPI starts by PMIx; MPICH and Intel MPI by pmi2; Cray's by cray_shasta. `srun --mpi=list` tells what Slurm has.
MPI_TYPE=pmix
