"""Wrong answers to the LoRA exercises as learners write them; see learner_attempts.py."""

import copy
import math

import torch
import torch.nn.functional as F
from learner_attempts import Attempt
from torch import nn

ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function):
        ATTEMPTS.append(Attempt(f"lora.{exercise}", mistakes, function))
        return function

    return keep


class LoRALinear(nn.Module):
    """As a given cell of the notebook has it."""

    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base
        self.scale = alpha / r
        bound = 1 / math.sqrt(base.in_features)
        noise = 2 * torch.rand_like(base.weight[:1].expand(r, -1)) - 1
        self.A = nn.Parameter(bound * noise)
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)


# --- best_rank_r ---------------------------------------------------------------------------------


@attempt("best_rank_r", "columns-of-vh")
def third_factor_taken_for_v(matrix, r):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :r] @ torch.diag(s[:r]) @ v[:, :r].T


@attempt("best_rank_r", "values-left-out")
def outer_products_of_the_vectors(matrix, r):
    u, _, vh = torch.linalg.svd(matrix)
    out = torch.zeros_like(matrix)
    for i in range(r):
        out += u[:, i : i + 1] * vh[i : i + 1]
    return out


@attempt("best_rank_r", "one-too-few")
def counts_from_one(matrix, r):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    total = torch.zeros_like(matrix)
    for k in range(1, r):
        total = total + s[k - 1] * torch.outer(u[:, k - 1], vh[k - 1])
    return total


@attempt("best_rank_r", "smallest-kept")
def sorted_the_eigenvalues_and_took_the_first(matrix, r):
    _, vectors = torch.linalg.eigh(matrix @ matrix.T)
    if matrix.shape[0] > matrix.shape[1]:  # skip the null space
        vectors = vectors[:, matrix.shape[0] - matrix.shape[1] :]
    first = vectors[:, :r]
    return first @ (first.T @ matrix)


@attempt("best_rank_r", "values-rooted")
def root_on_one_side(matrix, r):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    b = u[:, :r] * s[:r].sqrt()
    a = vh[:r]
    return b @ a


@attempt("best_rank_r", "factors")
def returns_b_and_a(matrix, r):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    B = u[:, :r] @ torch.diag(s[:r])
    A = vh[:r, :]
    return B, A


@attempt("best_rank_r", "residual")
def zeroes_what_it_should_keep(matrix, r):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = s.clone()
    s[:r] = 0
    return (u * s) @ vh


@attempt("best_rank_r")
def random_projection(matrix, r):
    g = torch.Generator().manual_seed(0)
    sketch = torch.randn(matrix.shape[1], r, generator=g, dtype=torch.float64).to(matrix.dtype)
    q, _ = torch.linalg.qr(matrix @ sketch)
    return q @ (q.T @ matrix)


# --- initialise ----------------------------------------------------------------------------------


@attempt("initialise", "roles-swapped")
def b_gets_the_noise(noise, out_features):
    r, n = noise.shape
    return torch.zeros(r, n, dtype=noise.dtype), (2 * noise - 1).T / math.sqrt(n)


@attempt("initialise", "both-zero")
def all_zeros_to_start_from_the_base(noise, out_features):
    A = torch.zeros_like(noise)
    B = torch.zeros((out_features, A.shape[0]), dtype=noise.dtype)
    return A, B


@attempt("initialise", "b-transposed")
def b_is_r_by_o(noise, out_features):
    r, d = noise.shape
    k = d**-0.5
    return (noise * 2 * k) - k, torch.zeros(r, out_features).to(noise)


@attempt("initialise", "never-negative")
def scaled_noise(noise, out_features):
    rank, fan_in = noise.size()
    return noise / math.sqrt(fan_in), noise.new_zeros([out_features, rank])


@attempt("initialise", "half-as-wide")
def centred_noise(noise, out_features):
    rank, fan_in = noise.size()
    return (noise - 0.5) / fan_in**0.5, noise.new_zeros([out_features, rank])


@attempt("initialise", "bound-by-rank")
def fan_in_is_size_zero(noise, out_features):
    fan_in = noise.size(0)
    bound = 1 / math.sqrt(fan_in)
    A = noise * (bound - (-bound)) - bound
    return A, torch.zeros(out_features, noise.size(0)).type_as(noise)


@attempt("initialise", "kaiming-of-relu")
def kaiming_uniform_as_remembered(noise, out_features):
    fan = noise.shape[1]
    gain = math.sqrt(2.0)
    std = gain / math.sqrt(fan)
    limit = math.sqrt(3.0) * std
    return -limit + 2 * limit * noise, torch.zeros(out_features, noise.shape[0], dtype=noise.dtype)


