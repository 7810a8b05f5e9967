/** Names of people and rooms, brought to the same form as the server does; see docs/protocol.md. */

// At the ends of a name these are invisible; joiners, variation selectors and tags are not, and stay.
const BLANK = String.raw`[\s\u00ad\u061c\u180e\u200b\u200e\u200f\u2060\u2800\u3164\ufeff\uffa0]+`;
const BLANK_AT_ENDS = new RegExp(`^${BLANK}|${BLANK}$`, "gu");
const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;
const DIRECTION = /[\u202a-\u202e\u2066-\u2069]/u;
const VISIBLE =
  /[^\p{M}\p{Z}\p{Cc}\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u2800\ufffc\u{13441}\u{13442}\u{1d159}]/u;

/** @param {string} name @returns {string} the form in which it is sent */
export const tidied = (name) => name.replace(BLANK_AT_ENDS, "").normalize("NFC");

/** @param {string} name tidied @returns {string} what is wrong with it; empty if nothing is, except perhaps its length */
export function faultOf(name) {
  const control = name.match(CONTROL)?.[0];
  if (control) return `contains the control character ${code(control)}; remove it`;
  if (!VISIBLE.test(name)) return "has no visible character; at least one must be visible";
  const direction = name.match(DIRECTION)?.[0];
  return direction ? `contains ${code(direction)}, which changes the direction of text; remove it` : "";
}

/** @param {string} character */
const code = (character) => `U+${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}`;
