"""lora.apply_to_model: adapters on the named linear layers of a model, everything else frozen.

The answer changes a model in place, so it is checked through `changed_model`: a small decoder-like
module is built from the inputs, the answer works on it, and what it has become is told in plain
data. Any way of adapting a layer will do, a wrapper, a hook, a patched forward, as long as its two
parameters, A (r, in) and B (out, r), are registered in the module that stands at the layer's name.
"""

import copy
import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from clearhead import lora as library
from marking.exercise import Exercise, Mistake
from marking.exercises.lora._given import LoRALinear


def reference(model, targets, r, alpha):
    library.apply(model, targets, r=r, alpha=alpha)


def changed_model(answer, sizes, targets, r, alpha, ids, numbers):
    """What the answer made of a model of these sizes.

    Every weight is a function of `numbers`, and so are A and B once the answer has made them: the
    result does not depend on how it drew them.
    """
    width, inner, hidden = sizes["width"], sizes["inner"], sizes["hidden"]
    linear, norm = torch.nn.Linear, torch.nn.LayerNorm

    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj = linear(width, width)
            self.v_proj = linear(width, inner)
            self.kv_proj = linear(width, inner)
            self.o_proj = linear(inner, width, bias=False)

        def forward(self, x):
            mixed = torch.tanh(self.v_proj(x)) + torch.tanh(self.kv_proj(x))
            return torch.tanh(self.q_proj(x)) + self.o_proj(mixed)

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm(width)
            self.attention = Attention()
            self.mlp = torch.nn.ModuleDict(
                {
                    "up": linear(width, hidden),
                    "up_gate": linear(width, hidden),
                    "down": linear(hidden, width),
                }
            )

        def forward(self, x):
            x = x + self.attention(self.norm(x))
            gate = torch.tanh(self.mlp["up_gate"](x))
            return x + self.mlp["down"](torch.tanh(self.mlp["up"](x)) * gate)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(sizes["vocabulary"], width)
            self.layers = torch.nn.ModuleList([Block() for _ in range(sizes["layers"])])
            self.norm = norm(width)
            self.head = linear(width, sizes["vocabulary"])

        def forward(self, ids):
            x = self.embed(ids)
            for layer in self.layers:
                x = layer(x)
            return self.head(self.norm(x))

    steps = numbers.double().abs()
    places = torch.arange(1, 4000, dtype=torch.float64, device=ids.device)
    waves = torch.sin(places * (1 + steps[0]) + 3 * torch.sin(places * (0.3 + steps[1])))

    def fill(parameter, which):
        """Set it to numbers that are the same in float32 and in float64."""
        values = waves[37 * which :][: parameter.numel()] / parameter.shape[-1] ** 0.5
        parameter.data.copy_(values.float().reshape(parameter.shape))

    def owner_of(name):
        """The original module that a parameter now belongs to."""
        fitting = [path for path in originals if name == path or name.startswith(path + ".")]
        return max(fitting, key=len, default="")

    def parts(module):
        """What a module is made of: another set of these once anything is added to it."""
        return [module, sorted(module.__dict__), sorted(module._parameters), *module._modules] + [
            len(hooks) for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]

    with torch.enable_grad():
        model = Model().to(ids.device, torch.float32)
        originals = [path for path, _ in model.named_modules() if path]
        shapes = {p: tuple(m.weight.shape) for p, m in model.named_modules() if type(m) is linear}
        for which, parameter in enumerate(model.parameters()):
            fill(parameter, which)
        given = dict(model.named_parameters())
        was = {name: parameter.detach().clone() for name, parameter in given.items()}
        kept = {id(parameter) for parameter in given.values()}
        named = {p: parts(model.get_submodule(p)) for p in shapes if p.split(".")[-1] in targets}
        as_it_was = model(ids).detach()

        answer(model, list(targets), r, alpha)

        now = dict(model.named_modules())
        left = [path for path, old in named.items() if path in now and parts(now[path]) == old]
        as_it_starts = model(ids).detach().float()
        unlike = (as_it_starts - as_it_was).abs().max() / (1 + as_it_was.abs().max())
        same_start = bool(unlike <= 1e-5)
        model.to(numbers.dtype)
        trainable, zero = {}, {"A": [], "B": []}
        for name, parameter in model.named_parameters():
            owner, shape = owner_of(name), tuple(parameter.shape)
            if parameter.requires_grad:
                trainable.setdefault(owner, []).append(shape)
            out_features, in_features = shapes.get(owner, (0, 0))
            kind = {(r, in_features): "A", (out_features, r): "B"}.get(shape)
            if kind:
                zero[kind].append(not parameter.any())
                fill(parameter, 36 + originals.index(owner) + (30 if kind == "B" else 0))
            elif not same_start and id(parameter) not in kept and shape[:1] == (out_features,):
                # A new weight or bias: whatever it was drawn from, it is wrong by as much.
                old = was.get(f"{owner}.{'weight' if len(shape) == 2 else 'bias'}")
                old = torch.zeros_like(parameter) if old is None else old
                if old.shape == shape and not torch.allclose(parameter.double(), old.double()):
                    parameter.data.copy_(old + 1)
        output = model(ids)
        if output.requires_grad:
            output.square().sum().backward()
        reached = {}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and bool(parameter.grad.any()):
                reached.setdefault(owner_of(name), []).append(tuple(parameter.shape))
        return {
            "trainable": {path: str(sorted(found))[1:-1] for path, found in trainable.items()},
            "targets left as they were": ", ".join(left) or "none",
            "at the start": {
                "the output equals the base's": same_start,
                **{
                    kind: "not there" if not zeros else "zeros" if all(zeros) else "not zeros"
                    for kind, zeros in zero.items()
                },
            },
            "the output with A and B filled in": output.detach(),
            "gets a gradient": {path: str(sorted(found))[1:-1] for path, found in reached.items()},
        }


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, *targets, layers=1, r=None, alpha=None):
    r = draw.size(2, 3, small=2) if r is None else r
    width, inner, hidden, vocabulary = draw.sizes(4, r + 1, 9)
    return {
        "sizes": {
            "width": width,
            "inner": inner,
            "hidden": hidden,
            "vocabulary": vocabulary,
            "layers": layers,
        },
        "targets": list(targets),
        "r": r,
        "alpha": draw.choice(2 * r + 1, 3 * r + 1) if alpha is None else alpha,
        "ids": draw.integers(0, vocabulary, draw.size(1, 2), draw.size(2, 3, small=1)),
        "numbers": draw.normal(2),
    }


