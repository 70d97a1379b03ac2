"""Train the trials of a search as tasks of a Ray cluster, several at a time."""

from typing import Any

from assay.pipeline.tune_trials import TrialProgress, TrialTask, train_trial
from assay.scale.cluster import task_error

_RETRIES = 3
"""How often a task is repeated whose process or machine died; it continues from the trial's checkpoint."""


class RayTrials:
    """Runs a task on as many processors as its training has processes, or on as many GPUs if the cluster has any.

    The folder of the search and the photos must be reachable from all machines of the cluster. Each process has one
    thread, and loads its photos itself unless `train.workers` says otherwise.

    Args:
        ray: the module, connected to a cluster.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._gpus = ray.cluster_resources().get("GPU", 0) > 0
        self._tasks: list[Any] = []

    @property
    def slots(self) -> int:
        """Number of processors or GPUs of the cluster; tasks that need several wait for them."""
        return max(1, int(self._ray.cluster_resources().get("GPU" if self._gpus else "CPU", 1)))

    def submit(self, task: TrialTask) -> None:
        """Start a task."""
        devices = task.recipe.train.devices
        on_gpu = self._gpus and task.recipe.train.device != "cpu"
        remote = self._ray.remote(
            num_cpus=devices, num_gpus=devices if on_gpu else 0, max_retries=_RETRIES, retry_exceptions=False
        )(_train)
        self._tasks.append(remote.remote(task))

    def wait(self) -> TrialProgress:
        """Return the result of a task that has ended.

        Raises:
            AssayError: a task failed for another reason than its trial, as if all retries died.
        """
        (ended,), self._tasks = self._ray.wait(self._tasks)
        try:
            progress: TrialProgress = self._ray.get(ended)
        except self._ray.exceptions.RayError as error:
            raise task_error(error) from None
        return progress


def _train(task: TrialTask) -> TrialProgress:
    train = task.recipe.train
    if train.workers is None:
        train = train.model_copy(update={"workers": 0})
        task = TrialTask(task.folder, task.number, task.recipe.model_copy(update={"train": train}), task.until)
    return train_trial(task)
