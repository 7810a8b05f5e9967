/** The socket: comes back by itself, goes on where it was, and notices when it is dead. */

import { guarded } from "./frame.js";

/**
 * @typedef {Record<string, any> & {kind: string, message?: string, sender?: string, session?: string, id?: string}} Event
 * An event in the proto3 JSON mapping; see docs/protocol.md.
 * @typedef {"connecting" | "online" | "offline" | "ended" | "form"} State
 * @typedef {{name: string, room: string, client: string}} Hello
 * @typedef {object} Hooks
 * @property {(event: Event, seq: number) => void} onEvent each event once, in order; `seq` of a message or a welcome
 * @property {() => void} onFrame after the events of one frame
 * @property {(state: State, text: string) => void} onState where it stands now, and in words
 * @property {() => void} onRestart what was seen so far has no place in the room's order any more
 * @property {() => void} onTooLarge a frame was too large for the server
 * @property {() => boolean} awaiting whether an answer is due
 */

const HISTORY = 200;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 10_000;
const OPEN_MS = 10_000;
const PROBE_MS = 5_000;
const TICK_MS = 5_000;
const QUIET_MS = 45_000; // the server tells its progress every 30 s
const OVERDUE_MS = 10_000;

const CLOSE_NORMAL = 1000;
const CLOSE_TOO_BIG = 1009;
const CLOSE_CODE = 4000;
const TOO_LARGE = 2;
const NAME_INVALID = 5;
const METADATA_INVALID = 6;
const REPLACED = 12;
const RETRYABLE = new Set([4, 10, 11, 13, 14]);

/** @param {string | undefined} duration as in "1.5s" @returns {number} milliseconds; 0 where there is none */
export const milliseconds = (duration) => 1000 * parseFloat(duration ?? "0");

