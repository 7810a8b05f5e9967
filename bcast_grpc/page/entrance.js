/** The form for name and room, which are remembered, and for a token, which is not. The room is part of the address. */

import { own, shared } from "./memory.js";
import { faultOf, tidied } from "./names.js";
import { isPlain } from "./token.js";

const DEFAULT_ROOM = "lobby";

/** @typedef {{name: string, room: string}} Choice */

export class Entrance {
  #form = /** @type {HTMLFormElement} */ (document.getElementById("entrance"));
  #name = /** @type {HTMLInputElement} */ (document.getElementById("name"));
  #room = /** @type {HTMLInputElement} */ (document.getElementById("room"));
  #token = /** @type {HTMLInputElement} */ (document.getElementById("token"));
  #fault = /** @type {HTMLElement} */ (document.getElementById("entrance-fault"));
  #hint = /** @type {HTMLElement} */ (document.getElementById("entrance-hint"));
  #enter;
  #refuse;
  #present;

  /**
   * @param {(choice: Choice) => void} enter
   * @param {(fault: string) => void} refuse called with what is wrong with the choice
   * @param {(token: string) => void} present called with a token that was typed
   */
  constructor(enter, refuse, present) {
    this.#present = present;
    this.#enter = enter;
    this.#refuse = refuse;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go();
    });
  }

  /** Join at once if the address has a room and a name is known, else ask. @returns {boolean} whether it joined */
  open() {
    const address = new URLSearchParams(location.search);
    const name = address.get("name") ?? own.get("name") ?? shared.get("name");
    const room = address.get("room");
    this.#name.value = name ?? "";
    this.#room.value = room ?? own.get("room") ?? shared.get("room") ?? "";
    if (room?.trim() && name !== null) this.#go();
    return !!room?.trim() && name !== null;
  }

  /** @param {string} fault why the form is shown again @param {string} hint */
  show(fault, hint) {
    this.#fault.textContent = fault;
    this.#fault.hidden = !fault;
    this.#hint.textContent = hint;
    this.#hint.hidden = !hint;
    const atToken = fault.startsWith("token:");
    if (atToken) /** @type {HTMLElement} */ (this.#token.parentElement).hidden = false;
    const atRoom = fault.startsWith("room:") || (!fault && this.#name.value && !this.#room.value);
    const field = atToken ? this.#token : atRoom ? this.#room : this.#name;
    for (const input of [this.#name, this.#room, this.#token]) input.setAttribute("aria-invalid", String(!!fault && input === field));
    field.focus();
    field.select();
  }

  #go() {
    const name = this.#name.value.trim() && tidied(this.#name.value);
    const room = this.#room.value.trim() ? tidied(this.#room.value) : DEFAULT_ROOM;
    const nameFault = this.#name.value.trim() && faultOf(name);
    const roomFault = faultOf(room);
    if (nameFault || roomFault) {
      this.#refuse(nameFault ? `name: ${nameFault}` : `room: ${roomFault}`);
      return;
    }
    const token = this.#token.value.trim();
    if (!isPlain(token)) {
      this.#refuse("token: contains characters that are not allowed in a token");
      return;
    }
    if (token) this.#present(token);
    this.#token.value = "";
    this.#name.value = name;
    this.#room.value = room;
    for (const memory of [own, shared]) {
      memory.set("name", name);
      memory.set("room", room);
    }
    const address = new URL(location.href);
    address.searchParams.delete("name");
    address.searchParams.set("room", room);
    history.replaceState(null, "", address);
    this.#enter({ name, room });
  }
}
