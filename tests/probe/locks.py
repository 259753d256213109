"""One call of protalbert_probe at a time at an output: locks.py BUILD_FOLDER, in a folder of its own."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
import unittest

import h5py
import numpy

from files import Files, read
from programs import MPIRUN, PROBE, TIMEOUT, run, write


class Locks(Files):
    def calls(self):
        """The three actions, what each holds, and how a second one is told of another place."""
        data = ("--task", "secondary_structure", "--three-state", "labels.fasta", "--checkpoint", "short.h5",
                "--proteins", "proteins.fasta")
        return [(("train", *data, "--epochs", "1", "--no-baselines", "--output", "busy.h5"), "busy.h5", "--output"),
                (("train", *data, "--epochs", "1", "--no-baselines", "--output", "other.h5", "--report", "busy.json"),
                 "busy.json", "--report"),
                (("evaluate", *data, "--head", "held.h5"), "held.h5.evaluate", "--report"),
                (("evaluate", *data, "--head", "held.h5", "--report", "scores.json"), "scores.json", "--report"),
                (("predict", "--task", "secondary_structure", "--head", "held.h5", "--checkpoint", "short.h5",
                  "proteins.fasta", "--output", "busy"), "busy.h5", "--output")]

    def test_another_call_at_work(self):
        """A second call is refused after ten seconds, on all ranks, and touches nothing; afterwards it works."""
        self.train("labels.fasta", "held.h5", "--no-baselines")
        processes, held = [], []
        for name in ("busy.h5", "busy.json", "held.h5.evaluate", "scores.json"):
            held.append(open(name + ".lock", "w"))  # as of another call
            fcntl.flock(held[-1], fcntl.LOCK_EX)
        before = sorted(os.listdir())
        for call, place, option in self.calls():
            processes.append(subprocess.Popen([*MPIRUN, "2", PROBE, *call], stdout=subprocess.PIPE,
                                              stderr=subprocess.STDOUT, text=True))
        for process, (call, place, option) in zip(processes, self.calls()):
            text = process.communicate(timeout=TIMEOUT)[0]
            self.assertEqual(process.returncode, 2, text)
            self.assertIn(f"another run is at work at {place}: ", text)
            self.assertIn(f"choose another {option}", text)
        self.assertEqual(sorted(os.listdir()), before)
        for file in held:
            file.close()
        # What a killed call leaves holds nobody up, and is gone afterwards.
        for call, place, option in self.calls():
            self.assertTrue(os.path.exists(place + ".lock") or "busy" in place)
            code, text = run(1, *call)
            self.assertEqual(code, 0, text)
            self.assertFalse(os.path.exists(place + ".lock"))

    def test_programs_hold_the_same_place(self):
        """Whichever program writes it, an output is one call's at a time."""
        write("few.fasta", ">a\nMKVLAAGIT\n>b\nACDEFGHIK\n")
        calls = [["protalbert_prepare", "few.fasta", "--output", "one.h5"],
                 ["protalbert_embed", "--checkpoint", "short.h5", "few.fasta", "--output", "one.h5"],
                 ["protalbert_convert", "short.h5", "one.h5"]]
        with open("one.h5.lock", "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            processes = [subprocess.Popen([os.path.join(os.path.dirname(PROBE), program), *arguments], text=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                         for program, *arguments in calls]
            for process, call in zip(processes, calls):
                text = process.communicate(timeout=TIMEOUT)[0]
                self.assertEqual(process.returncode, 2, (call, text))
                self.assertIn("another run is at work at one.h5: ", text)
        os.remove("one.h5.lock")
        self.assertFalse(os.path.exists("one.h5"))
        self.assertFalse(os.path.exists("one.h5.part"))

    def test_two_calls_at_once(self):
        """One waits for the other or is refused; the files are whole. Other outputs are other calls' business."""
        self.train("labels.fasta", "held.h5", "--no-baselines")
        predict = [*MPIRUN, "1", PROBE, "predict", "--task", "secondary_structure", "--head", "held.h5", "--checkpoint",
                   "short.h5", "proteins.fasta", "--output"]
        subprocess.run([*predict, "single"], check=True, capture_output=True, timeout=TIMEOUT)
        outputs = ("same", "same", "different")
        processes = [subprocess.Popen([*predict, output], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                     for output in outputs]
        for process in processes:
            text = process.communicate(timeout=TIMEOUT)[0]
            self.assertEqual(process.returncode, 0, text)  # each takes far less than ten seconds
        for output in ("same", "different"):
            self.assertEqual(read(output + ".three_state.fasta"), read("single.three_state.fasta"))
            with h5py.File(output + ".h5") as one, h5py.File("single.h5") as other:
                numpy.testing.assert_array_equal(one["three_state/probabilities"], other["three_state/probabilities"])
        self.assertEqual([name for name in os.listdir() if name.endswith((".lock", ".part"))], [])

    def test_a_killed_call_blocks_nobody(self):
        call = ["train", "--task", "secondary_structure", "--three-state", "labels.fasta", "--checkpoint", "short.h5",
                "--proteins", "proteins.fasta", "--no-baselines", "--output", "killed.h5"]
        process = subprocess.Popen([PROBE, *call, "--epochs", "1000000", "--patience", "1000000"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists("killed.h5.lock") and time.monotonic() < deadline:
            time.sleep(0.05)
        self.addCleanup(process.kill)
        with open("killed.h5.lock") as file, self.assertRaises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertTrue(os.path.exists("killed.h5.lock"))
        code, text = run(2, *call, "--epochs", 1)
        self.assertEqual(code, 0, text)
        self.assertEqual([name for name in os.listdir() if name.startswith("killed")], ["killed.h5"])

    def test_outputs_are_no_inputs(self):
        """A head or label file is not written over by what is computed from it."""
        self.train("labels.fasta", "kept.h5", "--no-baselines")
        head = read("kept.h5")
        write("kept_labels.fasta", read("labels.fasta").decode())
        os.makedirs("folder", exist_ok=True)
        shutil.copy("short.h5", "kept_encoder.h5")
        data = ("--task", "secondary_structure", "--three-state", "kept_labels.fasta", "--checkpoint",
                "kept_encoder.h5", "--proteins", "proteins.fasta")
        for call in (("predict", "--task", "secondary_structure", "--head", "kept.h5", "--checkpoint", "short.h5",
                      "proteins.fasta", "--output", "kept"),
                     ("evaluate", *data, "--head", "kept.h5", "--report", "folder/../kept.h5"),
                     ("train", *data, "--output", "kept_labels.fasta"),
                     ("train", *data, "--output", "new.h5", "--report", "./new.h5"),
                     ("train", *data, "--output", "kept_encoder.h5")):
            code, text = run(2, *call)
            self.assertEqual(code, 2, text)
            self.assertIn("choose another --", text)
        self.assertEqual(read("kept.h5"), head)


if __name__ == "__main__":
    unittest.main(verbosity=2)