def queries_and_values(draw):
    return _inputs(draw, "q_proj", "v_proj")


def two_layers(draw):
    """One name, in two places, of one shape."""
    return _inputs(draw, "q_proj", layers=2)


def name_inside_a_name(draw):
    """up is in up_gate."""
    return _inputs(draw, "up", "o_proj")


def name_at_the_end_of_a_name(draw):
    """kv_proj ends with v_proj."""
    return _inputs(draw, "v_proj")


def feed_forward(draw):
    return _inputs(draw, "up", "up_gate", "down", layers=2)


def head_too(draw):
    return _inputs(draw, "head", "q_proj")


def small_alpha(draw):
    r = draw.size(2, 3, small=2)
    return _inputs(draw, "down", "kv_proj", r=r, alpha=r - 0.5)


# --- mistakes: one change each to `_applied`, or a function of their own ------------------------


class _Adapted(nn.Module):
    """A linear layer with an adapter, and the places where one goes wrong."""

    def __init__(
        self,
        base,
        r,
        alpha,
        *,
        scale=lambda alpha, r: alpha / r,
        sizes=lambda base: (base.in_features, base.out_features),
        draw_a=torch.randn,
        draw_b=torch.zeros,
        run=lambda layer, x: layer.base(x) + layer.update(x),
    ):
        super().__init__()
        self.base, self.run, self.factor = base, run, scale(alpha, r)
        in_features, out_features = sizes(base)
        self.A = nn.Parameter(draw_a(r, in_features))
        self.B = nn.Parameter(draw_b(out_features, r))

    def update(self, x):
        return self.factor * (x @ self.A.T @ self.B.T)

    def forward(self, x):
        return self.run(self, x)


def _freeze(model):
    model.requires_grad_(False)


def _last_name(name, module, targets):
    return name.split(".")[-1] in targets


def _replace(model, name, layer):
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _applied(
    model,
    targets,
    r,
    alpha,
    *,
    on=lambda model: model,
    freeze=_freeze,
    fits=_last_name,
    choose=lambda found: found,
    wrap=LoRALinear,
    put=_replace,
    after=lambda model: None,
):
    """As it stands it is right."""
    model = on(model)
    freeze(model)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and fits(name, module, targets)
    ]
    for name, module in choose(found):
        put(model, name, wrap(module, r, alpha))
    after(model)


def _with_layer(model, targets, r, alpha, *, wrap):
    """By itself, so that a wrong layer is not tried together with each wrong search: too many."""
    _applied(model, targets, r, alpha, wrap=wrap)


