"""Loads a language model for the planned schedule."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tcf.common.errors import ConfigError, ModelError
from tcf.common.files import home
from tcf.common.torch_internals import is_out_of_memory
from tcf.config.extract import ExtractConfig
from tcf.encoders.encoder import Encoder, load_encoder
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loading import Dispatch
from tcf.encoders.speed_up import make_fast
from tcf.encoders.split.output_shapes import OutputShapes
from tcf.encoders.split.skeleton import Skeleton, open_skeleton
from tcf.encoders.split.weight_buffers import attach, move_buffers
from tcf.extract.plan.plan import Plan
from tcf.extract.resolved_settings import Settings
from tcf.extract.schedules.calibrate_micro_batch import calibrated_micro_batch
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.lane import Lane
from tcf.extract.schedules.pipeline import PipelineEngine, PipelineStage
from tcf.extract.schedules.resident import ResidentEngine
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.schedules.weight_stream import BlockStream

__all__ = ["load_engine", "load_resident", "load_sweep"]

_ELSEWHERE = ("cpu", "disk")  # places of blocks that do not stay on a CUDA device


def load_engine(
    folder: ModelFolder, layers: tuple[int, ...], config: ExtractConfig, settings: Settings, plan: Plan
) -> Engine:
    """Load the weights that the plan loads at the start.

    Args:
        folder: the model.
        layers: layers whose states are needed.
        config: settings as requested.
        settings: settings resolved for the model and this machine.
        plan: where parts are kept, and how much is computed at once.

    Raises:
        NotSeparableError: for a sweep or a pipeline, the model cannot be run block by block.
        ModelError: it cannot be loaded.
    """
    try:
        return _loaded(folder, layers, config, settings, plan)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{folder.path}: out of memory while loading weights ({' '.join(str(error).split())[:200]}); other "
            "programs may have taken memory since the plan was made: run the same command again, or pass a lower "
            "--max-memory"
        ) from None


def _loaded(
    folder: ModelFolder, layers: tuple[int, ...], config: ExtractConfig, settings: Settings, plan: Plan
) -> Engine:
    match plan.schedule:
        case "resident":
            tokens = config.tokens_per_batch or plan.micro_batch_tokens
            return load_resident(folder, layers, config, settings, tokens_per_batch=tokens)
        case "sweep":
            return load_sweep(folder, layers, config, settings, plan)
        case "pipeline":
            return _load_pipeline(folder, layers, config, settings, plan)
        case "dispatch":
            return _load_dispatched(folder, layers, config, settings, plan)


def load_resident(
    folder: ModelFolder,
    layers: tuple[int, ...],
    config: ExtractConfig,
    settings: Settings,
    *,
    tokens_per_batch: int | None = None,
) -> ResidentEngine:
    """Load the whole model onto its device, optimised for speed.

    Args:
        folder: the model.
        layers: layers whose states are needed.
        config: settings as requested.
        settings: settings resolved for the model and this machine.
        tokens_per_batch: tokens computed at once; chosen by a calibration run if not given.

    Raises:
        ModelError: it cannot be loaded.
    """
    encoder = _whole(folder, layers, config, settings, None)
    make_fast(encoder, compile=config.compile)
    tokens = tokens_per_batch or calibrated_micro_batch(
        encoder, settings.dtype, home() / "trials", compiled=config.compile
    )
    return ResidentEngine(encoder, tokens, _metadata("resident", tokens, [settings.device]))


def _load_dispatched(
    folder: ModelFolder, layers: tuple[int, ...], config: ExtractConfig, settings: Settings, plan: Plan
) -> ResidentEngine:
    """Load a model as accelerate distributes it over devices, RAM and disk; its hooks fetch weights in every call.

    Raises:
        ModelError: it cannot be loaded.
    """
    offload = TemporaryDirectory(prefix="tcf-offload-")
    encoder = _whole(folder, layers, config, settings, Dispatch(plan.dispatch_map, Path(offload.name)))
    tokens = _tokens(plan)
    return ResidentEngine(encoder, tokens, _metadata("dispatch", tokens, [settings.device]), offload)


def load_sweep(
    folder: ModelFolder, layers: tuple[int, ...], config: ExtractConfig, settings: Settings, plan: Plan
) -> SweepEngine:
    """Load the weights around a model's blocks, and the blocks that stay on a device; the others are streamed.

    Raises:
        ModelError: the model cannot be run block by block, or its weights cannot be read.
    """
    devices = [torch.device(name) for name in plan.devices]
    # One skeleton per device, because each is filled with that device's weights.
    skeletons = [_skeleton(folder, layers, config, settings) for _ in devices]
    on_cuda = devices[0].type == "cuda"
    streamed = [number for number, place in enumerate(plan.blocks) if place in (_ELSEWHERE if on_cuda else ("disk",))]
    held = [number for number in streamed if plan.blocks[number] == "cpu"]
    tokens = _tokens(plan)
    stream = BlockStream(skeletons[0].within, streamed, held, devices)
    resident = [number for number in range(len(plan.blocks)) if number not in streamed]
    try:
        lanes = _lanes(skeletons, devices, stream, resident)
        _check_separable(lanes[0])
    except BaseException:
        stream.close()
        raise
    return SweepEngine(
        lanes,
        stream,
        frozenset(streamed),
        plan.packs,
        tokens,
        plan.hidden_states,
        config.checkpoint_layers,
        {**_metadata("sweep", tokens, devices), "packed": plan.packs},
    )


def _load_pipeline(
    folder: ModelFolder, layers: tuple[int, ...], config: ExtractConfig, settings: Settings, plan: Plan
) -> PipelineEngine:
    """Load a model onto several devices, each with a range of its blocks.

    Raises:
        ModelError: the model cannot be run block by block, or its weights cannot be read.
    """
    devices = [torch.device(name) for name in plan.devices]
    ranges = _ranges(plan)

    def lane(device: torch.device) -> Lane:
        skeleton = _skeleton(folder, layers, config, settings)
        return Lane.of(skeleton, device, weights.read_now(skeleton.around, device))

    with closing(BlockStream([], [], [], devices)) as weights:
        first, last = lane(devices[0]), lane(devices[-1])
        stages = []
        for device, numbers in zip(devices, ranges, strict=True):
            skeleton = _skeleton(folder, layers, config, settings)
            move_buffers(skeleton.model, device)
            for number in numbers:
                attach(skeleton.blocks[number], weights.read_now(skeleton.within[number], device))
            stages.append(PipelineStage(Lane(skeleton, device, OutputShapes(folder.path)), numbers))
    _check_separable(first)
    tokens = _tokens(plan)
    return PipelineEngine(first, last, stages, tokens, _metadata("pipeline", tokens, devices))


def _ranges(plan: Plan) -> list[range]:
    """The blocks of each device; equally many for each if devices share a name, as several `cpu` do."""
    n, k = len(plan.blocks), len(plan.devices)
    if len(set(plan.devices)) < k:
        return [range(n * i // k, n * (i + 1) // k) for i in range(k)]
    stops = [sum(plan.devices.index(place) <= i for place in plan.blocks) for i in range(k)]
    return [range(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


def _whole(
    folder: ModelFolder,
    layers: tuple[int, ...],
    config: ExtractConfig,
    settings: Settings,
    dispatch: Dispatch | None,
) -> Encoder:
    return load_encoder(
        folder,
        settings.dtype,
        settings.device,
        layers=layers,
        project_out=config.project_out,
        trust_remote_code=config.trust_remote_code,
        dispatch=dispatch,
    )


def _skeleton(folder: ModelFolder, layers: tuple[int, ...], config: ExtractConfig, settings: Settings) -> Skeleton:
    return open_skeleton(
        folder,
        settings.dtype,
        layers=layers,
        project_out=config.project_out,
        trust_remote_code=config.trust_remote_code,
    )


def _tokens(plan: Plan) -> int:
    tokens = plan.micro_batch_tokens
    if tokens is None:
        raise ConfigError("--tokens-per-batch: expected a number, because the plan has none; pass one, such as 1024")
    return tokens


def _check_separable(lane: Lane) -> None:
    """Check before any text is read that the model can be run block by block."""
    with torch.inference_mode():
        lane.record(torch.zeros((1, 1), dtype=torch.int64, device=lane.device))


def _lanes(
    skeletons: Sequence[Skeleton], devices: Sequence[torch.device], stream: BlockStream, resident: Sequence[int]
) -> list[Lane]:
    """A lane for every device; lanes on the same device share their weights."""
    lanes: list[Lane] = []
    for skeleton, device in zip(skeletons, devices, strict=True):
        twin = next((lane for lane in lanes if lane.device == device), None)
        if twin is not None:
            around = {weight.name: _find(twin.skeleton.model, weight.name) for weight in skeleton.around}
        else:
            around = stream.read_now(skeleton.around, device)
        lane = Lane.of(skeleton, device, around)
        for number in resident:
            weights = skeleton.within[number]
            if twin is not None:
                tensors = {weight.name: _find(twin.blocks[number], weight.name) for weight in weights}
            else:
                tensors = stream.read_now(weights, device)
            attach(lane.blocks[number], tensors)
        lanes.append(lane)
    return lanes


def _find(module: torch.nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer with a dotted name."""
    owner, _, leaf = name.rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(owner), leaf)
    return tensor.detach()


def _metadata(schedule: str, tokens: int, devices: Sequence[torch.device]) -> dict[str, object]:
    return {
        "schedule": schedule,
        "tokens_per_batch": tokens,
        "threads": torch.get_num_threads(),
        "device": ",".join(map(str, devices)),
    }
