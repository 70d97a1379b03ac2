"""Workers that start together create one database file."""

import subprocess
import sys
from pathlib import Path

_OPEN_ALL = """
import asyncio, sys
from pathlib import Path
from assay.serving.request_log.stores import SqliteStore

async def open_it(path):
    store = SqliteStore(Path(path))
    await store.open()
    await store.close()

print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[1:]:
    asyncio.run(open_it(path))
"""


def test_workers_create_a_new_file_concurrently(tmp_path: Path):
    paths = [str(tmp_path / f"{number}.sqlite") for number in range(150)]
    command = [sys.executable, "-c", _OPEN_ALL, *paths]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [(worker.communicate(timeout=60)[1], worker.returncode) for worker in workers] == [("", 0)] * 4
