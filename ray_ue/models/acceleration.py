"""Faster ways to run the same work on a GPU, each of which is given up in one line where it does not work or gives other numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Tell = Callable[[str], None]
Work = Callable[[], Tensor]
Recorder = Callable[[Work], Work]  # some work on fixed tensors -> what does it again

WORTH_COMPILING = 2_000_000  # image passes from which on a minute of compiling is won back
EAGER = 3  # steps before one is recorded: optimisers make their state in the first, and libraries choose their kernels
WARM = 2  # times that work is done on another stream before it is recorded, as torch asks for
APART = 0.05  # of what a step changes: rounding in bf16 is far below, and a step that was recorded wrongly far above


def worth_compiling(images: int, *, device: torch.device, world: int) -> bool:
    """Whether a network is compiled for so many image passes; workers that meet in every batch norm are not."""
    return device.type == "cuda" and world == 1 and images >= WORTH_COMPILING


def reason(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


@dataclass(kw_only=True, eq=False)
class CompiledNet:
    """A network, compiled when it is first called; where that fails, as without a C compiler, the network as it is.

    Other sizes, modes and slopes are compiled anew, so that each kind of call is tried, backward too, before it counts.
    """

    net: nn.Module
    tell: Tell
    _run: Callable[[Tensor], Tensor] = field(init=False)
    _tried: set[tuple[object, ...]] = field(default_factory=set, init=False)
    _given_up: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._run = torch.compile(self.net)

    def __call__(self, images: Tensor) -> Tensor:
        if self._given_up:
            return self.net(images)
        sought = [value for value in self.net.parameters() if value.requires_grad]
        kind = (images.shape, images.dtype, images.requires_grad, len(sought), self.net.training, torch.is_grad_enabled())
        if kind not in self._tried:
            self._try(images, sought)
            self._tried.add(kind)
        return self.net(images) if self._given_up else self._run(images)

    def _try(self, images: Tensor, sought: Sequence[Tensor]) -> None:
        """Go forward and back once, and put back what that has changed of the network and of the random numbers."""
        kept = [value.detach().clone() for value in self.net.buffers()]
        given = images.detach().requires_grad_(images.requires_grad)
        sought = [*sought, *([given] if given.requires_grad else [])]
        try:
            with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
                result = self._run(given)
                if torch.is_grad_enabled() and sought:
                    torch.autograd.grad(result.float().sum(), sought, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the compiler's errors are of many libraries
            self.tell(f"not compiled ({reason(error)}): slower, with the same results")
            self._given_up = True
        with torch.no_grad():
            for place, value in zip(self.net.buffers(), kept, strict=True):
                place.copy_(value)


def record_on_gpu(work: Work) -> Work:
    """Record some work on fixed tensors as a CUDA graph: one launch in place of hundreds."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


@dataclass(kw_only=True, eq=False)
class RecordedStep:
    """A step that is recorded once for each shape of its inputs, and replayed after that.

    `work` depends on its inputs and on `state` alone, changes nothing but `state` (tensors that stay where they are), and gives one
    number. A recording is only used once its first step has changed `state` as the step itself does; else, and where nothing can be
    recorded, every step is done as it is.
    """

    work: Callable[..., Tensor]
    state: Callable[[], Sequence[Tensor]]
    recorder: Recorder
    tell: Tell
    _left: int = field(default=EAGER, init=False)
    _given_up: bool = field(default=False, init=False)
    _recorded: dict[tuple[torch.Size, ...], tuple[list[Tensor], Work]] = field(default_factory=dict, init=False)

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self._given_up or self._left:
            self._left = max(0, self._left - 1)
            return self.work(*inputs)
        shapes = tuple(value.shape for value in inputs)
        if shapes not in self._recorded:
            return self._first(shapes, inputs)
        places, replay = self._recorded[shapes]
        for place, value in zip(places, inputs, strict=True):
            place.copy_(value)
        return replay().clone()

    def _first(self, shapes: tuple[torch.Size, ...], inputs: Sequence[Tensor]) -> Tensor:
        """The step itself, after a recording of it was made and tried from the same state."""
        places, before = [value.clone() for value in inputs], self._copies()
        try:
            replay = self.recorder(lambda: self.work(*places))
            self._put_back(before)
            replay()
            replayed = self._copies()
        except torch.OutOfMemoryError:
            self._put_back(before)
            self._give_up("no memory is left for a recording")
            return self.work(*inputs)
        except Exception as error:  # noqa: BLE001 - whatever cannot be recorded can still be done
            self._put_back(before)
            self._give_up(reason(error))
            return self.work(*inputs)
        self._put_back(before)
        result = self.work(*inputs)
        if alike(replayed, self._copies(), before=before):
            self._recorded[shapes] = (places, replay)
        else:
            self._give_up("a recorded step gave other numbers")
        return result

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self._recorded.clear()
        self.tell(f"steps are not recorded ({why}): slower, with the same results")

    def _copies(self) -> list[Tensor]:
        return [value.detach().clone() for value in self.state()]

    @torch.no_grad()
    def _put_back(self, values: Sequence[Tensor]) -> None:
        for place, value in zip(self.state(), values, strict=True):
            place.copy_(value)


def alike(first: Sequence[Tensor], second: Sequence[Tensor], *, before: Sequence[Tensor]) -> bool:
    """Whether two ways have changed the same tensors alike: they differ by little of what one of them has changed."""
    apart = torch.stack([(a.double() - b.double()).square().sum() for a, b in zip(first, second, strict=True)]).sum().sqrt()
    moved = torch.stack([(b.double() - c.double()).square().sum() for b, c in zip(second, before, strict=True)]).sum().sqrt()
    return bool(apart <= APART * moved)
