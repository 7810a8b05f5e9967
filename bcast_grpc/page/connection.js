/** The connection: it reconnects by itself, resumes where it was, and notices when the line is dead. */

import { guarded } from "./frame.js";
import { Pulse } from "./pulse.js";
import { subprotocols } from "./token.js";

/**
 * @typedef {Record<string, any> & {kind: string, message?: string, sender?: string, session?: string, id?: string}} Event
 * An event in the proto3 JSON mapping; see docs/protocol.md.
 * @typedef {"connecting" | "online" | "offline" | "ended" | "form"} State
 * @typedef {{name: string, room: string, client: string}} Hello
 * @typedef {object} Hooks
 * @property {(event: Event, seq: number) => void} onEvent called for each event once, in order; `seq` of a message or a welcome
 * @property {() => void} onFrame after the events of one frame
 * @property {(state: State, text: string) => void} onState called with the new state, and a text for people
 * @property {() => void} onTooLarge called when a frame was too large for the server
 * @property {() => boolean} awaiting whether an answer is awaited
 */

const HISTORY = 200;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 10_000;
const MAX_ASKED_MS = 3_600_000;
const OPEN_MS = 10_000;
const MAX_OPEN_MS = 30_000;
const WELCOME_MS = 10_000;

const RENEW_MS = 1000;

const CLOSE_TOO_BIG = 1009;
const CLOSE_CODE = 4000;
const TOO_LARGE = 2;
const NAME_INVALID = 5;
const METADATA_INVALID = 6;
const UNAUTHENTICATED = 7;
const PERMISSION_DENIED = 8;
const TOKEN_EXPIRED = 9;
const REPLACED = 12;

/** @param {string | undefined} duration as in "1.5s" @returns {number} milliseconds; 0 where there is none */
export const milliseconds = (duration) => 1000 * parseFloat(duration ?? "0");