def _freezing(keeps):
    """Frozen is what `keeps(name, parameter's module, targets)` does not keep."""

    def freeze(model):
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.requires_grad_(keeps(path, module, name))

    return partial(_applied, freeze=freeze)


def _wrapped(**changes):
    return partial(_with_layer, wrap=partial(_Adapted, **changes))


nothing_frozen = partial(_applied, freeze=lambda model: None)
biases_left = _freezing(lambda path, module, name: name == "bias")
norms_left = _freezing(lambda path, module, name: isinstance(module, nn.LayerNorm))
only_linear_frozen = _freezing(lambda path, module, name: not isinstance(module, nn.Linear))
embedding_left = _freezing(lambda path, module, name: isinstance(module, nn.Embedding))
head_left = _freezing(lambda path, module, name: path == "head")
adapters_frozen = partial(_applied, after=_freeze)


def targets_left(model, targets, r, alpha):
    """Freezes what is not a target, and the bases of the targets are."""
    _applied(model, targets, r, alpha)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.base.requires_grad_(True)


def only_targets_frozen(model, targets, r, alpha):
    """The base is frozen inside the wrapper, and the rest of the model not at all."""
    _applied(model, targets, r, alpha, freeze=lambda model: None)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.base.requires_grad_(False)


def only_target_weights_frozen(model, targets, r, alpha):
    _applied(model, targets, r, alpha, freeze=lambda model: None)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.base.weight.requires_grad_(False)


inside_a_name = partial(
    _applied, fits=lambda name, module, targets: any(target in name for target in targets)
)
end_of_a_name = partial(_applied, fits=lambda name, module, targets: name.endswith(tuple(targets)))
head_missed = partial(
    _applied,
    fits=lambda name, module, targets: any(name.endswith("." + target) for target in targets),
)
whole_names = partial(_applied, fits=lambda name, module, targets: name in targets)
first_target_only = partial(
    _applied, fits=lambda name, module, targets: name.split(".")[-1] == targets[0]
)
every_linear = partial(_applied, fits=lambda name, module, targets: True)
every_linear_but_head = partial(_applied, fits=lambda name, module, targets: name != "head")
square_only = partial(
    _applied,
    fits=lambda name, module, targets: (
        _last_name(name, module, targets) and module.in_features == module.out_features
    ),
)
head_as_well = partial(
    _applied,
    fits=lambda name, module, targets: _last_name(name, module, targets) or name == "head",
)
first_found_only = partial(_applied, choose=lambda found: found[:1])
one_of_each_name = partial(
    _applied,
    choose=lambda found: {name.split(".")[-1]: (name, m) for name, m in found}.values(),
)
on_a_copy = partial(_applied, on=copy.deepcopy)
under_the_dotted_name = partial(_applied, put=setattr)


def on_the_parent(model, name, layer):
    parent, _, child = name.rpartition(".")
    model.get_submodule(parent).add_module(child + "_lora", layer)


beside_it = partial(_applied, put=on_the_parent)
never_placed = partial(_applied, put=lambda model, name, layer: None)


def _fresh(base, r, alpha, *, bias=lambda base: base.bias is not None, trains=False):
    """Around a layer of the same sizes, with weights of its own."""
    fresh = nn.Linear(base.in_features, base.out_features, bias=bias(base))
    return LoRALinear(fresh.requires_grad_(trains), r, alpha)


fresh_base = partial(_with_layer, wrap=_fresh)
fresh_base_too = (
    partial(_with_layer, wrap=partial(_fresh, trains=True)),
    partial(_with_layer, wrap=partial(_fresh, bias=lambda base: True)),
    partial(_with_layer, wrap=partial(_fresh, bias=lambda base: True, trains=True)),
    partial(_with_layer, wrap=partial(_fresh, bias=lambda base: False)),
    partial(_with_layer, wrap=partial(_fresh, bias=lambda base: False, trains=True)),
)
rank_and_alpha_swapped = partial(
    _with_layer, wrap=lambda base, r, alpha: LoRALinear(base, alpha, r)
)

