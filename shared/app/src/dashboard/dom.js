// Building blocks: elements, words for numbers and times, the API, toasts.
// Text always goes in as text nodes: nothing here turns a string into markup.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PATHS = {
  sync: "M20 11a8 8 0 0 0-14.3-4L3 9.5M3 4v5.5h5.5M4 13a8 8 0 0 0 14.3 4l2.7-2.5M21 20v-5.5h-5.5",
  back: "M15 5l-7 7 7 7",
  inbox: "M3 13l3-8h12l3 8v6H3zM3 13h5l1.5 3h5L16 13h5",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  clip: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8L9.3 17.3a1.7 1.7 0 0 1-2.4-2.4L14.5 7.5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 8v5M12 16.5v.5M12 3l9.5 17h-19z",
  mail: "M3 6h18v12H3zM3 7l9 7 9-7",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3.5 2",
  shield: "M12 3l8 3v6c0 4.5-3.3 8-8 9-4.7-1-8-4.5-8-9V6z",
};

export function icon(name) {
  const NS = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(NS, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export const number = (value) => new Intl.NumberFormat("en").format(value ?? 0);

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB"];
  let size = value / 1000;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export function ago(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export const secondsSince = (time) => (time ? Math.max(0, (Date.now() - Date.parse(time)) / 1000) : null);

/** A time for a list: the hour today, the day this year, else the date. */
export function when(time) {
  if (!time) return "";
  const date = new Date(time);
  const now = new Date();
  if (date.toDateString() === now.toDateString()) {
    return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
  const year = date.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString([], { month: "short", day: "numeric", year });
}

export const person = (address) => address?.name || address?.email || "Unknown sender";

/** The same colour for the same text, always. */
export function avatar(text) {
  let hash = 0;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  const letter = [...text.replace(/[^\p{L}\p{N}]/gu, "")][0] ?? "?";
  return h("span", { class: `avatar hue-${hash % 8}`, "aria-hidden": "true" }, letter.toUpperCase());
}

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.correlationId = problem?.correlationId;
  }
}

/** Calls the API. A session that lapsed leads to the sign-in page. */
export async function api(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "x-requested-with": "gmail-sync", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: "The server cannot be reached." });
  }
  if (response.status === 401) {
    location.assign("/signin");
    throw new ApiError(401, { detail: "Signing in again…" });
  }
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

export function toast(kind, title, detail) {
  const box = h("div", { class: `toast ${kind}` }, icon(kind === "bad" ? "alert" : "check"),
    h("div", {}, h("strong", {}, title), detail ? h("span", {}, detail) : null));
  document.getElementById("toasts").append(box);
  const leave = () => { box.classList.add("leaving"); setTimeout(() => box.remove(), 250); };
  box.addEventListener("click", leave);
  setTimeout(leave, kind === "bad" ? 9000 : 5000);
}

const WORDS = {
  healthy: ["good", "Healthy", "The replica is the mailbox."],
  syncing: ["busy", "Syncing", "A worker is at it now."],
  backfill: ["busy", "Backfilling", "Older mail is still on its way."],
  behind: ["warn", "Behind", "A sync is due or messages are still owed."],
  new: ["warn", "Waiting", "Its first sync has not ended yet."],
  needs_reauth: ["bad", "Needs sign-in", "Google ended the grant: connect the mailbox again."],
  needs_attention: ["bad", "Needs attention", "Somebody must look."],
  paused: ["idle", "Paused", "Its owner paused it."],
  deactivated: ["idle", "Disconnected", "The stored mail stays."],
};

/** One word for how a mailbox does; the order is the order of concern. */
export function condition(mailbox) {
  if (mailbox.status !== "active") return mailbox.status;
  if (mailbox.backfill) return "backfill";
  if (mailbox.syncing) return "syncing";
  if (mailbox.healthy) return "healthy";
  return mailbox.lastSyncAt ? "behind" : "new";
}

export function badge(mailbox) {
  const [tone, word, meaning] = WORDS[condition(mailbox)] ?? ["warn", mailbox.status, ""];
  return h("span", { class: `badge ${tone}`, title: meaning }, h("span", { class: "dot" }), word);
}

export function progress(backfill) {
  const { fetched, total } = backfill;
  const share = total ? Math.min(1, fetched / total) : null;
  const bar = h("progress", { max: 1, "aria-label": "Backfill" });
  if (share !== null) bar.value = share;
  const words = total ? `${number(fetched)} of ${number(total)}` : `${number(backfill.listed)} listed`;
  const left = backfill.expectedEnd ? (Date.parse(backfill.expectedEnd) - Date.now()) / 1000 : null;
  const end = left > 5 ? ` · about ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left` : "";
  return h("div", { class: "progress" }, bar, h("span", {}, words + end));
}

/** Starts a sync and waits for it; the button spins meanwhile. Gives the job. */
export async function sync(mailbox, button, full = false) {
  button.disabled = true;
  button.classList.add("spinning");
  try {
    const path = `/api/sync/${encodeURIComponent(mailbox.id)}${full ? "/full" : ""}?wait=true`;
    const job = await api(path, { method: "POST" });
    report(mailbox, job);
    return job;
  } catch (error) {
    toast("bad", "The sync did not start", error.message);
    return null;
  } finally {
    button.disabled = false;
    button.classList.remove("spinning");
  }
}

function report(mailbox, job) {
  const { inserted, updated, deleted } = job.counts;
  const parts = [[inserted, "new"], [updated, "changed"], [deleted, "deleted"]].filter(([count]) => count > 0);
  const summary = parts.map(([count, word]) => `${number(count)} ${word}`).join(", ") || "nothing new";
  if (job.status === "success") toast("good", "Synced", `${mailbox.email}: ${summary}`);
  else if (job.status === "partial") toast("warn", "Synced, some messages are owed", `${mailbox.email}: ${summary}`);
  else if (job.status === "failed") toast("bad", "The sync failed", job.errors[0]?.error ?? mailbox.email);
  else toast("good", "The sync goes on", "It takes longer than a moment; the page follows it.");
}
