# Skipped unless asked for, and where Slurm is missing or cannot be started; it says so. Mostly waiting: Slurm looks at time limits twice a minute.
protalbert_script_test(slurm jobs)
set_tests_properties(slurm.jobs PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