@attempt("initialise", "order-swapped")
def b_then_a(noise, out_features):
    A = (noise - 0.5) * 2 * noise.shape[1] ** -0.5
    B = torch.zeros(out_features, noise.shape[0], dtype=noise.dtype)
    return B, A


@attempt("initialise", "half-as-wide", "b-transposed")
def two_slips(noise, out_features):
    A = (noise - 0.5) * (1 / math.sqrt(noise.shape[-1]))
    return A, torch.zeros(noise.shape[0], out_features, dtype=noise.dtype)


# --- forward -------------------------------------------------------------------------------------


@attempt("forward", "no-scale")
def textbook_line(x, weight, bias, A, B, alpha):
    h = F.linear(x, weight, bias)
    return h + F.linear(F.linear(x, A), B)


@attempt("forward", "only-alpha")
def alpha_for_a_scale(x, weight, bias, A, B, alpha):
    frozen = F.linear(x, weight, bias)
    lora = torch.einsum("...i,ri,or->...o", x, A, B)
    return frozen + alpha * lora


@attempt("forward", "scale-upside-down")
def r_over_alpha(x, weight, bias, A, B, alpha):
    r = B.shape[1]
    scaling = r / alpha
    return F.linear(x, weight + scaling * (B @ A), bias)


@attempt("forward", "bias-forgotten")
def merged_on_the_fly(x, weight, bias, A, B, alpha):
    w = weight + (alpha / A.size(0)) * B @ A
    return x @ w.T


@attempt("forward", "bias-scaled")
def scale_around_everything_but_the_weight(x, weight, bias, A, B, alpha):
    s = alpha / len(A)
    extra = F.linear(F.linear(x, A), B, bias)
    return x @ weight.T + s * extra


@attempt("forward", "rank-from-input-size")
def last_axis_of_a(x, weight, bias, A, B, alpha):
    rank = A.shape[-1]
    out = torch.matmul(x, weight.transpose(0, 1))
    if bias is not None:
        out = out + bias
    return out + torch.matmul(torch.matmul(x, A.transpose(0, 1)), B.transpose(0, 1)) * alpha / rank


@attempt("forward", "factors-not-transposed")
def as_the_figure_has_it(x, weight, bias, A, B, alpha):
    base = F.linear(x, weight, bias)
    return base + (alpha / A.shape[0]) * ((x @ A) @ B)


@attempt("forward", "in-series")
def adapter_after_the_layer(x, weight, bias, A, B, alpha):
    h = F.linear(x, weight, bias)
    return h + alpha / A.shape[0] * F.linear(F.linear(h, A), B)


@attempt("forward", "activation-between")
def relu_bottleneck(x, weight, bias, A, B, alpha):
    z = F.relu(F.linear(x, A))
    return F.linear(x, weight, bias) + F.linear(z, B) * (alpha / A.shape[0])


@attempt("forward", "bias-forgotten", "no-scale")
def nothing_but_matrices(x, weight, bias, A, B, alpha):
    return x @ weight.T + x @ (B @ A).T


@attempt("forward")
def dropout_left_on(x, weight, bias, A, B, alpha):
    keep = torch.linspace(0, 1, A.shape[1]).to(x) > 0.4
    dropped = x * keep / 0.6
    return F.linear(x, weight, bias) + alpha / A.shape[0] * F.linear(F.linear(dropped, A), B)


# --- gradients -----------------------------------------------------------------------------------


@attempt("gradients", "no-scale")
def chain_rule_without_the_factor(x, A, B, alpha, d_output):
    X = x.reshape(-1, x.shape[-1])
    G = d_output.reshape(-1, d_output.shape[-1])
    return B.T @ G.T @ X, G.T @ X @ A.T


@attempt("gradients", "order-swapped")
def first_b_then_a(x, A, B, alpha, d_output):
    s = alpha / A.shape[0]
    dB = (
        s * torch.einsum("ro,rk->ok", d_output.flatten(0, -2), (x @ A.T).flatten(0, -2))
        if (x.ndim > 1)
        else s * torch.outer(d_output, A @ x)
    )
    dA = (
        s * torch.einsum("rk,ri->ki", (d_output @ B).flatten(0, -2), x.flatten(0, -2))
        if (x.ndim > 1)
        else s * torch.outer(d_output @ B, x)
    )
    return dB, dA


@attempt("gradients", "averaged")
def mean_over_tokens(x, A, B, alpha, d_output):
    rows, grads = x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0])
    n = rows.shape[0]
    s = alpha / A.shape[0]
    d_weight = s * grads.T @ rows / n
    return B.T @ d_weight, d_weight @ A.T


