"""How files are damaged, and what a reader may answer."""

from __future__ import annotations

import contextlib
import json
import os
import resource

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from safetensors.torch import load

from fairseq_dwt import DwtError
from fairseq_dwt.files import checksum

CASES = int(os.environ.get("DWT_FUZZ", "200"))
fuzz = settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
ROOM = 2**30


@contextlib.contextmanager
def bounded():
    """No more than a GiB beyond what is there."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def answers(read, *args):
    """What ``read`` gives, or None where it refuses; anything else is the test's failure."""
    with bounded():
        try:
            return read(*args)
        except DwtError as error:
            assert str(error) and "\n" not in str(error)
            return None


# -- damage ----------------------------------------------------------------------------------------

NUMBERS = [0, 1, -1, 2**31, 2**63, 10**12, 10**400, 1e308, -1e-300, float("nan"), float("inf")]
TEXTS = ["", "../../outside", "/etc/passwd", "a\x00b", "layers.0.fc1", "é\u2028", "9" * 400]
hostile = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS),
              st.integers(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@st.composite
def damaged(draw, whole: bytes):
    """Some bytes flipped, cut, repeated or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "put", "repeat", "drop"]))
        if kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[place:]
        elif kind == "put":
            data[place:place] = draw(st.binary(max_size=12))
        elif kind == "repeat":
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
        else:
            del data[place : place + draw(st.integers(1, 64))]
    return bytes(data)


@st.composite
def altered(draw, value):
    """A JSON value in which something became something else."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        changed = dict(value)
        what = draw(st.integers(0, 5))
        if what == 0:
            del changed[key]
        elif what == 1:
            changed[draw(st.sampled_from([*TEXTS, *value]))] = changed.pop(key)
        else:
            changed[key] = draw(altered(value[key]))
        return changed
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        changed = list(value)
        if draw(st.integers(0, 5)) == 0:
            changed.append(changed[place])
        else:
            changed[place] = draw(altered(value[place]))
        return changed
    return draw(hostile)


def safetensors(header, payload: bytes) -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


def resealed(data: bytes) -> bytes:
    """The same file with the checksum of its content, where it has content to speak of."""
    try:
        tensors, (header, payload) = load(data), parts(data)
        metadata = header["__metadata__"]
        metadata.pop("sha256", None)
        metadata["sha256"] = checksum(metadata, tensors)
        return safetensors(header, payload)
    except Exception:  # what is broken further down needs no checksum to be read
        return data


def parts(data: bytes):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


# -- the readers -----------------------------------------------------------------------------------