export class Connection {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {{epoch: string, seq: number} | null} */ #resumePoint = null;
  /** @type {Hello} */ #hello = { name: "", room: "", client: "" };
  /** @type {State} */ #state = "form";
  #history = HISTORY; // how much of it to ask for; 0 where we may not read it
  #attempt = 0;
  #renewals = 0;
  #floor = 0; // the head when we joined: messages trimmed before it were never promised
  /** @type {Event | null} */ #lastWords = null; // why the server is about to end the connection, if that was its last event
  #bound = FIRST_PAUSE_MS;
  #since = 0; // when we were let in, by performance.now(): the system's clock may be set
  #timer = 0;
  #probes = 0;
  #pulse = new Pulse({
    ask: () => this.send([{ operacion: "broadcast", id: `probe-${++this.#probes}` }]),
    unsent: () => this.#socket?.bufferedAmount ?? 0,
    awaiting: () => this.#hooks.awaiting(),
    slept: () => this.wake(),
    dead: () => this.#connect(),
  });

  /** @param {Hooks} hooks @param {import("./token.js").Token} token */
  constructor(hooks, token) {
    this.#hooks = hooks;
    this.#token = token;
  }

  #hooks;
  #token;

  get online() {
    return this.#state === "online";
  }

  /** Up to here every message of the room was received. */
  get resumePoint() {
    return this.#resumePoint ?? { epoch: "", seq: 0 };
  }

  /** Join a room, or resume if it is the same room. @param {Hello} hello */
  enter(hello) {
    if (hello.room !== this.#hello.room) this.#resumePoint = null;
    this.#hello = hello;
    this.#history = HISTORY;
    this.reconnect();
  }

  /** Reconnect now. */
  reconnect() {
    this.#bound = FIRST_PAUSE_MS;
    this.#tell("connecting", "Connecting…");
    this.#connect();
  }

  /** Leave for good. */
  leave() {
    this.send([{ operacion: "leave" }]);
    this.#drop();
    this.#tell("form", "");
  }

  /** @param {object[]} requests @returns {boolean} whether they were sent */
  send(requests) {
    if (!this.online || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(requests.length === 1 ? requests[0] : requests));
    return true;
  }

  /** Ask who is in the room. @returns {boolean} whether the request was sent */
  ask() {
    return this.send([{ operacion: "who", id: "who" }]);
  }

  /** The network or the page is back: do not wait for a timer, do not trust the socket. */
  wake() {
    if (this.online) this.#pulse.probe();
    else if (this.#state === "offline" && !this.#socket) this.#connect();
  }

  #connect() {
    this.#drop();
    if (this.#state !== "connecting") this.#tell("offline", "No connection; reconnecting…");
    const attempt = this.#attempt;
    this.#token.fetch(
      (token) => attempt === this.#attempt && this.#open(token),
      () => attempt === this.#attempt && this.#wait(0, "there is no token at the moment"),
    );
  }

  /** @param {string} token empty for none */
  #open(token) {
    const socket = (this.#socket = new WebSocket(this.#address(), subprotocols(token)));
    const giveUpAfter = (/** @type {number} */ ms) => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        this.#pulse.doubt();
        this.#closed(0, "");
      }, ms);
    };
    this.#lastWords = null;
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      giveUpAfter(WELCOME_MS * this.#pulse.patience);
      if (!token) socket.send('{"operacion":"auth","id":"no-token"}'); // where one is required, this is refused at once
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#read(data);
    socket.onclose = (close) => socket === this.#socket && this.#closed(close.code, close.reason);
    giveUpAfter(Math.min(OPEN_MS * this.#pulse.patience, MAX_OPEN_MS));
  }

  #drop() {
    this.#attempt += 1; // a token that is being fetched comes too late
    clearTimeout(this.#timer);
    this.#pulse.end();
    const socket = this.#socket;
    this.#socket = null; // from now on its events are ignored
    socket?.close();
  }

  #address() {
    const url = new URL("ws", document.baseURI); // the page may be below a path
    url.protocol = url.protocol.replace("http", "ws");
    const { name, room, client } = this.#hello;
    const point = this.#resumePoint;
    url.search = String(
      new URLSearchParams({
        ...(name && { name }),
        room,
        client,
        events: "all",
        batch: "1",
        echo: "1",
        ...(point ? { after: `${point.epoch}:${point.seq}` } : this.#history && { history: String(this.#history) }),
      }),
    );
    return url;
  }

  /** @param {string} data */
  #read(data) {
    this.#pulse.heard();
    const socket = this.#socket;
    const events = parsed(data);
    if (!events) {
      this.#closed(0, "the server sent something that cannot be read");
      return;
    }
    for (const event of events) {
      guarded(() => this.#take(event));
      if (socket !== this.#socket) return;
    }
    guarded(this.#hooks.onFrame);
  }

  /** @param {Event} event */
  #take(event) {
    const { kind } = event;
    const seq = Number(event.seq ?? 0);
    if (this.#lastWords?.error) this.#lastWords = null; // they were not the last
    if (kind === "EVENT_KIND_WELCOME") {
      this.#welcome(event, seq);
    } else if (kind === "EVENT_KIND_MESSAGE") {
      if (seq <= this.resumePoint.seq) return;
      this.resumePoint.seq = seq;
      this.#floor = 0;
    } else if (kind === "EVENT_KIND_GAP") {
      const gap = event.gap;
      const last = Number(gap.last_missed ?? 0);
      if (gap.reason === "GAP_REASON_NEW_EPOCH") this.#restart(); // also if an old copy of the same epoch was restored
      gap.first_missed = Math.max(Number(gap.first_missed ?? 0), this.#floor + 1);
      this.resumePoint.seq = Math.max(this.resumePoint.seq, last);
      if (last && last < gap.first_missed) return;
    } else if (kind === "EVENT_KIND_CLOSING" || (kind === "EVENT_KIND_ERROR" && !event.id)) {
      this.#lastWords = { ...this.#lastWords, ...event };
    } else if (event.id === `probe-${this.#probes}`) {
      this.#pulse.answered();
      return;
    } else if (kind === "EVENT_KIND_EXPIRING" && this.#token.renewable) {
      this.#renew();
      return;
    } else if (event.id === "no-token" || event.id?.startsWith("renewal-")) {
      return; // a refused renewal ends with the old token
    }
    this.#hooks.onEvent(event, seq);
  }

  /** @param {Event} event @param {number} head */
  #welcome(event, head) {
    const { epoch } = event.welcome;
    clearTimeout(this.#timer);
    this.#since = performance.now();
    if (!this.#resumePoint) {
      this.#resumePoint = { epoch, seq: Math.max(0, head - this.#history) };
      this.#floor = head;
    } else if (this.#resumePoint.epoch !== epoch) {
      this.#resumePoint = { epoch, seq: 0 };
      this.#floor = 0;
    }
    this.#pulse.begin();
    this.#tell("online", "Connected");
  }

  /** Present a new token on this connection; after a pause, because some tokens are always about to expire. */
  #renew() {
    const attempt = this.#attempt;
    setTimeout(() => {
      if (attempt !== this.#attempt) return;
      this.#token.fetch(
        (token) => attempt === this.#attempt && this.send([{ operacion: "auth", msg: token, id: `renewal-${++this.#renewals}` }]),
        () => attempt === this.#attempt && this.#renew(),
      );
    }, RENEW_MS);
  }

  /** The order began a new epoch: everything that is kept of it will be received. */
  #restart() {
    this.resumePoint.seq = 0;
    this.#floor = 0;
  }

  /**
   * An end is final if the server says so, in its last event and in the close code. Otherwise a proxy may be the cause.
   *
   * @param {number} code @param {string} reason
   */
  #closed(code, reason) {
    const { error, closing } = this.#lastWords ?? {};
    const wasIn = this.online;
    const final = error && !error.retryable ? code - CLOSE_CODE : 0;
    const why = error?.reason || closing?.reason || reason;
    this.#drop();
    if (final === NAME_INVALID || (final === METADATA_INVALID && why.startsWith("room:"))) {
      this.#tell("form", why);
    } else if (final === UNAUTHENTICATED || final === TOKEN_EXPIRED) {
      this.#unauthenticated(final);
    } else if (final === PERMISSION_DENIED && !wasIn) {
      this.#denied(why);
    } else if (final === TOO_LARGE || code === CLOSE_TOO_BIG) {
      this.#hooks.onTooLarge();
      this.#wait(0, "");
    } else if (final === REPLACED) {
      this.#tell("ended", "Ended: this chat was opened in another tab or program");
    } else if (final > 0) {
      this.#tell("ended", `Ended: ${why}`);
    } else {
      this.#wait(milliseconds(closing?.reconnect_after ?? error?.retry_after), why);
    }
  }

  /** @param {number} code why the server does not know who we are */
  #unauthenticated(code) {
    if (code === TOKEN_EXPIRED && this.#token.renewable) {
      this.#wait(0, "the token has expired");
      return;
    }
    const refused = this.#token.known ? "the server does not accept this token" : "this server requires a token";
    const why = code === TOKEN_EXPIRED ? "your token has expired" : refused;
    if (this.#token.renewable) this.#tell("ended", `Ended: ${why}`);
    else this.#tell("form", `token: ${why}`);
  }

  /** @param {string} why we were not let in */
  #denied(why) {
    if (this.#history && why.includes("history")) {
      this.#history = 0;
      this.#connect();
    } else if (why.includes(" name ")) {
      this.#tell("form", `name: ${why}`);
    } else {
      this.#tell("form", "room: you are not allowed to join this room");
    }
  }

  /** Reconnect after the time the server asked for, else after a random part of a bound that doubles each time. */
  #wait(/** @type {number} */ askedMs, /** @type {string} */ why) {
    if (this.#since && performance.now() - this.#since > MAX_PAUSE_MS) this.#bound = FIRST_PAUSE_MS;
    this.#since = 0;
    const pause = Math.min(askedMs, MAX_ASKED_MS) || Math.random() * this.#bound;
    this.#bound = Math.min(2 * this.#bound, MAX_PAUSE_MS);
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#tell("offline", `No connection; reconnecting in ${Math.ceil(pause / 1000)} s${why && ` (${why})`}`);
  }

  /** @param {State} state @param {string} text */
  #tell(state, text) {
    this.#state = state;
    guarded(() => this.#hooks.onState(state, text));
  }
}

/** @param {string} data @returns {Event[] | null} the events of a frame; null if it cannot be read */
function parsed(data) {
  try {
    const events = [JSON.parse(data)].flat();
    return events.every((event) => event && typeof event === "object") ? events : null;
  } catch {
    return null;
  }
}
