/** Announces new messages to screen readers: each while there are few, only their number in a flood. */

import { counted } from "./line.js";

const PAUSE_MS = 2000;
const FEW = 3;
const MAX_CHARACTERS = 300;

export class Announcer {
  #region;
  /** @type {string[]} */ #texts = [];
  #count = 0;
  #timer = 0;

  /** @param {HTMLElement} region a live region */
  constructor(region) {
    this.#region = region;
  }

  /** @param {string} text */
  say(text) {
    this.#count += 1;
    if (this.#texts.length < FEW) this.#texts.push(text.slice(0, MAX_CHARACTERS));
    this.#timer ||= setTimeout(() => this.#speak(), this.#region.textContent ? PAUSE_MS : 50);
  }

  #speak() {
    const lines = this.#count > FEW ? [counted(this.#count, "new message")] : this.#texts;
    this.#region.textContent = lines.join("\n");
    this.#texts = [];
    this.#count = 0;
    // The text is removed again: it would be found below the page, and the same text could not be announced twice.
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#region.textContent = "";
      if (this.#count) this.#speak();
    }, PAUSE_MS);
  }
}
