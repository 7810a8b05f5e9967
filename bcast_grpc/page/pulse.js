/** Detects a dead connection: the server is probed when it was quiet, and given up when it does not answer. */

/**
 * @typedef {object} Line
 * @property {() => boolean} ask asks for an answer; returns whether the question is on its way
 * @property {() => number} unsent how many bytes wait to be sent
 * @property {() => boolean} awaiting whether an answer to something else is due
 * @property {() => void} slept the machine may have slept while there was no connection
 * @property {() => void} dead called where there was no sign of life
 */

const PROBE_MS = 10_000; // a frame for a slow line is as large as it takes in some seconds
const TICK_MS = 5_000;
const QUIET_MS = 45_000; // the server sends a PROGRESS every 30 s
const OVERDUE_MS = 10_000;
const MAX_PATIENCE = 16;

export class Pulse {
  #line;
  #online = false;
  #patience = 1;
  // Times of performance.now(): the system's clock may be set.
  #heard = 0;
  #asked = 0;
  #ticked = performance.now();
  #tickedByTheWall = Date.now();
  #timer = 0;

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** How much longer than usual to wait for a line that seemed dead, and may only have been slow. */
  get patience() {
    return this.#patience;
  }

  /** Something was received. */
  heard() {
    this.#heard = performance.now();
  }

  begin() {
    this.#online = true;
  }

  end() {
    this.#online = false;
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  /** Send a probe, unless one is under way. */
  probe() {
    const unsent = this.#line.unsent();
    if (this.#timer || !this.#line.ask()) return;
    this.#asked = performance.now();
    this.#await(unsent);
  }

  /** The probe was answered. */
  answered() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (performance.now() - this.#asked < PROBE_MS) this.#patience = 1;
  }

  /** Be more patient: a large frame on a slow line shows no sign of life until its end. */
  doubt() {
    this.#patience = Math.min(2 * this.#patience, MAX_PATIENCE);
  }

  /** @param {number} unsent how many bytes waited, without the probe */
  #await(unsent) {
    const from = performance.now();
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      const still = this.#line.unsent();
      if (this.#heard > from || still < unsent) {
        this.#await(still); // the answer waits behind other data
      } else {
        this.doubt();
        this.#line.dead();
      }
    }, PROBE_MS * this.#patience);
  }

  #tick() {
    const now = performance.now();
    const wall = Date.now();
    // Sleep may stop this clock but not the system's. Setting the system's clock only causes a probe.
    const slept = Math.max(now - this.#ticked, wall - this.#tickedByTheWall) > 4 * TICK_MS;
    this.#ticked = now;
    this.#tickedByTheWall = wall;
    const quiet = now - this.#heard;
    if (!this.#online) {
      if (slept) this.#line.slept();
    } else if (slept || quiet > QUIET_MS || (quiet > OVERDUE_MS && this.#line.awaiting())) {
      this.probe();
    }
  }
}
