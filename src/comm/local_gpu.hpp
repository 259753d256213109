#pragma once
// A process's device: of GPUs, that of its number among the processes of its machine.

#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "kernels/backend.hpp"

namespace protalbert {

/// Before MPI starts, since MPI libraries may ask for the GPU: takes the GPU that the launcher's number for this
/// process says (Open MPI, MVAPICH, MPICH, Intel MPI, Cray PALS, Slurm). Every process sees all GPUs of its machine, or
/// its own alone; CUDA_VISIBLE_DEVICES stays as it is, so that NCCL finds the ways between them. Does nothing where the
/// command line says --device cpu, the launcher says nothing, or there is no GPU.
void take_launched_gpu(int argc, char** argv);

/// A backend of `device` (auto, cpu or cuda) with this rank's share of its machine: its GPU, also where the launcher
/// said nothing, or its threads. Throws InputError where two ranks of a machine have the same GPU, or some none.
/// Collective.
std::unique_ptr<Backend> make_rank_backend(const std::string& device, Precision precision,
                                           const Communicator& communicator);

}  // namespace protalbert
