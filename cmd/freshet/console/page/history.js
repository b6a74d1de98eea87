// What the page has seen, in memory only and bounded in time and in number.

export const KEPT_SECONDS = 300;
const KEPT_SAMPLES = 400; // a sample a second, and some slack

// A pause longer than this between two samples is a gap in the lines drawn from them.
const PAUSE_SECONDS = 8;

export class History {
  #samples = [];

  // add keeps the figures of one status, read at that time (seconds).
  add(at, status) {
    const before = this.#samples.at(-1);
    const broken = before !== undefined && (at - before.at > PAUSE_SECONDS || status.uptime < before.uptime);
    this.#samples.push({ at, broken, uptime: status.uptime, rate: status.rate, recall: status.recall });
    let old = Math.max(0, this.#samples.length - KEPT_SAMPLES);
    while (this.#samples[old].at < at - KEPT_SECONDS) old++;
    this.#samples.splice(0, old);
  }

  // lines returns a figure over time as lists of points {at, value}; a list ends where the figure was not measured.
  lines(figure) {
    const all = [];
    let line = null;
    for (const sample of this.#samples) {
      const value = figure(sample);
      if (value === null || value === undefined) {
        line = null;
        continue;
      }
      if (line === null || sample.broken) all.push((line = []));
      line.push({ at: sample.at, value });
    }
    return all;
  }

  // reach is the time from the first sample to the last, in seconds.
  get reach() {
    return this.#samples.length === 0 ? 0 : this.#samples.at(-1).at - this.#samples[0].at;
  }
}
