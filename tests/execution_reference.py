"""The execution rules once more, slow and obvious: plain objects and lists, no compiled code, one bar after the other.

Only the roundings of `rrr.execution.quantities` are shared; `test_kernel.py` checks those against exact fractions.
"""

from dataclasses import dataclass, field
from math import inf, isnan, sqrt

from rrr.execution.costs import Costs
from rrr.execution.quantities import exact, held_after, on_tick, stepped, tradable
from rrr.execution.risk import Risk

DAY_MS, YEAR_MS = 86_400_000, 365 * 86_400_000
STOPPING = ("stop", "stop_limit", "stop_loss", "trailing_stop")


@dataclass
class Ticket:
    number: int
    symbol: int
    quantity: float
    active_from: int
    type: str = "market"
    tif: str = "gtc"
    limit: float = 0.0
    stop: float = 0.0
    trail: float = 0.0
    extreme: float = 0.0
    oco: object = None
    reduce_only: bool = False
    attached: bool = False
    brackets: tuple = (0.0, 0.0, 0.0)  # stop loss, take profit, trailing stop
    wanted: bool = False  # it serves a target
    by_risk: bool = False
    filled: float = 0.0
    status: str = "open"
    triggered: bool = False
    rested: bool = False
    fresh: bool = False
    day: int | None = None

    @property
    def buys(self):
        return self.quantity > 0

    @property
    def rests(self):
        return self.type == "limit" or (self.type == "stop_limit" and self.triggered)


