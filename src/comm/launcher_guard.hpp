#pragma once
// Ends an mpirun that does not end by itself. A rank that is killed while mpirun still starts it can leave Open MPI's
// mpirun (4.1 with PMIx 4) waiting for itself for ever, after all ranks are gone: in a batch job that would be the rest
// of the allocation.

namespace protalbert {

/// Makes this process known to the guard of its mpirun, a small process beside the ranks, of which one becomes it where
/// there is none. The guard kills mpirun, and says so in its output, when the job has failed and mpirun stays ten
/// seconds longer without waiting for a reader of its output: when each of the ranks that mpirun announced is known to
/// the guard and known to have ended, at least one of them without leave_launcher(). What the guard does not know
/// counts as alive. Nor does it act while a process lives that a rank has started, or where it cannot look at mpirun's
/// output (a socket, under a system that forbids tracing).
///
/// Nothing is done, and mpirun has no guard, in a job of several machines, under another launcher (srun, MPICH's
/// mpirun), below a wrapper (gdb, perf), with more than 1024 ranks, and on Linux before 5.9. Call it before MPI starts.
/// Takes a second at most. Never fails: without it all else works.
void guard_launcher();

/// This rank ends as it should: whatever mpirun still has to do is none of the guard's business. Call it after MPI's
/// end. Never fails.
void leave_launcher();

}  // namespace protalbert
