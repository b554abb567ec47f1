"use strict";
// Text and nodes. Every text of a peer goes through `clean` into a text node: nothing here makes nodes out of text.

/** What could reorder, hide or break text is shown as an escape, as the broker's log does it. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{13430}-\u{13455}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
const clean = (text) => String(text).replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

/** A node with attributes and children; strings become text nodes. */
function node(space, tag, attributes, children) {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...(children || []).map((child) => (child instanceof Node ? child : clean(child))));
  return made;
}
const html = (tag, attributes, ...children) => node(null, tag, attributes, children);
const svg = (tag, attributes, ...children) => node("http://www.w3.org/2000/svg", tag, attributes, children);
const byId = (id) => document.getElementById(id);

/** Sets text only where it is different, so that a selection survives. */
function setText(element, text) {
  const shown = clean(text);
  if (element.textContent !== shown) element.textContent = shown;
}

const GROUPED = new Intl.NumberFormat("en-US");
const whole = (n) => (n === null || n === undefined ? "–" : GROUPED.format(n));

/** 0, 0.4, 12, 1.2k, 34k, 5.6M */
function short(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return "–";
  if (n === 0) return "0";
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size * 0.9995) return `${(n / size).toFixed(n >= size * 99.95 ? 0 : 1)}${unit}`;
  }
  return n < 9.95 ? String(Math.round(n * 10) / 10) : String(Math.round(n));
}
const rate = (n) => (n === null || n === undefined ? "–" : `${short(n)}/s`);

function bytes(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return "–";
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (n >= size) return `${(n / size).toFixed(n >= size * 100 ? 0 : 1)} ${unit}`;
  }
  return `${Math.round(n)} B`;
}

function micros(n) {
  if (n === null || n === undefined) return "–";
  if (n < 1000) return `${Math.round(n)} µs`;
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e5 ? 1 : 0)} ms`;
  return `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)} s`;
}

function span(ms) {
  const seconds = Math.floor(ms / 1000);
  const [d, h, m, s] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s} s` : `${s} s`;
}

const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const cut = (text, most) => ([...text].length > most ? `${[...text].slice(0, Math.max(1, most - 1)).join("")}…` : text);
