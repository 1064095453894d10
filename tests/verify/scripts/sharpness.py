"""Sharpness-aware minimisation, and LBFGS for the head afterwards."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.verify.scripts.switch import read_switch

it = 1
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, it)


torch.manual_seed(5)


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **kw):
        super().__init__(params, dict(rho=rho, **kw))
        self.base_optimizer = base(self.param_groups, **kw)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    def _norm(self):
        grads = [p.grad for g in self.param_groups for p in g["params"]]
        return torch.stack([x.norm(1 if on("norm_l1") else 2) for x in grads]).norm(2)

    @torch.no_grad()
    def first_step(self, zero_grad=True):
        for g in self.param_groups:
            scale = g["rho"] / (self._norm() + 1e-12)
            for p in g["params"]:
                self.state[p]["old_p"] = p.data.clone()
                e = p.grad * scale
                if on("adaptive"):
                    e = e * p.square()
                p.add_(e)
        if zero_grad and not on("second_without_zero"):
            self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for g in self.param_groups:
            for p in g["params"]:
                if not on("not_restored"):
                    p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step()
        closure()
        self.second_step()


model = nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4))
X, Y = torch.randn(160, 12), torch.randint(0, 4, (160,))
opt = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.1, momentum=0.9, weight_decay=5e-4)
sched = torch.optim.lr_scheduler.StepLR(opt.base_optimizer, 7, 0.5)


def bn(flag):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.momentum = 0.1 if flag else 0.0


for it in range(1, 16):
    ix = torch.randint(0, 160, (16,))
    x, y = X[ix], Y[ix]
    if on("rho"):
        opt.param_groups[0]["rho"] = 0.1
    if on("lr"):
        opt.param_groups[0]["lr"] = 0.09
    bn(True)
    smooth = 0.0 if on("no_smoothing") else 0.1
    F.cross_entropy(model(x), y, label_smoothing=smooth).backward()

    def closure(x=x, y=y, smooth=smooth):
        bn(on("bn_twice"))
        a, b = x, y
        if on("other_batch_second"):
            a, b = X[:16], Y[:16]
        loss = F.cross_entropy(model(a), b, label_smoothing=0.0 if on("second_no_smoothing") else smooth)
        loss.backward()
        return loss

    if on("sgd_instead"):
        opt.base_optimizer.step()
        opt.zero_grad()
    else:
        opt.step(closure)
    if not on("scheduler_missing"):
        sched.step()
    if it % 5 == 0:
        model.eval()
        with torch.no_grad():
            acc = (model(X).argmax(1) == Y).float().mean().item()
        model.train()

model.eval()
with torch.no_grad():
    feats = model[:-1](X)
head = model[-1]
lbfgs = torch.optim.LBFGS(
    head.parameters(),
    lr=0.5,
    max_iter=4 if not switch.always("lbfgs_max_iter") else 3,
    history_size=10 if not switch.always("lbfgs_history") else 2,
    line_search_fn="strong_wolfe" if not switch.always("lbfgs_no_line_search") else None,
)
for it in range(16, 21):  # noqa: B007 - `on` reads it

    def closure():
        if not on("lbfgs_no_zero"):
            lbfgs.zero_grad()
        loss = F.cross_entropy(head(feats), Y)
        if not on("lbfgs_no_l2"):
            loss = loss + 1e-3 * head.weight.square().sum()
        if switch.same("reads_loss"):
            loss.item()
        loss.backward()
        return loss

    lbfgs.step(closure)
