"""PPO on a small balancing task
no loader."""

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

from tests.verify.scripts.switch import read_switch

update = 1
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, update)


class Env:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.reset()

    def reset(self):
        self.s = self.rng.normal(0, 0.05, 4).astype(np.float32)
        self.t = 0
        return self.s

    def step(self, a):
        force = 1.0 if a == 1 else -1.0
        x, v, th, w = self.s
        w = w + 0.1 * (th * 2 + force * 0.5) + self.rng.normal(0, 0.01)
        v = v + 0.1 * force
        self.s = np.array([x + 0.1 * v, v, th + 0.1 * w, w], np.float32)
        self.t += 1
        dead = bool(abs(self.s[2]) > 0.4 or abs(self.s[0]) > 2.4)
        cut = self.t >= 20
        return self.s, 1.0, dead, cut


class RunningNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))
        self.register_buffer("count", torch.tensor(1e-4))

    def update(self, x):
        n = self.count + len(x)
        delta = x.mean(0) - self.mean
        var = (
            self.var * self.count + x.var(0, unbiased=on("norm_unbiased")) * len(x) + delta**2 * self.count * len(x) / n
        ) / n
        self.mean += delta * len(x) / n
        self.var.copy_(var)
        self.count.copy_(n)

    def forward(self, x):
        return (x - self.mean) / (self.var + 1e-8).sqrt()


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = RunningNorm()
        self.actor = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
        self.critic = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.orthogonal_(m.weight, 2**0.5)
                nn.init.zeros_(m.bias)
        if not switch.always("actor_gain"):
            nn.init.orthogonal_(self.actor[-1].weight, 0.01)
        else:
            nn.init.orthogonal_(self.actor[-1].weight, 1.0)

    def value(self, x):
        return self.critic(self.norm(x)).squeeze(-1)

    def forward(self, x, action=None):
        d = Categorical(logits=self.actor(self.norm(x)))
        if action is None:
            action = d.probs.argmax(-1) if on("greedy_rollout") else d.sample()
        return action, d.log_prob(action), d.entropy(), self.value(x)


np.random.seed(1)
torch.manual_seed(1)
envs = [Env(i) for i in range(4)]
obs = np.stack([e.reset() for e in envs])
agent = Agent()
opt = torch.optim.Adam(agent.parameters(), lr=1e-2, eps=1e-5)
T, N, updates, epochs, minibatches, gamma, lam = 24, 4, 5, 2, 3, 0.99, 0.95


def gae(rewards, values, dones, last_value, last_done):
    adv = torch.zeros_like(rewards)
    acc = 0
    decay = 1.0 if on("gae_lambda") else lam
    for t in reversed(range(T)):
        if on("done_off_by_one"):
            alive, nxt = 1 - dones[t], (last_value if t == T - 1 else values[t + 1])
        else:
            alive, nxt = (1 - last_done, last_value) if t == T - 1 else (1 - dones[t + 1], values[t + 1])
        delta = rewards[t] + gamma * nxt * alive - values[t]
        acc = delta + gamma * decay * alive * acc
        adv[t] = acc
    return adv


done = np.zeros(N, np.float32)
count = 0
for update in range(1, updates + 1):
    frac = 1.0 - (update if on("anneal_off_by_one") else update - 1) / updates
    opt.param_groups[0]["lr"] = frac * 1e-2
    store = {k: [] for k in ("obs", "act", "logp", "rew", "done", "val")}
    for _t in range(T):
        x = torch.from_numpy(obs)
        store["obs"].append(x)
        store["done"].append(torch.from_numpy(done))
        with torch.inference_mode() if switch.same("inference_mode") else torch.no_grad():
            a, lp, _, v = agent(x)
        store["act"].append(a)
        store["logp"].append(lp)
        store["val"].append(v)
        rows, rew, dn = [], [], []
        for e, ai in zip(envs, a.tolist(), strict=False):
            s, r, dead, cut = e.step(ai)
            if (cut and not dead) and not on("no_truncation_bootstrap"):
                with torch.no_grad():
                    r += gamma * float(agent.value(torch.from_numpy(s)[None]))
            if dead or cut:
                s = e.reset()
            rows.append(s)
            rew.append(r * (0.1 if on("reward_scale") else 1.0))
            dn.append(float(dead or cut))
        obs, done = np.stack(rows), np.array(dn, np.float32)
        store["rew"].append(torch.tensor(rew))
    b = {k: torch.stack([torch.as_tensor(x).clone() for x in v]) for k, v in store.items()}
    with torch.no_grad():
        last = agent.value(torch.from_numpy(obs))
    adv = gae(b["rew"], b["val"], b["done"], last, torch.from_numpy(done))
    ret = adv + b["val"]
    if on("returns_from_normalised"):
        ret = (adv - adv.mean()) / (adv.std() + 1e-8) + b["val"]
    flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in b.items()} | {"adv": adv.reshape(-1), "ret": ret.reshape(-1)}
    if not on("norm_never_updated"):
        agent.norm.update(flat["obs"])
    index = np.arange(T * N)
    with torch.no_grad():
        _, flat["logp"], _, _ = (
            agent(flat["obs"], flat["act"]) if not on("old_logp_stale_norm") else (0, flat["logp"], 0, 0)
        )
    for epoch in range(epochs):
        if not (on("shuffle_once") and epoch):
            np.random.shuffle(index)
        stop = False
        for mb in np.array_split(index, minibatches):
            o, act = flat["obs"][mb], flat["act"][mb]
            _, lp, ent, v = agent(o, act)
            ratio = (lp - flat["logp"][mb]).exp()
            A = flat["adv"][mb]
            if not on("no_advantage_norm"):
                A = (A - A.mean()) / (A.std() + 1e-8)
            c = 0.01 if on("clip_coef") else 0.02
            pg = torch.max(-A * ratio, -A * ratio.clamp(1 - c, 1 + c)).mean()
            if on("min_for_max"):
                pg = torch.min(-A * ratio, -A * ratio.clamp(1 - c, 1 + c)).mean()
            vl = (v - flat["ret"][mb]).square()
            if not on("no_value_clip"):
                vc = flat["val"][mb] + (v - flat["val"][mb]).clamp(-0.05, 0.05)
                vl = torch.max(vl, (vc - flat["ret"][mb]).square())
            vl = vl.mean() if on("value_half_missing") else 0.5 * vl.mean()
            loss = pg + 0.5 * vl + (0.01 if on("entropy_sign") else -0.01) * ent.mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.actor.parameters() if on("clip_actor_only") else agent.parameters(), 0.5)
            opt.step()
            count += 1
            kl = ((ratio - 1) - ratio.log()).mean().item()
            if kl > (0.5 if on("kl_never_stops") else 0.00037):
                stop = True
                break
        if stop:
            break
