"""A first tree: join what shares most, then keep the joints that pay."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.configs.search_index import Index
from migrate.configs.search_state import Limits, State


@dataclass(frozen=True, slots=True)
class Joint:
    """A node of the binary tree; leaves have a document and no children."""

    facts: int
    document: int = -1
    left: int = -1
    right: int = -1


def agglomerate(index: Index, documents: list[int]) -> list[Joint]:
    """Join the two groups that share most facts until nothing is shared; children come before their joint."""
    joints = [Joint(index.held[document], document) for document in documents]
    alive = dict.fromkeys(range(len(joints)))
    nearest: dict[int, tuple[int, int]] = {}
    for number in alive:
        nearest[number] = _nearest(joints, alive, number)
    while len(alive) > 1:
        number = max(alive, key=lambda item: (nearest[item][0], -item))
        shared, partner = nearest[number]
        if shared <= 0:
            break
        joints.append(Joint(joints[number].facts & joints[partner].facts, -1, number, partner))
        del alive[number], alive[partner], nearest[number], nearest[partner]
        new = len(joints) - 1
        stale = [item for item in alive if nearest[item][1] in (number, partner)]
        alive[new] = None
        for item in [new, *stale]:
            nearest[item] = _nearest(joints, alive, item)
    return joints


def _nearest(joints: list[Joint], alive: dict[int, None], number: int) -> tuple[int, int]:
    facts = joints[number].facts
    best = (-1, -1)
    for other in alive:
        if other != number:
            shared = (facts & joints[other].facts).bit_count()
            if shared > best[0]:
                best = (shared, other)
    return best


class Cut:
    """The joints worth keeping as templates under a depth limit, when each costs ``price`` on top of its leaves."""

    def __init__(self, joints: list[Joint], depth: int, price: int) -> None:
        self.joints = joints
        self.price = price
        self.depth = depth
        self.sizes = [joint.facts.bit_count() for joint in joints]
        self.memo: dict[tuple[int, int, int], tuple[int, bool]] = {}

    def solve(self, root: int, base: int, room: int) -> tuple[int, bool]:
        """Return the cost under ``root`` when ``base`` is the joint above that was kept (-1: none), and its choice."""
        pending = [(root, base, room)]
        while pending:
            state = pending[-1]
            if state in self.memo:
                pending.pop()
                continue
            missing = [need for need in self._needs(state) if need not in self.memo]
            if missing:
                pending.extend(missing)
                continue
            self.memo[state] = self._decide(state)
            pending.pop()
        return self.memo[root, base, room]

    def _needs(self, state: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        number, base, room = state
        joint = self.joints[number]
        if joint.document >= 0:
            return []
        needs = [(joint.left, base, room), (joint.right, base, room)]
        if room:
            needs += [(joint.left, number, room - 1), (joint.right, number, room - 1)]
        return needs

    def _decide(self, state: tuple[int, int, int]) -> tuple[int, bool]:
        number, base, room = state
        joint = self.joints[number]
        have = self.sizes[base] if base >= 0 else 0
        if joint.document >= 0:
            return self.sizes[number] - have + (base >= 0), False
        skip = self.memo[joint.left, base, room][0] + self.memo[joint.right, base, room][0]
        if not room:
            return skip, False
        keep = self.memo[joint.left, number, room - 1][0] + self.memo[joint.right, number, room - 1][0]
        keep += self.sizes[number] - have + (base >= 0) + self.price
        return (keep, True) if keep < skip else (skip, False)


def plant(index: Index, joints: list[Joint], limits: Limits, start: State, price: int) -> State:
    """Return a state with the kept joints as templates, on top of what ``start`` has."""
    state = start.copy()
    cut = Cut(joints, limits.depth, price)
    below = {child for joint in joints for child in (joint.left, joint.right)}
    pending = [(number, -1, -1, limits.depth) for number in range(len(joints)) if number not in below]
    while pending:
        number, base, template, room = pending.pop()
        joint = joints[number]
        if joint.document >= 0:
            state.bases[joint.document] = (template,) if template >= 0 else ()
            continue
        if cut.solve(number, base, room)[1]:
            template = state.add(index.content(joint.facts), (template,) if template >= 0 else ())
            base, room = number, room - 1
        pending += [(joint.right, base, template, room), (joint.left, base, template, room)]
    return state
