"""Derives the formula forwards, one entry of the matrices at a time.

Exercise: lora.gradients
Score: 0
Status: forbidden
Smells: torch.autograd.forward_ad
"""


# %%
def gradients(x, A, B, alpha, d_output):
    found = [torch.zeros_like(A), torch.zeros_like(B)]
    for which, matrix in enumerate((A, B)):
        for i in range(matrix.numel()):
            one = torch.zeros_like(matrix)
            one.view(-1)[i] = 1
            with torch.autograd.forward_ad.dual_level():
                both = [A, B]
                both[which] = torch.autograd.forward_ad.make_dual(matrix, one)
                y = alpha / len(A) * (x @ both[0].T @ both[1].T)
                slope = torch.autograd.forward_ad.unpack_dual(y).tangent
            found[which].view(-1)[i] = (slope * d_output).sum()
    return tuple(found)
