// The first page: every mailbox, how it does, and a button.

import { ago, api, avatar, badge, condition, h, icon, number, progress, secondsSince, sync } from "./dom.js";

export async function load() {
  const mailboxes = [];
  let cursor = null;
  do {
    const page = await api(`/api/integrations?limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    mailboxes.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor);
  const last = (mailbox) => (mailbox.status === "deactivated" ? 1 : 0);
  return mailboxes.sort((a, b) => last(a) - last(b) || a.email.localeCompare(b.email));
}

export const isBusy = (mailboxes) => mailboxes.some((mailbox) => ["syncing", "backfill", "new"].includes(condition(mailbox)));

export function render(mailboxes, refresh) {
  if (mailboxes.length === 0) return empty();
  return h("div", { class: "page" }, summary(mailboxes),
    h("ul", { class: "cards" }, mailboxes.map((mailbox) => h("li", {}, card(mailbox, refresh)))));
}

function summary(mailboxes) {
  const connected = mailboxes.filter((mailbox) => mailbox.status !== "deactivated");
  const healthy = connected.filter((mailbox) => mailbox.healthy).length;
  const sum = (pick) => mailboxes.reduce((total, mailbox) => total + pick(mailbox), 0);
  const all = healthy === connected.length;
  const figure = (value, label, tone) =>
    h("div", { class: `figure ${tone ?? ""}` }, h("strong", {}, value), h("span", {}, label));
  return h("section", { class: "summary", "aria-label": "Summary" },
    h("div", { class: "summary-title" }, h("h1", {}, "Mailboxes"),
      h("p", { class: "muted" }, all ? "Every replica is up to date." : `${connected.length - healthy} of ${connected.length} not up to date yet.`)),
    figure(`${healthy}/${connected.length}`, "healthy", all ? "good" : "warn"),
    figure(number(sum((mailbox) => mailbox.totals.messages)), "messages"),
    figure(number(sum((mailbox) => mailbox.debts)), "debts", sum((mailbox) => mailbox.debts) ? "warn" : ""));
}

function card(mailbox, refresh) {
  const button = h("button", { class: "button", type: "button", "aria-label": `Sync ${mailbox.email}` }, icon("sync"), "Sync");
  button.addEventListener("click", async () => { await sync(mailbox, button); refresh(); });
  const staleness = secondsSince(mailbox.lastSyncAt);
  const fact = (label, value, title) =>
    h("div", {}, h("dt", {}, label), h("dd", { title: title ?? "" }, value));
  const watched = mailbox.watchExpiresAt && Date.parse(mailbox.watchExpiresAt) > Date.now();
  return h("article", { class: `card ${mailbox.status === "deactivated" ? "dimmed" : ""}` },
    h("div", { class: "card-head" }, avatar(mailbox.email),
      h("div", { class: "card-title" },
        h("a", { class: "stretch", href: `#/mailbox/${mailbox.id}` }, mailbox.email),
        h("span", { class: "muted small" }, watched ? "Push is on" : "Polled")),
      badge(mailbox)),
    mailbox.backfill ? progress(mailbox.backfill) : null,
    h("dl", { class: "facts" },
      fact("Last sync", ago(staleness), mailbox.lastSyncAt ?? ""),
      fact("Messages", number(mailbox.totals.messages)),
      fact("Deleted", number(mailbox.totals.deleted)),
      fact("Debts", number(mailbox.debts), "Messages still owed, with a reason")),
    mailbox.lastError ? h("p", { class: "error-line" }, icon("alert"), mailbox.lastError) : null,
    h("div", { class: "card-foot" },
      h("a", { class: "button quiet", href: `#/mailbox/${mailbox.id}`, "aria-label": `Open ${mailbox.email}` }, icon("inbox"), "Open"),
      mailbox.status === "active" ? button : null));
}

function empty() {
  const example = `curl -X POST ${location.origin}/api/integrations \\
  -H "Authorization: Bearer $GMAIL_SYNC_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"authType":"oauth","keys":{"refreshToken":"…"}}'`;
  return h("div", { class: "empty" }, h("span", { class: "empty-icon" }, icon("mail")),
    h("h1", {}, "No mailbox yet"),
    h("p", { class: "muted" }, "Connect one through the API. Its address comes from Gmail, its first mails are here seconds later."),
    h("pre", { class: "code", tabindex: "0" }, example));
}
