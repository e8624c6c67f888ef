"""A damaged recording is an error that names it or, where no reader can see the damage, of the same shape: none is silent, none hangs, none kills."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# What headers say of themselves, and nothing else contradicts: another number there is as good.
WRITTEN_OVER = ("flipped anywhere", "flipped in the header", "lying number", "lying field", "zeroed")


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


recording_damage = _module("recording_damage")
NEEDS = {"ant_cnt": "antio", "neuralynx": "neo", "curry7": "curryreader", "curry8": "curryreader", "eeglab": "pymatreader", "made set": "eeglabio"}


def tried(sounds: dict[str, Any], numbers: range, folder: Path) -> tuple[list[dict], dict[str, dict]]:
    """The damaged recordings with what came of them, and what the sound ones are."""
    names = [name for name in sounds if importlib.util.find_spec(NEEDS.get(name.split()[0] if "made" not in name else name, "mne"))]
    jobs = [{"number": -1 - k, "name": name, **recording_damage.copied(sounds[name], folder / name)} for k, name in enumerate(names)]
    for number in numbers:
        name = names[number % len(names)]
        job = recording_damage.copied(sounds[name], folder / str(number))
        kind, file, where = recording_damage.damage(folder / str(number), tuple(each.name for each in sounds[name].files), number)
        jobs.append({"number": number, "name": name, "kind": kind, "file": file, "where": where, **job})
    outcomes = _outcomes(jobs, folder)
    whole = {job["name"]: outcomes[job["number"]] for job in jobs if job["number"] < 0}
    return [{**job, **outcomes[job["number"]]} for job in jobs if job["number"] >= 0], whole


def _outcomes(jobs: list[dict], folder: Path) -> dict[int, dict]:
    """What came of each job; one that took the program down is a crash, and the others go on without it."""
    found: dict[int, dict] = {}
    while left := [job for job in jobs if job["number"] not in found]:
        (folder / "jobs.json").write_text(json.dumps(left))
        (folder / "outcomes.jsonl").write_text("")
        arguments = [sys.executable, str(HERE / "damaged_recordings.py"), str(folder / "jobs.json"), str(folder / "outcomes.jsonl")]
        ended = subprocess.run(arguments, capture_output=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
        lines = [json.loads(line) for line in (folder / "outcomes.jsonl").read_text().splitlines()]
        found |= {line["number"]: line for line in lines}
        if len(lines) < len(left):
            found[left[len(lines)]["number"]] = {"error": "crash", "message": f"code {ended.returncode}: {ended.stderr[-400:]!r}", "warnings": []}
    return found


def verdict(job: dict, whole: dict, optional: tuple[str, ...]) -> str:
    """error, warned, refused (when cut), invisible or same; everything else is a fault."""
    files = {Path(job["path"]).name, job["file"]}
    if "error" in job:
        return "error" if job["error"] in ("ValueError", "FileNotFoundError") and any(file in job["message"] for file in files) else f"bad error {job['error']}"
    if any(file in said and said not in whole["warnings"] for said in job["warnings"] for file in files):
        return "warned"
    if job["windows"] is not None and job["windows"] != whole["windows"]:
        return "refused"
    if job["kind"] in ("missing", "emptied", "truncated") and job["file"].endswith(optional) and optional:
        return "invisible"
    differ = [what for what in ("shape", "rate") if job[what] != whole[what]]
    if differ == ["rate"] and job["kind"] in WRITTEN_OVER:
        return "invisible"
    if differ or not job["finite"]:
        return f"silent {differ or 'NaN'}"
    return "same" if job["samples"] == whole["samples"] and job["events"] == whole["events"] else "invisible"


def judged(sounds: dict[str, Any], numbers: range, folder: Path) -> Counter:
    """How often each verdict fell; fails on every fault, with what was done."""
    jobs, whole = tried(sounds, numbers, folder)
    assert not [name for name, outcome in whole.items() if "error" in outcome], "sound recordings are read"
    verdicts = {job["number"]: verdict(job, whole[job["name"]], sounds[job["name"]].optional) for job in jobs}
    faults = [
        f"{job['number']} {job['name']}: {job['kind']} {job['file']} {job['where']}: {verdicts[job['number']]} {job.get('message', '')}"
        for job in jobs
        if verdicts[job["number"]].startswith(("bad", "silent"))
    ]
    assert not faults, "\n".join(faults)
    cut = [job for job in jobs if job["kind"] in ("truncated", "emptied") and not job["file"].endswith(sounds[job["name"]].optional or ("?",))]
    unsaid = [f"{job['number']} {job['name']} {job['file']} {job['where']}" for job in cut if verdicts[job["number"]] == "invisible"]
    assert not unsaid, f"cut short, and nobody said so: {unsaid}"
    return Counter(verdicts.values())


def test_damaged_recordings_of_five_formats_are_named(tmp_path):
    (tmp_path / "made").mkdir()
    found = judged(recording_damage.made_recordings(tmp_path / "made"), range(40), tmp_path)
    assert found["error"] > found.total() // 3, found


def test_damaged_recordings_of_every_real_format_are_named(shared_data, tmp_path):
    found = judged(recording_damage.real_recordings(shared_data / "formats"), range(63), tmp_path)
    assert found["error"] > found.total() // 3, found


@pytest.mark.slow
def test_a_thousand_damaged_recordings_are_named(shared_data, tmp_path):
    (tmp_path / "made").mkdir()
    sounds = {**recording_damage.made_recordings(tmp_path / "made"), **recording_damage.real_recordings(shared_data / "formats")}
    found = judged(sounds, range(1000, 2000), tmp_path)
    print(found)
    assert found["error"] > 500, found
