#!/usr/bin/env bash
# Starts a program of an unpacked bundle (tests/gpu_bundle.sh makes one), under the name of the link that it is called by:
# the libraries that the bundle carries, and those that it leaves to the machine, are found for this program alone.
set -euo pipefail
bundle=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
program=$bundle/bin/$(basename "$0")
[ -x "$program" ] || { echo "error: call one of these instead: $(cd "$bundle/bin" && echo *)" >&2; exit 2; }

# Each process would believe that it is alone, and write the same files.
for processes in "${OMPI_COMM_WORLD_SIZE:-1}" "${PMI_SIZE:-1}" "${SLURM_STEP_NUM_TASKS:-1}"; do
    [ "$processes" = 1 ] || { echo "error: programs of a bundle run as one process; start one, not $processes" >&2; exit 2; }
done

# folder_of LIBRARY: where the machine has it: among the loader's own places, in CUDA's toolkit, or beside PyTorch.
folder_of() {
    local folder folders python
    IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
    for folder in "${folders[@]}"; do [ -z "$folder" ] || [ ! -e "$folder/$1" ] || return 0; done
    if grep -q "[[:space:]]$1 " <<<"$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)"; then return 0; fi
    for folder in ${CUDA_HOME:+"$CUDA_HOME/lib64" "$CUDA_HOME/lib"} ${CUDA_PATH:+"$CUDA_PATH/lib64"} /usr/local/cuda/lib64 \
        /usr/local/cuda/lib /usr/local/cuda-*/lib64 /usr/lib64 /usr/lib/x86_64-linux-gnu; do
        if [ -e "$folder/$1" ]; then echo "$folder"; return 0; fi
    done
    for python in python3 python; do
        # PyTorch's wheels keep NVIDIA's libraries in the packages of the namespace `nvidia`.
        folder=$("$python" - "$1" 2>/dev/null <<'PYTHON' || true
import glob, os, sys
import nvidia
for root in nvidia.__path__:
    for found in glob.glob(os.path.join(root, "**", "lib", sys.argv[1]), recursive=True):
        print(os.path.dirname(found))
        sys.exit()
PYTHON
        )
        if [ -n "$folder" ]; then echo "$folder"; return 0; fi
    done
    return 1
}

path=$bundle/lib
while read -r library; do
    if folder=$(folder_of "$library"); then
        path+=${folder:+:$folder}
    else
        echo "error: $library was not found: it comes with CUDA's toolkit (load its module, or set CUDA_HOME to its" \
             "folder) or with PyTorch for CUDA 13 (in the python3 of PATH)" >&2
        exit 127
    fi
done <"$bundle/lib/of_the_machine.txt"
export LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# Open MPI looks for its plugins and messages where it was installed, unless told otherwise. A program that is started
# alone would want Open MPI's daemon, which is not here; plugins for networks that the machine lacks stay silent.
export OPAL_PREFIX=$bundle/openmpi OPAL_LIBDIR=$bundle/openmpi/lib OMPI_MCA_mca_base_component_show_load_errors=0
# Such programs would all take the same folder in /tmp, which the first that ends removes under the others: none is made.
export OMPI_MCA_ess_singleton_isolated=1 OMPI_MCA_orte_create_session_dirs=0 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec "$program" "$@"