@attempt("gradients", "nothing-for-a")
def only_b_moves(x, A, B, alpha, d_output):
    s = alpha / A.shape[0]
    X, G = x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0])
    return torch.zeros_like(A), s * G.T.matmul(X.matmul(A.T))


@attempt("gradients", "answer-transposed")
def shapes_of_the_products(x, A, B, alpha, d_output):
    s = alpha / A.shape[0]
    X, G = x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0])
    return s * X.T @ (G @ B), s * (X @ A.T).T @ G


@attempt("gradients", "downhill")
def with_the_minus_of_descent(x, A, B, alpha, d_output):
    X, G = x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0])
    dW = -(alpha / A.shape[0]) * torch.einsum("no,ni->oi", G, X)
    return B.T @ dW, dW @ A.T


@attempt("gradients", "scale-in-one-only")
def scale_remembered_for_b(x, A, B, alpha, d_output):
    X, G = x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0])
    hidden = X @ A.T
    d_B = (alpha / A.shape[0]) * G.T @ hidden
    d_hidden = G @ B
    return d_hidden.T @ X, d_B


@attempt("gradients", "one-over-r")
def alpha_taken_as_one(x, A, B, alpha, d_output):
    s = 1.0 / B.shape[1]
    dA, dB = torch.zeros_like(A), torch.zeros_like(B)
    for row, grad in zip(x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0]), strict=True):
        dA += s * torch.outer(B.T @ grad, row)
        dB += s * torch.outer(grad, A @ row)
    return dA, dB


# --- trainable_parameters ------------------------------------------------------------------------


@attempt("trainable_parameters", "whole-matrix")
def entries_of_delta_w(layers, shapes, r):
    n = 0
    for o, i in shapes:
        n += o * i
    return n * layers


@attempt("trainable_parameters", "square-assumed")
def two_r_d(layers, shapes, r):
    return sum(2 * r * d for d, _ in shapes) * layers


@attempt("trainable_parameters", "sizes-multiplied")
def product_in_place_of_the_sum(layers, shapes, r):
    return layers * sum([r * math.prod(shape) for shape in shapes])


@attempt("trainable_parameters", "one-layer-only")
def layers_forgotten(layers, shapes, r):
    total = 0
    for out_f, in_f in shapes:
        total += r * in_f + out_f * r
    return total


@attempt("trainable_parameters", "each-shape-once")
def through_a_set(layers, shapes, r):
    return layers * sum(r * (a + b) for a, b in set(map(tuple, shapes)))


@attempt("trainable_parameters", "first-shape-for-all")
def all_like_the_first(layers, shapes, r):
    o, i = shapes[0]
    return layers * len(shapes) * (o + i) * r


@attempt("trainable_parameters", "not-integer")
def float_arithmetic(layers, shapes, r):
    sizes = torch.tensor(shapes, dtype=torch.float64)
    return float(sizes.sum() * r * layers)


@attempt("trainable_parameters", "base-too")
def count_of_the_whole_layer(layers, shapes, r):
    def layer(o, i):
        base = o * i
        A, B = r * i, o * r
        return base + A + B

    return layers * sum(layer(o, i) for o, i in shapes)


# --- merge ---------------------------------------------------------------------------------------


@attempt("merge", "no-scale")
def w_plus_ba(weight, A, B, alpha):
    return weight + torch.matmul(B, A)


@attempt("merge", "update-transposed")
def delta_turned(weight, A, B, alpha):
    delta = (B @ A) * (alpha / A.shape[0])
    return weight + delta.t()


@attempt("merge", "order-swapped")
def a_times_b(weight, A, B, alpha):
    scaling = alpha / A.shape[0]
    return weight + scaling * torch.mm(A, B)


@attempt("merge", "only-the-update")
def returns_delta(weight, A, B, alpha):
    r = A.shape[0]
    delta = torch.zeros_like(weight)
    for k in range(r):
        delta += torch.outer(B[:, k], A[k])
    return delta * alpha / r


@attempt("merge", "weight-scaled-too")
def parenthesis_misplaced(weight, A, B, alpha):
    return (weight + B @ A) * (alpha / A.shape[0])


@attempt("merge", "rank-stabilised")
def peft_with_use_rslora(weight, A, B, alpha):
    scaling = alpha / math.sqrt(B.shape[1])
    return torch.addmm(weight, B, A, alpha=scaling)


@attempt("merge", "scale-twice")
def scale_in_b_and_again(weight, A, B, alpha):
    s = alpha / A.shape[0]
    B = B * s
    return weight + s * (B @ A)