no_scale = _wrapped(scale=lambda alpha, r: 1.0)
only_alpha = _wrapped(scale=lambda alpha, r: alpha)
scale_upside_down = _wrapped(scale=lambda alpha, r: r / alpha)
rank_stabilised = _wrapped(scale=lambda alpha, r: alpha / math.sqrt(r))
sizes_swapped = _wrapped(sizes=lambda base: (base.out_features, base.in_features))
both_by_inputs = _wrapped(sizes=lambda base: (base.in_features, base.in_features))
both_by_outputs = _wrapped(sizes=lambda base: (base.out_features, base.out_features))
both_zero = _wrapped(draw_a=torch.zeros)
both_random = _wrapped(draw_b=torch.randn)
zeros_swapped = _wrapped(draw_a=torch.zeros, draw_b=torch.randn)
base_dropped = _wrapped(run=lambda layer, x: layer.update(x))
bias_dropped = _wrapped(run=lambda layer, x: F.linear(x, layer.base.weight) + layer.update(x))
added_twice = _wrapped(run=lambda layer, x: layer.base(x) + 2 * layer.update(x))
after_the_base = _wrapped(run=lambda layer, x: layer.update(layer.base(x)))
detached = _wrapped(run=lambda layer, x: layer.base(x) + layer.update(x).detach())


class _Hidden:
    """Keeps a module where `parameters()` does not look."""

    def __init__(self, module):
        self.module = module


