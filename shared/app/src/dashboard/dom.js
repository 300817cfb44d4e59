// Building blocks: elements, icons, words for numbers and times.
//
// Text always goes in as text nodes: nothing here turns a string into markup.

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
export const svg = (tag, properties, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

/** Replaces what is inside, and gives the focus back to what has the same `data-key`. */
export function replace(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  parent.replaceChildren(...children.flat().filter(Boolean));
  if (focused) parent.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

const PATHS = {
  sync: "M20 11a8 8 0 0 0-14.3-4L3 9.5M3 4v5.5h5.5M4 13a8 8 0 0 0 14.3 4l2.7-2.5M21 20v-5.5h-5.5",
  back: "M15 5l-7 7 7 7",
  inbox: "M3 13l3-8h12l3 8v6H3zM3 13h5l1.5 3h5L16 13h5",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  clip: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8L9.3 17.3a1.7 1.7 0 0 1-2.4-2.4L14.5 7.5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 9v4.5M12 16.8v.2M12 3.5l9.3 16.5H2.7z",
  mail: "M3 6h18v12H3zM3 7l9 7 9-7",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3.5 2",
  shield: "M12 3l8 3v6c0 4.5-3.3 8-8 9-4.7-1-8-4.5-8-9V6z",
  bolt: "M13 2.5L5 13.5h6L10 21.5l9-12h-6.5z",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  pause: "M8.5 5v14M15.5 5v14",
  play: "M7 4.5l12 7.5-12 7.5z",
  download: "M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 20h14",
  star: "M12 3.5l2.6 5.5 6 .8-4.4 4.2 1.1 6L12 17.1 6.7 20l1.1-6L3.4 9.8l6-.8z",
};

export const icon = (name) =>
  svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));

export const number = (value) => new Intl.NumberFormat("en").format(value ?? 0);
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB"];
  let size = value / 1000;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export const duration = (milliseconds) =>
  milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 1 : 0)} s`;

function age(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return plural(Math.floor(seconds / 86400), "day") + " ago";
}

/** How long ago; it goes on counting while it is shown. */
export function ago(time, never = "never") {
  if (!time) return h("span", {}, never);
  return h("time", { datetime: time, title: exactly(time), "data-ago": true }, age(time));
}
setInterval(() => {
  for (const one of document.querySelectorAll("time[data-ago]")) one.textContent = age(one.dateTime);
}, 1000);

export const exactly = (time) => new Date(time).toLocaleString([], { weekday: "short", day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" });

/** A time for a list: the hour today, the day this year, else the date. */
export function when(time) {
  if (!time) return null;
  const date = new Date(time);
  const now = new Date();
  let text = date.toLocaleDateString([], { month: "short", day: "numeric" });
  if (date.toDateString() === now.toDateString()) text = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  else if (date.getFullYear() !== now.getFullYear()) text = date.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
  return h("time", { datetime: time, title: exactly(time) }, text);
}

export const person = (address) => address?.name || address?.email || "Unknown sender";

/** Whom a mail is from, or to when it was sent from here. */
export const who = (mail) => (mail.direction === "outbound" ? `To: ${mail.to.map(person).join(", ") || "nobody"}` : person(mail.from));
export const other = (mail) => (mail.direction === "outbound" ? mail.to[0] : mail.from);

/** The same colour for the same address, always; the letter is the name's. */
export function avatar(address) {
  const { email, name } = typeof address === "string" ? { email: address } : (address ?? {});
  let hash = 2166136261;
  for (const letter of (email ?? "?").toLowerCase()) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619);
  const letter = [...(name || email || "?").replace(/[^\p{L}\p{N}]/gu, "")][0] ?? "?";
  return h("span", { class: `avatar hue-${(hash >>> 12) % 8}`, "aria-hidden": "true" }, letter.toUpperCase());
}

const SYSTEM = /^(CATEGORY_[A-Z]+|[A-Z]+)$/;
/** Labels that say nothing in a list, or are shown otherwise. */
const QUIET = new Set(["INBOX", "UNREAD", "SENT", "STARRED", "IMPORTANT", "CATEGORY_PERSONAL"]);
export const label = (id) => (SYSTEM.test(id) ? id.replace(/^CATEGORY_/, "").toLowerCase().replace(/^./, (letter) => letter.toUpperCase()) : id);

export function chips(labels) {
  const shown = labels.filter((id) => !QUIET.has(id)).slice(0, 3);
  return shown.map((id) => h("span", { class: `chip ${id.toLowerCase().replaceAll("_", "-")}` }, label(id)));
}

/** Grey shapes where something will be. */
export const skeleton = (kind, count = 1) =>
  h("div", { class: `skeleton ${kind}`, role: "status" }, h("span", { class: "hidden" }, "Loading"),
    Array.from({ length: count }, () => h("div", { class: "bone-row" }, h("i", { class: "bone round" }), h("div", {}, h("i", { class: "bone" }), h("i", { class: "bone" })))));

export const empty = (name, title, text, ...more) =>
  h("div", { class: "empty" }, h("span", { class: `empty-icon ${name === "alert" ? "bad" : ""}` }, icon(name)), h("h2", {}, title), text ? h("p", { class: "muted" }, text) : null, ...more);

export function failure(error, again, ...more) {
  return empty("alert", "That did not work", error.message,
    error.correlationId ? h("p", { class: "muted small" }, "Correlation id ", h("code", {}, error.correlationId)) : null,
    h("div", { class: "choices" }, more, h("button", { class: "button primary", type: "button", on: { click: again } }, icon("sync"), "Try again")));
}
