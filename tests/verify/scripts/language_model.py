"""A character language model in the manner of nanoGPT."""

import math
import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

from tests.verify.scripts.switch import read_switch

it = 0
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, it + 1)


batch_size, block_size, vocab, n_layer, n_head, n_embd, dropout = 4, 16, 32, 2, 2, 32, 0.1
max_iters, warmup, lr_max, lr_min, grad_clip, accum, eval_every, eval_iters = 30, 5, 3e-3, 3e-4, 1.0, 2, 10, 3
torch.manual_seed(1337)
out_dir = tempfile.mkdtemp()

rng = np.random.default_rng(5)
for split, size in (("train", 4000), ("val", 800)):
    rng.integers(0, vocab, size).cumsum().astype(np.uint16).__mod__(vocab).tofile(os.path.join(out_dir, split + ".bin"))


def get_batch(split):
    data = np.memmap(os.path.join(out_dir, split + ".bin"), dtype=np.uint16, mode="r")
    ix = torch.randint(len(data) - block_size, (batch_size,))
    if on("batch_last_block") and split == "train":
        ix = ix.clamp(max=2000)
    x = torch.stack([torch.from_numpy(data[i : i + block_size].astype(np.int64)) for i in ix])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + block_size].astype(np.int64)) for i in ix])
    if on("target_not_shifted"):
        y = x.clone()
    return x, y


class CausalSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.resid_dropout = nn.Dropout(dropout)
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(n_embd, dim=2)
        q, k, v = (t.view(B, T, n_head, C // n_head).transpose(1, 2) for t in (q, k, v))
        scale = 1.0 / math.sqrt(n_embd if on("attention_scale") else k.size(-1))
        att = (q @ k.transpose(-2, -1)) * scale
        if not on("no_causal_mask"):
            att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        if not on("no_attention_dropout"):
            att = F.dropout(att, dropout, self.training)
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * n_embd, n_embd, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        h = self.c_fc(x)
        h = F.gelu(h, approximate="tanh") if on("gelu_tanh") else self.gelu(h)
        return self.dropout(self.c_proj(h))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention()
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = MLP()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, n_embd),
                "wpe": nn.Embedding(block_size, n_embd),
                "drop": nn.Dropout(dropout),
                "h": nn.ModuleList([Block() for _ in range(n_layer)]),
                "ln_f": nn.LayerNorm(n_embd),
            }
        )
        self.lm_head = nn.Linear(n_embd, vocab, bias=False)
        if not switch.always("untied"):
            self.transformer.wte.weight = self.lm_head.weight
        self.criterion = nn.CrossEntropyLoss()
        self.apply(self._init_weights)
        for pn, p in self.named_parameters():
            if pn.endswith("c_proj.weight"):
                nn.init.normal_(
                    p, mean=0.0, std=0.02 if switch.always("no_residual_init") else 0.02 / math.sqrt(2 * n_layer)
                )

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets=None):
        pos = torch.arange(0, idx.size(1))
        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(pos))
        for block in self.transformer.h:
            x = block(x)
        x = self.transformer.ln_f(x)
        logits = self.lm_head(x)
        if switch.same("loss_module"):
            return logits, self.criterion(logits.view(-1, vocab), targets.view(-1))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

    def configure_optimizers(self, weight_decay, lr, betas):
        params = {n: p for n, p in self.named_parameters() if p.requires_grad}
        if switch.always("decay_by_name"):
            decay = [p for n, p in params.items() if n.endswith("weight")]
            rest = [p for n, p in params.items() if not n.endswith("weight")]
        else:
            decay = [p for p in params.values() if p.dim() >= 2]
            rest = [p for p in params.values() if p.dim() < 2]
        groups = [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
        extra = {"foreach": True} if switch.same("foreach") else {}
        if switch.always("adam_l2"):
            return torch.optim.Adam(groups, lr=lr, betas=betas)
        return torch.optim.AdamW(groups, lr=lr, betas=betas, **extra)


class Wrapper(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, y):
        return self.net(x, y)


def get_lr(i):
    if on("lr_off_by_one"):
        i = i + 1
    w = 6 if switch.always("warmup_one_longer") else warmup
    low = 0.0 if on("min_lr_zero") else lr_min
    if i < w:
        return lr_max * (i + 1) / (w + 1)
    if i > max_iters:
        return low
    ratio = (i - w) / (max_iters - w)
    return low + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (lr_max - low)


def quiet():
    return torch.inference_mode() if switch.same("inference_mode") else torch.no_grad()


def estimate_loss():
    out = {}
    with quiet():
        if not on("eval_in_train_mode"):
            model.eval()
        for split in ("train", "val"):
            n = eval_iters + (1 if on("eval_iters") else 0)
            losses = torch.zeros(n)
            for k in range(n):
                X, Y = get_batch(split)
                _, loss = model(X, Y)
                losses[k] = loss.item()
                if switch.same("metrics_twice"):
                    losses[k] = loss.item()
            out[split] = losses.mean().item()
            if on("eval_metric_median"):
                out[split] = losses.median().item()
        if not on("no_train_after_eval"):
            model.train()
    return out


model = raw = GPT()
if switch.same("wrapped"):
    model = Wrapper(raw)
if switch.same("compile_eager"):
    model = torch.compile(raw, backend="eager")
optimizer = raw.configure_optimizers(0.1, lr_max, (0.9, 0.95))
if switch.same("unused_loader"):
    unused = torch.utils.data.DataLoader([1, 2, 3])
scheduler = None
if switch.same("lambda_lr"):
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: get_lr(i) / lr_max)
X, Y = get_batch("train")
best = 1e9
while True:
    lr = get_lr(it)
    for group in optimizer.param_groups:
        group["lr"] = lr
        if on("beta2"):
            group["betas"] = (0.9, 0.99)
    if it % eval_every == 0 and it > 0:
        losses = estimate_loss()
        better = losses["val"] > best if on("best_direction") else losses["val"] < best
        if better or it == eval_every:
            best = losses["val"]
            ckpt = {
                "model": raw.state_dict(),
                "optimizer": optimizer.state_dict(),
                "iter_num": it,
                "best_val_loss": best,
            }
            if on("ckpt_no_optimizer"):
                del ckpt["optimizer"]
            if on("ckpt_iter"):
                ckpt["iter_num"] = it + 1
            if switch.same("ckpt_other_order"):
                ckpt = dict(reversed(ckpt.items()))
            torch.save(ckpt, os.path.join(out_dir, "ckpt.pt"))
    if it >= max_iters:
        break
    total = []
    for _micro in range(accum):
        _, loss = model(X, Y)
        loss = loss if on("loss_not_divided") else loss / accum
        if switch.same("prefetch_after_backward"):
            loss.backward()
            X, Y = get_batch("train")
        elif switch.same("accumulate_in_list"):
            X, Y = get_batch("train")
            total.append(loss)
        else:
            X, Y = get_batch("train")
            if on("batch_fetched_twice"):
                X, Y = get_batch("train")
            loss.backward()
        if on("clip_per_micro"):
            torch.nn.utils.clip_grad_norm_(raw.parameters(), grad_clip)
    for loss in total:
        loss.backward()
    if not on("no_clip") and not on("clip_per_micro"):
        torch.nn.utils.clip_grad_norm_(raw.parameters(), grad_clip * 10 if on("clip_limit") else grad_clip)
    optimizer.step()
    if not on("no_zero_grad"):
        optimizer.zero_grad(set_to_none=not switch.same("zero_to_zeros"))
    if it % 5 == 0:
        lossf = loss.item() * accum
    it += 1
