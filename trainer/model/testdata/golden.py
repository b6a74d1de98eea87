#!/usr/bin/env python3
"""Trains three small networks for ten steps in PyTorch and writes down what happened: golden-*.txt, which golden_test.go compares the Go code with.

It is written from the papers and from the comments of the package, sequence by sequence and without a thought for speed. Weights, items and batches are made by
formulas, on both sides. To make the files again (made with 1.13; Debian: apt-get install python3-torch):

    cd trainer/model/testdata && python3 golden.py
"""

import math
import torch
from torch.nn.functional import layer_norm, relu, silu, softmax

STEPS, ITEMS, SIDES, USERS = 10, 13, 5, 6
ACTIONS = ["exposure", "click", "cart", "purchase"]
HOUR_ROWS, GAP_EDGES = 24, [5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 28800, 86400, 259200]

BASE = dict(
    dim=12, heads=3, blocks=2, max_tokens=14, max_sessions=4, scenes=3, user_rows=0, tokens="session", rotary="session", absolute=False, distance=False,
    time=True, attention="hstu", ffn=0, experts=0, expert_width=6, token_networks=False, horizon=1, cosine=False, temperature=0.5, item_bias=True, sides=True,
    logq=False, horizon_decay=0.5, click=0.0, pay=0.0, scene_norm=False, rate=1e-3, beta1=0.9, beta2=0.98, decay=0.0, rows="adagrad", row_rate=0.05, side_rate=0.1, clip=0.0)
NETWORKS = {
    "hstu": dict(tokens="item", rotary="none", absolute=True, distance=True, item_bias=False, sides=False, rows="adam", row_rate=1e-3),
    "sasrec": dict(tokens="item", rotary="none", absolute=True, time=False, attention="softmax", ffn=12, cosine=True, logq=True, decay=0.1),
    "tbgrecall": dict(user_rows=5, token_networks=True, horizon=2, experts=4, cosine=True, blocks=3, click=0.7, pay=0.4, scene_norm=True, clip=0.5),
}


