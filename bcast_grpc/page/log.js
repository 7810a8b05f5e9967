/** The list of lines: it keeps many, builds only the visible ones, and keeps the scroll position of a reader. */

import { onFrame } from "./frame.js";
import { build, dayOf, grouped } from "./line.js";

/** @typedef {import("./line.js").Line} Line */

const BLOCK = 128; // lines that are summed up, and removed, together
const MAX_LINES = 20_000;
const MAX_CHARACTERS = 16 * 1024 * 1024;
const OVERSCAN_PX = 400;
const GROUP_MS = 5 * 60_000;
const PASSES = 4;
const AT_END_PX = 1.5;

export class Log {
  #scroller;
  #space;
  #rows;
  #jump;
  /** @type {Line[]} */ #lines = [];
  /** @type {number[]} */ #sums = []; // the heights of the lines, summed for each block
  #characters = 0;
  /** @type {Map<Line, HTMLElement>} */ #shown = new Map();
  #stick = true;
  #anchor = { index: 0, offset: 0 }; // the line at the upper edge, and how much of it is above that
  #top = 0;
  #unseen = 0;
  /** @type {Line | null} */ #last = null;
  #dayEnd = 0;
  #dayStart = 0;

  /**
   * @param {HTMLElement} scroller with an element `.space`, and `.rows` in that
   * @param {HTMLButtonElement} jump goes to the end
   */
  constructor(scroller, jump) {
    this.#scroller = scroller;
    this.#space = /** @type {HTMLElement} */ (scroller.querySelector(".space"));
    this.#rows = /** @type {HTMLElement} */ (scroller.querySelector(".rows"));
    this.#jump = jump;
    jump.onclick = () => {
      this.toEnd();
      scroller.focus({ preventScroll: true });
    };
    scroller.addEventListener("scroll", () => this.#scrolled());
    scroller.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && this.#hold(), { passive: true });
    scroller.addEventListener("touchstart", () => this.#hold(), { passive: true });
    scroller.addEventListener("touchend", () => this.#atEnd() && this.toEnd(), { passive: true });
    scroller.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("selectionchange", () => {
      const selection = getSelection();
      if (selection && !selection.isCollapsed && scroller.contains(selection.anchorNode)) this.#hold();
    });
    new ResizeObserver(() => this.#paint()).observe(scroller);
  }

  /** @param {Line} line */
  add(line) {
    if (line.kind === "message") this.#begin(line);
    this.#push(line);
    if (!this.#stick) this.#unseen += 1;
    this.#last = line;
    this.#trim();
    onFrame(this.#paint);
  }

  clear() {
    this.#lines = [];
    this.#sums = [];
    this.#characters = 0;
    this.#last = null;
    this.#dayStart = this.#dayEnd = 0;
    this.toEnd();
  }

  toEnd() {
    this.#stick = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight; // ends a smooth scroll that is under way
    onFrame(this.#paint);
  }

  /** Scroll as the keys PageUp and PageDown do. @param {-1 | 1} pages */
  page(pages) {
    if (pages < 0) this.#hold();
    this.#scroller.scrollBy(0, pages * this.#scroller.clientHeight * 0.9);
  }

  /** Begin a day where it is another, and a group where the author is another. @param {Line} line */
  #begin(line) {
    if (line.ms < this.#dayStart || line.ms >= this.#dayEnd) {
      this.#dayStart = new Date(line.ms).setHours(0, 0, 0, 0);
      this.#dayEnd = new Date(line.ms).setHours(24, 0, 0, 0);
      this.#last = null;
      this.#push({ kind: "day", text: dayOf(line.ms), ms: line.ms });
    }
    const last = this.#last;
    const goesOn = last?.kind === "message" && last.session === line.session && last.author === line.author;
    line.head = !(goesOn && line.ms - last.ms < GROUP_MS);
  }

  /** @param {Line} line */
  #push(line) {
    line.height = this.#guess(line);
    if (this.#lines.length % BLOCK === 0) this.#sums.push(0);
    this.#sums[this.#sums.length - 1] += line.height;
    this.#characters += line.text.length;
    this.#lines.push(line);
  }

  /** @param {Line} line @returns {number} a height, near enough for the scrollbar */
  #guess(line) {
    if (line.kind !== "message") return 34;
    const perLine = Math.max(20, this.#scroller.clientWidth / 8);
    return 25 + (line.head ? 30 : 0) + 22 * Math.min(16, Math.floor(line.text.length / perLine));
  }

  /** Remove the oldest lines. While somebody reads back, twice as many are kept. */
  #trim() {
    const most = this.#stick ? MAX_LINES : 2 * MAX_LINES;
    while (this.#lines.length > BLOCK && (this.#lines.length > most + BLOCK || this.#characters > MAX_CHARACTERS)) {
      for (const { text } of this.#lines.splice(0, BLOCK)) this.#characters -= text.length;
      this.#sums.shift();
      const first = this.#lines[0];
      const note = "Older messages are no longer shown here";
      this.#characters += note.length - first.text.length;
      this.#lines[0] = { kind: "note", text: note, ms: first.ms, height: first.height };
      if (this.#lines.length > 1) this.#lines[1].head = true;
      this.#anchor.index -= BLOCK;
      if (this.#anchor.index < 0) this.#anchor = { index: 0, offset: 0 };
    }
  }

  #hold() {
    this.#stick = false;
    this.#anchorAt(this.#scroller.scrollTop);
    onFrame(this.#paint);
  }

  #scrolled() {
    const top = this.#scroller.scrollTop;
    if (Math.abs(top - this.#top) < 1) return; // we scrolled ourselves; the height of the view may have changed meanwhile
    this.#stick = this.#atEnd() && (this.#stick || top >= this.#top);
    this.#anchorAt(top);
    this.#top = top;
    onFrame(this.#paint);
  }

  #atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - clientHeight - scrollTop < AT_END_PX;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { key, target } = event;
    if (target !== this.#scroller) return;
    if (["ArrowUp", "PageUp", "Home"].includes(key)) this.#hold();
    if (key !== "Home" && key !== "End") return;
    event.preventDefault(); // a smooth scroll would aim at where the end is now
    if (key === "End") this.toEnd();
    else this.#scroller.scrollTop = 0;
  }

  /** @param {number} top */
  #anchorAt(top) {
    const index = this.#indexAt(top);
    this.#anchor = { index, offset: top - this.#topOf(index) };
  }

  /** @param {number} index @returns {number} the distance of a line from the top of all */
  #topOf(index) {
    const block = Math.floor(index / BLOCK);
    let top = 0;
    for (let i = 0; i < block; i += 1) top += this.#sums[i];
    for (let i = block * BLOCK; i < index; i += 1) top += this.#lines[i].height ?? 0;
    return top;
  }

  /** @param {number} top @returns {number} the line that is there, or the nearest */
  #indexAt(top) {
    let block = 0;
    while (block < this.#sums.length - 1 && this.#sums[block] <= top) top -= this.#sums[block++];
    let index = block * BLOCK;
    while (index < this.#lines.length - 1 && (this.#lines[index].height ?? 0) <= top) top -= this.#lines[index++].height ?? 0;
    return index;
  }

  /** Build the visible lines. They are measured, which may make others visible: hence the passes. */
  #paint = () => {
    const view = this.#scroller.clientHeight;
    if (!view) return; // not on the screen
    if (this.#topOf(this.#lines.length) <= view) this.#stick = true; // everything fits on the screen
    let top = 0;
    for (let pass = 0; pass < PASSES; pass += 1) {
      const all = this.#topOf(this.#lines.length);
      const wanted = this.#stick ? all : this.#topOf(this.#anchor.index) + this.#anchor.offset;
      top = Math.max(0, Math.min(wanted, all - view));
      const first = this.#indexAt(top - OVERSCAN_PX);
      const last = Math.min(this.#lines.length, this.#indexAt(top + view + OVERSCAN_PX) + 1);
      this.#mount(first, last);
      this.#rows.style.transform = `translateY(${this.#topOf(first)}px)`;
      if (!this.#measure(first, last)) break;
    }
    this.#space.style.height = `${this.#topOf(this.#lines.length)}px`;
    if (Math.abs(this.#scroller.scrollTop - top) >= 1) this.#scroller.scrollTop = top;
    this.#top = this.#scroller.scrollTop;
    this.#tellUnseen();
  };

  /** @param {number} first @param {number} last */
  #mount(first, last) {
    const wanted = new Set(this.#lines.slice(first, last));
    for (const [line, row] of this.#shown) {
      if (wanted.has(line)) continue;
      if (row.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
      row.remove();
      this.#shown.delete(line);
    }
    /** @type {ChildNode | null} */ let next = this.#rows.firstChild;
    for (const line of wanted) {
      const row = this.#shown.get(line) ?? build(line, () => onFrame(this.#paint));
      this.#shown.set(line, row);
      if (row === next) next = next.nextSibling;
      else this.#rows.insertBefore(row, next);
    }
  }

  /** @param {number} first @param {number} last @returns {boolean} whether any height is another than was thought */
  #measure(first, last) {
    let changed = false;
    for (let i = first; i < last; i += 1) {
      const line = this.#lines[i];
      const height = this.#shown.get(line)?.getBoundingClientRect().height ?? 0;
      const more = height - (line.height ?? 0);
      if (Math.abs(more) < 0.01) continue;
      line.height = height;
      this.#sums[Math.floor(i / BLOCK)] += more;
      changed = true;
    }
    return changed;
  }

  #tellUnseen() {
    if (this.#stick) this.#unseen = 0;
    this.#jump.hidden = this.#stick;
    this.#jump.textContent = this.#unseen ? `New messages (${grouped(this.#unseen)})` : "Newest messages";
    this.#jump.classList.toggle("calm", !this.#unseen);
  }
}
