// Answers over time: exponential means, and a label that changes only when another has led for a while.

const SECONDS = 1.0; // time constant of the mean
const MARGIN = 0.1; // lead that another label needs
const HOLD = 0.5; // seconds for which it needs it

class Choice {
  update(shares, time) {
    const gone = this.shares ? Math.max(0, time - this.time) : Infinity;
    const weight = 1 - Math.exp(-gone / SECONDS);
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

export class Steady {
  constructor() {
    [this.labels, this.doubt, this.reason] = [new Choice(), new Choice(), null];
  }

  // An answer of the API and its time in seconds; gives what should be shown, the label that holds first.
  update(answer, time) {
    const names = Object.keys(answer.probabilities);
    const chosen = this.labels.update(Object.values(answer.probabilities), time);
    const doubt = Number(answer.unknown ?? false);
    const unknown = Boolean(this.doubt.update([1 - doubt, doubt], time));
    this.reason = answer.reason ?? this.reason;
    const probabilities = Object.fromEntries(names.map((name, place) => [name, this.labels.shares[place]]));
    return { label: names[chosen], probabilities, unknown, reason: this.reason };
  }
}
