"""A job loses nothing: killed, interrupted, fed with broken rows, or started on what is not its own."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from narratives import job, lock
from narratives.bundle import Calibration, ModelBundle
from narratives.config import ScoreConfig
from narratives.errors import ConfigError, InputError, JobError, UnknownName
from narratives.scorer import Scorer

WORDS = [
    "Точно говорю: дорога, льёт дождь",
    "Сообщают соседи: школа, валит снег",
    "Рынок открыт для всех",
    "Неправда это: мост, льёт дождь",
]


def dump(path: Path, n: int) -> Path:
    rows = [json.dumps({"id": i, "text": f"{WORDS[i % 4]} {i}.", "views": i}, ensure_ascii=False) for i in range(n)]
    rows[3] = "{broken"
    rows[n // 2] = json.dumps({"id": "no text"})
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PART_POSTS", 50)


@pytest.mark.usefixtures("small_parts")
def test_every_record_is_scored_or_kept_with_its_reason(tmp_path: Path, scorer: Scorer) -> None:
    summary = job.run(dump(tmp_path / "in.jsonl", 220), tmp_path / "out.parquet", scorer)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in rows] == [str(i) for i in range(220) if i not in (3, 110)]
    rejected = [json.loads(line) for line in (tmp_path / "out.rejected.jsonl").read_text("utf-8").splitlines()]
    assert [(r["line"], r["post_kept"]) for r in rejected] == [(4, False), (111, False)]
    manifest = json.loads((tmp_path / "out.manifest.json").read_text("utf-8"))
    assert manifest["counts"]["n_posts"] == 218 == summary.counts.n_posts
    assert manifest["counts"]["n_rejected"] == 2
    assert manifest["job"]["model"] == scorer.bundle.model_id
    assert manifest["counts"]["labels"] == {
        "rain": sum("rain" in r["labels"] for r in rows),
        "snow": sum("snow" in r["labels"] for r in rows),
    }
    assert not (tmp_path / "out.parquet.parts").exists()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_resumed_job_gives_the_bytes_of_an_undisturbed_one(tmp_path: Path, scorer: Scorer, suffix: str) -> None:
    source = dump(tmp_path / "in.jsonl", 400)
    job.run(source, tmp_path / f"whole{suffix}", scorer)

    class Stop(Exception):
        pass

    for stop_after in (1, 2, 1, 3):
        seen = 0

        def stop(_progress: object, stop_after: int = stop_after) -> None:
            nonlocal seen
            seen += 1
            if seen == stop_after:
                raise Stop

        with pytest.raises(Stop):
            job.run(source, tmp_path / f"cut{suffix}", scorer, on_progress=stop)
    summary = job.run(source, tmp_path / f"cut{suffix}", scorer)
    assert summary.n_resumed > 0
    assert (tmp_path / f"cut{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert (tmp_path / "cut.rejected.jsonl").read_bytes() == (tmp_path / "whole.rejected.jsonl").read_bytes()


SCRIPT = """
import signal, sys, time
from pathlib import Path
from narratives import job, lock
from narratives.scorer import Scorer
# A shell that runs tests in the background ignores Ctrl-C, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
job.PART_POSTS = 100
wait = float(sys.argv[4])  # after each part, so that a busy machine still kills it in time
job.run(Path(sys.argv[1]), Path(sys.argv[2]), Scorer.from_pretrained(sys.argv[3]), on_progress=lambda _: time.sleep(wait))
"""


OUT_OF_MEMORY = "out of memory"


def end(process: subprocess.Popen[bytes], how: signal.Signals | str) -> None:
    if how == OUT_OF_MEMORY:
        import resource

        # No more address space than it has: its next allocation fails. (The kernel's own killer sends SIGKILL.)
        used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(process.pid, resource.RLIMIT_AS, (used, used))
    else:
        process.send_signal(how)  # type: ignore[arg-type]
    process.wait(timeout=60)


WAYS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, *([OUT_OF_MEMORY] if sys.platform == "linux" else [])]


@pytest.mark.parametrize(("how", "moment"), [*zip(WAYS, (1, 9, 17, 6), strict=False), (signal.SIGKILL, 23)])
def test_a_really_killed_process_is_resumed_to_the_same_rows(
    tmp_path: Path, linear_bundle: ModelBundle, how: signal.Signals | str, moment: int
) -> None:
    source = dump(tmp_path / "in.jsonl", 3000)
    arguments = [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "out.parquet"), str(linear_bundle.path)]
    process = subprocess.Popen([*arguments, "0.2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seal = tmp_path / "out.parquet.parts" / f"part-00000-{moment:06}.json"
    deadline = time.monotonic() + 60
    while not seal.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    end(process, how)
    assert not (tmp_path / "out.parquet").exists(), "it was killed too late to be a test"
    subprocess.run([*arguments, "0"], check=True)
    ids = pq.read_table(tmp_path / "out.parquet", columns=["id"])["id"].to_pylist()
    assert ids == [str(i) for i in range(3000) if i not in (3, 1500)]


def test_the_same_job_twice_is_done_once(tmp_path: Path, scorer: Scorer) -> None:
    source = dump(tmp_path / "in.jsonl", 20)
    job.run(source, tmp_path / "out.parquet", scorer)
    before = (tmp_path / "out.parquet").stat().st_mtime_ns
    summary = job.run(source, tmp_path / "out.parquet", scorer)
    assert summary.already_done
    assert summary.counts.n_posts == 18
    assert (tmp_path / "out.parquet").stat().st_mtime_ns == before


def test_an_output_of_another_job_is_not_overwritten(tmp_path: Path, scorer: Scorer) -> None:
    job.run(dump(tmp_path / "a.jsonl", 20), tmp_path / "out.parquet", scorer)
    other = dump(tmp_path / "b.jsonl", 30)
    with pytest.raises(JobError, match="exists and is not the output of this job; choose another name or pass --overwrite"):
        job.run(other, tmp_path / "out.parquet", scorer)
    assert job.run(other, tmp_path / "out.parquet", scorer, overwrite=True).counts.n_posts == 28


@pytest.mark.usefixtures("small_parts")
def test_a_changed_input_or_model_does_not_join_old_parts(tmp_path: Path, scorer: Scorer, linear_bundle: ModelBundle) -> None:
    source = dump(tmp_path / "in.jsonl", 200)

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(source, tmp_path / "out.parquet", scorer, on_progress=stop)
    without = Scorer.from_bundle(linear_bundle, config=ScoreConfig(evidence=False))
    with pytest.raises(JobError, match=r"holds parts of another job \(different: evidence\)"):
        job.run(source, tmp_path / "out.parquet", without)
    dump(source, 201)
    with pytest.raises(JobError, match=r"holds parts of another job \(different: input\)"):
        job.run(source, tmp_path / "out.parquet", scorer)


def test_two_processes_do_not_write_one_output(tmp_path: Path, scorer: Scorer) -> None:
    outputs = job.Outputs.of(tmp_path / "out.parquet")
    with lock.hold(outputs.parts, outputs.output), pytest.raises(JobError, match="another process is writing it"):
        job.run(dump(tmp_path / "in.jsonl", 20), tmp_path / "out.parquet", scorer)


def test_the_input_is_never_the_output(tmp_path: Path, scorer: Scorer) -> None:
    source = dump(tmp_path / "in.jsonl", 20)
    with pytest.raises(ConfigError, match="is the input itself"):
        job.run(source, source, scorer, overwrite=True)


@pytest.mark.parametrize(("name", "message"), [("out.xyz", r"unknown ending '\.xyz'; known: \.parquet"), ("out", "unknown ending ''")])
def test_an_unknown_ending_is_refused(tmp_path: Path, scorer: Scorer, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job.run(dump(tmp_path / "in.jsonl", 20), tmp_path / name, scorer)


def test_a_file_without_a_single_post_is_an_error_with_its_reason(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "in.jsonl").write_text('{"words": "да"}\n' * 3)
    with pytest.raises(InputError, match="no text column; found words"):
        job.run(tmp_path / "in.jsonl", tmp_path / "out.parquet", scorer)


def test_posts_without_an_id_get_their_place(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "раз"}\nbroken\n{"text": "два"}\n', "utf-8")
    job.run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", scorer)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["row1", "row3"]


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs a small file system of its own: root on Linux")
def test_a_full_disk_is_a_clear_error_and_keeps_finished_parts(tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PART_POSTS", 500)
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        source = dump(tmp_path / "in.jsonl", 8000)
        with pytest.raises(JobError, match=r"finished parts are kept in out\.parquet\.parts"):
            job.run(source, place / "out.parquet", scorer)
        assert list((place / "out.parquet.parts").glob("part-*.json"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(place)], check=True)
        summary = job.run(source, place / "out.parquet", scorer)
        assert summary.n_resumed > 0
        assert summary.counts.n_posts == 7998
    finally:
        subprocess.run(["umount", str(place)], check=False)


@pytest.mark.usefixtures("small_parts")
def test_an_output_folder_that_goes_is_a_clear_error(tmp_path: Path, scorer: Scorer) -> None:
    source = dump(tmp_path / "in.jsonl", 400)
    place = tmp_path / "place"

    def take_away(progress: job.Progress) -> None:
        if progress.counts.n_posts > 100 and place.exists():
            place.rename(tmp_path / "elsewhere")

    with pytest.raises(
        JobError, match=r"part-00000-\d+\.parquet\.tmp: No such file or directory; finished parts are kept in out\.parquet\.parts"
    ):
        job.run(source, place / "out.parquet", scorer, on_progress=take_away)
    assert not place.exists(), "it is not made anew behind the user's back"
    (tmp_path / "elsewhere").rename(place)
    summary = job.run(source, place / "out.parquet", scorer)
    assert summary.n_resumed > 0
    assert summary.counts.n_posts == 398


@pytest.mark.usefixtures("small_parts")
def test_another_model_does_not_join_old_parts(tmp_path: Path, scorer: Scorer, linear_bundle: ModelBundle) -> None:
    source = dump(tmp_path / "in.jsonl", 200)

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(source, tmp_path / "out.parquet", scorer, on_progress=stop)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out.parquet.parts").iterdir()}
    other = dataclasses.replace(linear_bundle, calibration=Calibration.identity(2)).save_pretrained(tmp_path / "other")
    with pytest.raises(JobError, match=r"holds parts of another job \(different: model, model_sha256\)\. Run that job again to finish it"):
        job.run(source, tmp_path / "out.parquet", Scorer.from_bundle(other))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out.parquet.parts").iterdir()} == before
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.usefixtures("small_parts")
def test_an_input_that_changed_after_the_job_does_not_pass_for_done(tmp_path: Path, scorer: Scorer) -> None:
    source = dump(tmp_path / "in.jsonl", 100)
    job.run(source, tmp_path / "out.parquet", scorer)
    before = (tmp_path / "out.parquet").read_bytes()
    source.write_text(source.read_text("utf-8").replace("дождь", "град"), "utf-8")
    with pytest.raises(JobError, match="exists and is not the output of this job; choose another name or pass --overwrite"):
        job.run(source, tmp_path / "out.parquet", scorer)
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_a_finished_job_leaves_the_parts_of_one_that_writes_it_anew(tmp_path: Path, scorer: Scorer) -> None:
    source = dump(tmp_path / "in.jsonl", 20)
    outputs = job.run(source, tmp_path / "out.parquet", scorer).outputs
    with lock.hold(outputs.parts, outputs.output):
        (outputs.parts / "part-00000-000001.json").write(b"{}")
        with pytest.raises(JobError, match="another process is writing it"):
            job.run(source, tmp_path / "out.parquet", scorer)
        assert (outputs.parts / "part-00000-000001.json").is_file()
    assert job.run(source, tmp_path / "out.parquet", scorer).already_done
    assert not outputs.parts.is_folder(), "nobody is at work there any more"


def test_a_format_is_known_before_the_dump_is_read(tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = dump(tmp_path / "in.jsonl", 20)
    monkeypatch.setattr(job, "_identity", lambda *_: pytest.fail("the dump was read"))
    with pytest.raises(UnknownName, match=r"unknown format 'telegramm'; known: telegram_desktop"):
        job.run(source, tmp_path / "out.parquet", scorer, format="telegramm")


def test_two_real_processes_on_one_output(tmp_path: Path, linear_bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PART_POSTS", 100)  # as the other process has it: the very same job
    source = dump(tmp_path / "in.jsonl", 3000)
    arguments = [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "out.parquet"), str(linear_bundle.path), "0.2"]
    first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seal = tmp_path / "out.parquet.parts" / "part-00000-000001.json"
    while not seal.exists() and first.poll() is None:
        time.sleep(0.01)
    with pytest.raises(JobError, match="another process is writing it; wait for it, or choose another output"):
        job.run(source, tmp_path / "out.parquet", Scorer.from_bundle(linear_bundle))
    first.kill()
    first.wait()


@pytest.mark.usefixtures("small_parts")
def test_a_folder_of_dumps_is_one_job(tmp_path: Path, scorer: Scorer) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    dump(folder / "b.jsonl", 120)
    (folder / "a.csv").write_text("text\nраз\nдва\n", "utf-8")
    (folder / "notes.txt").write_text("not a dump")
    summary = job.run(folder, tmp_path / "out.jsonl", scorer)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows[:3]] == ["a.csv:row1", "a.csv:row2", "0"]
    assert summary.counts.n_posts == len(rows) == 2 + 118
    manifest = json.loads((tmp_path / "out.manifest.json").read_text("utf-8"))
    assert manifest["job"]["input"]["files"] == 2
    assert manifest["job"]["format"] == "csv, jsonl"
    assert job.run(folder, tmp_path / "out.jsonl", scorer).already_done


def test_a_folder_without_a_dump_is_refused(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: is a folder without a dump in it; known endings: \.csv, \.tsv"):
        job.run(tmp_path / "empty", tmp_path / "out.parquet", scorer)


def test_hostile_posts_go_through_a_whole_job(tmp_path: Path, scorer: Scorer) -> None:
    """Endless marks (a minute of Python's own NFC), 10^5 characters, formulas, HTML, escape codes, NUL, ids that repeat."""
    texts = [
        "а" + "\u0301\u0316" * 50_000,
        "Точно говорю: дорога, льёт дождь вчера вечером. " * 2500,
        '=HYPERLINK("http://x","да")',
        "<script>alert(1)</script>",
        "\x1b[31mкрасное\x1b[0m\x07",
        "а\0б",
        "[" * 100_000,
        "www." * 25_000,
        "А." * 50_000,
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": "один", "text": text}) + "\n" for text in texts), "utf-8")
    clock = time.process_time()
    for suffix in (".parquet", ".csv", ".jsonl"):
        assert job.run(path, tmp_path / f"out{suffix}", scorer).counts.n_posts == len(texts)
    assert time.process_time() - clock < 60
    assert pq.read_table(tmp_path / "out.parquet", columns=["text"])["text"].to_pylist() == texts
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as stream:
        cells = [row["text"] for row in csv.DictReader(stream)]
    assert cells[2].startswith("'=HYPERLINK")
    assert cells[3] == "<script>alert(1)</script>"
