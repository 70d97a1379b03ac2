"""The capacity model against formulas with exact solutions and against the simulation."""

import math

import numpy as np
import pytest
from tests.conftest import load_benchmark

pytest.importorskip("simpy")
capacity = load_benchmark("capacity")


def exponential(seconds: float = 0.01) -> object:
    return capacity.Service(seconds=seconds, hit_rate=0.0, scv=1.0)


def test_probability_of_waiting_of_known_queues():
    assert capacity.erlang_c(1, 0.6) == pytest.approx(0.6)  # M/M/1: the utilisation
    assert capacity.erlang_c(2, 1.0) == pytest.approx(1 / 3)  # Allen 1990, table 5.2.4
    assert 0 < capacity.erlang_c(2000, 1400) < 1e-30


@pytest.mark.parametrize("load", [0.0, 2.0, 3.5])
def test_load_without_steady_state_raises(load: float):
    with pytest.raises(ValueError, match="no steady state"):
        capacity.erlang_c(2, load)


def test_single_core_equals_pollaczek_khinchine():
    for scv in (0.0, 0.1, 1.0, 4.0):
        service = capacity.Service(seconds=0.02, scv=scv)
        rate, mean = 30.0, 0.02
        expected = rate * (1 + scv) * mean**2 / (2 * (1 - rate * mean))
        assert capacity.predict(service, rate, 1).wait == pytest.approx(expected)


def test_tail_of_exponential_service_is_exact():
    # M/M/1: the wait exceeds t with probability rho exp(-(1 - rho) t / S).
    rho, seconds = 0.7, 0.01
    wait = capacity.predict(exponential(seconds), rho / seconds, 1).p99 - seconds
    assert rho * math.exp(-(1 - rho) * wait / seconds) == pytest.approx(0.01)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_99th_percentile_is_close_to_the_simulation(share: float):
    service = capacity.Service()
    rate = share * 2 / service.mean
    found = capacity.simulate(service, rate, 1, 2, requests=40_000)
    assert capacity.predict(service, rate, 2).p99 == pytest.approx(found.p99, rel=0.2)


def test_mixture_of_hits_and_misses_has_the_moments_of_its_draws():
    service = capacity.Service(hit_rate=0.6, scv=0.3)
    drawn = service.draw(np.random.default_rng(0), 400_000)
    assert service.mean == pytest.approx(drawn.mean(), rel=0.01)
    assert service.variation == pytest.approx(drawn.var() / drawn.mean() ** 2, rel=0.02)


@pytest.mark.parametrize("hit_rate", [0.0, 0.5])
@pytest.mark.parametrize(("instances", "cores", "share"), [(1, 2, 0.5), (1, 2, 0.8), (4, 2, 0.7)])
def test_model_agrees_with_the_simulation(instances: int, cores: int, share: float, hit_rate: float):
    service = capacity.Service(hit_rate=hit_rate)
    rate = share * instances * cores / service.mean
    found = capacity.simulate(service, rate, instances, cores, requests=40_000)
    assert capacity.predict(service, rate, instances * cores).response == pytest.approx(found.response, rel=0.15)


@pytest.mark.parametrize("scv", [0.0, 0.1, 1.0, 3.0])
@pytest.mark.parametrize(("cores", "share"), [(1, 0.5), (2, 0.3), (2, 0.7), (8, 0.8)])
def test_shared_cores_agree_with_the_simulation_whatever_the_distribution(cores: int, share: float, scv: float):
    service = capacity.Service(scv=scv)
    rate = share * cores / service.mean
    found = capacity.simulate_shared(service, rate, cores, requests=60_000)
    expected = service.mean + capacity.shared_wait(service, rate, cores)
    assert expected == pytest.approx(found.response, rel=0.06)
    assert found.wait == pytest.approx(found.response - service.mean, abs=0.02 * service.mean)


def test_requests_alone_on_a_core_take_their_processor_time():
    found = capacity.simulate_shared(capacity.Service(scv=0.0), 0.01, 1, requests=1_000)
    assert found.response == pytest.approx(capacity.Service().mean, rel=1e-3)
    assert found.p99 == pytest.approx(capacity.Service().mean)


def test_plan_keeps_its_limits():
    service = capacity.Service()
    for rate in (0.1, 10, 1_000, 100_000):
        item = capacity.plan(service, rate, 2, 0.1)
        assert item.utilisation <= 0.7
        assert item.times.p99 <= 0.25
        assert item.instances == 1 or rate * service.mean / ((item.instances - 1) * 2) > 0.7
        assert item.cost == pytest.approx(item.instances * 0.1 / 3600 / rate * 1e6)
    quick = capacity.plan(service, 240, 2, 0.1, p99=0.032)
    assert quick.times.p99 <= 0.032


def test_a_time_below_that_of_an_idle_server_is_refused():
    with pytest.raises(ValueError, match="20 ms for 99 % of the requests: they take 31 ms without waiting"):
        capacity.plan(capacity.Service(), 100, 2, 0.1, p99=0.02)


def test_table_has_a_row_for_each_rate():
    lines = capacity.table(capacity.Service(), [10, 1_000], 2, 0.1).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
