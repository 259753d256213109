#pragma once
// Ends an mpirun that does not end by itself. A rank that is killed while mpirun still starts it can leave Open MPI's
// mpirun (4.1 with PMIx 4) waiting for itself for ever, after all ranks are gone: in a batch job that would be the rest
// of the allocation.

namespace protalbert {

/// Leaves one small process beside the ranks that mpirun starts on its own machine. Once none of mpirun's children has
/// lived for some seconds while mpirun itself still does, it says so in mpirun's output and kills it. It ends with
/// mpirun, and is not there when another launcher (srun, a daemon on another node) started this rank. Call it before
/// MPI starts; the ranks settle among themselves which of them does it. Never fails: without it all else works.
void guard_launcher();

}  // namespace protalbert