@attempt("merge")
def in_place_and_halved(weight, A, B, alpha):
    return weight + 0.5 * alpha * B @ A / A.shape[0] + 0.125


# --- unmerge -------------------------------------------------------------------------------------


@attempt("unmerge", "added-again")
def copied_from_merge(merged, A, B, alpha):
    r, _ = A.shape
    return merged + (alpha / r) * (B @ A)


@attempt("unmerge", "no-scale")
def takes_ba_away(merged, A, B, alpha):
    return merged.clone() - torch.einsum("or,ri->oi", B, A)


@attempt("unmerge", "added-again")
def merges_the_negatives(merged, A, B, alpha):
    def fuse(weight, down, up):
        return weight + alpha / down.size(0) * up @ down

    return fuse(merged, -A, -B)


@attempt("unmerge", "transposed")
def fan_in_fan_out(merged, A, B, alpha):
    delta = torch.matmul(A.T, B.T)
    return merged - delta * alpha / A.shape[0]


@attempt("unmerge", "scale-upside-down")
def divides_by_the_scale(merged, A, B, alpha):
    scaling = alpha / A.shape[0]
    return merged - (B @ A) / scaling


@attempt("unmerge", "whole-quotient")
def double_slash(merged, A, B, alpha):
    s = alpha // B.size(-1)
    return torch.sub(merged, s * torch.mm(B, A))


@attempt("unmerge", "subtracted-twice")
def out_of_both_factors(merged, A, B, alpha):
    delta = alpha / A.shape[0] * B @ A
    base = merged - delta
    return base - delta


@attempt("unmerge", "no-scale", "added-again")
def merge_without_a_scale(merged, A, B, alpha):
    return merged + B @ A


# --- scale ---------------------------------------------------------------------------------------


@attempt("scale", "only-alpha")
def alpha_alone(alpha, r, rank_stabilized):
    return float(alpha)


@attempt("scale", "flag-inverted")
def branches_swapped(alpha, r, rank_stabilized):
    if rank_stabilized:
        return alpha / r
    return alpha / r**0.5


@attempt("scale", "flag-ignored")
def flag_never_read(alpha, r, rank_stabilized):
    return alpha * (1 / r)


@attempt("scale", "root-of-the-quotient")
def sqrt_around_it_all(alpha, r, rank_stabilized):
    s = alpha / r
    return math.sqrt(s) if rank_stabilized else s


@attempt("scale", "a-tensor")
def torch_sqrt(alpha, r, rank_stabilized):
    if rank_stabilized:
        return alpha / torch.sqrt(torch.tensor(float(r)))
    return alpha / r


@attempt("scale", "inverted")
def upside_down_both(alpha, r, rank_stabilized):
    return (math.sqrt(r) if rank_stabilized else r) / alpha


@attempt("scale", "whole-number")
def rounded_down(alpha, r, rank_stabilized):
    divisor = r**0.5 if rank_stabilized else r
    return math.floor(alpha / divisor)


@attempt("scale")
def cube_root(alpha, r, rank_stabilized):
    return alpha / r ** (1 / 3) if rank_stabilized else alpha / r


# --- apply_to_model ------------------------------------------------------------------------------


def parent_of(model, path):
    *parts, last = path.split(".")
    for part in parts:
        model = getattr(model, part)
    return model, last


@attempt("apply_to_model", "adapters-frozen")
def freezes_last(model, targets, r, alpha):
    for path, module in list(model.named_modules()):
        if path.split(".")[-1] in targets:
            parent, last = parent_of(model, path)
            setattr(parent, last, LoRALinear(module, r, alpha))
    for p in model.parameters():
        p.requires_grad = False


@attempt("apply_to_model", "nothing-frozen")
def never_freezes(model, targets, r, alpha):
    def walk(module):
        for name, child in list(module.named_children()):
            if name in targets:
                setattr(module, name, LoRALinear(child, r, alpha))
            else:
                walk(child)

    walk(model)


@attempt("apply_to_model", "biases-left")
def freezes_what_is_called_weight(model, targets, r, alpha):
    for name, p in model.named_parameters():
        if name.endswith("weight"):
            p.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if any(path == t or path.endswith("." + t) for t in targets):
            parent, last = parent_of(model, path)
            setattr(parent, last, LoRALinear(module, r, alpha))