@dataclass
class Reference:
    "An account on `symbols` markets with the same costs"

    capital: float
    costs: Costs
    symbols: int = 1
    step_ms: int = 0
    tiers: tuple = ()
    risk: Risk = field(default_factory=Risk)
    stake: float = 0.0  # fixed quote amount of a full target, 0 for the equity

    def __post_init__(self):
        n = self.symbols
        self.cash, self.bar, self.carry = self.capital, 0, 0.0
        self.position, self.mark, self.closes = [0.0] * n, [0.0] * n, [[] for _ in range(n)]
        self.standing, self.variance, self.cooled = [0.0] * n, [0.0] * n, [0] * n
        self.exited = [False] * n
        self.tickets, self.fills, self.stops, self.trades_by_day = [], [], [], {}
        self.peak = self.day_equity = self.equity = self.capital
        self.day, self.blocked_until, self.blocked_today, self.halted = None, 0, False, False

    def live(self):
        return [o for o in self.tickets if o.status == "open"]

    def book(self, symbol, quantity, latency=None, **more):
        later = 1 + (self.costs.latency_bars if latency is None else latency)
        o = Ticket(len(self.tickets), symbol, quantity, self.bar + later, **more)
        if o.type == "trailing_stop":
            o.extreme = o.extreme or self.mark[symbol] or (inf if o.buys else 0.0)
            o.stop = o.extreme * (1 + o.trail if o.buys else 1 - o.trail)
        o.limit = on_tick(o.limit, self.costs.tick, not o.buys)  # not dearer, not cheaper than asked
        self.later(o)
        self.tickets.append(o)
        return o

    def later(self, o):
        "A stop or target off the steps of the venue is put where it triggers later"
        upwards = o.buys if o.type in STOPPING else not o.buys
        o.stop = on_tick(o.stop, self.costs.tick, upwards)

    # A bar

    def step(self, bar, open_ms, targets=(), requests=(), funding=(), detail=(), brackets=None, limits=None):
        "`bar`: (open, high, low, close, volume) or None per symbol; `detail`: a list of such bars"
        self.begin(bar, open_ms, funding)
        for rows in detail or [bar]:
            self.meet(rows)
        self.end_bar(bar)
        for request in requests:
            self.ask(**request)
        for s, target in enumerate(targets):
            if self.halted:
                continue
            if self.exited[s] and isnan(target):
                self.standing[s], self.exited[s] = 0.0, False
            if bar[s]:
                self.decide(s, target, brackets, limits and limits[s])
        self.bar += 1

    def ask(self, symbol, quantity, **more):
        size, mark = tradable(abs(quantity), self.costs.lot), self.mark[symbol]
        small = size == 0 or (mark > 0 and size * mark < self.costs.min_notional)
        o = self.book(symbol, size if quantity > 0 else -size, **more)
        o.status = "rejected" if self.halted or small else "open"

    def begin(self, bar, open_ms, funding):
        day = open_ms // DAY_MS
        if day != self.day:
            self.day, self.day_equity, self.blocked_today = day, self.equity, False
        paid = 0.0
        for s, held in enumerate(self.position):
            price = bar[s][0] if bar[s] else self.mark[s]
            if held and funding and not isnan(funding[s]):
                paid += funding[s] * held * price
            if held < 0:
                paid += -held * self.mark[s] * self.interest
        if self.cash < 0:
            paid += -self.cash * self.interest
        if exact(paid):
            self.cash, self.carry = exact(self.cash - exact(paid)), exact(self.carry + exact(paid))
        for o in self.live():
            if o.tif == "day" and o.active_from <= self.bar:
                o.day = day if o.day is None else o.day
                if o.day < day:
                    o.status = "expired"

    @property
    def interest(self):
        return self.costs.borrow_bps_year / 10_000 * self.step_ms / YEAR_MS

    def meet(self, rows):
        c = self.costs
        self.room = [inf] * self.symbols
        for s, row in enumerate(rows):
            if row:
                self.mark[s] = row[0]
                if c.participation:
                    self.room[s] = c.participation * (row[4] if row[4] > 0 else 0)
        for phase in ("open", "stops", "limits", "late"):
            for buys in (False, True):
                seen = set()
                while waiting := [o for o in self.live() if o.buys == buys and o.number not in seen]:
                    o = waiting[0]
                    seen.add(o.number)
                    if rows[o.symbol] and o.active_from <= self.bar:
                        price = self.price(o, phase, *rows[o.symbol][:3])
                        if price is not None:
                            self.fill(o, price, phase, rows[o.symbol][4])
        for o in self.live():
            if rows[o.symbol] and o.active_from <= self.bar:
                if o.tif in ("ioc", "fok") and (o.type == "limit" or o.triggered):
                    o.status = "cancelled"
                elif o.type == "trailing_stop" and not o.triggered and not o.fresh:
                    o.extreme = min(o.extreme, rows[o.symbol][2]) if o.buys else max(o.extreme, rows[o.symbol][1])
                    o.stop = o.extreme * (1 + o.trail if o.buys else 1 - o.trail)
                    self.later(o)
                o.rested, o.fresh = True, False

    def price(self, o, phase, open_, high, low):
        "The price at which this phase of the bar would fill the order, or None"
        if o.type == "market" or (o.triggered and not o.rests):
            return open_ if phase == "open" else None
        if o.rests or o.type == "take_profit":
            level, tick = (o.limit, 0.999 * self.costs.tick) if o.rests else (o.stop, 0.0)
            good = (lambda p: p <= level - tick) if o.buys else (lambda p: p >= level + tick)
            if phase == "open":
                return open_ if good(open_) else None
            return level if phase == "limits" and not o.fresh and good(low if o.buys else high) else None
        bad = (lambda p: p >= o.stop) if o.buys else (lambda p: p <= o.stop)
        if phase == "open":
            return open_ if bad(open_) else None
        if phase != ("late" if o.fresh else "stops") or not bad(high if o.buys else low):
            return None
        return open_ if bad(open_) and not o.fresh else o.stop

    def fill(self, o, reference, phase, volume):
        c, s = self.costs, o.symbol
        held = self.position[s]
        want = -held if o.attached else stepped(o.quantity - o.filled, c.lot)
        if o.reduce_only:
            if held == 0 or (want > 0) == (held > 0):
                o.status = "cancelled"
                return
            want = min(want, -held) if want > 0 else max(want, -held)
        o.triggered = o.type not in ("market", "limit")
        limited = o.type in ("limit", "stop_limit")
        if o.type == "stop_limit" and (reference > o.limit if want > 0 else reference < o.limit):
            o.fresh = phase != "open"
            return
        sign, size, whole = (1 if want > 0 else -1), abs(want), True
        if size > self.room[s]:
            size, whole = tradable(self.room[s], c.lot), False
            if size == 0 or o.tif == "fok":
                o.status = "cancelled" if o.tif in ("ioc", "fok") else o.status
                return
        maker = limited and (phase == "limits" or o.rested)
        price = reference * (1 + sign * (0 if maker else self.slippage(s, size, volume)))
        if limited:
            price = min(price, o.limit) if sign > 0 else max(price, o.limit)
        fee = self.fee(maker)
        dust = 1e-13 * max(abs(self.cash), size * price)
        size = self.affordable(s, sign, size, price, fee)
        after = held_after(held, sign * size, c.lot)
        if size * price <= dust or after == held or (o.tif == "fok" and sign * size != want):
            o.status = "filled" if o.filled else "rejected"
            return
        paid = exact(size * price * fee)
        cash = exact(self.cash - sign * size * price - paid)
        if cash < 0 and sign > 0 and after > 0 and self.risk.max_leverage <= 1:
            cash = 0.0
        moved, self.cash, self.position[s] = stepped(after - held, c.lot), cash, after
        self.room[s] = max(0.0, self.room[s] - abs(moved))
        o.filled = stepped(o.filled + moved, c.lot)
        self.note(o.number, s, moved, price, paid, sign * size * (price - reference), maker, o)
        o.status = "filled" if whole else "cancelled" if o.tif == "ioc" else "open"
        self.follow(o, held, price, phase)

    def note(self, number, s, moved, price, paid, lost, maker, o=None):
        reason = o.type if o and o.type in ("stop_loss", "take_profit", "trailing_stop") else "order" if o else "ruin"
        reason = "risk" if o and o.by_risk else reason
        self.fills.append((number, self.bar, s, moved, price, paid, lost, maker, reason))
        self.trades_by_day[self.day] = self.trades_by_day.get(self.day, 0.0) + abs(moved) * price

    def affordable(self, s, sign, size, price, fee):
        "Closing is free; opening must leave value held <= leverage * equity"
        held, k = self.position[s], self.risk.max_leverage
        closing = min(size, max(0.0, -sign * held))
        opening = size - closing
        others = [p * m for i, (p, m) in enumerate(zip(self.position, self.mark, strict=True)) if i != s]
        longs, shorts = sum(v for v in others if v > 0), -sum(v for v in others if v < 0)
        same = abs(held) * price if sign * held > 0 else 0.0
        longs, shorts = (longs + same, shorts) if sign > 0 else (longs, shorts + same)
        cash = self.cash - sign * closing * price - closing * price * fee
        free = k * cash + (k - 1) * longs - (k + 1) * shorts
        if opening > 0 and opening * price * (1 + k * fee) > free:
            most = tradable(free / (price * (1 + k * fee)), self.costs.lot) if free > 0 else 0.0
            return closing + min(opening, most)
        return size

    def slippage(self, s, size, volume):
        c, share = self.costs, min(1.0, size / volume) if volume > 0 else 1.0
        part = c.volume_impact * share**2 + c.root_impact * sqrt(self.variance[s]) * sqrt(share)
        return min(0.9999, c.slippage_bps / 10_000 + c.spread_bps / 20_000 + part)

    def fee(self, maker):
        c, fees = self.costs, None
        traded = sum(v for d, v in self.trades_by_day.items() if self.day - 30 <= d < self.day)
        for volume, maker_bps, taker_bps in self.tiers:
            if traded >= volume:
                fees = maker_bps, taker_bps
        maker_bps, taker_bps = fees or (c.maker_bps, c.fee_bps)
        return (maker_bps if maker else taker_bps) / 10_000

    def follow(self, o, before, price, phase):
        "What a fill entails"
        now, s = self.position[o.symbol], o.symbol
        turned = now == 0 or before * now < 0
        for other in self.live() if o.attached else []:
            if other.symbol == s and other.wanted and other.quantity * (now - before) > 0:
                left = stepped(other.quantity - (now - before), self.costs.lot)
                if left * other.quantity > 0:
                    other.quantity = left
                else:
                    other.status = "cancelled"
        for other in self.live():
            if other is not o and o.oco is not None and other.oco == o.oco:
                other.status = "cancelled"
            if other is not o and before != 0 and turned and other.symbol == s and other.attached:
                other.status = "cancelled"
        if now != 0 and (before == 0 or turned):
            way = 1 if now > 0 else -1
            for kind, share in zip(("stop_loss", "take_profit", "trailing_stop"), o.brackets, strict=True):
                if share > 0:
                    level = price * (1 + way * share) if kind == "take_profit" else price * (1 - way * share)
                    child = self.book(s, -now, type=kind, stop=level, oco=("of", o.number), reduce_only=True,
                                      attached=True, trail=share, extreme=price)  # fmt: skip
                    child.active_from = self.bar + self.costs.bracket_delay_bars
                    child.fresh, child.rested = phase != "open" and self.costs.bracket_delay_bars == 0, True
        if o.attached and now == 0:
            self.exited[s] = True
        if o.status == "filled" and o.type in ("stop_loss", "trailing_stop"):
            self.cooled[s] = self.bar + self.risk.cooldown_bars
            self.stops.append(self.bar)

    # The close

    def end_bar(self, bar):
        for s, row in enumerate(bar):
            if row:
                if self.closes[s]:
                    change = (row[3] / self.closes[s][-1] - 1) ** 2
                    self.variance[s] = 0.94 * self.variance[s] + 0.06 * change if self.variance[s] else change
                self.closes[s].append(row[3])
                self.mark[s] = row[3]
        self.value()
        if self.equity <= 0 and not self.halted:
            for o in self.live():
                o.status = "cancelled"
            for s, held in enumerate(self.position):
                if held:
                    paid = exact(exact(abs(held * self.mark[s])) * self.fee(False))
                    self.cash, self.position[s] = exact(self.cash + held * self.mark[s] - paid), 0.0
                    self.note(-1, s, -held, self.mark[s], paid, 0.0, False)
            self.equity, self.halted = self.cash, True
        self.peak = max(self.peak, self.equity)
        r = self.risk
        if not self.halted and r.max_drawdown and self.equity <= self.peak * (1 - r.max_drawdown):
            self.halted = True
            self.sell_out()
        elif (
            not self.halted and not self.blocked_today and r.max_daily_loss
            and self.equity <= self.day_equity * (1 - r.max_daily_loss)
        ):  # fmt: skip
            self.blocked_today = True
            self.sell_out()
        recent = [b for b in self.stops if b > self.bar - r.guard_window_bars]
        if r.guard_stops and self.stops and self.stops[-1] == self.bar and len(recent) >= r.guard_stops:
            self.blocked_until = self.bar + r.guard_bars

    def value(self):
        self.equity = self.cash + sum(p * m for p, m in zip(self.position, self.mark, strict=True))

    def sell_out(self):
        for o in self.live():
            o.status = "cancelled"
        for s, held in enumerate(self.position):
            self.standing[s] = 0.0
            if held:
                self.book(s, -held, reduce_only=True, by_risk=True, wanted=True)

    def decide(self, s, target, brackets, limit):
        cap, held = self.risk.max_position, self.position[s]
        target = max(-cap, min(cap, target)) if cap and not isnan(target) else target
        if isnan(target) or target == self.standing[s]:
            return
        enters = target != 0 and (held == 0 or target * held < 0 or abs(target) > abs(self.standing[s]))
        if enters and (self.blocked_today or self.bar < self.blocked_until or self.bar < self.cooled[s]):
            return
        c, price = self.costs, self.closes[s][-1]
        mine = [o for o in self.live() if o.symbol == s and o.wanted]
        for o in mine:
            if o.active_from > self.bar:
                held = held_after(held, o.quantity, c.lot)
        size = tradable(max(0.0, abs(target) * (self.stake or self.equity) / price), c.lot)
        quantity = stepped((size if target >= 0 else -size) - held, c.lot)
        if abs(quantity) * price < c.min_notional:
            quantity = 0.0
        if quantity == 0 and not target == held == 0:
            return
        self.standing[s], self.exited[s] = target, False
        for o in mine:
            if o.active_from <= self.bar:
                o.status = "cancelled"
        if quantity:
            kind = dict(type="limit", limit=limit) if limit and limit > 0 else {}
            self.book(s, quantity, brackets=brackets or (0.0, 0.0, 0.0), wanted=True, **kind)
