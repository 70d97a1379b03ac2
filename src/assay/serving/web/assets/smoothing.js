// Smooth predictions over time: exponential averages, and a label that changes only after another one has led for a while.

const TIME_CONSTANT = 1.0; // seconds, of the exponential average
const MARGIN = 0.1; // lead that another label needs
const HOLD = 0.5; // seconds for which it must lead

class SmoothedChoice {
  update(shares, time) {
    const elapsed = this.shares ? Math.max(0, time - this.time) : Infinity;
    const weight = 1 - Math.exp(-elapsed / TIME_CONSTANT);
    this.shares = shares.map((share, place) => (this.shares?.[place] ?? share) * (1 - weight) + share * weight);
    this.time = time;
    const best = this.shares.indexOf(Math.max(...this.shares));
    this.chosen ??= best;
    if (best === this.chosen || this.shares[best] - this.shares[this.chosen] < MARGIN) {
      this.challenger = null;
    } else {
      if (best !== this.challenger) [this.challenger, this.since] = [best, time];
      if (time - this.since >= HOLD) [this.chosen, this.challenger] = [best, null];
    }
    return this.chosen;
  }
}

export class PredictionSmoother {
  constructor() {
    [this.labels, this.abstention, this.reason] = [new SmoothedChoice(), new SmoothedChoice(), null];
  }

  // Add a response of the API, received at `time` in seconds; returns the smoothed prediction.
  update(answer, time) {
    const names = Object.keys(answer.probabilities);
    const chosen = this.labels.update(Object.values(answer.probabilities), time);
    const abstains = Number(answer.unknown ?? false);
    const unknown = Boolean(this.abstention.update([1 - abstains, abstains], time));
    this.reason = answer.reason ?? this.reason;
    const probabilities = Object.fromEntries(names.map((name, place) => [name, this.labels.shares[place]]));
    return { label: names[chosen], probabilities, unknown, reason: this.reason };
  }
}