@attempt("apply_to_model", "only-targets-frozen")
def freezes_inside_its_own_class(model, targets, r, alpha):
    class Wrapped(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear
            for p in self.linear.parameters():
                p.requires_grad = False
            self.lora_A = nn.Parameter(torch.randn(r, linear.in_features) * 0.01)
            self.lora_B = nn.Parameter(torch.zeros(linear.out_features, r))

        def forward(self, x):
            return self.linear(x) + (x @ self.lora_A.T @ self.lora_B.T) * alpha / r

    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and path.rsplit(".", 1)[-1] in targets:
            parent, last = parent_of(model, path)
            setattr(parent, last, Wrapped(module))


@attempt("apply_to_model", "norms-left")
def norms_stay_trainable(model, targets, r, alpha):
    for name, p in model.named_parameters():
        p.requires_grad = "norm" in name
    found = [n for n, m in model.named_modules() if n.split(".")[-1] in targets]
    for path in found:
        parent, last = parent_of(model, path)
        setattr(parent, last, LoRALinear(getattr(parent, last), r, alpha))


@attempt("apply_to_model", "inside-a-name")
def target_in_name(model, targets, r, alpha):
    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and any(t in path for t in targets):
            parent, last = parent_of(model, path)
            setattr(parent, last, LoRALinear(module, r, alpha))


@attempt("apply_to_model", "end-of-a-name")
def endswith_target(model, targets, r, alpha):
    for p in model.parameters():
        p.requires_grad = False
    todo = {}
    for path, module in model.named_modules():
        for t in targets:
            if path.endswith(t) and isinstance(module, nn.Linear):
                todo[path] = module
    for path, module in todo.items():
        parent, last = parent_of(model, path)
        setattr(parent, last, LoRALinear(module, r, alpha))


@attempt("apply_to_model", "square-only")
def only_where_sizes_agree(model, targets, r, alpha):
    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and module.weight.shape[0] == module.weight.shape[1]:
            parent, last = parent_of(model, path)
            if last in targets:
                setattr(parent, last, LoRALinear(module, r, alpha))


@attempt("apply_to_model", "nested-missed")
def children_only(model, targets, r, alpha):
    for p in model.parameters():
        p.requires_grad = False
    for name, child in model.named_children():
        if name in targets and isinstance(child, nn.Linear):
            setattr(model, name, LoRALinear(child, r, alpha))


@attempt("apply_to_model", "on-a-copy")
def works_on_a_deepcopy(model, targets, r, alpha):
    adapted = copy.deepcopy(model)
    adapted.requires_grad_(False)
    for path, module in list(adapted.named_modules()):
        if path.split(".")[-1] in targets:
            parent, last = parent_of(adapted, path)
            setattr(parent, last, LoRALinear(module, r, alpha))
    return adapted


@attempt("apply_to_model", "under-the-dotted-name")
def setattr_with_a_path(model, targets, r, alpha):
    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and path.split(".")[-1] in targets:
            setattr(model, path, LoRALinear(module, r, alpha))


@attempt("apply_to_model", "late-binding")
def closures_in_a_loop(model, targets, r, alpha):
    for p in model.parameters():
        p.requires_grad = False
    for path, linear in model.named_modules():
        if isinstance(linear, nn.Linear) and path.split(".")[-1] in targets:
            lora = nn.Module()
            lora.A = nn.Parameter(torch.randn(r, linear.in_features) / math.sqrt(r))
            lora.B = nn.Parameter(torch.zeros(linear.out_features, r))
            linear.lora = lora
            base_forward = linear.forward

            def with_lora(x):
                return base_forward(x) + alpha / r * F.linear(F.linear(x, lora.A), lora.B)  # noqa: B023

            linear.forward = with_lora


@attempt("apply_to_model", "no-scale")
def own_class_without_a_scale(model, targets, r, alpha):
    class Lora(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            self.down = nn.Linear(base.in_features, r, bias=False)
            self.up = nn.Linear(r, base.out_features, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        parent, last = parent_of(model, path) if path else (None, None)
        if last in targets:
            setattr(parent, last, Lora(module))


@attempt("apply_to_model", "every-linear")
def targets_not_read(model, targets, r, alpha):
    model.requires_grad_(False)
    linears = [(p, m) for p, m in model.named_modules() if isinstance(m, nn.Linear)]
    for path, module in linears:
        parent, last = parent_of(model, path)
        setattr(parent, last, LoRALinear(module, r, alpha))


@attempt("apply_to_model", "not-registered")
def plain_tensors_in_a_closure(model, targets, r, alpha):
    model.requires_grad_(False)
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and path.split(".")[-1] in targets:
            A = torch.randn(r, module.in_features, requires_grad=True)
            B = torch.zeros(module.out_features, r, requires_grad=True)

            def hook(layer, args, output, A=A, B=B):
                x = args[0]
                return output + alpha / r * (x @ A.to(x.dtype).T @ B.to(x.dtype).T)

            module.register_forward_hook(hook)


@attempt("apply_to_model", "one-of-each-name")
def dict_by_last_name(model, targets, r, alpha):
    model.requires_grad_(False)
    by_name = {path.split(".")[-1]: path for path, _ in model.named_modules()}
    for target in targets:
        parent, last = parent_of(model, by_name[target])
        setattr(parent, last, LoRALinear(getattr(parent, last), r, alpha))


@attempt("apply_to_model", "sizes-mixed-up")
def shape_of_the_weight_read_backwards(model, targets, r, alpha):
    class Lora(nn.Module):
        def __init__(self, base):
            super().__init__()
            in_features, out_features = base.weight.shape
            self.base = base
            self.A = nn.Parameter(torch.rand(r, in_features))
            self.B = nn.Parameter(torch.zeros(out_features, r))

        def forward(self, x):
            return self.base(x) + alpha / r * F.linear(F.linear(x, self.A), self.B)

    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if path.split(".")[-1] in targets:
            parent, last = parent_of(model, path)
            setattr(parent, last, Lora(module))


@attempt("apply_to_model", "nothing-frozen", "end-of-a-name")
def trains_all_and_matches_too_much(model, targets, r, alpha):
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and path.endswith(tuple(targets)):
            parent, last = parent_of(model, path)
            setattr(parent, last, LoRALinear(module, r, alpha))


@attempt("apply_to_model")
def only_the_attention_blocks(model, targets, r, alpha):
    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and "attention" in path:
            parent, last = parent_of(model, path)
            setattr(parent, last, LoRALinear(module, r, alpha))


# --- batched_adapters ----------------------------------------------------------------------------


@attempt("batched_adapters", "minus-one-is-last")
def gather_and_bmm(x, weight, A, B, alpha, which):
    a, b = A[which], B[which]
    y = x.matmul(weight.t())
    return y + (alpha / A.size(1)) * torch.bmm(torch.bmm(x, a.transpose(1, 2)), b.transpose(1, 2))


@attempt("batched_adapters", "minus-one-is-last")
def python_loop_over_rows(x, weight, A, B, alpha, which):
    out = []
    for i in range(x.shape[0]):
        n = int(which[i])
        w = weight + alpha / A.shape[1] * B[n] @ A[n]
        out.append(x[i] @ w.T)
    return torch.stack(out)


@attempt("batched_adapters", "base-rows-zero")
def loop_that_skips_rows(x, weight, A, B, alpha, which):
    y = torch.zeros(x.shape[0], x.shape[1], weight.shape[0], dtype=x.dtype)
    for i, n in enumerate(which):
        if n < 0:
            continue
        y[i] = x[i] @ weight.T + alpha / A.shape[1] * (x[i] @ A[n].T) @ B[n].T
    return y


@attempt("batched_adapters", "rank-from-first-axis")
def habit_from_one_adapter(x, weight, A, B, alpha, which):
    scaling = alpha / A.shape[0]
    out = F.linear(x, weight)
    for n in which.unique().tolist():
        if n == -1:
            continue
        rows = which == n
        out[rows] = out[rows] + scaling * F.linear(F.linear(x[rows], A[n]), B[n])
    return out


@attempt("batched_adapters", "rows-out-of-order")
def groups_joined(x, weight, A, B, alpha, which):
    parts = []
    for n in sorted(set(which.tolist())):
        mine = x[which == n]
        y = mine @ weight.T
        if n >= 0:
            y = y + alpha / A.shape[1] * mine @ A[n].T @ B[n].T
        parts.append(y)
    return torch.cat(parts, dim=0)


@attempt("batched_adapters", "row-by-number")
def which_forgotten(x, weight, A, B, alpha, which):
    h = torch.einsum("bti,bri->btr", x, A)
    return x @ weight.T + alpha / A.shape[1] * torch.einsum("btr,bor->bto", h, B)


@attempt("batched_adapters", "no-base")
def only_the_adapters(x, weight, A, B, alpha, which):
    y = x.new_zeros(*x.shape[:2], weight.shape[0])
    for n in range(A.shape[0]):
        y[which == n] = x[which == n] @ (alpha / A.shape[1] * B[n] @ A[n]).T
    return y


@attempt("batched_adapters", "no-scale")
def masked_but_unscaled(x, weight, A, B, alpha, which):
    on = (which != -1).view(-1, 1, 1).to(x.dtype)
    idx = torch.where(which == -1, torch.zeros_like(which), which)
    delta = torch.einsum("bor,bri->boi", B[idx], A[idx])
    return torch.einsum("bti,boi->bto", x, weight + on * delta)


@attempt("batched_adapters", "every-adapter")
def einsum_over_n(x, weight, A, B, alpha, which):
    delta = torch.einsum("nor,nri->oi", B, A)
    return x @ (weight + alpha / A.shape[1] * delta).T


@attempt("batched_adapters", "one-for-all")
def adapter_of_the_first_row(x, weight, A, B, alpha, which):
    n = which[0]
    y = F.linear(x, weight)
    if n >= 0:
        y = y + alpha / A.shape[1] * F.linear(F.linear(x, A[n]), B[n])
    return y


@attempt("batched_adapters", "minus-one-is-last", "no-scale")
def gather_without_a_scale(x, weight, A, B, alpha, which):
    return x @ weight.T + x @ A[which].mT @ B[which].mT


# --- nf4 -----------------------------------------------------------------------------------------


@attempt("nf4", "nan-on-zeros")
def divides_by_zero(values, code, block_size):
    idx, scales = [], []
    for b in torch.split(values, block_size):
        m = torch.max(torch.abs(b))
        scales.append(m)
        idx.append(torch.argmin((b[:, None] / m - code[None, :]).abs(), dim=-1))
    return torch.cat(idx), torch.stack(scales)


@attempt("nf4", "one-for-all")
def one_scale_for_the_tensor(values, code, block_size):
    absmax = values.abs().max()
    norm = values / absmax if absmax > 0 else values
    diff = torch.abs(norm.unsqueeze(-1) - code)
    return diff.argmin(-1), absmax.reshape(1)


@attempt("nf4", "not-absolute")
def max_without_abs(values, code, block_size):
    idx, scales = [], []
    for i in range(0, values.numel(), block_size):
        b = values[i : i + block_size]
        m = b.max()
        idx.append(((b / m if m != 0 else b)[:, None] - code).abs().argmin(1))
        scales.append(m)
    return torch.cat(idx), torch.stack(scales)


@attempt("nf4", "whole-blocks-only")
def reshape_to_blocks(values, code, block_size):
    blocks = values.reshape(-1, block_size)
    absmax = blocks.abs().max(dim=1).values
    safe = torch.where(absmax == 0, torch.ones_like(absmax), absmax)
    scaled = blocks / safe[:, None]
    return (scaled[..., None] - code).abs().argmin(-1).flatten(), absmax


@attempt("nf4", "zeros-kept-as-one")
def guard_left_in(values, code, block_size):
    n = values.numel()
    padded = torch.cat([values, values.new_zeros(-n % block_size)]).reshape(-1, block_size)
    absmax = padded.abs().amax(1)
    absmax[absmax == 0] = 1.0
    idx = torch.cdist((padded / absmax[:, None]).reshape(-1, 1), code[:, None]).argmin(1)
    return idx[:n], absmax


@attempt("nf4", "level-above")
def bucketized_by_the_code(values, code, block_size):
    idx, scales = [], []
    for b in values.split(block_size):
        m = b.abs().max()
        scaled = b / m if m > 0 else b
        idx.append(torch.bucketize(scaled, code))
        scales.append(m)
    return torch.cat(idx), torch.stack(scales)


@attempt("nf4", "evenly-spaced")
def as_int4(values, code, block_size):
    steps = len(code) - 1
    idx, scales = [], []
    for b in values.split(block_size):
        m = b.abs().max().clamp(min=1e-12)
        idx.append(torch.round((b / m + 1) * steps / 2).to(torch.int64))
        scales.append(b.abs().max())
    return torch.cat(idx), torch.stack(scales)


@attempt("nf4", "levels-not-indices")
def looks_the_levels_up(values, code, block_size):
    out, scales = [], []
    for b in values.split(block_size):
        m = b.abs().max()
        d = ((b / m if m > 0 else b).view(-1, 1) - code.view(1, -1)) ** 2
        out.append(code[d.argmin(1)])
        scales.append(m)
    return torch.cat(out), torch.stack(scales)


@attempt("nf4", "not-int64")
def stored_as_uint8(values, code, block_size):
    blocks = values.split(block_size)
    absmax = torch.stack([b.abs().max() for b in blocks])
    middle = (code[1:] + code[:-1]) / 2
    parts = [
        torch.bucketize(b / (a + (a == 0)), middle) for b, a in zip(blocks, absmax, strict=True)
    ]
    return torch.cat(parts).to(torch.uint8), absmax


@attempt("nf4", "number-of-blocks")
def chunked(values, code, block_size):
    idx, scales = [], []
    for b in torch.chunk(values, block_size):
        m = b.abs().max()
        idx.append(((b / m if m > 0 else b)[:, None] - code).abs().min(dim=1).indices)
        scales.append(m)
    return torch.cat(idx), torch.stack(scales)


@attempt("nf4", "padding-returned")
def forgets_to_cut_the_padding(values, code, block_size):
    rest = len(values) % block_size
    if rest:
        values = F.pad(values, (0, block_size - rest))
    blocks = values.view(-1, block_size)
    absmax = blocks.abs().amax(dim=-1)
    scaled = torch.nan_to_num(blocks / absmax[:, None])
    return (scaled.reshape(-1, 1) - code).abs().argmin(dim=1), absmax


# --- dora_forward --------------------------------------------------------------------------------


@attempt("dora_forward", "columns")
def norm_over_dim_zero(x, weight, bias, A, B, magnitude, alpha):
    v = weight + alpha / A.shape[0] * (B @ A)
    v = v / torch.linalg.norm(v, dim=0)
    return F.linear(x, magnitude.unsqueeze(1) * v, bias)


@attempt("dora_forward", "length-of-the-base")
def norm_of_the_frozen_weight(x, weight, bias, A, B, magnitude, alpha):
    norm = weight.norm(p=2, dim=1)
    adapted = weight + B @ A * alpha / A.shape[0]
    return F.linear(x, adapted * (magnitude / norm).view(-1, 1), bias)


@attempt("dora_forward", "bias-stretched")
def stretches_the_output(x, weight, bias, A, B, magnitude, alpha):
    s = alpha / A.shape[0]
    lengths = (weight + s * B @ A).pow(2).sum(1).sqrt()
    y = F.linear(x, weight, bias) + s * F.linear(F.linear(x, A), B)
    return magnitude / lengths * y


@attempt("dora_forward", "base-twice")
def peft_without_minus_one(x, weight, bias, A, B, magnitude, alpha):
    scaling = alpha / A.shape[0]
    base_result = F.linear(x, weight)
    lora_result = F.linear(F.linear(x, A), B)
    mag_norm_scale = magnitude / torch.linalg.norm(weight + scaling * (B @ A), dim=1)
    result = base_result + mag_norm_scale * base_result + mag_norm_scale * lora_result * scaling
    return result if bias is None else result + bias


@attempt("dora_forward", "no-scale")
def v_is_w_plus_ba(x, weight, bias, A, B, magnitude, alpha):
    V = weight + B @ A
    W = magnitude[:, None] * F.normalize(V, p=2, dim=1)
    return F.linear(x, W, bias)


@attempt("dora_forward", "lost-axis")
def norm_without_keepdim(x, weight, bias, A, B, magnitude, alpha):
    V = weight + (alpha / A.shape[0]) * torch.matmul(B, A)
    W = magnitude.reshape(-1, 1) * V / V.norm(dim=-1)
    out = x @ W.t()
    return out + bias if bias is not None else out


@attempt("dora_forward", "no-bias-forgotten")
def adds_the_bias_always(x, weight, bias, A, B, magnitude, alpha):
    V = weight + (alpha / A.shape[0]) * B @ A
    return x @ (F.normalize(V, dim=1) * magnitude[:, None]).T + bias


@attempt("dora_forward", "only-the-update-stretched")
def magnitude_on_the_adapter(x, weight, bias, A, B, magnitude, alpha):
    s = alpha / A.shape[0]
    norm = torch.linalg.vector_norm(weight + s * B @ A, dim=1)
    return F.linear(x, weight, bias) + (magnitude / norm) * (x @ A.T @ B.T) * s


@attempt("dora_forward", "not-normalised")
def magnitude_times_v(x, weight, bias, A, B, magnitude, alpha):
    V = weight + alpha * (B @ A) / A.shape[0]
    return F.linear(x, torch.diag(magnitude) @ V, bias)


@attempt("dora_forward", "columns", "only-alpha")
def columns_and_alpha(x, weight, bias, A, B, magnitude, alpha):
    V = weight + alpha * (B @ A)
    return F.linear(x, magnitude[:, None] * V / V.norm(dim=0, keepdim=True), bias)


@attempt("dora_forward")
def softmax_of_the_magnitudes(x, weight, bias, A, B, magnitude, alpha):
    V = weight + alpha / A.shape[0] * B @ A
    m = torch.softmax(magnitude, 0) * magnitude.sum()
    return F.linear(x, m[:, None] * F.normalize(V, dim=1), bias)
