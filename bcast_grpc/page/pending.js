/** The list of our messages that are not in the log yet. */

import { onFrame } from "./frame.js";
import { element, grouped, shortened } from "./line.js";

/** @typedef {import("./unanswered.js").Item} Item @typedef {import("./unanswered.js").Unanswered} Unanswered */

const MAX_SHOWN = 100;

export class Pending {
  #list;
  /** @type {() => Unanswered} */ #unanswered;
  /** @type {Map<string, HTMLElement>} */ #shown = new Map();
  #more = element("p", "hint");

  /** @param {HTMLElement} list @param {() => Unanswered} unanswered */
  constructor(list, unanswered) {
    this.#list = list;
    this.#unanswered = unanswered;
    list.after(this.#more);
  }

  update() {
    onFrame(this.#paint);
  }

  #paint = () => {
    const { items } = this.#unanswered();
    const wanted = new Map(items.slice(0, MAX_SHOWN).map((item) => [item.id, item]));
    for (const [id, row] of this.#shown) {
      if (wanted.has(id)) continue;
      row.remove();
      this.#shown.delete(id);
    }
    for (const item of wanted.values()) {
      let row = this.#shown.get(item.id);
      if (!row) {
        row = this.#build(item);
        this.#shown.set(item.id, row);
        this.#list.append(row);
        this.#list.scrollTop = this.#list.scrollHeight;
      }
      describe(row, item);
    }
    this.#list.hidden = !items.length;
    this.#more.hidden = items.length <= MAX_SHOWN;
    this.#more.textContent = `and ${grouped(items.length - MAX_SHOWN)} more are waiting`;
  };

  /** @param {Item} item */
  #build(item) {
    const text = element("div", "text", shortened(item.text));
    text.dir = "auto";
    const retry = element("button", "retry", "Retry");
    const discard = element("button", "discard", "Discard");
    retry.onclick = () => this.#unanswered().retry(item);
    discard.onclick = () => this.#unanswered().discard(item);
    return element("li", "", [text, element("span", "reason"), retry, discard]);
  }
}

/** Show the state of a message. @param {HTMLElement} row @param {Item} item */
function describe(row, item) {
  const refused = item.state === "refused";
  const state = item.state === "acked" ? "sent" : item.state;
  const words = { unsent: "waiting for a connection", sent: "not acknowledged yet", refused: "refused" }[state];
  const text = item.reason && state !== "sent" ? (refused ? `Refused: ${item.reason}` : `Waiting: ${item.reason}`) : words;
  const reason = /** @type {HTMLElement} */ (row.querySelector(".reason"));
  if (row.dataset.state !== state) row.dataset.state = state;
  if (reason.textContent !== text) reason.textContent = text;
  for (const button of row.querySelectorAll("button")) button.hidden = !refused;
}
