// Routes, refreshes, and the frame around the pages.
//
// One page at a time; a refresh never takes the focus, the scroll position or a half-written filter away.

import { api, h, icon, toast } from "./dom.js";
import * as overview from "./overview.js";
import { openMailbox } from "./mailbox.js";

const content = document.getElementById("content");
/** How often a page asks again, and how often while something moves. */
const CALM_MS = 30_000;
const BUSY_MS = 3_000;

let timer = null;
let current = null;

function schedule(busy) {
  clearTimeout(timer);
  const live = document.getElementById("live");
  live.hidden = false;
  live.classList.toggle("busy", busy);
  document.getElementById("live-text").textContent = busy ? "Syncing" : "Live";
  timer = setTimeout(() => current?.refresh(), busy ? BUSY_MS : CALM_MS);
}

function show(element) {
  const focused = document.activeElement?.getAttribute?.("aria-label");
  content.replaceChildren(element);
  if (focused) [...content.querySelectorAll("[aria-label]")].find((one) => one.getAttribute("aria-label") === focused)?.focus({ preventScroll: true });
}

function failure(error, again) {
  const button = h("button", { class: "button primary", type: "button", on: { click: again } }, "Try again");
  return h("div", { class: "empty" }, h("span", { class: "empty-icon bad" }, icon("alert")), h("h1", {}, "That did not work"),
    h("p", { class: "muted" }, error.message),
    error.correlationId ? h("p", { class: "muted small" }, `Correlation id ${error.correlationId}`) : null, button);
}

function openOverview() {
  const page = { closed: false, shown: false, close() { this.closed = true; }, refresh: null };
  page.refresh = async () => {
    if (document.hidden && page.shown) return schedule(false);
    try {
      const mailboxes = await overview.load();
      if (page.closed) return;
      // A button that spins belongs to a sync under way: it comes back by itself.
      if (!content.querySelector(".spinning")) show(overview.render(mailboxes, page.refresh));
      page.shown = true;
      schedule(overview.isBusy(mailboxes));
    } catch (error) {
      if (page.closed) return;
      if (page.shown) toast("bad", "Could not refresh", error.message);
      else show(failure(error, page.refresh));
      schedule(false);
    }
  };
  document.title = "Gmail Sync";
  page.refresh();
  return page;
}

function route() {
  const match = location.hash.match(/^#\/mailbox\/([\w-]+)(?:\/([\w.-]+))?$/);
  if (match && current?.mailboxId === match[1]) return current.select(match[2] ?? null);
  if (location.hash === "#content") return content.focus();
  clearTimeout(timer);
  current?.close();
  content.replaceChildren(h("div", { class: "loading", role: "status" }, h("span", { class: "spinner large" }), h("span", { class: "hidden" }, "Loading")));
  current = match ? openMailbox(match[1], match[2] ?? null, { content, schedule, failure }) : openOverview();
}

document.getElementById("signout").addEventListener("click", async () => {
  try {
    await api("/signout", { method: "POST" });
    location.assign("/signin");
  } catch (error) {
    toast("bad", "Not signed out", error.message);
  }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) current?.refresh(); });
window.addEventListener("hashchange", route);
api("/api/session").then((session) => {
  document.getElementById("tenant").textContent = session.tenantName ?? session.tenantId;
}).catch(() => {});
route();
