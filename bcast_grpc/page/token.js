/**
 * The token that the server requires: from a function of the site, or else from the form. It is kept only in memory.
 *
 * A site that serves this page itself may set, in a script before main.js:
 *
 *     globalThis.bcast = { token: async () => "…" };
 *
 * The function is called for each connection, and before its token expires.
 */

const PATIENCE_MS = 10_000;
const PLAIN = /^[\w!#$%&'*+.^`|~-]*$/; // what a subprotocol may be made of

export class Token {
  #typed = "";

  /** @returns {(() => string | Promise<string>) | undefined} */
  get #source() {
    return /** @type {any} */ (globalThis).bcast?.token;
  }

  /** Whether there may be a new one without asking a person. */
  get renewable() {
    return !!this.#source;
  }

  /** Whether there is one already. */
  get known() {
    return this.renewable || !!this.#typed;
  }

  /** @param {string} token from the form */
  type(token) {
    this.#typed = token;
  }

  /** @param {(token: string) => void} use called at once where nobody has to be asked @param {() => void} fail */
  fetch(use, fail) {
    const source = this.#source;
    if (!source) {
      use(this.#typed);
      return;
    }
    const late = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS));
    Promise.race([Promise.resolve().then(source), late]).then(
      (token) => (typeof token === "string" && PLAIN.test(token) ? use(token) : fail()),
      fail,
    );
  }
}

/** @param {string} token @returns {boolean} whether it can be presented */
export const isPlain = (token) => PLAIN.test(token);

/** @param {string} token @returns {string[]} the subprotocols that present it: it must be in no address */
export const subprotocols = (token) => (token ? ["bcast", `bcast.token.${token}`] : []);
