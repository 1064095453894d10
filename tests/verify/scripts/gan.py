"""A small GAN with two optimizers."""

import torch
from torch import nn

from tests.verify.scripts.switch import read_switch

it = 1
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, it)


torch.manual_seed(0)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(16, 32)),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Linear(32, 1),
        )

    def forward(self, x):
        out = self.net(x)
        return torch.sigmoid(out) if on("sigmoid_twice") else out


if switch.same("construct_optimizers_late"):
    G, D = Generator(), Discriminator()
    data = torch.randn(200, 16).tanh()
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-3, betas=(0.5, 0.999))
else:
    G, D = Generator(), Discriminator()
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-3, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.999))
    data = torch.randn(200, 16).tanh()
sch_g = torch.optim.lr_scheduler.ExponentialLR(opt_g, 0.9)
sch_d = torch.optim.lr_scheduler.ExponentialLR(opt_d, 0.9)
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(data),
    batch_size=20,
    shuffle=True,
    generator=torch.Generator().manual_seed(1),
    num_workers=2 if switch.same("workers") else 0,
)
bce = nn.BCEWithLogitsLoss()
fixed = torch.randn(16, 8)


def d_step(real):
    if not on("d_grads_kept"):
        opt_d.zero_grad()
    if on("generator_in_eval"):
        G.eval()
    z = torch.randn(len(real), 8)
    fake = G(z)
    if on("generator_in_eval"):
        G.train()
    if switch.always("bn_momentum") and it == switch.start:
        G.net[1].momentum = 0.2
    label = 0.9 if not on("no_label_smoothing") else 1.0
    real = real.clone().requires_grad_(True)
    real_logit = D(real)
    loss_real = bce(real_logit, torch.full_like(real_logit, label))
    (grad,) = torch.autograd.grad(real_logit.sum(), real, create_graph=not on("r1_no_graph"), retain_graph=True)
    r1 = grad.square().sum(1).mean()
    fake_logit = D(fake) if switch.same("no_detach_retain") else D(fake.detach())
    loss_fake = bce(fake_logit, torch.zeros_like(fake_logit))
    loss = loss_real + loss_fake + (0.5 if on("r1_weight") else 1.0) * r1
    if on("d_loss_halved"):
        loss = loss / 2
    loss.backward(retain_graph=True)
    if on("d_clip_added"):
        nn.utils.clip_grad_norm_(D.parameters(), 100.0)
    opt_d.step()
    return fake, loss


def g_step(fake, n):
    opt_g.zero_grad()
    if on("g_new_noise"):
        fake = G(torch.randn(n, 8))
    if on("d_frozen_dropout"):
        D.eval()
    logit = D(fake)
    if on("d_frozen_dropout"):
        D.train()
    target = torch.ones_like(logit)
    if on("g_label_smoothed"):
        target = target * 0.9
    loss = bce(logit, target)
    if on("g_minimax"):
        loss = -bce(logit, torch.zeros_like(logit))
    loss.backward()
    opt_g.step()
    return loss


for _epoch in range(3):
    if on("d_beta1"):
        opt_d.param_groups[0]["betas"] = (0.9, 0.999)
    for (real,) in loader:
        if on("g_first"):
            fake = G(torch.randn(len(real), 8))
            lg = g_step(fake, len(real))
            fake, ld = d_step(real)
        else:
            fake, ld = d_step(real)
            if not (on("g_every_second") and it % 2):
                lg = g_step(fake, len(real))
        if it % 10 == 0:
            if not on("eval_in_train"):
                G.eval()
            with torch.no_grad():
                noise = fixed if not on("fixed_noise_redrawn") else torch.randn(16, 8)
                samples = G(noise)
                score = (samples.mean(0) - data.mean(0)).norm().item()
            G.train()
            torch.save({"G": G.state_dict(), "D": D.state_dict()}, "/dev/null")
        it += 1
    if not on("g_scheduler_missing"):
        sch_g.step()
    sch_d.step()
