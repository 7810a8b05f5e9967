/** The page: it puts the parts together, and gives each event to the parts that it concerns. */

import { Announcer } from "./announcer.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { Entrance } from "./entrance.js";
import { counted } from "./line.js";
import { Log } from "./log.js";
import { claimClient, own } from "./memory.js";
import { Unanswered } from "./unanswered.js";
import { Pending } from "./pending.js";
import { People } from "./people.js";
import { Token } from "./token.js";

/** @typedef {import("./connection.js").Event} Event @typedef {import("./unanswered.js").Item} Item */

const MAX_SESSIONS = 100;
/** @type {Record<string, string>} */ const MISSED = {
  GAP_REASON_TRIMMED: "the server no longer keeps them",
  GAP_REASON_SLOW: "this page was too slow to receive them",
  GAP_REASON_NOT_ALLOWED: "you are not allowed to read earlier messages",
};

const find = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (document.getElementById(id));
const hidden = () => document.hidden || document.visibilityState === "hidden";

const client = claimClient();
/** @type {string[]} */ let sessions = own.get("sessions") ?? []; // our own messages are recognised by these
let here = { name: "", room: "" };
let caughtUpAt = 0; // messages up to this seq are history
let unread = 0;
let titleTimer = 0;

const log = new Log(find("log"), find("jump"));
const announcer = new Announcer(find("announcer"));
const token = new Token();
const connection = new Connection({ onEvent, onFrame, onState, onTooLarge, awaiting: () => unanswered.awaiting }, token);
const people = new People(() => connection.ask());
const pending = new Pending(find("pending"), () => unanswered);
const composer = new Composer(
  (text) => {
    unanswered.add(text);
    log.toEnd();
  },
  (pages) => log.page(pages),
);
const unanswered = new Unanswered(connection, () => {
  pending.update();
  composer.update(unanswered);
});
const entrance = new Entrance(
  enter,
  (fault) => onState("form", fault),
  (typed) => token.type(typed),
);

/** @param {{name: string, room: string}} choice */
function enter({ name, room }) {
  if (room !== here.room) log.clear();
  here = { name, room };
  unread = 0;
  find("where").textContent = room;
  composer.open(name, room);
  unanswered.open(client, room);
  connection.enter({ name, room, client });
}

/** @type {import("./connection.js").Hooks["onState"]} */
function onState(state, text) {
  const before = document.body.dataset.state;
  document.body.dataset.state = state;
  find("status").textContent = text;
  if (state !== "online" && before === "online") unanswered.disconnected();
  if (state === "form") {
    const count = unanswered.items.length;
    const waits = `${counted(count, "message")} not yet delivered to ${here.room}: sent when you go back there.`;
    entrance.show(text, count ? waits : "");
  } else if (before === "form" || !before) {
    composer.focus();
  }
  showTitle();
}

/** @type {Record<string, (event: Event, seq: number) => void>} */
const takers = {
  WELCOME(event, head) {
    const { session, resumed } = event.welcome;
    if (!resumed) caughtUpAt = head;
    sessions = [...sessions, session].slice(-MAX_SESSIONS);
    own.set("sessions", sessions);
    people.entered(session);
    unanswered.connected(session);
  },
  MESSAGE(event, seq) {
    const { message = "", sender: author = "", session = "", data = "" } = event;
    const text = author ? message.slice(author.length + 2) : message;
    const isOwn = sessions.includes(session);
    const dataBytes = data && Math.floor((data.length * 3) / 4) - (data.match(/=*$/)?.[0].length ?? 0);
    log.add({ kind: "message", text, author, session, seq, own: isOwn, dataBytes: dataBytes || 0, ms: time(event) });
    if (isOwn) unanswered.echoed(session, seq, text);
    else if (seq > caughtUpAt) noticed(author, text || "data");
  },
  GAP(event) {
    const { first_missed: first, last_missed: last = 0, reason } = event.gap;
    const anew = reason === "GAP_REASON_NEW_EPOCH";
    if (anew) delivered(unanswered.forgetPlaces(), event);
    const missed = `Missed ${counted(Number(last) - first + 1, "message")}: ${MISSED[reason] ?? MISSED.GAP_REASON_SLOW}`;
    const begun = "The room's history started over: messages in between may be missing";
    log.add({ kind: "gap", text: anew ? begun : missed, ms: time(event) });
    if (!anew) delivered(unanswered.passed(Number(last)), event);
  },
  JOINED(event) {
    people.told(event);
    log.add({ kind: "joined", text: event.message ?? "", ms: time(event) });
  },
  LEFT(event) {
    people.told(event);
    log.add({ kind: "left", text: event.message ?? "", ms: time(event) });
  },
  MEMBERS: (event) => people.told(event),
  ACK: (event) => unanswered.answered(event),
  ERROR: (event) => (event.id === "who" ? people.refused() : unanswered.answered(event)),
  EXPIRING: (event) => log.add({ kind: "note", text: `${event.message}; then you are asked for a new one`, ms: time(event) }),
};

/** @param {Event} event @param {number} seq */
function onEvent(event, seq) {
  takers[String(event.kind).replace("EVENT_KIND_", "")]?.(event, seq);
}

function onFrame() {
  unanswered.passed(connection.resumePoint.seq);
}

function onTooLarge() {
  unanswered.refuseLargest();
}

/** Show our own messages that the server acknowledged, but will not send any more. @param {Item[]} items @param {Event} event */
function delivered(items, event) {
  for (const { text, seq } of items) {
    log.add({ kind: "message", text, author: here.name, session: sessions.at(-1), seq, own: true, ms: time(event) });
  }
}

/** @param {Event} event @returns {number} when, since 1970; the browser need not read nanoseconds */
function time(event) {
  return Date.parse(event.time?.replace(/(\.\d{3})\d+/, "$1") ?? "") || Date.now();
}

/** @param {string} author @param {string} text */
function noticed(author, text) {
  if (!hidden()) {
    announcer.say(author ? `${author}: ${text}` : text);
    return;
  }
  unread += 1;
  titleTimer ||= setTimeout(showTitle, 200);
}

function showTitle() {
  titleTimer = 0;
  const room = document.body.dataset.state === "form" ? "" : `${here.room} · `;
  document.title = `${unread && room ? `(${unread}) ` : ""}${room}bcast`;
}

function woken() {
  if (hidden()) return;
  unread = 0;
  showTitle();
  connection.wake();
  people.refresh();
}

document.addEventListener("visibilitychange", woken);
document.addEventListener("resume", woken);
addEventListener("pageshow", ({ persisted }) => persisted && woken());
addEventListener("online", () => connection.wake());

find("reconnect").onclick = () => connection.reconnect();
find("change").onclick = () => {
  showPeople(false);
  connection.leave();
};

const showPeople = (/** @type {boolean} */ open) => {
  document.body.dataset.people = open ? "open" : "";
  find("show-people").setAttribute("aria-expanded", String(open));
};
find("show-people").onclick = () => showPeople(document.body.dataset.people !== "open");
addEventListener("keydown", ({ key }) => key === "Escape" && showPeople(false));

const copy = find("copy");
copy.hidden = !navigator.clipboard;
copy.onclick = async () => {
  await navigator.clipboard.writeText(location.href);
  copy.classList.add("done");
  announcer.say("Link copied");
  setTimeout(() => copy.classList.remove("done"), 1500);
};

if (!entrance.open()) onState("form", "");