class _Unregistered(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.hidden = base, _Hidden(LoRALinear(base, r, alpha))

    def forward(self, x):
        return self.hidden.module.to(x.dtype)(x)


not_registered = partial(_with_layer, wrap=_Unregistered)


def late_binding(model, targets, r, alpha):
    """Every patched forward looks up the loop's variables when it runs: the last ones."""
    _freeze(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.split(".")[-1] in targets:
            module.A = nn.Parameter(torch.randn(r, module.in_features))
            module.B = nn.Parameter(torch.zeros(module.out_features, r))
            original, layer = module.forward, module
            module.forward = lambda x: (
                original(x) + alpha / r * (x @ layer.A.T @ layer.B.T)  # noqa: B023
            )


def one_adapter_for_all(model, targets, r, alpha):
    """A and B are made once, before the loop, of the first layer's sizes."""
    made = []

    def shared(base, r, alpha):
        layer = LoRALinear(base, r, alpha)
        made.append(layer)
        layer.A, layer.B = made[0].A, made[0].B
        return layer

    _applied(model, targets, r, alpha, wrap=shared)


# --- other right answers ---------------------------------------------------------------------


def child_by_child(model, targets, r, alpha):
    for parameter in model.parameters():
        parameter.requires_grad = False

    def visit(parent):
        for name, child in parent.named_children():
            if name in targets and isinstance(child, nn.Linear):
                setattr(parent, name, LoRALinear(child, r, alpha))
            else:
                visit(child)

    visit(model)


def by_hooks(model, targets, r, alpha):
    def add(layer, inputs, output):
        return output + alpha / r * F.linear(F.linear(inputs[0], layer.lora_A), layer.lora_B)

    for name, parameter in list(model.named_parameters()):
        parameter.requires_grad_(False)
        path = name.rpartition(".")[0]
        layer = model.get_submodule(path)
        if path.split(".")[-1] in targets and name.endswith(".weight"):
            layer.lora_A = nn.Parameter(torch.randn_like(parameter[:1].expand(r, -1)))
            layer.lora_B = nn.Parameter(parameter.new_zeros(len(parameter), r))
            layer.register_forward_hook(add)


def by_parametrisation(model, targets, r, alpha):
    """The weight itself becomes W + (α/r)·B A whenever it is read."""

    class Update(nn.Module):
        def __init__(self, weight):
            super().__init__()
            out_features, in_features = weight.shape
            self.A = nn.Parameter(torch.randn(r, in_features, dtype=weight.dtype))
            self.B = nn.Parameter(torch.zeros(out_features, r, dtype=weight.dtype))

        def forward(self, weight):
            return weight + alpha / r * self.B @ self.A

    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in targets:
            nn.utils.parametrize.register_parametrization(module, "weight", Update(module.weight))


def patched_forwards(model, targets, r, alpha):
    """As late binding, with the loop's variables bound at once."""
    for _, parameter in model.named_parameters():
        parameter.requires_grad = False
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.split(".")[-1] in targets:
            module.lora = nn.Sequential(
                nn.Linear(module.in_features, r, bias=False),
                nn.Linear(r, module.out_features, bias=False),
            )
            nn.init.zeros_(module.lora[1].weight)

            def forward(x, original=module.forward, lora=module.lora):
                return original(x) + lora(x) * (alpha / r)

            module.forward = forward


MODEL = "lora/04_fine_tune#how-does-an-adapter-get-into-a-model"
FIRST_STEP = "lora/02_mathematics#what-happens-in-the-first-two-steps"

APPLY_TO_MODEL = Exercise(
    id="lora.apply_to_model",
    title="Adapters on a whole model",
    returns="nothing: the model is changed in place",
    points=4,
    difficulty=3,
    minutes=30,
    reference=reference,
    through=changed_model,
    cases={
        "queries and values": queries_and_values,
        "one name in two layers": two_layers,
        "a name that stands inside another": name_inside_a_name,
        "a name that ends another": name_at_the_end_of_a_name,
        "the feed-forward part": feed_forward,
        "the output head as well": head_too,
        "alpha below the rank": small_alpha,
    },
    mistakes=(
        Mistake(
            "nothing-frozen",
            nothing_frozen,
            "the adapters are there, but nothing is frozen, so training moves the whole model; set "
            "requires_grad of every parameter to False before you add the adapters.",
            MODEL,
        ),
        Mistake(
            "biases-left",
            biases_left,
            "weights are frozen and biases are not; freeze every parameter of the base.",
            MODEL,
        ),
        Mistake(
            "norms-left",
            norms_left,
            "the norm layers are left trainable; freeze every parameter of the base.",
            MODEL,
        ),
        Mistake(
            "only-linear-frozen",
            only_linear_frozen,
            "linear layers are frozen, and the embedding or the norms are not; go through all "
            "parameters of the model.",
            MODEL,
            also=(embedding_left,),
        ),
        Mistake(
            "head-left",
            head_left,
            "the output head is left trainable; here it is frozen like the rest, unless a target "
            "names it, and then only its adapter trains.",
            MODEL,
        ),
        Mistake(
            "targets-left",
            targets_left,
            "the layers that are not targets are frozen, and the weights inside the adapted ones "
            "are not; of those too only A and B may train.",
            MODEL,
        ),
        Mistake(
            "only-targets-frozen",
            only_targets_frozen,
            "only the layers that got an adapter are frozen; everything else of the base has to be "
            "frozen as well.",
            MODEL,
            also=(only_target_weights_frozen,),
        ),
        Mistake(
            "adapters-frozen",
            adapters_frozen,
            "the model is frozen after the adapters are in, and they are frozen with it; freeze "
            "first, then add them.",
            MODEL,
        ),
        Mistake(
            "inside-a-name",
            inside_a_name,
            "a target is looked for anywhere in the dotted name, so up finds up_gate as well; "
            "compare it with the last part of the name.",
            MODEL,
        ),
        Mistake(
            "end-of-a-name",
            end_of_a_name,
            "the dotted name is only asked whether it ends with the target, so v_proj finds "
            "kv_proj as well; compare it with all that follows the last dot.",
            MODEL,
        ),
        Mistake(
            "head-missed",
            head_missed,
            "the output head is left out though a target names it: it stands in the model itself, "
            "with no dot before its name, and is adapted like any other layer.",
            MODEL,
        ),
        Mistake(
            "nested-missed",
            whole_names,
            "only layers that stand in the model itself are found; those inside other modules have "
            "dotted names such as layers.0.attention.q_proj.",
            MODEL,
        ),
        Mistake(
            "first-target-only",
            first_target_only,
            "only the first of the targets is looked for.",
            MODEL,
        ),
        Mistake(
            "first-found-only",
            first_found_only,
            "the search ends with the first layer that fits; adapt every one.",
            MODEL,
        ),
        Mistake(
            "one-of-each-name",
            one_of_each_name,
            "of several layers with one name only the last is adapted, as when a dict is keyed by "
            "the last part of the name; every block has its own.",
            MODEL,
        ),
        Mistake(
            "every-linear",
            every_linear,
            "every linear layer is adapted; only those that targets names are asked for.",
            MODEL,
            also=(every_linear_but_head,),
        ),
        Mistake(
            "square-only",
            square_only,
            "only square layers are adapted, and the others are passed over in silence; A (r, in) "
            "and B (out, r) fit any layer.",
            MODEL,
        ),
        Mistake(
            "head-as-well",
            head_as_well,
            "the output head is adapted though no target names it.",
            MODEL,
        ),
        Mistake(
            "on-a-copy",
            on_a_copy,
            "the model is as it was: what is changed is a copy of it, or new layers that are never "
            "put into it; change the model in place.",
            MODEL,
        ),
        Mistake(
            "under-the-dotted-name",
            under_the_dotted_name,
            "setattr(model, 'layers.0.…', …) adds a module under that very name to the model, and "
            "the block keeps its old layer; set it on its parent, which model.get_submodule gives.",
            MODEL,
        ),
        Mistake(
            "beside-the-layer",
            beside_it,
            "the adapted layer is put beside the old one, which is still the one that runs; put it "
            "in its place.",
            MODEL,
        ),
        Mistake(
            "never-placed",
            never_placed,
            "the new layer is only bound to a local name, and the model keeps its old one; put it "
            "into its parent with setattr.",
            MODEL,
        ),
        Mistake(
            "fresh-base",
            fresh_base,
            "the wrapped layer is a new one, with weights of its own; wrap the layer that was "
            "there.",
            MODEL,
            also=fresh_base_too,
        ),
        Mistake(
            "rank-and-alpha-swapped",
            rank_and_alpha_swapped,
            "r and alpha have changed places, so the rank is alpha.",
            MODEL,
        ),
        Mistake(
            "no-scale",
            no_scale,
            "the update is not multiplied by α/r, or alpha is never passed on.",
            FIRST_STEP,
        ),
        Mistake(
            "only-alpha",
            only_alpha,
            "the update is multiplied by α; divide by the rank as well.",
            FIRST_STEP,
        ),
        Mistake(
            "scale-upside-down",
            scale_upside_down,
            "the update is multiplied by r/α; it is α/r.",
            FIRST_STEP,
        ),
        Mistake(
            "rank-stabilised",
            rank_stabilised,
            "the update is multiplied by α/√r, which is rsLoRA's; here it is α/r.",
            FIRST_STEP,
        ),
        Mistake(
            "sizes-mixed-up",
            sizes_swapped,
            "A and B are made with the wrong one of in_features and out_features; A is (r, in) and "
            "B is (out, r).",
            MODEL,
            also=(both_by_inputs, both_by_outputs),
        ),
        Mistake(
            "both-zero",
            both_zero,
            "A and B both start at zero, so neither ever gets a gradient; only B is zero.",
            FIRST_STEP,
        ),
        Mistake(
            "both-random",
            both_random,
            "A and B both start at random, so the model is another one before the first step; B "
            "starts at zero.",
            FIRST_STEP,
        ),
        Mistake(
            "zeros-swapped",
            zeros_swapped,
            "A starts at zero and B at random; it is the other way round here.",
            FIRST_STEP,
        ),
        Mistake(
            "base-dropped",
            base_dropped,
            "the adapted layer gives the update alone; add the base's output.",
            MODEL,
        ),
        Mistake(
            "bias-dropped",
            bias_dropped,
            "the adapted layer uses the base's weight and forgets its bias; call the base itself.",
            MODEL,
        ),
        Mistake(
            "added-twice",
            added_twice,
            "the update is added twice, as when a hook or a patched forward is on top of a "
            "wrapper; once is enough.",
            MODEL,
        ),
        Mistake(
            "after-the-base",
            after_the_base,
            "the adapter is fed with what comes out of the base; it runs beside the base, on the "
            "same input, and the two are added.",
            MODEL,
        ),
        Mistake(
            "detached",
            detached,
            "no gradient reaches A and B, as after detach or in no_grad, so they never learn.",
            FIRST_STEP,
        ),
        Mistake(
            "not-registered",
            not_registered,
            "A and B are kept where model.parameters() does not see them, in a list or as plain "
            "tensors, so no optimiser gets them; make them parameters of the module in the "
            "layer's place.",
            MODEL,
        ),
        Mistake(
            "late-binding",
            late_binding,
            "the patched forwards share the loop's variables, and when they run these hold the "
            "last layer; bind them at once, as default arguments, or wrap the layer in a module.",
            MODEL,
        ),
        Mistake(
            "one-adapter-for-all",
            one_adapter_for_all,
            "one pair A, B is made and used in every layer; each layer needs its own.",
            MODEL,
        ),
    ),
    alternatives=(child_by_child, by_hooks, by_parametrisation, patched_forwards),
    hints=(
        "model.named_modules() gives every module with its dotted name. What does it give for the "
        "queries of the first block, and which part of that do you compare with a target?",
        "To put a module in a layer's place you need its parent and the last part of its name. "
        "model.get_submodule gives a module by its dotted name; what is the name of the parent, "
        "and what is it for a layer that has no dot in its name?",
        "Three steps: freeze all parameters, collect the layers that fit, replace each. The order "
        "matters: what happens to parameters made after the freezing, and what happens to a loop "
        "over modules that are replaced under its feet?",
    ),
    read=MODEL,
)
