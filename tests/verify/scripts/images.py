"""A small CNN: mixup with NumPy, flips with random, OneCycle, groups for head and norms."""

import os
import random
import tempfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.verify.scripts.switch import read_switch

step = 1
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, step)


def at(name: str) -> bool:
    return switch.at(name, step)


random.seed(8)
np.random.seed(8)
torch.manual_seed(8)
out = tempfile.mkdtemp()


class Images(torch.utils.data.Dataset):
    def __init__(self, n, seed, train):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randint(0, 256, (n, 3, 8, 8), generator=g, dtype=torch.uint8)
        self.y = torch.randint(0, 4, (n,), generator=g)
        self.train = train

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        x = self.x[i]
        if switch.same("prepare_in_collate"):
            if self.train and random.random() < 0.5:
                x = x.flip(-1)
            return x, int(self.y[i])
        std = 0.25 if on("other_std") and self.train else 0.5
        x = (x.float() / 255 - 0.5) / std
        if on("flip_draws_more") and self.train:
            random.random()
        if self.train and random.random() < (0.1 if on("flip_less") else 0.5):
            x = x.flip(-2 if on("flip_other_axis") else -1)
        return x, int(self.y[i])


def prepared(rows):
    x = torch.stack([r[0] for r in rows])
    return (x.float() / 255 - 0.5) / 0.5, torch.tensor([r[1] for r in rows])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 4)
        if switch.always("zero_gamma"):
            nn.init.zeros_(self.bn2.weight)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = x.amax((2, 3)) if on("max_pool") else x.mean((2, 3))
        return self.head(F.dropout(x, 0.3 if on("dropout_p") else 0.2, self.training))


kw = {"collate_fn": prepared} if switch.same("prepare_in_collate") else {}
loader = torch.utils.data.DataLoader(
    Images(116, 0, True), batch_size=16, shuffle=True, drop_last=switch.always("drop_last"), **kw
)
test = torch.utils.data.DataLoader(Images(44, 1, False), batch_size=16, **kw)
model = Net()
norms = [p for n, p in model.named_parameters() if "bn" in n]
convs = [p for n, p in model.named_parameters() if "conv" in n]
if switch.always("norms_decayed"):
    convs, norms = convs + norms[:2], norms[2:]
opt = torch.optim.SGD(
    [
        {"params": convs, "weight_decay": 5e-4},
        {"params": norms, "weight_decay": 0.0},
        {"params": model.head.parameters(), "lr": 0.05},
    ],
    lr=0.02,
    momentum=0.9,
    nesterov=True,
)
sched = torch.optim.lr_scheduler.OneCycleLR(
    opt,
    [0.1, 0.1, 0.2] if not switch.always("one_max_lr") else 0.1,
    epochs=4,
    steps_per_epoch=len(loader),
    cycle_momentum=not switch.always("no_momentum_cycle"),
)


def mixup(x, y):
    alpha = 0.4 if on("mixup_alpha") else 0.2
    lam = np.random.beta(alpha, alpha)
    if on("mixup_lam_folded"):
        lam = max(lam, 1 - lam)
    index = torch.from_numpy(np.random.permutation(len(x))) if on("mixup_numpy_permutation") else torch.randperm(len(x))
    return lam * x + (1 - lam) * x[index], y, y[index], lam


def evaluate():
    model.eval()
    hits, count, top, batches = 0, 0, 0.0, 0
    with torch.no_grad():
        for x, y in test:
            if on("eval_flip"):
                x = x.flip(-1)
            o = model(x)
            hits += (o.argmax(1) == y).sum().item()
            top += (o.argmax(1) == y).float().mean().item()
            count += len(y)
            batches += 1
    model.train()
    return top / batches if on("eval_batch_mean") else hits / count


for epoch in range(4):
    for x, y in loader:
        if at("bn_momentum"):
            model.bn1.momentum = 0.01
        if at("bn_eps"):
            model.bn1.eps = 1e-3
        if at("bn_frozen"):
            model.bn1.eval()
        x, ya, yb, lam = mixup(x, y)
        if on("mixup_off"):
            lam = 1.0
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on("autocast")):
            logits = model(x)
        logits = logits.float()
        if on("labels_swapped"):
            ya, yb = yb, ya
        smooth = 0.0 if on("no_smoothing") else 0.1
        loss = lam * F.cross_entropy(logits, ya, label_smoothing=smooth) + (1 - lam) * F.cross_entropy(
            logits, yb, label_smoothing=smooth
        )
        model.zero_grad() if switch.same("module_zero_grad") else opt.zero_grad()
        loss.backward()
        if on("grad_noise"):
            for p in model.parameters():
                p.grad += 1e-9
        if on("grad_centralised"):
            for p in convs[:1]:
                p.grad -= p.grad.mean((1, 2, 3), keepdim=True)
        opt.step()
        if on("weights_rounded"):
            with torch.no_grad():
                for p in model.parameters():
                    p.copy_(p.bfloat16().float())
        if not on("scheduler_per_epoch"):
            sched.step()
        step += 1
    if on("scheduler_per_epoch"):
        sched.step()
    acc = evaluate()
    state = {"net": model.state_dict(), "acc": acc, "epoch": epoch, "sched": sched.state_dict()}
    if on("ckpt_without_buffers"):
        state["net"] = dict(model.named_parameters())
    torch.save(state, os.path.join(out, "last.pt"))
