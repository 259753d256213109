# Needs no Slurm.
protalbert_script_test(slurm sequence_files)
# Skipped, saying why, where Slurm is missing or cannot be started. Three minutes of mostly waiting: Slurm looks at time
# limits twice a minute. The sanitizers have nothing to find in scripts.
if(NOT PROTALBERT_SANITIZE)
  protalbert_script_test(slurm jobs)
  protalbert_patient_launcher(slurm.jobs)
  set_tests_properties(slurm.jobs PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
endif()