def wave(k, *shape):
    """Numbers that know no pattern: scale times the sine of the square of their place, plus k."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (0.3 * torch.sin(i * i + k)).reshape(shape)


def tensors(c):
    """Name, shape and whether it decays, of the shared weights, in the order of Config.specs."""
    d, ask = c.dim, c.dim * (2 if c.attention == "hstu" else 1)
    yield "action", (4, d), False
    yield "scene", (c.scenes, d), False
    if c.tokens == "session":
        yield "context", (d,), False
        yield "hour", (HOUR_ROWS, d), False
        yield "gap", (len(GAP_EDGES) + 2, d), False
    if c.user_rows:
        yield "user", (c.user_rows, d), False
    if c.absolute:
        yield "place", (c.max_tokens, d), False
    if c.token_networks:
        for kind in "", "_item":
            yield "embed" + kind, (d, d), True
            yield "embed_bias" + kind, (d,), False
    for b in range(c.blocks):
        name = f"block{b}."
        for kind in ("", "_item") if c.token_networks and b == 0 else ("",):
            yield name + "uq" + kind, (d, ask), True
            yield name + "vk" + kind, (d, 2 * d), True
        if c.attention == "softmax":
            yield name + "uq_bias", (ask,), False
            yield name + "vk_bias", (2 * d,), False
        yield name + "out", (d, d), True
        yield name + "out_bias", (d,), False
        if c.time:
            yield name + "time", (129,), False
        if c.distance:
            yield name + "distance", (c.max_tokens,), False
        if c.ffn:
            yield name + "ffn_in", (d, c.ffn), True
            yield name + "ffn_in_bias", (c.ffn,), False
            yield name + "ffn_out", (c.ffn, d), True
            yield name + "ffn_out_bias", (d,), False
        if c.experts:
            yield name + "experts_in", (c.experts + 1, d, 2 * c.expert_width), True
            yield name + "experts_out", (c.experts + 1, c.expert_width, d), True
            yield name + "router", (d, c.experts), True
            yield name + "router_balance", (c.experts,), False
    for m in range(c.horizon):
        yield "query" + (str(m) if m else ""), (d, d), True


def batch(b):
    """Six users with 0 to 5 sessions of 1 to 4 items; b is 0 or 1."""
    out = []
    for u in range(USERS):
        at = 1_700_000_000_000 + 7_000_000 * u + 500_000 * b
        past = []
        for s in range((5 * u + 4 * b) % 6):
            events = [((5 * u + 3 * s + 4 * j + b) % ITEMS, ACTIONS[(u + 2 * s + 3 * j) % 4]) for j in range(1 + (u + 2 * s + b) % 4)]
            past.append((at, ["", "home", "shop"][(u + s) % 3], events))
            at += 1700 * (s + 1) ** 4 * (2 * u + 1) ** 2
        targets = [((2 * u + 5 * j + b) % ITEMS, ACTIONS[(u + j + 1) % 4]) for j in range(1 + u % 3)]
        out.append(dict(past=past, at=at, scene=["home", "shop"][u % 2], user=f"user {u}", targets=targets, learn=min(len(past), u)))
    return out


CANDIDATES = [0, 1, 2, 3, 5, 6, 8, 10, 12]


def log_q(j):
    return -0.1 - 0.2 * j


def fnv(name):
    h = 2166136261
    for byte in name.encode():
        h = (h ^ byte) * 16777619 % 2**32
    return h


def scene_row(name, rows):
    return 1 + fnv(name) % (rows - 1) if name else 0


def time_bucket(a, b):
    return min(128, math.floor(math.log(max(1, abs(a - b) / 1000)) / 0.301))


def kept(c, past):
    """The newest sessions that fit, the oldest of them perhaps in part: (place in the past, time, scene, events)."""
    head = 1 if c.tokens == "session" else 0
    room, out = c.max_tokens - head, []
    for i in range(len(past) - 1, -1, -1):
        at, scene, events = past[i]
        if len(out) == c.max_sessions or room <= head:
            break
        events = events[-min(len(events), room - head):]
        out.insert(0, (i, at, scene, events))
        room -= head + len(events)
    return out


def layout(c, e):
    """Tokens, as dicts, and questions: (token, ahead, scene of the session asked for, its items with actions)."""
    tokens, questions, learned = [], [], len(e["past"]) - e["learn"]
    sessions = kept(c, e["past"])
    if c.tokens == "item":
        flat = [(i, at, scene, item) for i, at, scene, events in sessions for item in events]
        for t, (i, at, scene, item) in enumerate(flat):
            end = t + 1 == len(flat)
            nxt = e["at"] if end else flat[t + 1][1]
            tokens.append(dict(item=item, scene=scene_row(scene, c.scenes), session=t, time=at, asks=nxt))
            if end:
                questions.append((t, 0, scene_row(e["scene"], c.scenes), e["targets"]))
            elif flat[t + 1][0] >= learned:
                questions.append((t, 0, scene_row(scene, c.scenes), [flat[t + 1][3]]))
        return tokens, questions
    contexts, before = [], None
    for k, (i, at, scene, events) in enumerate(sessions + [(len(e["past"]), e["at"], e["scene"], [])]):
        row = scene_row(scene, c.scenes)
        gap = len(GAP_EDGES) + 1 if before is None else sum((at - before) / 1000 >= edge for edge in GAP_EDGES)
        before = at
        contexts.append(len(tokens))
        tokens.append(dict(item=None, scene=row, hour=at // 3_600_000 % 24, gap=gap, user=fnv(e["user"]) % max(1, c.user_rows), session=k, time=at, asks=at))
        if i >= learned:
            for ahead in range(min(c.horizon, k + 1)):
                questions.append((contexts[k - ahead], ahead, row, events or e["targets"]))
        for item in events:
            tokens.append(dict(item=item, scene=row, session=k, time=at, asks=at))
    return tokens, questions


def sees(t, r, a, b):
    """Whether token number t, which is a, sees token number r, which is b (the session mask)."""
    return b["session"] < a["session"] or t == r or b["session"] == a["session"] and b["item"] is None and a["item"] is not None


def turned(x, positions, width):
    """Rotary positions, each head for itself: (z, z+width/2) is a pair."""
    out = []
    angle = torch.outer(positions, 10000.0 ** (-2 * torch.arange(width // 2, dtype=x.dtype) / width))
    for head in x.split(width, 1):
        a, b = head.split(width // 2, 1)
        out += [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
    return torch.cat(out, 1)


class Network:
    def __init__(self, c, dtype):
        self.c, self.step = c, 0
        self.specs = list(tensors(c))
        self.w = {name: wave(k, *shape).to(dtype).requires_grad_() for k, (name, shape, _) in enumerate(self.specs)}
        self.item, self.bias = wave(1000, ITEMS, c.dim).to(dtype), wave(1001, ITEMS).to(dtype)
        self.side, self.side_bias = wave(1002, SIDES + 1, c.dim).to(dtype), wave(1003, SIDES + 1).to(dtype)
        self.side[0], self.side_bias[0] = 0, 0
        if not c.item_bias:
            self.bias.zero_()
            self.side_bias.zero_()
        self.tables = [self.item, self.bias, self.side, self.side_bias]
        for t in self.tables:
            t.requires_grad_()
        self.state = [[torch.zeros(len(t), dtype=dtype), torch.zeros_like(t), torch.zeros_like(t)] for t in self.tables]
        balance = [self.w[name] for name in self.w if name.endswith("balance")]
        decaying = [self.w[name] for name, _, decays in self.specs if decays]
        others = [self.w[name] for name, _, decays in self.specs if not decays and not name.endswith("balance")]
        self.adam = torch.optim.AdamW([dict(params=decaying, weight_decay=c.decay), dict(params=others, weight_decay=0)], lr=c.rate, betas=(c.beta1, c.beta2), eps=1e-8)
        self.balance, self.scenes = balance, [0.0] * c.scenes

    def items(self):
        """Vectors and biases of all items, side information added."""
        vectors, biases = [], []
        for r in range(ITEMS):
            category, price = (1 + r % 3 if r % 4 != 3 else 0, 4 + r % 2 if r % 5 != 4 else 0) if self.c.sides else (0, 0)
            vectors.append(self.item[r] + (self.side[category] + self.side[price]) / 2)
            biases.append(self.bias[r] + (self.side_bias[category] + self.side_bias[price]) / 2)
        return torch.stack(vectors), torch.stack(biases)

    def embed(self, tokens, vectors):
        c, w, out = self.c, self.w, []
        for t, k in enumerate(tokens):
            if k["item"] is None:
                x = w["scene"][k["scene"]] + w["context"] + w["hour"][k["hour"]] + w["gap"][k["gap"]]
                if c.user_rows:
                    x = x + w["user"][k["user"]]
            else:
                x = vectors[k["item"][0]] + w["action"][ACTIONS.index(k["item"][1])]
                if k["scene"]:
                    x = x + w["scene"][k["scene"]]
            if c.absolute:
                x = x + w["place"][t]
            if c.token_networks:
                kind = "" if k["item"] is None else "_item"
                x = layer_norm(x @ w["embed" + kind] + w["embed_bias" + kind], (c.dim,), eps=1e-6)
            out.append(x)
        return torch.stack(out)

    def typed(self, name, x, tokens):
        """x times the matrix of each token's kind, where there are two."""
        if name + "_item" not in self.w:
            return x @ self.w[name]
        return torch.stack([row @ self.w[name if k["item"] is None else name + "_item"] for row, k in zip(x, tokens)])

    def block(self, b, x, tokens, asked):
        """One block; asked are the tokens whose output is needed."""
        c, w, n, d = self.c, self.w, len(tokens), self.c.dim
        width, name = d // c.heads, f"block{b}."
        norm = layer_norm(x, (d,), eps=1e-6)
        uq, vk = self.typed(name + "uq", norm, tokens), self.typed(name + "vk", norm, tokens)
        if c.attention == "hstu":
            uq, vk = silu(uq), silu(vk)
        else:
            uq, vk = uq + w[name + "uq_bias"], vk + w[name + "vk_bias"]
        gate, q, v, k = uq[:, :d], uq[:, -d:], vk[:, :d], vk[:, d:]
        if c.rotary == "session":
            positions = torch.tensor([t["session"] for t in tokens], dtype=x.dtype)
            q, k = turned(q, positions, width), turned(k, positions, width)
        mask = torch.tensor([[sees(t, r, tokens[t], tokens[r]) for r in range(n)] for t in range(n)])
        bias = torch.zeros(n, n, dtype=x.dtype)
        if c.time:
            bias = bias + w[name + "time"][torch.tensor([[time_bucket(t["asks"], r["time"]) for r in tokens] for t in tokens])]
        if c.distance:
            bias = bias + w[name + "distance"][torch.tensor([[max(0, t - r) for r in range(n)] for t in range(n)])]
        heads = []
        for h in range(0, d, width):
            s = q[:, h:h + width] @ k[:, h:h + width].T
            if c.attention == "hstu":
                a = silu(s + bias) * mask / c.max_tokens
            else:
                a = softmax((s / math.sqrt(width) + bias).masked_fill(~mask, -math.inf), 1)
            heads.append(a @ v[:, h:h + width])
        o = torch.cat(heads, 1)
        if c.attention == "hstu":
            o = layer_norm(o, (d,), eps=1e-6) * gate
        x = x + o @ w[name + "out"] + w[name + "out_bias"]
        if c.ffn:
            x = x + relu(layer_norm(x, (d,), eps=1e-6) @ w[name + "ffn_in"] + w[name + "ffn_in_bias"]) @ w[name + "ffn_out"] + w[name + "ffn_out_bias"]
        if c.experts:
            x = torch.stack([self.moe(b, x[t]) if t in asked else x[t] for t in range(n)])
        return x

    def moe(self, b, x):
        """The shared expert and the two best of the others."""
        name, w = f"block{b}.", self.w
        x1 = layer_norm(x, (self.c.dim,), eps=1e-6)

        def expert(e):
            left, right = (x1 @ w[name + "experts_in"][e]).split(self.c.expert_width)
            return (silu(left) * right) @ w[name + "experts_out"][e]

        gate = softmax(x1 @ w[name + "router"], 0)
        best = torch.topk((gate + w[name + "router_balance"]).detach(), 2).indices
        for e in best:
            self.loads[b][e] += 1
        share = gate[best] / gate[best].sum()
        return x + expert(self.c.experts) + sum(g * expert(e) for g, e in zip(share, best))

    def loss(self, examples):
        c = self.c
        vectors, biases = self.items()
        of = vectors / (vectors.pow(2).sum(1, keepdim=True) + 1e-12).sqrt() if c.cosine else vectors
        self.loads = [[0] * c.experts for _ in range(c.blocks)]
        self.touched, self.queries = set(CANDIDATES), []
        asked = []  # (vector, ahead, scene, targets)
        for e in examples:
            tokens, questions = layout(c, e)
            self.touched |= {t["item"][0] for t in tokens if t["item"]}
            if not tokens:
                continue
            x = self.embed(tokens, vectors)
            for b in range(c.blocks):
                x = self.block(b, x, tokens, {q[0] for q in questions} if b == c.blocks - 1 else range(len(tokens)))
            for token, ahead, scene, targets in questions:
                h = layer_norm(x[token], (c.dim,), eps=1e-6)
                z = h + h @ self.w["query" + (str(ahead) if ahead else "")]
                if c.cosine:
                    z = z / (z.pow(2).sum() + 1e-12).sqrt()
                self.queries.append(z)
                asked.append((z, ahead, scene, targets, c.tokens == "item" or token > 0))
        self.scenes = [0.999 * n for n in self.scenes]
        for _, ahead, scene, _, _ in asked:
            self.scenes[scene] += ahead == 0
        learned = sum(ahead == 0 and history for _, ahead, _, _, history in asked)
        total = 0
        for z, ahead, scene, targets, history in asked:
            if not history:
                continue
            s = (of @ z) / (c.temperature if c.cosine else 1) + biases
            corrected = s.clone()
            if c.logq:
                for j, r in enumerate(CANDIDATES):
                    corrected[r] = corrected[r] - log_q(j)
            rows = [r for r, _ in targets]
            self.touched |= set(rows)
            loss = nce(corrected, rows, [r for r in CANDIDATES if r not in rows])
            if ahead == 0:
                strength = [(r, ACTIONS.index(a)) for r, a in targets]
                loss = loss + c.click * nce(s, [r for r, a in strength if a >= 1], [r for r, a in strength if a < 1])
                loss = loss + c.pay * nce(s, [r for r, a in strength if a >= 3], [r for r, a in strength if 1 <= a < 3])
            weight = c.horizon_decay**ahead / learned
            if c.scene_norm:
                weight *= sum(self.scenes) / (sum(n > 0 for n in self.scenes) * self.scenes[scene])
            total = total + weight * loss
        return total

    def update(self):
        c = self.c
        self.step += 1
        norm = math.sqrt(sum(float(t.grad.pow(2).sum()) for name, t in self.w.items() if not name.endswith("balance")))
        if c.clip and norm > c.clip:
            for t in self.w.values():
                if t.grad is not None:
                    t.grad *= c.clip / norm
        self.adam.step()
        with torch.no_grad():
            for t, state, rate in zip(self.tables, self.state, [c.row_rate, c.row_rate, c.side_rate, c.side_rate]):
                for r in range(0 if len(t) == ITEMS else 1, len(t)):  # row 0 of the side table is no value
                    self.row(t, r, state, rate, c.rows == "adam" and len(t) == ITEMS)
            for balance, loads in zip(self.balance, self.loads):
                for e, n in enumerate(loads):
                    balance[e] += 0.001 * ((n < sum(loads) / len(loads)) - (n > sum(loads) / len(loads)))

    def row(self, t, r, state, rate, adam):
        """Row-wise Adagrad with one accumulator, or Adam of those rows that the step has touched."""
        c, g = self.c, t.grad[r]
        if t.dim() == 1 and not c.item_bias:
            return
        acc, first, second = state
        if not adam:
            acc[r] += g.pow(2).mean()
            t[r] -= rate / (math.sqrt(acc[r]) + 1e-10) * g
        elif r in self.touched:
            first[r] = c.beta1 * first[r] + (1 - c.beta1) * g
            second[r] = c.beta2 * second[r] + (1 - c.beta2) * g * g
            t[r] -= rate * first[r] / (1 - c.beta1**self.step) / ((second[r] / (1 - c.beta2**self.step)).sqrt() + 1e-8)


