"""Contrastive learning with a momentum encoder, a queue and a learned temperature."""

import copy
import io

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


torch.manual_seed(2)


class Views(torch.utils.data.Dataset):
    def __init__(self, n=84):
        self.x = torch.randn(n, 20, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def augment(self, x):
        return x + 0.1 * torch.randn(20)

    def __getitem__(self, i):
        a = self.augment(self.x[i])
        if on("one_augmentation"):
            return a, a.clone()
        return a, self.augment(self.x[i])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 16))

    def forward(self, x):
        return F.normalize(self.net(x), dim=1)


class MoCo(nn.Module):
    def __init__(self, K=40, m=0.95):
        super().__init__()
        self.K, self.m = K, m
        self.encoder_q = Encoder()
        self.encoder_k = copy.deepcopy(self.encoder_q)
        for p in self.encoder_k.parameters():
            p.requires_grad = False
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.2), dtype=torch.float32))
        self.register_buffer("queue", F.normalize(torch.randn(16, K), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def momentum_update(self):
        m = 0.9 if on("momentum") else self.m
        for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=False):
            k.data = k.data * m + q.data * (1.0 - m)

    @torch.no_grad()
    def enqueue(self, keys):
        n, p = keys.shape[0], int(self.queue_ptr)
        self.queue[:, p : p + n] = keys.T[:, : self.K - p]
        if not on("pointer_stuck"):
            self.queue_ptr[0] = (p + n) % self.K

    def forward(self, a, b):
        q = self.encoder_q(a)
        if switch.same("detach_keys"):
            self.momentum_update()
            k = self.encoder_k(b).detach()
        else:
            with torch.no_grad():
                if not on("no_momentum_update"):
                    self.momentum_update()
                k = self.encoder_k(b)
        if on("keys_not_normalised"):
            k = self.encoder_k.net(b).detach()
        if on("enqueue_first"):
            self.enqueue(k)
        pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
        logits = torch.cat([pos, neg], 1) * self.logit_scale.exp()
        if on("negatives_only_half"):
            logits = logits[:, : 1 + self.K // 2]
        labels = torch.zeros(len(q), dtype=torch.long)
        if not on("enqueue_first"):
            self.enqueue(q.detach() if on("enqueue_queries") else k)
        return logits, labels


class Renamed(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.backbone = net

    def forward(self, a, b):
        return self.backbone(a, b)


model = MoCo()
if switch.same("wrapped"):
    model = Renamed(model)
core = model.backbone if switch.same("wrapped") else model
decay = [p for n, p in model.named_parameters() if p.requires_grad and "logit_scale" not in n]
groups = [{"params": decay}, {"params": [core.logit_scale], "weight_decay": 0.0}]
if switch.always("scale_decayed"):
    groups = [{"params": [*decay, core.logit_scale]}]
if switch.always("scale_forgotten"):
    groups = [{"params": decay}]
opt = torch.optim.SGD(
    groups, lr=0.05, momentum=0.9, weight_decay=1e-4, foreach=True if switch.same("foreach") else None
)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=4)
loader = torch.utils.data.DataLoader(
    Views(), batch_size=8, shuffle=True, drop_last=not switch.always("keep_last"), pin_memory=False
)

for epoch in range(3):
    model.train()
    for a, b in loader:
        if on("views_swapped"):
            a, b = b, a
        if on("nesterov"):
            opt.param_groups[0]["nesterov"] = True
        if on("scale_frozen"):
            core.logit_scale.requires_grad_(False)
        logits, labels = model(a, b)
        if on("positive_last"):
            labels = labels + logits.shape[1] - 1
        loss = F.cross_entropy(logits, labels)
        if on("symmetric"):
            loss = 0.5 * loss
        opt.zero_grad(set_to_none=not switch.same("zero_to_zeros"))
        loss.backward()
        opt.step()
        with torch.no_grad():
            if not on("scale_not_clamped"):
                core.logit_scale.clamp_(0, 1.60)
        if on("scheduler_per_step"):
            sched.step()
        if at("ema_reset"):
            core.encoder_k.load_state_dict(core.encoder_q.state_dict())
        step += 1
    sched.step()
    acc = (logits.argmax(1) == labels).float().mean().item()
    torch.save({"epoch": epoch, "state_dict": core.state_dict(), "optimizer": opt.state_dict()}, io.BytesIO())
