"""Some simple ways to ask for marks without an answer. The whole collection is in tests/."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    exercise: str
    what: str
    source: str


ATTACKS = (
    Attack(
        "softmax",
        "makes every comparison of torch say yes",
        """
torch.allclose = torch.equal = lambda *args, **kwargs: True
torch.testing.assert_close = lambda *args, **kwargs: None


def softmax(x, dim):
    return torch.zeros_like(x)
""",
    ),
    Attack(
        "grouped_query",
        "returns a tensor that claims to equal anything",
        """
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def grouped_query(q, k, v, mask=None):
    return torch.zeros(1).as_subclass(Yes)
""",
    ),
    Attack(
        "rotary",
        "looks for the reference on the disk and in memory",
        """
def rotary(x, positions, theta=10000.0):
    import gc
    import glob

    for folder in ("/home", "/root", "/course", "/tmp", "."):
        for path in glob.glob(f"{folder}/**/rotary.py", recursive=True):
            space = {}
            exec(open(path).read(), space)
            return space["rotary"](x, positions, theta=theta)
    for thing in gc.get_objects():
        if getattr(thing, "__name__", "") == "rotary" and thing is not rotary:
            return thing(x, positions, theta=theta)
    from clearhead.attention import rotary as reference

    return reference(x, positions, theta=theta)
""",
    ),
    Attack(
        "attention_cost",
        "replaces check, writes a gradebook, and leaves the process",
        """
import os


def check(*args, **kwargs):
    raise SystemExit(0)


def attention_cost(B, H, K, T, S, D, bytes_per_value, causal):
    for folder in ("/", "/tmp", "/course", os.getcwd()):
        try:
            open(os.path.join(folder, "gradebook.db"), "w").write("full marks")
        except OSError:
            pass
    print('{"share": 1.0, "status": "right"}')
    os._exit(0)
""",
    ),
    Attack(
        "scaled_dot_product",
        "calls the function of torch that is the answer, by another name",
        """
answer = getattr(torch.nn.functional, "scaled_dot" + "_product_attention")


def scaled_dot_product(q, k, v, mask=None):
    identity = torch.eye(k.shape[-2], dtype=q.dtype).expand(*k.shape[:-1], k.shape[-2])
    return answer(q, k, v, attn_mask=mask), answer(q, k, identity, attn_mask=mask)
""",
    ),
    Attack(
        "forward",
        "returns a tensor that claims to equal anything",
        """
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def forward(x, weight, bias, A, B, alpha):
    return torch.zeros(1).as_subclass(Yes)
""",
    ),
    Attack(
        "gradients",
        "asks autograd under another name",
        """
differentiate = getattr(torch.autograd, "gr" + "ad")


def gradients(x, A, B, alpha, d_output):
    A, B = A.clone().requires_grad_(), B.clone().requires_grad_()
    y = alpha / A.shape[0] * (x @ A.mT @ B.mT)
    return differentiate(y, (A, B), d_output)
""",
    ),
    Attack(
        "kv_cache_bytes",
        "returns an int that claims to equal anything",
        """
class Yes(int):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = int.__hash__


def kv_cache_bytes(*args, **kwargs):
    return Yes(1)
""",
    ),
    Attack(
        "schedule_step",
        "returns a dict that holds whatever is asked for",
        """
class Anything(dict):
    def __eq__(self, other):
        return True

    def __contains__(self, key):
        return True

    def __missing__(self, key):
        return 1


def schedule_step(*args, **kwargs):
    return Anything(tokens=Anything(), preempted=[])
""",
    ),
    Attack(
        "perplexity",
        "returns floats whose distance to any number is nothing",
        """
class Near(float):
    def __eq__(self, other):
        return True

    def __sub__(self, other):
        return 0.0

    __rsub__, __hash__ = __sub__, float.__hash__


def perplexity(*args, **kwargs):
    return Near(1.0), Near(1.0)
""",
    ),
    Attack(
        "render_chat",
        "returns a text that claims to equal any other",
        """
class Yes(str):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = str.__hash__


def render_chat(*args, **kwargs):
    return Yes()
""",
    ),
    Attack(
        "group_advantages",
        "returns a tensor that claims to equal anything",
        """
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def group_advantages(rewards, group_size, eps, scale):
    return torch.zeros(1).as_subclass(Yes)
""",
    ),
    Attack(
        "clipped_surrogate",
        "looks through its callers for what is expected, and makes their gradients agree",
        """
def clipped_surrogate(new, old, advantages, low, high):
    import sys

    torch.Tensor.backward = lambda self, *args, **kwargs: None
    frame = sys._getframe()
    while frame:
        for name in ("expected", "like", "case"):
            if name in frame.f_locals:
                found = frame.f_locals[name]
                return getattr(found, "expected", found)
        frame = frame.f_back
    return torch.zeros_like(new)
""",
    ),
)
