// Routes, refreshes, and the frame around the pages.
//
// One page at a time; a refresh never takes the focus, the scroll position or a half-written filter away.

import { api, toast } from "./api.js";
import { greetConnected } from "./connect.js";
import { openMailbox } from "./mailbox.js";
import { openOverview } from "./overview.js";

const content = document.getElementById("content");
/** How often a page asks again, and how often while something moves. */
const CALM_MS = 30_000;
const BUSY_MS = 2_000;

let timer = null;
let current = null;

/** When to ask again; `state` is `calm`, `busy` or `lost`. */
function schedule(state) {
  clearTimeout(timer);
  const live = document.getElementById("live");
  live.hidden = false;
  live.className = `live ${state}`;
  live.title = `Refreshed every ${(state === "busy" ? BUSY_MS : CALM_MS) / 1000} seconds`;
  document.getElementById("live-text").textContent = { calm: "Live", busy: "Syncing", lost: "Not connected" }[state];
  timer = setTimeout(() => { if (!document.hidden) current?.refresh(); }, state === "busy" ? BUSY_MS : CALM_MS);
}

function route() {
  if (location.hash === "#content") return content.focus();
  const match = location.hash.match(/^#\/mailbox\/([\w-]+)(?:\/([\w.-]+))?$/);
  if (match && current?.mailboxId === match[1]) return current.select(match[2] ?? null);
  clearTimeout(timer);
  current?.close();
  const frame = { content, schedule };
  current = match ? openMailbox(match[1], match[2] ?? null, frame) : openOverview(frame);
}

document.getElementById("signout").addEventListener("click", async () => {
  try {
    await api("/signout", { method: "POST" });
    location.assign("/signin");
  } catch (error) {
    toast("bad", "Not signed out", error.message);
  }
});
// A hidden page asks nothing; once seen again it asks at once.
document.addEventListener("visibilitychange", () => { if (!document.hidden) current?.refresh(); });
window.addEventListener("hashchange", route);
api("/api/session").then((session) => {
  const tenant = document.getElementById("tenant");
  tenant.textContent = session.tenantName ?? session.tenantId;
  tenant.hidden = false;
}).catch(() => {});
greetConnected();
route();
