# shellcheck shell=bash disable=SC2034
# One machine with Slurm on it, for a queue of its own jobs. Without Slurm none of this is needed: mpirun -n N starts the
# programs, as jobscripts/demo.sh does.
#   MACHINE=workstation sbatch --ntasks-per-node=2 --cpus-per-task=4 jobscripts/phase1.slurm
# Last tested: November 2026, Debian 12 with Slurm 22.05.8 and Open MPI 4.1.4, two cores, by tests/slurm/jobs.sh.

# Several jobs, or a person, may share the cores: no rank is tied to any, and waiting ranks give theirs up.
export OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive OMP_PROC_BIND=false

# Debian's Open MPI starts by PMIx, Debian's MPICH by pmi2.
MPI_TYPE=pmix
