/** Our messages that are not in the log yet: kept in order, sent, sent again, and removed once the room has them. */

import { milliseconds } from "./connection.js";
import { own, randomId } from "./memory.js";

/**
 * @typedef {object} Item
 * @property {string} id lets the server recognise a message that is sent again
 * @property {string} text
 * @property {"unsent" | "sent" | "acked" | "refused"} state
 * @property {string} reason why it was refused, or has to wait
 * @property {string[]} sessions the sessions it was sent in
 * @property {number} after its seq will be larger than this
 * @property {number} seq its seq, once acknowledged
 * @typedef {import("./connection.js").Event} Event
 * @typedef {import("./connection.js").Connection} Connection
 */

export const MAX_ITEMS = 1000;
const MAX_IN_FLIGHT = 100;
const MAX_CHARACTERS_IN_FLIGHT = 64 * 1024; // a slow line needs seconds for this much, and answers wait behind it
const DEFAULT_RETRY_MS = 1000;
const SAVE_MS = 100;
const MAX_TIMER_MS = 60_000; // a timer of more than 24 days would fire at once

export class Unanswered {
  /** @type {Item[]} */ items = [];
  #connection;
  #changed;
  #key = "";
  #session = "";
  #limited = false; // the server refused one for its rate: send one at a time, to keep the order
  #holdUntil = 0; // by performance.now(): the system's clock may be set
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

  /** Whether an answer is awaited. */
  get awaiting() {
    return this.items.some((item) => item.state === "sent");
  }

  /** Load what was kept for a room. @param {string} client @param {string} room */
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

  /** Send a refused message again, as the newest. @param {Item} item */
  retry(item) {
    this.#remove(item);
    this.add(item.text);
  }

  /** @param {Item} item */
  discard(item) {
    this.#remove(item);
    this.#touch();
  }

  /** We are connected: send what is not acknowledged again, before anything newer. @param {string} session */
  connected(session) {
    this.#session = session;
    this.#pump();
  }

  disconnected() {
    for (const item of this.items) if (item.state === "sent") item.state = "unsent";
    this.#changed();
  }

  /** A new epoch began. @returns {Item[]} messages that were acknowledged in the old one and never received */
  forgetPlaces() {
    for (const item of this.items) item.after = 0;
    return this.#take((item) => item.state === "acked");
  }

  /** @param {number} seq @returns {Item[]} acknowledged messages up to `seq`, which will not be received any more */
  passed(seq) {
    return this.#take((item) => item.state === "acked" && item.seq <= seq);
  }

  /** Remove our own message when the room sends it, even if that is before its ack. */
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
      // Each refused one has a time of its own; they go one by one, so the first of these decides.
      if (this.#holdUntil <= performance.now()) this.#holdUntil = performance.now() + pause;
    } else {
      item.state = "refused";
      const denied = error?.code === "ERROR_CODE_PERMISSION_DENIED" && "you are not allowed to send in this room";
      item.reason = denied || error?.reason || event.message || "refused";
    }
    this.#touch();
  }

  /** A frame was too large: refuse the largest message that was sent. */
  refuseLargest() {
    const sent = this.items.filter((item) => item.state !== "refused" && item.sessions.length);
    const largest = sent.sort((a, b) => b.text.length - a.text.length)[0];
    if (!largest) return;
    largest.state = "refused";
    largest.reason = "the message is too large for this server";
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

  /** Whether the server asked for a pause that is not over; a timer sends again at its end. */
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
