#pragma once
// Which GPU a process takes: that of its number among the processes of its machine.

#include <string>

#include "comm/communicator.hpp"

namespace protalbert {

/// Before MPI starts, since MPI libraries may ask for the GPU: takes the GPU that the launcher's number for this
/// process says (Open MPI, MVAPICH, MPICH, Intel MPI, Cray PALS, Slurm). Every process sees all GPUs of its machine, or
/// its own alone; CUDA_VISIBLE_DEVICES stays as it is, so that NCCL finds the ways between them. Does nothing where the
/// command line says --device cpu, the launcher says nothing, or there is no GPU.
void take_launched_gpu(int argc, char** argv);

/// Once MPI has started and before a backend is made for `device`: takes a GPU where the launcher said nothing, and
/// throws InputError where two ranks of a machine have the same. Collective.
void settle_gpu(const std::string& device, const Communicator& communicator);

}  // namespace protalbert