def nce(s, positives, negatives):
    """Mean over the positives of -log(e^s_i / (e^s_i + the sum over the negatives of e^s_j)); 0 where one side is missing."""
    if not positives or not negatives:
        return torch.zeros((), dtype=s.dtype)
    below = s[negatives]
    return torch.stack([torch.logsumexp(torch.cat([s[i:i + 1], below]), 0) - s[i] for i in positives]).mean()


def curve(c, dtype):
    """What is compared, by name."""
    n, out = Network(c, dtype), {}
    for step in range(STEPS):
        for t in list(n.w.values()) + n.tables:
            t.grad = None
        loss = n.loss(batch(step % 2))
        loss.backward()
        out[f"step {step} loss"] = float(loss)
        if step == 0:
            out |= {f"query 1 [{j}]": float(n.queries[1][j]) for j in range(c.dim)}
        named = list(n.w.items()) + list(zip(["vectors", "biases", "side vectors", "side biases"], n.tables))
        for name, t in named:
            if t.grad is None:
                t.grad = torch.zeros_like(t)
            if name.endswith("balance") or name.endswith("biases") and not c.item_bias or name.startswith("side") and not c.sides:
                continue
            grad = t.grad[1:] if name.startswith("side") else t.grad
            out[f"step {step} gradient {name}"] = float(grad.norm())
            if step == 0:
                for i in 1, grad.numel() // 2, grad.numel() - 1:
                    out[f"gradient {name} [{i}]"] = float(grad.flatten()[i])
        n.update()
    for name, t in list(n.w.items()) + [("vectors", n.item)]:
        out[f"after {name} [1]"] = float(t.flatten()[1])
    return out


class Config:
    def __init__(self, **fields):
        self.__dict__.update(fields)


for name, fields in NETWORKS.items():
    c = Config(**{**BASE, **fields})
    long, short = curve(c, torch.float64), curve(c, torch.float32)
    off = max(abs(long[what] - short[what]) / long[what] for what in long if what.endswith("loss"))
    assert off < 1e-4, f"{name}: the losses in float32 are off by {off}"
    with open(f"golden-{name}.txt", "w") as f:
        f.write(f"# {name}, by golden.py in float64 with PyTorch {torch.__version__.split('+')[0]}. The losses in float32 differ by {off:.1g} of themselves.\n")
        for what, x in long.items():
            f.write(f"{what} = {x:.15g}\n")
