// What a person decides about a mailbox: pausing it, and what becomes of its debts.

import { api, toast } from "./api.js";
import { ago, exactly, h, icon, number, plural, replace } from "./dom.js";

/** A button that does one thing, is not pressed twice, and calls `after` when it is done. */
function button(properties, does, after) {
  const { words, name, look = "quiet", key, title, label } = properties;
  const made = h("button", { class: `button ${look}`, type: "button", "data-key": key, title, "aria-label": label }, icon(name), h("span", { class: "words" }, words));
  made.addEventListener("click", async () => {
    if (made.getAttribute("aria-disabled") === "true") return;
    made.setAttribute("aria-disabled", "true");
    made.classList.add("spinning");
    try {
      await does();
    } catch (error) {
      toast("bad", "That did not work", error.message);
    } finally {
      made.removeAttribute("aria-disabled");
      made.classList.remove("spinning");
      await after();
    }
  });
  return made;
}

const post = (path) => api(path, { method: "POST" });

/** Pauses an active mailbox; lets a paused one, or one that stopped for somebody to look, go on. */
export function pauseButton(mailbox, { look = "quiet", after }) {
  const at = `/api/sync/${encodeURIComponent(mailbox.id)}`;
  if (mailbox.status === "active") {
    const pause = { words: "Pause", name: "pause", look, key: `pause-${mailbox.id}`, label: `Pause ${mailbox.email}`, title: "Nothing is synced until it is resumed" };
    return button(pause, async () => { await post(`${at}/pause`); toast("good", "Paused", mailbox.email); }, after);
  }
  if (!["paused", "needs_attention"].includes(mailbox.status)) return null;
  const resume = { words: "Resume", name: "play", look: "primary", key: `resume-${mailbox.id}`, label: `Resume ${mailbox.email}`, title: "Sync it again" };
  return button(resume, async () => { await post(`${at}/resume`); toast("good", "Resumed", mailbox.email); }, after);
}

const REASONS = {
  not_visible_yet: "Gmail says there is no such message, which may be too early",
  vanished: "Stored, but a complete listing did not name it",
};

/** What is owed, each with its reason and the two ways out; null when nothing is. */
export function debtsPanel(mailboxId, debts, total, after) {
  if (total === 0) return null;
  return h("section", { class: "panel", "aria-label": "Debts" }, h("h2", {}, plural(total, "debt")),
    h("ul", { class: "entries" }, debts.map((debt) => entry(mailboxId, debt, after))),
    total > debts.length ? h("p", { class: "muted small panel-text" }, `The newest ${number(debts.length)} are shown.`) : null);
}

function entry(mailboxId, debt, after) {
  const at = `/api/sync/${encodeURIComponent(mailboxId)}/debts/${debt.gmailId}`;
  const settle = (what) => async () => {
    const job = await post(`${at}/${what}?wait=true`);
    if (job.status === "failed") toast("bad", "That did not work", job.errors[0]?.error);
  };
  const next = debt.dueAt ? `next try ${exactly(debt.dueAt)}` : "nothing more is tried by itself";
  return h("li", { class: "entry debt" },
    h("span", { class: "entry-icon warn", title: debt.reason }, icon("alert")),
    h("div", { class: "entry-body" }, h("strong", {}, debt.error ?? REASONS[debt.reason] ?? debt.reason),
      h("span", { class: "muted small" }, `${debt.gmailId} · since `, ago(debt.since), ` · ${plural(debt.tries, "try", "tries")} · ${next}`)),
    h("span", { class: "choices nowrap" },
      button({ words: "Try again", name: "sync", key: `retry-${debt.gmailId}`, label: `Try ${debt.gmailId} again` }, settle("retry"), after),
      button({ words: "Accept", name: "check", key: `accept-${debt.gmailId}`, label: `Accept that ${debt.gmailId} is lost`, title: "It cannot be had, and that is all right" }, settle("accept"), after)));
}

/** A line that says, once asked, why a mail is here. */
export function whyLine(mail) {
  const line = h("p", { class: "why", tabindex: "-1" });
  const ask = button({ words: "Why is it here?", name: "search", look: "", key: "why" }, async () => {
    const { because } = await api(`/api/emails/${encodeURIComponent(mail.id)}/why`);
    replace(line, because);
    // The focus goes from the button, which is gone, to what it brought.
    line.focus({ preventScroll: true });
  }, () => {});
  line.append(ask);
  return line;
}
