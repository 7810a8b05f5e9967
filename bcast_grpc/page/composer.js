/** The box in which a message is written. */

import { MAX_ITEMS } from "./unanswered.js";

/** @typedef {import("./unanswered.js").Unanswered} Unanswered */

export class Composer {
  #form = /** @type {HTMLFormElement} */ (document.getElementById("composer"));
  #text = /** @type {HTMLTextAreaElement} */ (document.getElementById("message"));
  #button = /** @type {HTMLButtonElement} */ (document.getElementById("send"));
  #hint = /** @type {HTMLElement} */ (document.getElementById("composer-hint"));
  #send;

  /**
   * @param {(text: string) => void} send
   * @param {(pages: -1 | 1) => void} page scrolls the log
   */
  constructor(send, page) {
    this.#send = send;
    this.#text.addEventListener("input", () => this.#fit());
    this.#text.addEventListener("keydown", (event) => {
      const { key } = event;
      const composing = event.isComposing || event.keyCode === 229; // Safari reports the end of a composition too early
      if (key === "Enter" && !event.shiftKey && !composing) {
        event.preventDefault();
        this.#submit();
      } else if ((key === "PageUp" || key === "PageDown") && this.#text.scrollHeight <= this.#text.clientHeight) {
        event.preventDefault();
        page(key === "PageUp" ? -1 : 1);
      }
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** @param {string} name @param {string} room */
  open(name, room) {
    this.#text.placeholder = name ? `Say something to ${room} as ${name}` : `Say something to ${room}`;
  }

  focus() {
    if (matchMedia("(hover: hover)").matches) this.#text.focus(); // on a phone that would bring up the keyboard
  }

  /** Explain why no more can be written, if so. @param {Unanswered} unanswered */
  update({ full }) {
    if (this.#button.disabled === full) return;
    this.#button.disabled = full;
    this.#hint.hidden = !full;
    this.#hint.textContent = full ? `${MAX_ITEMS} messages are not yet delivered, and this page keeps no more; wait until some are` : "";
  }

  #submit() {
    const text = this.#text.value.toWellFormed?.() ?? this.#text.value;
    if (this.#button.disabled || !text.trim()) return;
    this.#send(text);
    this.#text.value = "";
    this.#fit();
  }

  /** Make the box as high as its text; the style limits it. */
  #fit() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }
}
