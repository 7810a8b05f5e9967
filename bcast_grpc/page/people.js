/** The list of people: asked for now and then, and kept up to date by notices. */

import { onFrame } from "./frame.js";
import { colour, element, grouped } from "./line.js";

/** @typedef {import("./connection.js").Event} Event */

const MAX_SHOWN = 200;
const MAX_SORTED = 1000;
const REFRESH_MS = 60_000;
const REFRESH_MANY_MS = 5 * 60_000;
const DOUBT_MS = 2000;
const PAINT_MS = 250;
const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });

export class People {
  /** @type {Map<string, string>} */ #names = new Map(); // by session; those with a name
  #nameless = 0;
  #self = "";
  /** @type {{session: string, name?: string}[]} */ #parts = []; // of a list that comes in several events
  #listedAt = 0; // when the last list arrived
  #asking = false;
  #ask;
  #list = /** @type {HTMLElement} */ (document.getElementById("people"));
  #more = /** @type {HTMLElement} */ (document.getElementById("people-more"));
  #doubtTimer = 0;
  #paintTimer = 0;

  /** @param {() => boolean} ask asks who is here, if that can be asked now */
  constructor(ask) {
    this.#ask = () => {
      this.#asking ||= ask(); // one request at a time: the answer may be long, and the line slow
    };
    setInterval(() => this.refresh(), REFRESH_MS);
  }

  /** @param {string} session our own */
  entered(session) {
    this.#self = session;
    this.#parts = [];
    this.#asking = false;
    this.#listedAt = -Infinity;
    this.refresh();
  }

  /** @param {Event} event */
  told(event) {
    const { kind, session = "", sender = "" } = event;
    if (kind === "EVENT_KIND_MEMBERS") {
      this.#parts.push(...(event.members?.members ?? []));
      if (event.members?.more) return;
      const members = this.#parts;
      this.#parts = [];
      this.#asking = false;
      const named = members.filter(({ name }) => name);
      this.#names = new Map(named.map(({ session, name }) => [session, name ?? ""]));
      this.#nameless = members.length - named.length;
      this.#listedAt = performance.now();
    } else if (kind === "EVENT_KIND_JOINED") {
      this.#names.set(session, sender);
      if (!event.message?.endsWith(" joined")) this.#doubt(); // perhaps somebody who had no name before
    } else if (!this.#names.delete(session)) {
      this.#doubt(); // it came back with another session, without a notice
    }
    this.#paintTimer ||= setTimeout(() => {
      this.#paintTimer = 0;
      onFrame(this.#paint);
    }, kind === "EVENT_KIND_MEMBERS" ? 0 : PAINT_MS);
  }

  /** Show that we are not allowed to see the list. */
  refused() {
    this.#asking = false;
    this.#listedAt = performance.now();
    this.#names.clear();
    this.#nameless = 0;
    onFrame(() => {
      this.#paint();
      this.#more.textContent = "You are not allowed to see who is here.";
      for (const target of document.querySelectorAll(".count")) target.textContent = "";
    });
  }

  /** Ask soon, and once for many doubts. */
  #doubt() {
    this.#doubtTimer ||= setTimeout(() => {
      this.#doubtTimer = 0;
      this.#ask();
    }, DOUBT_MS);
  }

  /** Ask, if the last list is old and the page is visible. */
  refresh() {
    const pause = this.#names.size > MAX_SORTED ? REFRESH_MANY_MS : REFRESH_MS;
    if (!document.hidden && performance.now() - this.#listedAt >= pause - 1000) this.#ask();
  }

  #paint = () => {
    const people = [...this.#names];
    if (people.length <= MAX_SORTED) people.sort(([, a], [, b]) => collator.compare(a, b));
    this.#list.replaceChildren(
      ...people.slice(0, MAX_SHOWN).map(([session, name]) => {
        const label = element("bdi", "", name);
        label.title = name;
        const item = element("li", session === this.#self ? "self" : "", [label]);
        colour(item, name);
        return item;
      }),
    );
    const rest = people.length - MAX_SHOWN;
    const more = [rest > 0 && `${grouped(rest)} more`, this.#nameless && `${grouped(this.#nameless)} without a name`].filter(Boolean);
    this.#more.textContent = more.length ? `${people.length ? "and " : ""}${more.join(" and ")}` : "";
    const count = grouped(people.length + this.#nameless);
    for (const target of document.querySelectorAll(".count")) target.textContent = count;
  };
}
