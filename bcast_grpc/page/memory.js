/** What is kept in the browser: by all tabs (`shared`), or by this tab over a reload (`own`). */

// Below other paths of the same origin there may be other servers.
const PREFIX = `bcast.${new URL(".", document.baseURI).pathname}.`;

/** @param {() => Storage} area the storage; asking for it throws where the browser refuses it */
function keep(area) {
  return {
    /** @param {string} key @returns {any} what was kept; null if nothing was */
    get(key) {
      try {
        return JSON.parse(area().getItem(PREFIX + key) ?? "null");
      } catch {
        return null;
      }
    },
    /** @param {string} key @param {any} value kept if there is room; null or [] forgets */
    set(key, value) {
      try {
        if (value === null || (Array.isArray(value) && !value.length)) area().removeItem(PREFIX + key);
        else area().setItem(PREFIX + key, JSON.stringify(value));
      } catch {
        // The storage is full or forbidden; then the value is lost with the page.
      }
    },
  };
}

export const shared = keep(() => localStorage);
export const own = keep(() => sessionStorage);

/** @returns {string} 128 random bits; `crypto.randomUUID` is missing on plain http */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The stable id by which the server knows this tab over reconnects and reloads.
 *
 * A tab that is duplicated gets a copy of the session storage, and two clients with one id would replace each other.
 * So while the tab is visible, the id is removed from there, and put back when the page may end.
 */
export function claimClient() {
  const client = own.get("client") ?? randomId();
  const claim = () => own.set("client", null);
  const release = () => own.set("client", client);
  claim();
  addEventListener("pagehide", release);
  addEventListener("pageshow", claim);
  document.addEventListener("visibilitychange", () => (document.hidden ? release() : claim()));
  return client;
}
