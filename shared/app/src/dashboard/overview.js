// The first page: every mailbox and how it does, the latest mail, the last syncs.

import { history } from "./activity.js";
import { api, badge, condition, isMoving, isWatched, progress, syncButton, toast } from "./api.js";
import { openConnect, reconnectLink } from "./connect.js";
import { pauseButton } from "./operations.js";
import { ago, avatar, chips, empty, failure, h, icon, number, other, plural, replace, skeleton, when, who } from "./dom.js";

const LATEST_MAILS = 8;
const LATEST_JOBS = 9;
/** Of how many mailboxes the syncs are asked for: each is a call. */
const JOBS_OF_MAILBOXES = 5;

async function allMailboxes() {
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

async function load() {
  // The lists beside are extras: without them the page is still the page.
  const [mailboxes, mails] = await Promise.all([allMailboxes(), api(`/api/emails?limit=${LATEST_MAILS}`).then((page) => page.items, () => [])]);
  const lists = await Promise.all(mailboxes.slice(0, JOBS_OF_MAILBOXES).map((mailbox) =>
    api(`/api/sync/${mailbox.id}/jobs?limit=${LATEST_JOBS}`).then((page) => page.items, () => [])));
  const jobs = lists.flat().sort((a, b) => b.createdAt.localeCompare(a.createdAt)).slice(0, LATEST_JOBS);
  return { mailboxes, mails, jobs };
}

export function openOverview({ content, schedule }) {
  const page = { closed: false, shown: false, close() { this.closed = true; }, refresh: null };
  page.refresh = async () => {
    try {
      const found = await load();
      if (page.closed) return;
      // A button that spins belongs to a sync under way: it refreshes when it has ended.
      if (!content.querySelector(".spinning")) replace(content, render(found, page.refresh));
      page.shown = true;
      schedule(found.mailboxes.some(isMoving) ? "busy" : "calm");
    } catch (error) {
      if (page.closed) return;
      if (page.shown) toast("bad", "Could not refresh", error.message);
      else replace(content, failure(error, page.refresh));
      schedule(error.isLost ? "lost" : "calm");
    }
  };
  document.title = "Gmail Sync";
  replace(content, h("div", { class: "page" }, skeleton("cards-bones", 3)));
  page.refresh();
  return page;
}

const connectButton = (refresh, look) =>
  h("button", { class: `button ${look}`, type: "button", "data-key": "connect", on: { click: () => openConnect(refresh) } }, icon("plus"), "Connect a mailbox");

function render({ mailboxes, mails, jobs }, refresh) {
  if (mailboxes.length === 0) return nothing(refresh);
  const emails = new Map(mailboxes.map((mailbox) => [mailbox.id, mailbox.email]));
  const several = mailboxes.length > 1;
  return h("div", { class: "page" }, head(mailboxes, refresh),
    h("div", { class: "columns" },
      h("div", { class: "column" },
        h("ul", { class: "cards", "aria-label": "Mailboxes" }, mailboxes.map((mailbox) => h("li", {}, card(mailbox, refresh)))),
        mails.length ? panel("Latest mail", h("ul", { class: "lines" }, mails.map((mail) => line(mail, several ? emails.get(mail.mailbox) : null)))) : null),
      h("div", { class: "column" }, panel("Last syncs", history(jobs, several ? emails : null)))));
}

const panel = (title, body) => h("section", { class: "panel", "aria-label": title }, h("h2", {}, title), body);

function head(mailboxes, refresh) {
  const connected = mailboxes.filter((mailbox) => mailbox.status !== "deactivated");
  const healthy = connected.filter((mailbox) => mailbox.healthy).length;
  const sum = (pick) => mailboxes.reduce((total, mailbox) => total + pick(mailbox), 0);
  const debts = sum((mailbox) => mailbox.debts);
  const trouble = connected.filter((mailbox) => ["bad", "warn"].includes(tone(mailbox))).length;
  const say = trouble ? `${plural(trouble, "mailbox", "mailboxes")} of ${connected.length} need${trouble === 1 ? "s" : ""} a look.`
    : healthy === connected.length ? "Every replica is up to date." : "Mail is on its way.";
  const figure = (value, label, look = "") => h("div", { class: `figure ${look}` }, h("strong", {}, value), h("span", {}, label));
  return h("section", { class: "summary", "aria-label": "Summary" },
    h("div", { class: "summary-title" }, h("h1", {}, "Mailboxes"), h("p", { class: "muted" }, say)),
    figure(`${healthy} of ${connected.length}`, "healthy", healthy === connected.length ? "good" : "warn"),
    figure(number(sum((mailbox) => mailbox.totals.messages)), "messages"),
    figure(number(debts), debts === 1 ? "debt" : "debts", debts ? "warn" : ""),
    connectButton(refresh, ""));
}

const tone = (mailbox) => ({ needs_reauth: "bad", needs_attention: "bad", behind: "warn" })[condition(mailbox)] ?? "";

function card(mailbox, refresh) {
  const fact = (name, value, look = "", title = null) => h("div", { title }, h("dt", {}, name), h("dd", { class: look }, value));
  return h("article", { class: `card ${mailbox.status === "deactivated" ? "dimmed" : ""}` },
    h("div", { class: "card-head" }, avatar(mailbox.email),
      h("div", { class: "card-title" },
        h("a", { class: "stretch", href: `#/mailbox/${mailbox.id}`, "data-key": `open-${mailbox.id}` }, mailbox.email),
        mailbox.status === "active" ? how(mailbox) : null),
      badge(mailbox),
      mailbox.status === "active" ? syncButton(mailbox, { look: "primary", after: refresh }) : (reconnectLink(mailbox) ?? pauseButton(mailbox, { after: refresh }))),
    mailbox.backfill ? progress(mailbox.backfill) : null,
    h("dl", { class: "facts" },
      fact("Last sync", ago(mailbox.lastSyncAt), tone(mailbox)),
      fact("Messages", number(mailbox.totals.messages)),
      fact("Deleted", number(mailbox.totals.deleted), "", "Mails that Gmail no longer has"),
      fact("Debts", number(mailbox.debts), mailbox.debts ? "warn" : "", "Messages still owed, each with a reason"),
      mailbox.drift ? fact("Drift", number(mailbox.drift), "warn", "By how many messages Gmail's counters and ours differ") : null),
    mailbox.lastError ? h("p", { class: "error-line" }, icon("alert"), mailbox.lastError) : null);
}

function how(mailbox) {
  const [name, words, meaning] = isWatched(mailbox) ? ["bolt", "Push is on", "Gmail tells of changes as they happen"] : ["clock", "Polled", "Gmail is asked now and then"];
  return h("span", { class: "muted small with-icon", title: meaning }, icon(name), words);
}

function line(mail, email) {
  const unread = mail.labelIds.includes("UNREAD");
  return h("li", {}, h("a", { class: `line ${unread ? "unread" : ""}`, href: `#/mailbox/${mail.mailbox}/${mail.id}`, "data-key": mail.id },
    avatar(other(mail)),
    h("span", { class: "line-who" }, unread ? h("span", { class: "hidden" }, "Unread: ") : null, who(mail)),
    h("span", { class: "line-what" }, h("span", { class: "subject" }, mail.subject || "(no subject)"), h("span", { class: "snippet" }, mail.snippet)),
    email ? h("span", { class: "chip" }, email) : null, chips(mail.labelIds), mail.hasAttachments ? icon("clip") : null, when(mail.receivedAt)));
}

function nothing(refresh) {
  const example = `curl -X POST ${location.origin}/api/integrations \\
  -H "Authorization: Bearer $GMAIL_SYNC_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"authType":"oauth","keys":{"refreshToken":"…"}}'`;
  return empty("mail", "No mailbox yet", "Connect one, and its newest mails are here seconds later. Its address comes from Gmail.",
    connectButton(refresh, "primary"),
    h("details", { class: "by-api" }, h("summary", {}, "Or by the API"), h("pre", { class: "code", tabindex: "0" }, example)));
}
