"""How many servers a load needs: a queueing model, a simulation that checks it, and the cost of a million photos.

    python benchmarks/capacity.py                                  # the tables of docs/scale.md
    python benchmarks/capacity.py --hit-rate 0.3 --price 0.17 --cores 4

The model is a queue M/G/c: requests arrive at random, and c cores take the next one that waits. The mean wait is the
approximation of Allen and Cunneen; the tail of the wait is exponential, which is exact for exponential service times.
Where more threads than cores are ready, as when several servers, their balancer and their clients are on one machine,
the operating system divides the cores among all requests in progress: `shared_wait` and `simulate_shared`.
The simulation makes no approximation: it draws service times from the same two kinds of requests, and one queue an
instance, to which a balancer sends each request where the fewest are in progress.

Sources: A. O. Allen, Probability, Statistics, and Queueing Theory, 2nd edition (1990), sections 5.2.3 and 5.4;
F. P. Kelly, Reversibility and Stochastic Networks (1979), section 3.3 (symmetric queues).
"""

import argparse
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import simpy
from scipy.special import gammaincinv


@dataclass(frozen=True)
class Service:
    """What a request costs, measured on one machine (`make system` and `make bench` measure it).

    Attributes:
        seconds: processor time of a photo that is classified.
        hit_seconds: processor time of a photo whose result is in the cache.
        hit_rate: share of photos whose result is in the cache, 0-1.
        scv: squared coefficient of variation of the time of one kind: 0 constant, 1 exponential.
        redis_commands: commands of Redis for a photo that is classified, with those in scripts, and
            `redis_hit_commands` for one from the cache.
        redis_seconds: processor time of Redis for a photo that is classified, and `redis_hit_seconds` for one from
            the cache.
        log_bytes: size of a request record in MongoDB.
    """

    seconds: float = 0.0164
    hit_seconds: float = 0.00105
    hit_rate: float = 0.0
    scv: float = 0.1
    redis_commands: float = 14.0
    redis_hit_commands: float = 13.0
    redis_seconds: float = 95e-6
    redis_hit_seconds: float = 70e-6
    log_bytes: float = 500.0

    @property
    def mean(self) -> float:
        """Mean processor time of a request, seconds."""
        return self.hit_rate * self.hit_seconds + (1 - self.hit_rate) * self.seconds

    @property
    def variation(self) -> float:
        """Squared coefficient of variation of the processor time of a request."""
        second = (1 + self.scv) * (
            self.hit_rate * self.hit_seconds**2 + (1 - self.hit_rate) * self.seconds**2
        )  # the second moment of the mixture
        return second / self.mean**2 - 1

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return processor times of requests, seconds; of one kind they follow a gamma distribution."""
        means = np.where(rng.random(count) < self.hit_rate, self.hit_seconds, self.seconds)
        return means if self.scv == 0 else rng.gamma(1 / self.scv, means * self.scv)


def erlang_c(cores: int, load: float) -> float:
    """Return the probability that a request has to wait in a queue M/M/c with `load` = arrival rate x service time.

    Raises:
        ValueError: the load is not below the number of cores.
    """
    if not 0 < load < cores:
        raise ValueError(f"a load of {load:.2f} on {cores} cores has no steady state")
    blocking = 1.0  # Erlang's B, by its recursion
    for number in range(1, cores + 1):
        blocking = load * blocking / (number + load * blocking)
    return blocking / (1 - load / cores * (1 - blocking))


@dataclass(frozen=True)
class Times:
    """Times of requests, in seconds."""

    wait: float
    """Mean time in the queue."""
    response: float
    """Mean time from arrival to response."""
    p99: float
    """99th percentile of the time from arrival to response."""


def predict(service: Service, rate: float, cores: int) -> Times:
    """Return the times that the model M/G/c gives for `rate` requests per second.

    The 99th percentile is that of the service time, or that of the wait and the mean service time, whichever is
    longer, both for photos that are classified; it is up to a fifth too low.

    Raises:
        ValueError: the cores cannot serve that rate.
    """
    load = rate * service.mean
    waiting = erlang_c(cores, load)
    wait = waiting * service.mean / (cores - load) * (1 + service.variation) / 2
    tail = wait / waiting * math.log(100 * waiting) if waiting > 0.01 else 0.0
    slowest = service.seconds * (service.scv * gammaincinv(1 / service.scv, 0.99) if service.scv else 1.0)
    return Times(wait, wait + service.mean, max(tail + service.seconds, slowest))


def shared_wait(service: Service, rate: float, cores: int) -> float:
    """Return by how many seconds requests are longer because they share the cores: processor sharing, M/G/c-PS.

    Each of n requests in progress has a core, or c / n of one if there are more than c. The mean is that of a queue
    M/M/c whatever the distribution of the processor time, because the queue is symmetric.

    Raises:
        ValueError: the cores cannot serve that rate.
    """
    load = rate * service.mean
    return erlang_c(cores, load) * service.mean / (cores - load)


def simulate_shared(service: Service, rate: float, cores: int, *, requests: int = 100_000, seed: int = 0) -> Times:
    """Return the times of a simulation of processor sharing: Poisson arrivals at one machine.

    `wait` is what a response is longer than its processor time. The first tenth of the requests does not count.
    """
    rng = np.random.default_rng(seed)
    arrivals, needed = np.cumsum(rng.exponential(1 / rate, requests)), service.draw(rng, requests)
    # `served` is the processor time that a request would have got that is in progress from the start on: a request
    # ends when it has grown by the time that the request needs.
    running: list[tuple[float, int]] = []
    now, served, ends = 0.0, 0.0, np.empty(requests)

    def advance(until: float) -> None:
        nonlocal now, served
        while running:
            slowness = max(len(running) / cores, 1.0)
            end = now + (running[0][0] - served) * slowness
            if end > until:
                served += (until - now) / slowness
                break
            served, number = heapq.heappop(running)
            now = ends[number] = end
        now = until

    for number, arrival in enumerate(arrivals):
        advance(arrival)
        heapq.heappush(running, (served + needed[number], number))
    advance(math.inf)
    counted = slice(requests // 10, None)
    responses = (ends - arrivals)[counted]
    wait = float((responses - needed[counted]).mean())
    return Times(wait, float(responses.mean()), float(np.quantile(responses, 0.99)))


def simulate(
    service: Service, rate: float, instances: int, cores: int, *, requests: int = 100_000, seed: int = 0
) -> Times:
    """Return the times of a simulation: Poisson arrivals, least connections, one queue for the cores of an instance.

    The first tenth of the requests fills the queues and does not count.
    """
    rng = np.random.default_rng(seed)
    environment = simpy.Environment()
    queues = [simpy.Resource(environment, capacity=cores) for _ in range(instances)]
    in_progress = [0] * instances
    gaps, needed = rng.exponential(1 / rate, requests), service.draw(rng, requests)
    waits, responses = np.empty(requests), np.empty(requests)

    def request(number: int) -> Iterator[simpy.Event]:
        arrival = environment.now
        # Among equal ones the balancer takes turns.
        chosen = min(range(instances), key=lambda place: (in_progress[place], (place - number) % instances))
        in_progress[chosen] += 1
        with queues[chosen].request() as turn:
            yield turn
            waits[number] = environment.now - arrival
            yield environment.timeout(needed[number])
        in_progress[chosen] -= 1
        responses[number] = environment.now - arrival

    def arrivals() -> Iterator[simpy.Event]:
        for number, gap in enumerate(gaps):
            yield environment.timeout(gap)
            environment.process(request(number))

    environment.process(arrivals())
    environment.run()
    counted = slice(requests // 10, None)
    return Times(
        float(waits[counted].mean()), float(responses[counted].mean()), float(np.quantile(responses[counted], 0.99))
    )


_IDLE = 100
"""Servers per busy server at which no request waits."""


@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    rate: float
    instances: int
    utilisation: float
    times: Times
    redis_commands: float
    """Commands per second."""
    redis_cores: float
    """Cores of Redis that are busy."""
    log_records: float
    """Records per second."""
    log_gigabytes: float
    """Gigabytes of request log per day."""
    cost: float
    """Price of a million photos, in the unit of the price."""


def plan(service: Service, rate: float, cores: int, price: float, *, p99: float = 0.25, most: float = 0.7) -> Plan:
    """Return the smallest number of instances that keeps utilisation and response time within their limits.

    Args:
        service: what a request costs.
        rate: requests per second.
        cores: of an instance.
        price: of an instance for an hour.
        p99: largest 99th percentile of the response time, seconds.
        most: largest utilisation, 0-1; the autoscaler adds servers above 0.7.

    Raises:
        ValueError: an idle server is slower than `p99`.
    """
    alone = predict(service, rate, math.ceil(_IDLE * (1 + rate * service.mean))).p99
    if alone > p99:
        raise ValueError(f"{1e3 * p99:.0f} ms for 99 % of the requests: they take {1e3 * alone:.0f} ms without waiting")
    instances = max(math.ceil(rate * service.mean / (most * cores)), 1)
    while (times := predict(service, rate, instances * cores)).p99 > p99:
        instances += 1
    hits, misses = rate * service.hit_rate, rate * (1 - service.hit_rate)
    return Plan(
        rate,
        instances,
        rate * service.mean / (instances * cores),
        times,
        misses * service.redis_commands + hits * service.redis_hit_commands,
        misses * service.redis_seconds + hits * service.redis_hit_seconds,
        rate,
        rate * service.log_bytes * 86_400 / 1e9,
        instances * price / 3600 / rate * 1e6,
    )


def table(service: Service, rates: Sequence[float], cores: int, price: float) -> str:
    """Return the plans of several loads as a table in Markdown."""
    columns = ("requests/s", "instances", "utilisation", "mean response", "p99", "Redis commands/s", "Redis cores")
    lines = [
        f"| {' | '.join(columns)} | request log/day | a million photos |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rate in rates:
        item = plan(service, rate, cores, price)
        lines.append(
            f"| {rate:,.0f} | {item.instances:,} | {item.utilisation:.0%} | {1e3 * item.times.response:.1f} ms "
            f"| {1e3 * item.times.p99:.0f} ms | {item.redis_commands:,.0f} | {item.redis_cores:.2f} "
            f"| {item.log_gigabytes:,.1f} GB | {item.cost:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict how many servers a load needs.")
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 1_000, 100_000], help="requests per second")
    parser.add_argument("--cores", type=int, default=2, help="cores of an instance")
    parser.add_argument("--price", type=float, default=0.1, help="of an instance for an hour")
    parser.add_argument("--hit-rate", type=float, default=0.0, help="share of photos answered from the cache")
    parser.add_argument("--milliseconds", type=float, help="processor time of a photo that is classified")
    given = parser.parse_args()
    service = replace(Service(), hit_rate=given.hit_rate)
    if given.milliseconds:
        service = replace(service, seconds=given.milliseconds / 1e3)
    print(table(service, given.rates, given.cores, given.price))
    print("\n| instances | utilisation | mean response: model | simulation | p99: model | simulation |")
    print("|---|---|---|---|---|---|")
    for instances in (1, 4):
        for share in (0.3, 0.5, 0.7):
            rate = share * instances * given.cores / service.mean
            model = predict(service, rate, instances * given.cores)
            found = simulate(service, rate, instances, given.cores)
            print(
                f"| {instances} | {share:.0%} | {1e3 * model.response:.2f} ms | {1e3 * found.response:.2f} ms "
                f"| {1e3 * model.p99:.1f} ms | {1e3 * found.p99:.1f} ms |"
            )


if __name__ == "__main__":
    main()
