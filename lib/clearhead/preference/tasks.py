r"""A small task whose answers a function can check: find the way over a board, and say so.

The board has `side` × `side` cells. A prompt names a goal and a start; an answer is a list of cells
that ends with EOS. It is right when every step goes to one of the eight neighbours, the last cell
is the goal, and the length limit has not cut it off. There are many right answers to a prompt, and
long ones among them.

**Why a walk.** What DAPO changes can act here. Far goals are hard and near ones easy, so that
groups come out all wrong or all right. Answers run from 2 tokens to the limit, and some over it.
The demonstrations hardly ever go diagonally, which is right, shorter, and rare: a policy has to
make a rare token likely.

**Demonstrations** are imperfect. At each step the walker heads for the goal with probability
`skill` and takes any neighbour otherwise; it gives up where it is with probability `impatience`.

**Tokens.** Cell (row, column) is `side · row + column`. A goal is `cells + cell`, an id of its own,
so that a model can tell goals from places; EOS is the last id. A prompt is `[goal, start]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead._checks import require_integer
from clearhead.model import Config, Decoder
from clearhead.training import IGNORED, initialise
from clearhead.training.tune import tune

from ._rl_checks import require_between


@dataclass(frozen=True)
class Board:
    """The task. Raises `ValueError` when a size or a probability is out of range."""

    side: int = 6
    limit: int = 14  # tokens of an answer, EOS among them
    skill: float = 0.45  # how often a demonstration's step heads for the goal
    diagonal: float = 0.02  # how often such a step may be a diagonal one
    impatience: float = 0.03  # how often a demonstration stops where it is

    def __post_init__(self):
        require_integer(2, side=self.side, limit=self.limit)
        require_between(
            0,
            1,
            ends=True,
            skill=self.skill,
            diagonal=self.diagonal,
            impatience=self.impatience,
        )

    @property
    def cells(self) -> int:
        return self.side**2

    @property
    def eos(self) -> int:
        return 2 * self.cells

    @property
    def vocab_size(self) -> int:
        return 2 * self.cells + 1

    def prompts(self, n: int, generator: torch.Generator) -> Int[Tensor, "{n} 2"]:
        """n prompts `[goal, start]`, every pair of two different cells equally likely."""
        options = dict(size=(n,), generator=generator, device=generator.device)
        start = torch.randint(self.cells, **options)
        goal = (start + torch.randint(1, self.cells, **options)) % self.cells
        return torch.stack([self.cells + goal, start], dim=1)

    def every_prompt(self) -> Int[Tensor, "N 2"]:
        """All pairs of two different cells."""
        start, goal = torch.meshgrid(*[torch.arange(self.cells)] * 2, indexing="ij")
        pairs = torch.stack([self.cells + goal.flatten(), start.flatten()], dim=1)
        return pairs[start.flatten() != goal.flatten()]

    def distance(self, a: int, b: int) -> int:
        """Steps from cell to cell: one may go diagonally, so the larger of the two differences."""
        (ra, ca), (rb, cb) = divmod(a, self.side), divmod(b, self.side)
        return max(abs(ra - rb), abs(ca - cb))

    def is_right(self, prompt: Sequence[int], answer: Sequence[int], ended: bool) -> bool:
        """Whether these tokens, EOS left off, lead from the start to the goal and ended there."""
        goal, place = prompt[0] - self.cells, prompt[1]
        for cell in answer:
            if cell >= self.cells or self.distance(place, cell) != 1:
                return False
            place = cell
        return ended and place == goal

    def correct(
        self,
        prompts: Int[Tensor, "N 2"],
        answers: Sequence[Sequence[int]],
        ended: Bool[Tensor, " N"],
    ) -> Bool[Tensor, " N"]:
        """`is_right` of each answer."""
        rows = zip(prompts.tolist(), answers, ended.tolist(), strict=True)
        return torch.tensor([self.is_right(*row) for row in rows])

    def demonstration(self, prompt: Sequence[int], generator: torch.Generator) -> list[int]:
        """A walker's answer, EOS included unless it still walks at twice the limit."""
        goal, place = prompt[0] - self.cells, prompt[1]
        (goal_row, goal_column), (row, column) = (divmod(c, self.side) for c in (goal, place))
        answer = []
        options = dict(generator=generator, device=generator.device)
        chances = torch.rand(2 * self.limit, 4, **options).tolist()
        for give_up, head, cut, choice in chances:
            if (row, column) == (goal_row, goal_column) or (answer and give_up < self.impatience):
                return [*answer, self.eos]
            down, right = _sign(goal_row - row), _sign(goal_column - column)
            if head < self.skill:  # one step nearer
                steps = [(down, 0), (0, right)]
                if cut < self.diagonal:
                    steps = [(down, right)]
            else:
                steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]
                if cut < self.diagonal:
                    steps = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            steps = [(a, b) for a, b in steps if (a or b) and self._inside(row + a, column + b)]
            a, b = steps[int(choice * len(steps))]
            row, column = row + a, column + b
            answer.append(self.side * row + column)
        return answer

    def _inside(self, row: int, column: int) -> bool:
        return 0 <= row < self.side and 0 <= column < self.side

    def demonstrations(
        self, n: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "{n} T"], Int[Tensor, "{n} T"], Bool[Tensor, "{n} T"]]:
        """`ids`, `labels` and which ids are real, for `tune`: n prompts, each with a walk."""
        prompts = self.prompts(n, generator).tolist()
        walks = [self.demonstration(prompt, generator) for prompt in prompts]
        T = 2 + max(map(len, walks))
        ids, labels = torch.full((n, T), self.eos), torch.full((n, T), IGNORED)
        real = torch.zeros(n, T, dtype=torch.bool)
        for i, (prompt, walk) in enumerate(zip(prompts, walks, strict=True)):
            end = 2 + len(walk)
            ids[i, :end] = torch.tensor(prompt + walk)
            labels[i, 2:end] = torch.tensor(walk)
            real[i, :end] = True
        return ids, labels, real


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


def starting_policy(
    task: Board,
    *,
    seed: int = 0,
    demonstrations: int = 3000,
    steps: int = 300,
    batch: int = 32,
    learning_rate: float = 3e-3,
) -> Decoder:
    """A small `Decoder` that has learned, not for long, from imperfect demonstrations."""
    generator = torch.Generator().manual_seed(seed)
    config = Config(
        vocab_size=task.vocab_size,
        width=48,
        layers=2,
        heads=2,
        kv_heads=2,
        head_size=24,
        feed_forward=96,
    )
    model = initialise(Decoder(config), std=0.1, seed=seed)
    ids, labels, real = task.demonstrations(demonstrations, generator)
    tune(
        model,
        ids,
        labels,
        real,
        prompt_weight=0.0,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
    )
    return model
