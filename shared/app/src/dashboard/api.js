// The API as the pages use it: calls, problems, toasts, and what a mailbox's state is called.

import { h, icon, number, plural } from "./dom.js";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `The server answered ${status}.`);
    this.status = status;
    /** Nobody answered, or nobody who could. */
    this.isLost = status === 0 || status >= 500;
    this.correlationId = problem?.correlationId;
  }
}

/** Calls the API. A session that lapsed leads to the sign-in page. */
export async function api(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "x-requested-with": "gmail-sync", ...options.headers } });
  } catch {
    throw new ApiError(0, { detail: "The server cannot be reached. Is it running?" });
  }
  if (response.status === 401) {
    location.assign("/signin");
    throw new ApiError(401, { detail: "Your session has ended. Signing in again…" });
  }
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

export function toast(kind, title, detail) {
  const leave = () => { box.classList.add("leaving"); setTimeout(() => box.remove(), 250); };
  const box = h("div", { class: `toast ${kind}` }, icon(kind === "good" ? "check" : "alert"),
    h("div", {}, h("strong", {}, title), detail ? h("span", {}, detail) : null),
    h("button", { class: "button quiet round small", type: "button", "aria-label": "Dismiss", on: { click: leave } }, icon("close")));
  document.getElementById("toasts").append(box);
  setTimeout(leave, kind === "bad" ? 10_000 : 6_000);
}

const WORDS = {
  healthy: ["good", "Healthy", "The replica is the mailbox: nothing waits, nothing is owed."],
  syncing: ["busy", "Syncing", "A worker is at it now."],
  backfill: ["busy", "Backfilling", "Older mail is still on its way."],
  behind: ["warn", "Behind", "A sync is due, messages are still owed, or the counters differ."],
  new: ["busy", "Waiting", "Its first sync has not ended yet."],
  needs_reauth: ["bad", "Needs sign-in", "The grant is gone: its owner connects the mailbox again."],
  needs_attention: ["bad", "Needs attention", "It stopped, and somebody must look: resume it once you have."],
  paused: ["idle", "Paused", "Nothing is synced until it is resumed."],
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
export const isMoving = (mailbox) => ["syncing", "backfill", "new"].includes(condition(mailbox));

export function badge(mailbox) {
  const [tone, word, meaning] = WORDS[condition(mailbox)] ?? ["warn", mailbox.status, ""];
  return h("span", { class: `badge ${tone}`, title: meaning }, h("span", { class: "dot" }), word);
}

export const isWatched = (mailbox) => Boolean(mailbox.watchExpiresAt) && Date.parse(mailbox.watchExpiresAt) > Date.now();

export function progress(backfill) {
  const { fetched, total } = backfill;
  const share = total ? Math.min(1, fetched / total) : null;
  const words = total ? `${number(fetched)} of ${number(total)}` : `${number(backfill.listed)} listed`;
  const left = backfill.expectedEnd ? (Date.parse(backfill.expectedEnd) - Date.now()) / 1000 : null;
  const end = left > 5 ? ` · about ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left` : "";
  return h("div", { class: "progress" }, h("progress", { max: 1, value: share, "aria-label": "Backfill" }), h("span", {}, words + end));
}

/** What a job did, in words. */
export function summary(job) {
  const { inserted, updated, deleted, debts } = job.counts;
  return [[inserted, "new"], [updated, "changed"], [deleted, "deleted"], [debts, "owed"]]
    .filter(([count]) => count > 0).map(([count, word]) => `${number(count)} ${word}`).join(", ");
}

/** A button that starts a sync, spins until it has ended, and then calls `after`. */
export function syncButton(mailbox, { full = false, look = "", after }) {
  const text = full ? "Full sync" : "Sync";
  const words = h("span", { class: "words" }, text);
  const made = h("button", {
    class: `button ${look}`, type: "button", "data-key": `${full ? "full" : "sync"}-${mailbox.id}`, "aria-label": `${text} ${mailbox.email}`,
    title: full ? "List everything and compare" : "Fetch what changed",
  }, icon("sync"), words);
  made.addEventListener("click", async () => {
    if (made.getAttribute("aria-disabled") === "true") return;
    // Not `disabled`: that would take the focus away from who pressed it with the keyboard.
    made.setAttribute("aria-disabled", "true");
    made.classList.add("spinning");
    words.textContent = "Syncing…";
    try {
      const path = `/api/sync/${encodeURIComponent(mailbox.id)}${full ? "/full" : ""}?wait=true`;
      report(mailbox, await api(path, { method: "POST" }));
    } catch (error) {
      toast("bad", "The sync did not start", error.message);
    } finally {
      made.removeAttribute("aria-disabled");
      made.classList.remove("spinning");
      words.textContent = text;
      after();
    }
  });
  return made;
}

function report(mailbox, job) {
  const did = `${mailbox.email}: ${summary(job) || "nothing new"}`;
  if (job.status === "success") toast("good", "Synced", did);
  else if (job.status === "partial") toast("warn", `Synced, ${plural(job.counts.debts, "message")} owed`, did);
  else if (job.status === "failed") toast("bad", "The sync failed", job.errors[0]?.error ?? mailbox.email);
  else toast("good", "The sync goes on", "It takes longer than a moment; this page follows it.");
}
