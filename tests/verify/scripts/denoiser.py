"""A denoiser with EMA weights, autocast, a scaler and a generator of its own."""

import copy
import math
import os
import tempfile

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


torch.manual_seed(7)
T = 50
folder = tempfile.mkdtemp()


def schedule(kind):
    if kind == "cosine":
        s = torch.linspace(0, 1, T + 1)
        f = torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2
        return (f[1:] / f[0]).clamp(min=1e-4)
    return torch.cumprod(1 - torch.linspace(1e-4, 0.2, T), 0)


class Denoiser(nn.Module):
    def __init__(self, dim=16, width=48):
        super().__init__()
        self.time = nn.Embedding(T, width)
        self.label = nn.Embedding(11, width)
        self.inp = nn.Linear(dim, width)
        self.norm = nn.GroupNorm(4, width)
        self.mid = nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(width, dim)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, t, y):
        h = self.inp(x) + self.time(t) + self.label(y)
        return self.out(self.drop(F.silu(self.mid(F.silu(self.norm(h))))))


class EMA:
    def __init__(self, model, decay):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.n = decay, 0

    @torch.no_grad()
    def update(self, model):
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n))
        if on("ema_no_warmup"):
            d = self.decay
        if on("ema_decay"):
            d = d * 0.9
        if on("ema_wrong_way"):
            d = 1 - d
        for e, p in zip(self.model.parameters(), model.parameters(), strict=False):
            if switch.same("ema_by_formula"):
                e.copy_(e.lerp(p, 1 - d))
            else:
                e.lerp_(p, 1 - d)


x0 = torch.randn(320, 16)
y0 = torch.randint(0, 10, (320,))
gen = torch.Generator().manual_seed(11)
model = Denoiser()
ema = EMA(model, 0.99)
opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 8))
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7 if switch.always("growth_interval") else 10)


def evaluate():
    net = model if on("eval_raw_model") else ema.model
    if not switch.same("ema_stays_eval"):
        net.eval()
    g = torch.Generator().manual_seed(99)
    if on("eval_uses_training_generator"):
        g = gen
    with torch.no_grad():
        a = schedule("cosine")
        x = torch.randn(8, 16, generator=g)
        for t in reversed(range(0, T, 10)):
            eps = net(x, torch.full((8,), t), torch.arange(8))
            pred = (x - (1 - a[t]).sqrt() * eps) / a[t].sqrt()
            if not on("sample_no_clip"):
                pred = pred.clamp(-0.5, 0.5)
            prev = a[t - 10] if t >= 10 else torch.tensor(1.0)
            x = prev.sqrt() * pred + (1 - prev).sqrt() * eps
        tt = torch.randint(0, T, (64,), generator=g)
        noise = torch.randn(64, 16, generator=g)
        noisy = a[tt, None].sqrt() * x0[:64] + (1 - a[tt, None]).sqrt() * noise
        loss = F.mse_loss(net(noisy, tt, y0[:64]), noise).item()
    if on("eval_raw_model"):
        model.train()
    return {"val": loss, "std": x.std().item()}


for step in range(1, 31):
    ix = torch.randint(0, 320, (16,), generator=gen)
    x, y = x0[ix], y0[ix]
    t = torch.randint(0, T, (16,), generator=gen)
    if on("t_from_one"):
        t = t.clamp(min=25)
    noise = torch.randn(16, 16, generator=gen)
    drop = torch.rand(16, generator=gen) < (0.6 if on("label_dropout") else 0.1)
    y = torch.where(drop, 10, y)
    a = schedule("linear" if on("linear_schedule") else "cosine")[t, None]
    noisy = a.sqrt() * x + (1 - a).sqrt() * noise
    opt.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not on("no_autocast")):
        pred = model(noisy, t, y)
        target = x if on("predicts_x0") else noise
        if on("l1_loss"):
            loss = F.l1_loss(pred.float(), target)
        elif on("loss_in_bf16"):
            loss = (pred - target.to(pred.dtype)).square().mean()
        else:
            loss = (
                F.mse_loss(pred.float(), target)
                if not switch.same("loss_by_hand")
                else (pred.float() - target).square().mean()
            )
    if on("snr_weight"):
        loss = (
            F.mse_loss(pred.float(), target, reduction="none").mean(1) * (a / (1 - a)).squeeze(1).clamp(max=5)
        ).mean()
    scaler.scale(loss).backward()
    if not on("no_unscale"):
        scaler.unscale_(opt)
    if not on("clip_after_step"):
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    if on("scheduler_first"):
        sched.step()
    if on("ema_before_step"):
        ema.update(model)
    scaler.step(opt)
    if on("clip_after_step"):
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    if not on("no_scaler_update"):
        scaler.update()
    if not on("scheduler_first") and not at("scheduler_skipped"):
        sched.step()
    if not on("ema_before_step") and not (on("ema_every_second") and step % 2):
        ema.update(model)
    if step % 10 == 0:
        result = evaluate()
        state = {
            "model": model.state_dict(),
            "ema": ema.model.state_dict(),
            "opt": opt.state_dict(),
            "step": step,
            "scaler": scaler.state_dict(),
            **result,
        }
        if on("ckpt_ema_is_model"):
            state["ema"] = model.state_dict()
        if on("ckpt_half"):
            state["ema"] = {k: v.half() for k, v in state["ema"].items()}
        torch.save(state, os.path.join(folder, f"{step}.pt"))
