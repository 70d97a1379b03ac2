"""Train a network by several processes of a Ray cluster, started by Ray Train."""

import os
import pickle
from tempfile import TemporaryDirectory
from typing import Any, Final

from assay.core.errors import AssayError
from assay.core.text_layout import counted
from assay.scale.cluster import task_error

_RAY_ADDRESS: Final = "RAY_ADDRESS"


class RayTraining:
    """Runs `train.devices` processes, each with a processor or, if the cluster has any, a GPU.

    The photos and the run's folder must be reachable from all machines under the same paths.

    Args:
        ray: the module, connected to a cluster.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def run(self, call: bytes, processes: int) -> None:
        """Run a pickled function and its arguments as `function(group, *arguments)` in every process.

        Raises:
            AssayError: a process failed, or the cluster has too few processors.
        """
        from ray.train import RunConfig, ScalingConfig  # noqa: PLC0415 - `ray` is passed once it is configured
        from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        cpus = int(resources.get("CPU", 1))
        if processes > (gpus or cpus):
            # Ray would wait for more machines forever.
            kind = counted(gpus, "GPU") if gpus else counted(cpus, "processor")
            raise AssayError(f"the Ray cluster has {kind}: give --devices {gpus or cpus} or fewer")
        # A cluster that Assay has started listens on loopback addresses only.
        variables = {} if os.environ.get(_RAY_ADDRESS) else {"GLOO_SOCKET_IFNAME": "lo"}
        with TemporaryDirectory(prefix="assay-ray-") as folder:
            trainer = TorchTrainer(
                _train,
                train_loop_config={"call": call},
                torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=processes, use_gpu=bool(gpus), resources_per_worker={"CPU": 1}
                ),
                # The types are those of the former version of Ray Train.
                run_config=RunConfig(storage_path=folder, worker_runtime_env={"env_vars": variables}),  # type: ignore[call-arg]
            )
            try:
                trainer.fit()
            except Exception as error:  # noqa: BLE001 - Ray Train raises errors of several kinds
                raise task_error(error) from None


def _train(config: dict[str, Any]) -> None:
    from ray.train import get_context  # noqa: PLC0415

    from assay.training.distributed import ProcessGroup  # noqa: PLC0415 - torch is imported by the workers

    function, arguments = pickle.loads(config["call"])  # noqa: S301 - from the process that started the training
    context = get_context()
    function(ProcessGroup(context.get_world_rank(), context.get_world_size(), node_size=1), *arguments)
