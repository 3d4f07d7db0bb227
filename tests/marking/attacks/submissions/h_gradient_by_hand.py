"""Names a variable `grad`, reads `.grad`, and switches requires_grad on: none of that is a call.

Exercise: lora.gradients
Score: 1
"""


# %%
def gradients(x, A, B, alpha, d_output):
    grad = d_output.reshape(-1, d_output.shape[-1]) * alpha / A.shape[0]
    rows = x.reshape(-1, x.shape[-1]).requires_grad_()
    assert rows.grad is None
    return B.T @ grad.T @ rows, grad.T @ rows @ A.T
