"""LoRA on a frozen base with experts, checkpointing, an own function, Lion, OneCycle, unfreezing and pruning."""

import torch
import torch.nn.utils.prune as prune
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.verify.scripts.switch import read_switch

step = 1
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, step)


torch.manual_seed(9)
D = 24


class Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        if on("ste_no_mask"):
            return g
        return g * (x.abs() <= 1).to(g.dtype)


class LoRA(nn.Module):
    def __init__(self, base, r=4, alpha=8):
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad_(switch.always("base_trained"))
        self.A = nn.Parameter(torch.randn(r, base.in_features) * 0.02)
        self.B = nn.Parameter(
            torch.zeros(base.out_features, r)
            if not switch.always("b_not_zero")
            else torch.full((base.out_features, r), 0.01)
        )
        self.drop = nn.Dropout(0.1)
        self.scale = alpha / r

    def forward(self, x):
        scale = self.scale / 2 if on("lora_scale") else self.scale
        h = x if on("no_lora_dropout") else self.drop(x)
        return self.base(x) + scale * (h @ self.A.T @ self.B.T)


class Experts(nn.Module):
    def __init__(self, n=4, k=2):
        super().__init__()
        self.gate = nn.Linear(D, n, bias=False)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(D, 32), nn.GELU(), nn.Linear(32, D)) for _ in range(n)])
        self.k, self.n, self.aux = k, n, 0.0

    def forward(self, x):
        logits = self.gate(x)
        if self.training and not on("no_gate_noise"):
            logits = logits + 0.05 * torch.randn_like(logits)
        probs = logits.softmax(-1)
        top, idx = probs.topk(1 if on("top1") else self.k, -1)
        if not on("gate_not_renormalised"):
            top = top / top.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            rows, slot = (idx == e).nonzero(as_tuple=True)
            if len(rows):
                out.index_add_(0, rows, expert(x[rows]) * top[rows, slot, None])
        f = F.one_hot(idx[:, 0], self.n).float().mean(0)
        self.aux = self.n * (f * (probs.detach() if on("aux_detached") else probs).mean(0)).sum()
        return out


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(D, D)
        self.q = LoRA(nn.Linear(D, D))
        self.moe = nn.ModuleList([Experts(), Experts()])
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(D, 5)

    def block(self, x, i):
        return x + self.drop(self.moe[i](x))

    def forward(self, x):
        x = F.gelu(self.body(x))
        x = Quantise.apply(self.q(x))
        for i in range(2):
            if switch.same("no_checkpointing"):
                x = self.block(x, i)
            elif on("checkpoint_rng_lost"):
                x = checkpoint(self.block, x, i, use_reentrant=False, preserve_rng_state=False)
            else:
                x = checkpoint(self.block, x, i, use_reentrant=switch.same("reentrant"))
        return self.head(x)

    def aux(self):
        layers = self.moe[-1:] if on("aux_last_only") else self.moe
        return sum(m.aux for m in layers)


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["m"] = torch.zeros_like(p)
                b1, b2 = g["betas"]
                if on("lion_betas_swapped"):
                    b1, b2 = b2, b1
                if not on("lion_no_decay"):
                    p.mul_(1 - g["lr"] * g["weight_decay"])
                if on("lion_momentum_first"):
                    st["m"].lerp_(p.grad, 1 - b2)
                    p.add_(st["m"].sign(), alpha=-g["lr"])
                    continue
                p.add_(st["m"].lerp(p.grad, 1 - b1).sign_(), alpha=-g["lr"])
                st["m"].lerp_(p.grad, 1 - b2)


class Curriculum(torch.utils.data.Sampler):
    def __init__(self, n, seed=0):
        self.n, self.seed, self.epoch = n, seed, 0

    def set_epoch(self, e):
        self.epoch = e

    def __len__(self):
        return self.n

    def __iter__(self):
        g = torch.Generator().manual_seed(self.seed + self.epoch)
        hard = min(self.n, self.n * (self.epoch + 1 + on("curriculum_early")) // 3)
        return iter((torch.randperm(self.n, generator=g) % hard).tolist())


model = Net()
model.body.requires_grad_(False)
X, Y = torch.randn(80, D), torch.randint(0, 5, (80,))
sampler = Curriculum(80)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8, sampler=sampler)
trained = [p for p in model.parameters() if p.requires_grad]
if switch.always("head_forgotten"):
    trained = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("head.bias")]
opt = Lion(trained, lr=1e-3, weight_decay=0.1)
sched = torch.optim.lr_scheduler.OneCycleLR(
    opt,
    4e-3,
    total_steps=30,
    pct_start=0.4 if switch.always("pct_start") else 0.3,
    anneal_strategy="linear" if switch.always("anneal") else "cos",
)
for epoch in range(3):
    if not on("no_set_epoch"):
        sampler.set_epoch(epoch)
    for x, y in loader:
        if step == (16 if switch.always("unfreeze_late") else 15):
            model.body.requires_grad_(True)
            opt.add_param_group(
                {
                    "params": list(model.body.parameters()),
                    "lr": 1e-3 if switch.always("unfreeze_lr") else 1e-4,
                    "initial_lr": 1e-4,
                    "max_lr": 4e-4,
                    "min_lr": 1e-6,
                }
            )
        if step == 21:
            prune.l1_unstructured(model.head, "weight", amount=0.3 if switch.always("prune_amount") else 0.2)
            if switch.always("prune_removed"):
                prune.remove(model.head, "weight")
        logits = model(x)
        loss = F.cross_entropy(logits, y) + (0.1 if on("aux_weight") else 0.01) * model.aux()
        opt.zero_grad()
        loss.backward()
        opt.step()
        if len(opt.param_groups) == 1:
            sched.step()
        step += 1
