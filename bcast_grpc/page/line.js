/** One line of the log, as data and as an element. All text is text: nothing here parses markup. */

/**
 * @typedef {object} Line
 * @property {"message" | "joined" | "left" | "gap" | "note" | "day"} kind
 * @property {string} text
 * @property {number} ms when, since 1970
 * @property {string} [author]
 * @property {string} [session]
 * @property {boolean} [own]
 * @property {number} [seq]
 * @property {number} [dataBytes]
 * @property {boolean} [head] whether it names its author, and does not just go on
 * @property {boolean} [open] whether a long text is shown whole
 * @property {number} [height] in CSS pixels, an estimate until it was on the screen
 */

const LONG_CHARACTERS = 1500;
const LONG_LINES = 16;
const LINK = /https?:\/\/[^\s<>"]+/g;
const AFTER_LINK = /[.,;:!?'’”»…]+$|\)+$(?<!\([^)]*\)+)/;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

/** @type {(count: number) => string} */
export const grouped = new Intl.NumberFormat().format;

/** @param {number} ms @returns {string} the day in words */
export const dayOf = (ms) => day.format(ms);

/** @param {number} count @param {string} noun @returns {string} "1 message", "1,200 messages" */
export const counted = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string | Node[]} [content] text, or nodes
 */
export function element(tag, className = "", content = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (typeof content === "string") made.textContent = content;
  else made.append(...content);
  return made;
}

/** Give an element the colour of a name: the hue from the name, the lightness from the scheme. */
export function colour(/** @type {HTMLElement} */ target, /** @type {string} */ name) {
  let hash = 0;
  for (let i = 0; i < name.length; i += 1) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0;
  target.style.setProperty("--hue", String((Math.imul(hash, 0x9e3779b1) >>> 0) % 360));
  target.dataset.initial = name ? [...name.trim()][0]?.toUpperCase() : "?";
}

/** @param {Line} line @param {() => void} resized called when its height changes */
export function build(line, resized) {
  if (line.kind === "day") return element("div", "day", [element("span", "", line.text)]);
  const row = element("div", line.own ? "line own" : "line");
  row.dataset.kind = line.kind;
  row.classList.toggle("head", !!line.head);
  if (line.kind !== "message") {
    const text = element("bdi", "text", line.text);
    row.append(text, " ", when(line));
    return row;
  }
  row.dataset.seq = String(line.seq);
  const author = element("bdi", line.author ? "author" : "author nameless", line.author || "no name");
  colour(row, line.author ?? "");
  const text = element("div", "text");
  text.dir = "auto";
  row.append(author, " ", when(line), text);
  fill(line, text, resized);
  return row;
}

/** @param {Line} line */
function when(line) {
  const time = /** @type {HTMLTimeElement} */ (element("time", "", clock.format(line.ms)));
  time.dateTime = new Date(line.ms).toISOString();
  time.title = moment.format(line.ms);
  return time;
}

/** @param {Line} line @param {HTMLElement} text @param {() => void} resized */
function fill(line, text, resized) {
  const short = shortened(line.text);
  text.replaceChildren(...linked(line.open ? line.text : short));
  if (line.dataBytes) text.append(line.text ? " " : "", element("i", "data", `(${counted(line.dataBytes, "byte")} of data)`));
  text.parentElement?.querySelector("button")?.remove();
  if (short === line.text) return;
  const label = line.open ? "Show less" : `Show all (${counted(line.text.length, "character")})`;
  const button = element("button", "more", label);
  button.onclick = () => {
    line.open = !line.open;
    fill(line, text, resized);
    text.parentElement?.querySelector("button")?.focus({ preventScroll: true });
    resized();
  };
  text.after(button);
}

/** @param {string} text @returns {string} its beginning, where it is long */
export function shortened(text) {
  let end = text.length > LONG_CHARACTERS ? LONG_CHARACTERS : text.length;
  for (let lines = 0, at = -1; lines < LONG_LINES; lines += 1) {
    at = text.indexOf("\n", at + 1);
    if (at < 0 || at >= end) return end === text.length ? text : `${text.slice(0, end).toWellFormed?.() ?? text.slice(0, end)}…`;
    if (lines === LONG_LINES - 1) end = at;
  }
  return `${text.slice(0, end)}…`;
}

/** @param {string} text @returns {(string | HTMLElement)[]} the same text, with its addresses as links */
function linked(text) {
  const parts = [];
  let done = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const address = found.replace(AFTER_LINK, "");
    if (!URL.canParse?.(address)) continue;
    const link = /** @type {HTMLAnchorElement} */ (element("a", "", address));
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    parts.push(text.slice(done, index), link);
    done = index + address.length;
  }
  return [...parts, text.slice(done)];
}
