/** The form for name and room; both are remembered, and the room is part of the address. */

import { own, shared } from "./memory.js";
import { faultOf, tidied } from "./names.js";

const DEFAULT_ROOM = "lobby";

/** @typedef {{name: string, room: string}} Choice */

export class Entrance {
  #form = /** @type {HTMLFormElement} */ (document.getElementById("entrance"));
  #name = /** @type {HTMLInputElement} */ (document.getElementById("name"));
  #room = /** @type {HTMLInputElement} */ (document.getElementById("room"));
  #fault = /** @type {HTMLElement} */ (document.getElementById("entrance-fault"));
  #hint = /** @type {HTMLElement} */ (document.getElementById("entrance-hint"));
  #enter;
  #refuse;

  /**
   * @param {(choice: Choice) => void} enter
   * @param {(fault: string) => void} refuse called with what is wrong with the choice
   */
  constructor(enter, refuse) {
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
    const atRoom = fault.startsWith("room:") || (!fault && this.#name.value && !this.#room.value);
    const field = atRoom ? this.#room : this.#name;
    for (const input of [this.#name, this.#room]) input.setAttribute("aria-invalid", String(!!fault && input === field));
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
