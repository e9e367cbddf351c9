"""Where work runs: here, or in spawned processes. Results never depend on it, and come as soon as they are done."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol

from veriward.core.errors import SettingsError
from veriward.core.evidence import Cost
from veriward.core.subject import Subject

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

Work = Callable[["Opened", Any], Mapping[str, Any]]
WORTH_SECONDS = 15.0  # of work left: below this, starting processes costs more than it brings
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Done:
    """A finished item: which one, what it gave, what it cost."""

    number: int
    result: Mapping[str, Any]
    cost: Cost


class Engine(Protocol):
    """Runs work on items, in any order."""

    def map(self, work: Work, items: Sequence[Any]) -> Iterator[Done]:
        """Yield each item's result as soon as it is there."""


@dataclass
class InProcess:
    """One item after another, on one thread per tile so that the number of threads never shows in a result."""

    opened: "Opened"

    def map(self, work: Work, items: Sequence[Any]) -> Iterator[Done]:
        """Yield the items' results in order."""
        for number, item in enumerate(items):
            yield Done(number, *_timed(self.opened, work, item))


def _timed(opened: "Opened", work: Work, item: Any) -> tuple[Mapping[str, Any], Cost]:
    with _one_thread():
        opened.model.counter.take()
        start = time.perf_counter()
        result = work(opened, item)
        cost = opened.model.counter.take()
    return result, Cost(time.perf_counter() - start) + cost


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Pool:
    """Spawned worker processes, each with the subject opened once and one torch thread."""

    opened: "Opened"
    loading: Any
    workers: int

    def map(self, work: Work, items: Sequence[Any]) -> Iterator[Done]:
        """Yield results as they come; Ctrl-C and errors end the workers."""
        count = min(self.workers, len(items))
        arguments = (self.opened.subject, self.loading, os.getpid())
        pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin, initargs=arguments)
        try:
            futures: dict[Future[Any], int] = {pool.submit(_work, work, item): n for n, item in enumerate(items)}
            for future in as_completed(futures):
                result, cost = future.result()
                yield Done(futures[future], result, Cost(**cost))
        except BaseException:
            _end(pool)
            raise
        pool.shutdown()


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list(
        (pool._processes or {}).values()
    )  # there is no public way to end a worker in the middle of an item
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


_here: "dict[str, Opened]" = {}  # of a worker process


def _begin(subject: Subject, loading: Any, parent: int) -> None:
    from veriward.adapters.opened import open_subject

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    _here["opened"] = open_subject(
        subject, device=loading.device, batch_size=loading.batch_size, trust=loading.trust, code=loading.code
    )


def _follow(parent: int) -> None:
    """End with the parent: after its kill -9 the queue's pipe would keep a worker waiting for ever."""
    while os.getppid() == parent:
        time.sleep(PATIENCE_SECONDS)
    os._exit(1)


def _work(work: Work, item: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
    result, cost = _timed(_here["opened"], work, item)
    return result, asdict(cost)


@dataclass
class Adaptive:
    """Starts here; moves to processes when the first item shows that what is left is worth it."""

    opened: "Opened"
    loading: Any
    workers: int

    def map(self, work: Work, items: Sequence[Any]) -> Iterator[Done]:
        """Yield results from here, then from the pool if there is one."""
        here = InProcess(self.opened).map(work, items)
        for done in here:
            yield done
            rest = items[done.number + 1 :]
            if len(rest) > 1 and done.cost.seconds * len(rest) > WORTH_SECONDS:
                start = done.number + 1
                for other in Pool(self.opened, self.loading, self.workers).map(work, rest):
                    yield Done(start + other.number, other.result, other.cost)
                return


def choose(opened: "Opened", loading: Any, *, engine: str, workers: int | None) -> Engine:
    """Return the engine for the options; live models stay in this process.

    Raises SettingsError for unknown engines and worker counts below one.
    """
    if engine != "local":
        raise SettingsError(f"--engine {engine}: this version runs on one machine; want local")
    if workers is not None and workers < 1:
        raise SettingsError(f"--workers {workers}: want 1 or more")
    on_gpu = opened.device.type != "cpu"
    if opened.subject.is_live or _holds_objects(opened.subject) or _is_paced(opened.subject) or on_gpu or workers == 1:
        return InProcess(opened)
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return Adaptive(opened, loading, cores) if cores > 1 else InProcess(opened)
    return Pool(opened, loading, workers)


def _is_paced(subject: Subject) -> bool:
    """Whether a served model's rate is limited: one process alone can keep to it."""
    return subject.model.endpoint is not None and subject.model.endpoint.rate is not None


def _holds_objects(subject: Subject) -> bool:
    """Whether rows are live objects: copying them to every worker could cost more than the work."""
    return any(part is not None and not isinstance(part, str) for part in (subject.data.train, subject.data.test))