export class Connection {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {{epoch: string, seq: number} | null} */ #place = null;
  /** @type {Hello} */ #hello = { name: "", room: "", client: "" };
  /** @type {State} */ #state = "form";
  #floor = 0; // the head when we came: what was trimmed before it was never promised
  #anew = false; // whether a place that the server did not know was dropped
  /** @type {Event | null} */ #lastWords = null;
  #bound = FIRST_PAUSE_MS;
  #since = 0;
  #heard = 0;
  #ticked = Date.now();
  #timer = 0;
  #probeTimer = 0;
  #probes = 0;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    setInterval(() => this.#tick(), TICK_MS);
  }

  #hooks;

  get online() {
    return this.#state === "online";
  }

  /** The place in the room's order up to which everything was told. */
  get place() {
    return this.#place ?? { epoch: "", seq: 0 };
  }

  /** Go in, or go on where it is the same room. @param {Hello} hello */
  enter(hello) {
    if (hello.room !== this.#hello.room) this.#place = null;
    this.#hello = hello;
    this.reconnect();
  }

  /** Try now. */
  reconnect() {
    this.#bound = FIRST_PAUSE_MS;
    this.#tell("connecting", "Connecting…");
    this.#connect();
  }

  /** Go out, for good. */
  leave() {
    this.send([{ operacion: "leave" }]);
    this.#drop();
    this.#tell("form", "");
  }

  /** @param {object[]} requests @returns {boolean} whether they are on their way */
  send(requests) {
    if (!this.online || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(requests.length === 1 ? requests[0] : requests));
    return true;
  }

  /** Ask who is here; a server that gives no answer is gone. */
  probe() {
    if (this.#probeTimer || !this.send([{ operacion: "who", id: `who-${++this.#probes}` }])) return;
    this.#probeTimer = setTimeout(() => this.#judge(), PROBE_MS);
  }

  /** The network or the page is back: do not wait for a timer, do not trust the socket. */
  wake() {
    if (this.online) this.probe();
    else if (this.#state === "offline" && !this.#socket) this.#connect();
  }

  #judge() {
    this.#probeTimer = 0;
    if (Date.now() - this.#heard < PROBE_MS / 2) {
      this.#probeTimer = setTimeout(() => this.#judge(), PROBE_MS); // its answer waits behind much else
    } else {
      this.#connect();
    }
  }

  #tick() {
    const now = Date.now();
    const slept = now - this.#ticked > 4 * TICK_MS;
    this.#ticked = now;
    const quiet = now - this.#heard;
    if (!this.online) {
      if (slept) this.wake();
    } else if (quiet > QUIET_MS || (quiet > OVERDUE_MS && (slept || this.#hooks.awaiting()))) {
      this.probe();
    }
  }

  #connect() {
    this.#drop();
    if (this.#state !== "connecting") this.#tell("offline", "No connection; trying…");
    const socket = (this.#socket = new WebSocket(this.#address()));
    this.#lastWords = null;
    socket.onmessage = ({ data }) => socket === this.#socket && this.#read(data);
    socket.onclose = (close) => socket === this.#socket && this.#closed(close.code, close.reason);
    this.#timer = setTimeout(() => this.#closed(0, ""), OPEN_MS);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#probeTimer);
    this.#probeTimer = 0;
    const socket = this.#socket;
    this.#socket = null; // from here on nobody listens to it
    socket?.close();
  }

  #address() {
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const { name, room, client } = this.#hello;
    const place = this.#place;
    url.search = String(
      new URLSearchParams({
        ...(name && { name }),
        room,
        client,
        events: "all",
        batch: "1",
        echo: "1",
        ...(place ? { after: `${place.epoch}:${place.seq}` } : { history: String(HISTORY) }),
      }),
    );
    return url;
  }

  /** @param {string} data */
  #read(data) {
    this.#heard = Date.now();
    const socket = this.#socket;
    for (const event of [JSON.parse(data)].flat()) {
      guarded(() => this.#take(event));
      if (socket !== this.#socket) return;
    }
    guarded(this.#hooks.onFrame);
  }

  /** @param {Event} event */
  #take(event) {
    const { kind } = event;
    const seq = Number(event.seq ?? 0);
    if (kind === "EVENT_KIND_WELCOME") {
      this.#welcome(event, seq);
    } else if (kind === "EVENT_KIND_MESSAGE") {
      if (seq <= this.place.seq) return;
      this.place.seq = seq;
      this.#floor = 0;
    } else if (kind === "EVENT_KIND_GAP") {
      const gap = event.gap;
      const last = Number(gap.last_missed ?? 0);
      gap.first_missed = Math.max(Number(gap.first_missed ?? 0), this.#floor + 1);
      this.place.seq = Math.max(this.place.seq, last);
      if (last && last < gap.first_missed) return;
    } else if (kind === "EVENT_KIND_CLOSING" || (kind === "EVENT_KIND_ERROR" && !event.id)) {
      this.#lastWords = { ...this.#lastWords, ...event };
    } else if (kind === "EVENT_KIND_MEMBERS" && event.id === `who-${this.#probes}`) {
      clearTimeout(this.#probeTimer);
      this.#probeTimer = 0;
    }
    this.#hooks.onEvent(event, seq);
  }

  /** @param {Event} event @param {number} head */
  #welcome(event, head) {
    clearTimeout(this.#timer);
    this.#since = Date.now();
    const { epoch } = event.welcome;
    if (!this.#place) {
      this.#place = { epoch, seq: Math.max(0, head - HISTORY) };
      this.#floor = head;
    } else if (this.#place.epoch !== epoch) {
      this.#place = { epoch, seq: 0 };
      this.#floor = 0;
    }
    this.#anew = false;
    this.#tell("online", "Connected");
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    const words = this.#lastWords;
    const number = code - CLOSE_CODE;
    const why = words?.error?.reason || words?.closing?.reason || reason;
    const place = this.#place;
    this.#drop();
    if (number === METADATA_INVALID && place && !this.#anew) {
      this.#anew = true;
      this.#place = null;
      this.#hooks.onRestart();
      this.#connect();
    } else if (number === NAME_INVALID || (number === METADATA_INVALID && why.startsWith("room:"))) {
      this.#tell("form", why);
    } else if (number === TOO_LARGE || code === CLOSE_TOO_BIG) {
      this.#hooks.onTooLarge();
      this.#wait(0, "");
    } else if (number === REPLACED) {
      this.#tell("ended", "Ended: it goes on in another tab or program");
    } else if (code === CLOSE_NORMAL || (number > 0 && !(words?.error?.retryable ?? RETRYABLE.has(number)))) {
      this.#tell("ended", `Ended: ${why || "the server closed the connection"}`);
    } else {
      this.#wait(milliseconds(words?.closing?.reconnect_after ?? words?.error?.retry_after), why);
    }
  }

  /** Try again after the time the server asked for, else after a random part of a bound that doubles each time. */
  #wait(/** @type {number} */ askedMs, /** @type {string} */ why) {
    if (this.#since && Date.now() - this.#since > MAX_PAUSE_MS) this.#bound = FIRST_PAUSE_MS;
    this.#since = 0;
    const pause = askedMs || Math.random() * this.#bound;
    this.#bound = Math.min(2 * this.#bound, MAX_PAUSE_MS);
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#tell("offline", `No connection; trying again in ${Math.ceil(pause / 1000)} s${why && ` (${why})`}`);
  }

  /** @param {State} state @param {string} text */
  #tell(state, text) {
    this.#state = state;
    guarded(() => this.#hooks.onState(state, text));
  }
}
