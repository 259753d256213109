# shellcheck shell=bash disable=SC2034
# A cluster of GPU nodes: four NVIDIA GPUs and 64 cores a node here; change the numbers to yours.
#   MACHINE=gpu_cluster sbatch --account=A --partition=P --nodes=16 --gpus-per-node=4 --ntasks-per-node=4 \
#       --cpus-per-task=16 jobscripts/phase1.slurm
# The other scripts take the same options; embed.slurm takes one node a task. Where a job gets no more memory than it
# asks for, add --mem=0: all of the node's.
# Not yet run on this machine (on one H200 without MPI): tests/gpu.sh on one of its nodes tells whether kernels are right and fast
# there. The settings are those that large centres recommend.

# Modules: the ones with which jobscripts/setup.sh built, for example
# module purge
# module load gcc/13 cuda/12 nccl openmpi/5 hdf5-parallel/1.14

# One rank a GPU. Every rank sees all GPUs of its node and takes one by its local rank: GPUs hidden from each other
# (--gpus-per-task, CUDA_VISIBLE_DEVICES for each rank) cannot exchange memory directly. Slurm 24.05 and newer may need
# --tres-bind=gres/gpu:none in place of --gpu-bind=none.
#
# Ranks take sockets' cores one after another, because the node's first GPUs are at its first socket as a rule; Slurm's
# default deals ranks out to the sockets in turn. Where GPUs and sockets are in another order (nvidia-smi topo -m), use
# the centre's list of each GPU's cores instead: --cpu-bind=mask_cpu:...
srun_options+=(--distribution=block:block --cpu-bind=cores --gpu-bind=none)
export OMP_PROC_BIND=close OMP_PLACES=cores
# Cray's MPI takes the network card beside the GPU.
export MPICH_OFI_NIC_POLICY=GPU

# For each program, before PROTALBERT_OPTIONS: a GPU that is missing is an error, and the CPU no replacement.
pretrain_options+=(--device cuda --set train.precision=bfloat16)
embed_options+=(--device cuda --precision bfloat16)
bench_train_options+=(--device cuda --precision bfloat16)
bench_collectives_options+=(--device cuda)

# Open MPI starts by PMIx; MPICH and Intel MPI by pmi2; Cray's by cray_shasta. `srun --mpi=list` tells what Slurm has.
MPI_TYPE=pmix
