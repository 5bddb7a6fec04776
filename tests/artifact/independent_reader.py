"""A second reader of the file, from docs/format.md alone: bytes -> metadata, shapes, values."""

import io
import json
import struct
import zlib
from math import prod

import numpy as np

K = """00160024003c006200a2010b01b702d0049b07810c24136b1e842eb344d960a7
80009f59bb27d14de17cec95f3dcf87ffb65fd30fe49fef5ff5eff9effc4ffdcffea"""
K = struct.unpack(">33H", bytes.fromhex(K))


def squash(x):
    i, f = (x + 2048) >> 7, (x + 2048) & 127
    return (K[i] * (128 - f) + K[i + 1] * f + 64) >> 7


STRETCH = [next((x for x in range(-2047, 2047) if squash(x) >> 4 >= q), 2047) for q in range(4096)]


def number(file, count=1):
    return int.from_bytes(file.read(count), "little")


def varint(file):
    byte = number(file)
    return byte if byte < 128 else byte - 128 + 128 * varint(file)


class Range:
    def __init__(self, data):
        self.data, self.range = data, 2**32 - 1
        self.code = int.from_bytes(data.read(4), "big")

    def symbol(self, table):
        unit = self.range >> 16
        symbol, end, share = next(t for t in table if min(self.code // unit, 65535) < t[1])
        start, rest = unit * (end - share), self.range - unit * (end - share)
        self.code, self.range = self.code - start, rest if end == 65536 else unit * share
        while self.range < 2**24:
            self.range, self.code = self.range * 256, self.code * 256 + number(self.data)
        return symbol


class Cells:  # [p, n] and weights by context
    def __init__(self, coder):
        self.coder, self.cells, self.weights, self.start = coder, {}, {}, {}

    def cell(self, key):
        return self.cells.setdefault(key, [self.start.get(key[0], 32768), 0])

    def bit(self, p):
        return self.coder.symbol([(1, p, p), (0, 65536, 65536 - p)])

    def grade(self, key):
        return (STRETCH[self.cell(key)[0] >> 4] + 2048) >> 7

    def learn(self, cell, bit):
        rate = 131072 // (2 * cell[1] + 3)
        cell[0] += (65535 - cell[0]) * rate >> 16 if bit else -(cell[0] * rate + 65535 >> 16)
        cell[1] = min(cell[1] + 1, 500)

    def flags(self, what, count):
        found = [1]
        for _ in range(count):
            cell = self.cell((what, found[-1]))
            found.append(self.bit(sorted((24, cell[0], 65512))[1]))
            self.learn(cell, found[-1])
        return [i for i in range(count) if found[i + 1]]

    def mixed(self, name, weight, *keys):
        cells = [self.cell(key) for key in keys]
        weights = self.weights.setdefault(name, [weight] * len(keys))
        logits = [STRETCH[p >> 4] for p, _ in cells]
        x = sorted((-2047, sum(map(int.__mul__, weights, logits)) >> 16, 2047))[1]
        p = sorted((24, squash(x), 65512))[1]
        bit = self.bit(p)
        for i, cell in enumerate(cells):
            change = logits[i] * (65536 * bit - p) + 65536 >> 17
            weights[i] = sorted((-(2**20), weights[i] + change, 2**20))[1]
            self.learn(cell, bit)
        return bit


def magnitude(cells, close, down, where):
    e, v = 0, 1
    while cells.mixed(("e", min(e, 15)), 32768, (*close, min(e, 15)), (*down, min(e, 15))):
        e += 1
    for j in range(e):
        keys = ("t", e, v), ("t2", *where, e, v)
        v = 2 * v + (cells.mixed(("t", e), 32768, *keys) if j < 3 else cells.bit(32768))
    return v - 1


def contexts(coder, rows, columns, kh, kw, nonzero, offset, kind):
    cells, codes, mean, size = Cells(coder), {}, {}, kh * kw
    rows, columns = cells.flags("row", rows), cells.flags("column", columns)
    start = 65536 * nonzero // max(len(rows) * len(columns), 1)
    cells.start["m"] = sorted((64, start, 65500))[1]
    lines = [{}, {}, {}]  # column -> (class, sign): this row's, the one's before, two before
    for r in rows:
        history = last = last_sign = 0
        count, zero = {}, (0, 0)
        for c in columns:
            left, before = lines[0].get(c - 1, zero), lines[1].get(c, zero)
            above = lines[0].get(c - kw, zero) if c % size >= kw else zero
            above = above if kh > 1 else lines[0].get(c - 2, zero)
            beyond = lines[0].get(c - size, zero) if size > 1 else lines[2].get(c, zero)
            around = sum((0, 1, 1, 2)[min(n[0], 3)] for n in (left, before, above, beyond))
            third = (min(c % size, 63), min(count.get(c // size, 0), 15)) if size > 1 else history
            row, column, third = ("m", "row", r), ("m", "column", c), ("m", "kernel", third)
            near = ("m", "near", around, cells.grade(column))
            history = (2 * history + cells.mixed("mask", 19660, row, column, third, near)) % 256
            if history % 2 == 0:
                continue
            count[c // size] = count.get(c // size, 0) + 1
            m = sign = 0
            if kind == 16:
                back = ("s2", before[1], beyond[1], last_sign)
                sign = cells.mixed("sign", 26214, ("s", left[1], above[1]), back)
            if kind != 18:
                down = ("e2", mean.get(c, 0), cells.grade(row) >> 2)
                m = magnitude(cells, ("e1", above[0], last), down, (left[0] > 2, before[0] > 2))
                last, last_sign = min(m + 1, 7), 1 + sign
                mean[c] = (mean.get(c, 0) + min(m, 7) + 2) >> 1
            lines[0][c] = (min(m, 7) + 1, 1 + sign)
            codes[r, c] = -(m + offset) if sign else m + offset
        lines = [{}, *lines[:2]]
    return codes


def static(data, rows, columns, offset):
    symbol, end, table = 0, 0, []
    for i in range(varint(data)):
        step, share = varint(data), varint(data)
        symbol = symbol + step if i else (step >> 1 if step % 2 == 0 else -(step + 1 >> 1))
        end += share
        table.append((symbol, end, share))
    coder, spread = Range(data), offset - 1
    found = {(r, c): coder.symbol(table) for r in range(rows) for c in range(columns)}
    return {at: s + (spread if s > 0 else -spread) for at, s in found.items() if s != 0}, coder


def fields(head):
    kind, shape = number(head), tuple(varint(head) for _ in range(number(head)))
    nonzero, levels, coder = 0, (), (1, 1, 1, 0)
    if kind >= 16:
        _bits, _kept, nonzero = number(head), varint(head), varint(head)
        count = 1 if kind == 16 else varint(head) if kind == 17 else 0
        levels = struct.unpack(f"<{count}f", head.read(4 * count))
        if nonzero:
            coder = (*head.read(3), 0 if kind == 18 else varint(head))
    return kind, shape, nonzero, levels, coder


def values(data, kind, shape, nonzero, levels, coder):
    if kind < 16:
        return list(struct.unpack(f"<{prod(shape)}{'feqB'[kind]}", data.read()))
    out = [0.0] * prod(shape)
    if not nonzero:
        return out
    rows = shape[0] if len(shape) > 1 else 1
    columns, (model, kh, kw, offset) = prod(shape) // rows, coder
    raw = struct.unpack(f"<{nonzero}f", data.read(4 * nonzero)) if kind == 18 else ()
    if model == 0:
        codes, coder = static(data, rows, columns, offset)
    else:
        coder = Range(data)
        codes = contexts(coder, rows, columns, kh, kw, nonzero, offset, kind)
    assert (coder.code, data.read(), len(codes)) == (0, b"", nonzero), "bad end"
    values = [
        levels[k] if kind == 17 else np.float32(k) * np.float32(*levels[:1]) for k in codes.values()
    ]
    for (r, c), value in zip(codes, raw or values, strict=True):
        out[r * columns + c] = float(value)
    return out


def read(content):
    file = io.BytesIO(content)
    assert file.read(12) == b"\x89ESP\r\n\x1a\n\1\0\0\0"
    length, size, crc = number(file, 4), number(file, 8), number(file, 4)
    header = file.read(length)
    assert (size, crc) == (len(content), zlib.crc32(content[8:24] + header))
    head, tensors, name = io.BytesIO(header[1:]), {}, b""
    metadata = json.loads(head.read(varint(head)))
    while (kind := number(head)) != 0:
        assert kind == 2
        section = io.BytesIO(head.read(varint(head)))
        name = name[: number(section)] + section.read(varint(section))
        known = fields(section)
        payload = file.read(varint(section))
        assert zlib.crc32(payload) == number(section, 4)
        tensors[name.decode()] = known[1], values(io.BytesIO(payload), *known)
    assert file.read() == b""
    return metadata, tensors
