"""A classifier of sequences: buckets, workers, plateau, early stopping, best checkpoint."""

import os
import random
import tempfile

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from tests.verify.scripts.switch import read_switch

epoch = 1
switch = read_switch()


def on(name: str) -> bool:
    return switch.on(name, epoch)


random.seed(4)
np.random.seed(4)
torch.manual_seed(4)
folder = tempfile.mkdtemp()


class Sentences(torch.utils.data.Dataset):
    def __init__(self, n, seed, train):
        rng = np.random.default_rng(seed)
        self.items = []
        for _ in range(n):
            y = int(rng.integers(0, 3))
            self.items.append((rng.integers(1 + 8 * y, 14 + 8 * y, int(rng.integers(3, 13))), y))
        self.train, self.epoch = train, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        tokens, y = self.items[i]
        if self.train:
            keep = np.random.rand(len(tokens)) > 0.15
            keep[0] = True
            tokens = tokens[keep]
        return torch.as_tensor(tokens), y


class Buckets(torch.utils.data.Sampler):
    def __init__(self, data, size):
        self.lengths, self.size = [len(t) for t, _ in data.items], size

    def __len__(self):
        return (len(self.lengths) + self.size - 1) // self.size

    def __iter__(self):
        order = sorted(range(len(self.lengths)), key=lambda i: self.lengths[i])
        batches = [order[i : i + self.size] for i in range(0, len(order), self.size)]
        if on("drop_last"):
            batches = [b for b in batches if len(b) == self.size]
        if not on("buckets_not_shuffled"):
            random.shuffle(batches)
        return iter(batches)


def collate(rows):
    rows = sorted(rows, key=lambda r: -len(r[0]))
    x = pad_sequence([r[0] for r in rows], batch_first=True, padding_value=5 if on("pad_with_token") else 0)
    n = torch.tensor([len(r[0]) for r in rows])
    return x, n, torch.tensor([r[1] for r in rows])


def init_worker(k):
    seed = 100 if on("workers_share_seed") else 100 * epoch + k
    if on("worker_seed_per_run"):
        seed = k
    np.random.seed(seed)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(32, 16, padding_idx=0)
        self.rnn = nn.LSTM(16, 16, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(32, 3)
        if not switch.always("forget_bias"):
            for n, p in self.rnn.named_parameters():
                if "bias_ih" in n:
                    p.data[16:32].fill_(1.0)

    def forward(self, x, n):
        e = self.emb(x)
        if on("not_packed"):
            out, (h, _) = self.rnn(e)
        else:
            packed = pack_padded_sequence(
                e, n, batch_first=True, enforce_sorted=not switch.same("enforce_sorted_false")
            )
            out, (h, _) = self.rnn(packed)
        feats = torch.cat([h[-2], h[-1]], 1)
        if on("first_layer_state"):
            feats = torch.cat([h[0], h[1]], 1)
        if on("last_position"):
            out, _ = pad_packed_sequence(out, batch_first=True)
            feats = out[:, -1]
        return self.head(self.drop(feats))


train, val, test = Sentences(74, 0, True), Sentences(30, 1, False), Sentences(30, 2, False)
loader = torch.utils.data.DataLoader(
    train,
    batch_sampler=Buckets(train, 16),
    collate_fn=collate,
    num_workers=2,
    worker_init_fn=init_worker,
)
val_loader = torch.utils.data.DataLoader(val, batch_size=16, collate_fn=collate)
test_loader = torch.utils.data.DataLoader(
    test, batch_size=32 if switch.always("test_batch") else 16, collate_fn=collate
)
model = Classifier()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)
sched = torch.optim.lr_scheduler.ReduceLROnPlateau(
    opt, mode="max" if switch.always("plateau_max") else "min", factor=0.5, patience=0, threshold=0.2
)
weights = torch.tensor([1.0, 1.5, 0.7])
crit = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)


def evaluate(data):
    if not on("eval_keeps_dropout"):
        model.eval()
    total, hits, count = 0.0, 0, 0
    with torch.no_grad():
        for x, n, y in data:
            out = model(x, n)
            own = nn.functional.cross_entropy(out, y).item()
            hits += (out.argmax(1) == y).sum().item()
            if on("eval_mean_of_means"):
                total, count = total + own, count + 1
            else:
                total, count = total + own * len(y), count + len(y)
    model.train()
    return {"loss": total / count, "accuracy": hits / len(data.dataset)}


best, bad = float("inf"), 0
for epoch in range(1, 9):
    model.train()
    running = 0.0
    for x, n, y in loader:
        opt.zero_grad()
        out = model(x, n)
        if on("no_label_smoothing"):
            loss = nn.functional.cross_entropy(out, y, weight=weights)
        elif on("no_class_weights"):
            loss = nn.functional.cross_entropy(out, y, label_smoothing=0.1)
        else:
            loss = crit(out, y)
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.05 if not on("clip_value") else 0.1)
        opt.step()
        running += loss.item()
    result = evaluate(val_loader)
    sched.step(running if on("plateau_on_train_loss") else result["loss"])
    bad = bad + 1 if result["loss"] > best - 0.02 else 0
    if result["loss"] < best:
        best = result["loss"]
        torch.save(
            {"model": model.state_dict(), "epoch": epoch - 1 if on("ckpt_epoch") else epoch, "best": best},
            os.path.join(folder, "best.pt"),
        )
    elif on("save_every_epoch"):
        torch.save({"model": model.state_dict(), "epoch": epoch, "best": best}, os.path.join(folder, "best.pt"))
    if bad >= (2 if switch.always("patience") else 1) and epoch >= 5:
        break
if not switch.always("best_not_restored"):
    model.load_state_dict(torch.load(os.path.join(folder, "best.pt"))["model"])
evaluate(test_loader)
