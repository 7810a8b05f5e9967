/** What was written here and is not in the room yet: kept in order, sent, sent again, and let go once it is there. */

import { milliseconds } from "./connection.js";
import { own, randomId } from "./memory.js";

/**
 * @typedef {object} Item
 * @property {string} id makes sending it again safe
 * @property {string} text
 * @property {"unsent" | "sent" | "acked" | "refused"} state
 * @property {string} reason why it was refused, or waits
 * @property {string[]} sessions those it was sent in
 * @property {number} after it has its place after this one
 * @property {number} seq its place, once acknowledged
 * @typedef {import("./connection.js").Event} Event
 * @typedef {import("./connection.js").Connection} Connection
 */

export const MAX_ITEMS = 1000;
const MAX_IN_FLIGHT = 100;
const MAX_CHARACTERS_IN_FLIGHT = 64 * 1024; // a slow line needs seconds for that, and what is on its way is answered late
const DEFAULT_RETRY_MS = 1000;
const SAVE_MS = 100;
const MAX_TIMER_MS = 60_000; // a timer of more than 24 days would fire at once

export class Unanswered {
  /** @type {Item[]} */ items = [];
  #connection;
  #changed;
  #key = "";
  #session = "";
  #limited = false; // the server asked for less: one at a time, so that the order holds
  #holdUntil = 0; // by performance.now(): the clock on the wall may be set
  #holdTimer = 0;
  #saveTimer = 0;

  /**
   * @param {Connection} connection
   * @param {() => void} changed called after every change
   */
  constructor(connection, changed) {
    this.#connection = connection;
    this.#changed = changed;
    addEventListener("pagehide", () => this.#save());
    document.addEventListener("visibilitychange", () => this.#save());
  }

  get full() {
    return this.items.length >= MAX_ITEMS;
  }

  /** Whether an answer is due. */
  get awaiting() {
    return this.items.some((item) => item.state === "sent");
  }

  /** Take up what was left for a room. @param {string} client @param {string} room */
  open(client, room) {
    this.#save();
    this.#key = `unanswered.${client}.${room}`;
    /** @type {Item[]} */ const kept = own.get(this.#key) ?? [];
    this.items = kept.map((item) => (item.state === "refused" ? item : { ...item, state: "unsent" }));
    this.#changed();
  }

  /** @param {string} text */
  add(text) {
    const { seq } = this.#connection.resumePoint;
    this.items.push({ id: randomId(), text, state: "unsent", reason: "", sessions: [], after: seq, seq: 0 });
    this.#touch();
  }

  /** Send a refused one again, as the newest. @param {Item} item */
  retry(item) {
    this.#remove(item);
    this.add(item.text);
  }

  /** @param {Item} item */
  discard(item) {
    this.#remove(item);
    this.#touch();
  }

  /** The connection is there: what is not acknowledged goes again, before anything newer. @param {string} session */
  connected(session) {
    this.#session = session;
    this.#pump();
  }

  disconnected() {
    for (const item of this.items) if (item.state === "sent") item.state = "unsent";
    this.#changed();
  }

  /** The room's order began anew. @returns {Item[]} those that were acknowledged in the old one and not told */
  forgetPlaces() {
    for (const item of this.items) item.after = 0;
    return this.#take((item) => item.state === "acked");
  }

  /** @param {number} seq @returns {Item[]} those that lie before `seq` and will not be told any more: a gap */
  passed(seq) {
    return this.#take((item) => item.state === "acked" && item.seq <= seq);
  }

  /** Let go of one's own message when the room tells it, be it before its ack. */
  echoed(/** @type {string} */ session, /** @type {number} */ seq, /** @type {string} */ text) {
    const item = this.items.find(
      (item) =>
        (item.state === "sent" || item.state === "acked") &&
        item.after < seq &&
        item.text === text &&
        item.sessions.includes(session),
    );
    if (item) this.#remove(item);
    if (item) for (const other of this.items) other.after = Math.max(other.after, seq);
  }

  /** @param {Event} event an ACK or ERROR */
  answered(event) {
    const item = this.items.find(({ id }) => id === event.id);
    if (!item) return;
    const { ack, error } = event;
    if (ack) {
      item.state = "acked";
      item.reason = "";
      item.seq = Number(ack.seq ?? 0);
      if (ack.epoch !== this.#connection.resumePoint.epoch || item.seq <= this.#connection.resumePoint.seq) this.#remove(item);
    } else if (error?.retryable) {
      item.state = "unsent";
      item.reason = error.reason;
      this.#limited = true;
      const pause = milliseconds(error.retry_after) || DEFAULT_RETRY_MS;
      this.#holdUntil = Math.max(this.#holdUntil, performance.now() + pause);
    } else {
      item.state = "refused";
      item.reason = error?.reason || event.message || "refused";
    }
    this.#touch();
  }

  /** A frame did not fit: the largest message on its way is to blame. */
  refuseLargest() {
    const sent = this.items.filter((item) => item.state !== "refused" && item.sessions.length);
    const largest = sent.sort((a, b) => b.text.length - a.text.length)[0];
    if (!largest) return;
    largest.state = "refused";
    largest.reason = "too large for this server";
    this.#touch();
  }

  #pump() {
    if (!this.#connection.online || this.#held()) return;
    /** @type {Item[]} */ const batch = [];
    let inFlight = 0;
    let characters = 0;
    for (const item of this.items) {
      if (item.state === "refused" || item.state === "acked") continue;
      inFlight += 1;
      characters += item.text.length;
      if (inFlight > 1 && (this.#limited || inFlight > MAX_IN_FLIGHT || characters > MAX_CHARACTERS_IN_FLIGHT)) break;
      if (item.state === "unsent") batch.push(item);
    }
    const requests = batch.map(({ id, text }) => ({ operacion: "broadcast", msg: text, id }));
    if (!batch.length || !this.#connection.send(requests)) return;
    for (const item of batch) {
      item.state = "sent";
      item.sessions = [...item.sessions, this.#session].slice(-8);
    }
    this.#changed();
  }

  /** Whether the server asked for a pause that is not over; at its end there is another try, be the timer early. */
  #held() {
    clearTimeout(this.#holdTimer);
    const rest = this.#holdUntil - performance.now();
    if (rest > 0) this.#holdTimer = setTimeout(() => this.#pump(), Math.min(rest, MAX_TIMER_MS));
    return rest > 0;
  }

  /** @param {Item} item */
  #remove(item) {
    this.#take((other) => other === item);
  }

  /** @param {(item: Item) => boolean} which @returns {Item[]} what was removed */
  #take(which) {
    const taken = this.items.filter(which);
    if (taken.length) {
      this.items = this.items.filter((item) => !which(item));
      this.#touch();
    }
    return taken;
  }

  #touch() {
    if (!this.items.some((item) => item.state !== "refused")) this.#limited = false;
    this.#saveTimer ||= setTimeout(() => this.#save(), SAVE_MS);
    this.#changed();
    this.#pump();
  }

  #save() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = 0;
    if (this.#key) own.set(this.#key, this.items);
  }
}
