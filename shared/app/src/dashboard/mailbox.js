// One mailbox: its mail on the left; on the right one conversation, or how the mailbox does.

import { charts, history } from "./activity.js";
import { api, badge, isMoving, isWatched, progress, syncButton, toast } from "./api.js";
import { ago, avatar, chips, empty, exactly, failure, h, icon, number, other, plural, replace, skeleton, when, who } from "./dom.js";
import { reconnectLink } from "./connect.js";
import { conversation } from "./mail.js";
import { debtsPanel, pauseButton } from "./operations.js";

/** What the list shows: words, and the API's parameters. */
const FOLDERS = [["All", {}], ["Inbox", { label: "INBOX" }], ["Unread", { unread: "true" }], ["Starred", { label: "STARRED" }], ["Sent", { label: "SENT" }], ["Spam", { label: "SPAM" }], ["Trash", { label: "TRASH" }]];

/** How many debts are shown; the API has them all. */
const DEBTS_SHOWN = 20;

export function openMailbox(mailboxId, emailId, { content, schedule }) {
  const view = { mailboxId, closed: false, shown: false, selected: null, items: [], next: null, known: null, serial: 0 };
  const filter = { folder: {}, by: "subject", text: "" };
  const list = h("ul", { class: "mails", "aria-label": "Mails" });
  const foot = h("div", { class: "mails-foot" });
  const reader = h("section", { class: "reader", "aria-label": "Mail", tabindex: "-1" });
  const head = h("header", { class: "mailbox-head" });
  const scroller = h("section", { class: "list", "aria-label": "Mail list" }, filters(filter, anew), list, foot);
  const root = h("div", { class: "mailbox" }, head, h("div", { class: "panes" }, scroller, reader));

  function renderHead(mailbox) {
    const after = () => view.refresh();
    replace(head,
      h("a", { class: "button quiet round", href: "#/", "aria-label": "All mailboxes", "data-key": "home" }, icon("back")),
      avatar(mailbox.email),
      h("div", { class: "mailbox-title" }, h("h1", { title: mailbox.email }, mailbox.email),
        h("p", { class: "muted small" }, plural(mailbox.totals.messages, "message"), " · synced ", ago(mailbox.lastSyncAt), mailbox.debts ? h("span", { class: "warn-text" }, ` · ${plural(mailbox.debts, "debt")}`) : null)),
      badge(mailbox),
      mailbox.backfill ? progress(mailbox.backfill) : h("span", { class: "spacer" }),
      reconnectLink(mailbox) ?? pauseButton(mailbox, { after }),
      mailbox.status === "active" ? [syncButton(mailbox, { full: true, look: "quiet", after }), syncButton(mailbox, { look: "primary", after })] : null);
  }

  function query(cursor, limit) {
    const parameters = new URLSearchParams({ mailbox: mailboxId, limit: String(limit), ...filter.folder });
    if (filter.text) parameters.set(filter.by, filter.text);
    if (cursor) parameters.set("cursor", cursor);
    return `/api/emails?${parameters}`;
  }

  /** From the top, keeping as many mails as are shown. */
  async function reload() {
    const serial = ++view.serial;
    const page = await api(query(null, Math.min(500, Math.max(50, view.items.length))));
    if (view.closed || serial !== view.serial) return;
    view.items = page.items;
    view.next = page.nextCursor;
    renderList();
  }

  /** Another filter: another list, from its beginning. */
  async function anew() {
    view.items = [];
    view.known = null;
    replace(list);
    replace(foot, skeleton("mail-bones", 6));
    scroller.scrollTop = 0;
    await reload().catch((error) => replace(foot, failure(error, anew)));
  }

  async function more(event) {
    const button = event.currentTarget;
    button.disabled = true;
    const serial = view.serial;
    try {
      const page = await api(query(view.next, 50));
      if (view.closed || serial !== view.serial) return;
      view.items.push(...page.items);
      view.next = page.nextCursor;
      for (const mail of page.items) view.known?.add(mail.id);
      renderList();
    } catch (error) {
      toast("bad", "Could not load more", error.message);
      button.disabled = false;
    }
  }

  function renderList() {
    const inThread = new Map();
    for (const mail of view.items) inThread.set(mail.threadId, (inThread.get(mail.threadId) ?? 0) + 1);
    replace(list, ...view.items.map((mail) => row(mail, inThread.get(mail.threadId), view.known !== null && !view.known.has(mail.id))));
    view.known = new Set(view.items.map((mail) => mail.id));
    const filtered = filter.text || Object.keys(filter.folder).length > 0;
    if (view.next) replace(foot, h("button", { class: "button wide", type: "button", "data-key": "more", on: { click: more } }, view.items.length ? "Load more" : "Keep looking"));
    else if (view.items.length > 0) replace(foot, h("p", { class: "muted small end" }, `${plural(view.items.length, "mail")}, that is all.`));
    else replace(foot, filtered ? empty("search", "Nothing fits", "No mail of this mailbox is like that.") : empty("inbox", "No mail yet", "It appears here as it is synced."));
  }

  function row(mail, siblings, fresh) {
    const unread = mail.labelIds.includes("UNREAD");
    const tags = chips(mail.labelIds);
    return h("li", {}, h("a", {
      class: `mail ${unread ? "unread" : ""} ${fresh ? "fresh" : ""}`, "aria-current": mail.id === view.selected ? "true" : null,
      "data-key": mail.id, href: `#/mailbox/${mailboxId}/${mail.id}`,
    },
    avatar(other(mail)),
    h("span", { class: "mail-body" },
      h("span", { class: "mail-line" },
        h("span", { class: "who" }, unread ? h("span", { class: "hidden" }, "Unread: ") : null, who(mail)),
        siblings > 1 ? h("span", { class: "siblings", title: `${siblings} mails of one conversation` }, number(siblings)) : null,
        h("span", { class: "spacer" }),
        mail.labelIds.includes("STARRED") ? icon("star") : null, mail.hasAttachments ? icon("clip") : null, when(mail.receivedAt)),
      h("span", { class: "mail-line" }, h("span", { class: "subject" }, mail.subject || "(no subject)"), tags.length ? h("span", { class: "chips" }, tags) : null),
      h("span", { class: "snippet" }, mail.snippet || " "))));
  }

  // Arrows move through the list and Escape closes the mail, as in every mail program.
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === "/") { event.preventDefault(); return scroller.querySelector("input").focus(); }
    if (event.key === "Escape" && view.selected) { location.hash = `#/mailbox/${mailboxId}`; return; }
    const inList = list.contains(event.target);
    const step = inList ? { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key] : { j: 1, k: -1 }[event.key];
    if (!step) return;
    const rows = [...list.querySelectorAll("a.mail")];
    const at = rows.findIndex((one) => (inList ? one === document.activeElement : one.dataset.key === view.selected));
    const next = rows[at + step];
    if (next) { event.preventDefault(); next.focus(); location.hash = next.getAttribute("href"); }
  });

  view.select = async (id) => {
    view.selected = id;
    root.classList.toggle("reading", Boolean(id));
    for (const one of list.querySelectorAll("a.mail")) {
      if (one.dataset.key === id) { one.setAttribute("aria-current", "true"); one.scrollIntoView({ block: "nearest" }); } else one.removeAttribute("aria-current");
    }
    reader.scrollTop = 0;
    if (!id) return renderState();
    replace(reader, skeleton("reader-bones", 4));
    try {
      const shown = await conversation(mailboxId, id, view.items.find((mail) => mail.id === id)?.threadId);
      if (view.closed || view.selected !== id) return;
      replace(reader, shown);
      // The mail that was chosen, not the beginning of a long conversation.
      if (reader.querySelector(".folded + .unfolded")) reader.querySelector(".unfolded").scrollIntoView({ block: "nearest" });
    } catch (error) {
      if (!view.closed && view.selected === id) replace(reader, failure(error, () => view.select(id)));
    }
  };

  /** With no mail open, how the mailbox does. */
  async function renderState() {
    if (!reader.querySelector(".state")) replace(reader, skeleton("reader-bones", 4));
    try {
      const [status, jobs] = await Promise.all([api(`/api/sync/${mailboxId}/status`), api(`/api/sync/${mailboxId}/jobs?limit=30`)]);
      const debts = status.debts ? (await api(`/api/sync/${mailboxId}/debts?limit=${DEBTS_SHOWN}`)).items : [];
      // What is being decided is not taken out of the hand.
      if (!view.closed && !view.selected && !reader.querySelector(".debt .spinning")) replace(reader, stateOf(status, jobs.items, debts, view.refresh));
    } catch (error) {
      if (!view.closed && !view.selected) replace(reader, failure(error, renderState));
    }
  }

  view.refresh = async () => {
    try {
      const [mailbox] = await Promise.all([api(`/api/integrations/${mailboxId}`), reload()]);
      if (view.closed) return;
      if (!head.querySelector(".spinning")) renderHead(mailbox);
      document.title = `${mailbox.email} · Gmail Sync`;
      if (!view.shown) { replace(content, root); view.shown = true; view.select(emailId); } else if (!view.selected) renderState();
      schedule(isMoving(mailbox) ? "busy" : "calm");
    } catch (error) {
      if (view.closed) return;
      if (view.shown) toast("bad", "Could not refresh", error.message);
      else replace(content, failure(error, view.refresh, h("a", { class: "button", href: "#/" }, icon("back"), "All mailboxes")));
      schedule(error.isLost ? "lost" : "calm");
    }
  };

  view.close = () => { view.closed = true; };
  replace(content, h("div", { class: "mailbox" }, h("div", { class: "panes" }, h("div", { class: "list" }, skeleton("mail-bones", 8)), h("div", { class: "reader" }, skeleton("reader-bones", 4)))));
  view.refresh();
  return view;
}

function filters(filter, apply) {
  let wait = null;
  const text = h("input", { type: "search", placeholder: "Search subjects", "aria-label": "Search", maxlength: "100" });
  const by = h("select", { "aria-label": "Search in" }, h("option", { value: "subject" }, "Subject"), h("option", { value: "sender" }, "Sender"));
  text.addEventListener("input", () => {
    filter.text = text.value.trim();
    clearTimeout(wait);
    wait = setTimeout(apply, 250);
  });
  by.addEventListener("change", () => {
    filter.by = by.value;
    text.placeholder = `Search ${by.value}s`;
    if (filter.text) apply();
  });
  const tabs = FOLDERS.map(([name, parameters], index) => {
    const tab = h("button", { class: "tab", type: "button", "aria-pressed": String(index === 0) }, name);
    tab.addEventListener("click", () => {
      for (const one of tabs) one.setAttribute("aria-pressed", String(one === tab));
      filter.folder = parameters;
      apply();
    });
    return tab;
  });
  return h("div", { class: "filters", role: "search" }, h("div", { class: "search" }, icon("search"), text, by), h("div", { class: "tabs", role: "group", "aria-label": "Show" }, tabs));
}

function stateOf(status, jobs, debts, after) {
  const fact = (name, value, title = null) => h("div", { title }, h("dt", {}, name), h("dd", {}, value));
  const left = status.target !== null && status.cursor !== null && BigInt(status.target) > BigInt(status.cursor);
  return h("div", { class: "state" },
    status.lastError ? h("p", { class: "error-line" }, icon("alert"), status.lastError) : null,
    h("dl", { class: "facts" },
      fact("Last sync", ago(status.lastSyncAt)),
      fact("Messages", number(status.totals.messages)),
      fact("Deleted", number(status.totals.deleted)),
      fact("Debts", number(status.debts), "Messages still owed, each with a reason"),
      fact("Drift", number(status.drift), "By how many messages Gmail's counters and ours differed at the last probe"),
      fact("As of history", status.cursor ?? "none", left ? `A push named ${status.target}` : "Nothing newer is known"),
      fact("Push", isWatched(status) ? "on" : "off, polled", status.watchExpiresAt ? `The watch ends ${exactly(status.watchExpiresAt)}` : null)),
    debtsPanel(status.mailbox, debts, status.debts, after),
    h("section", { class: "panel", "aria-label": "Last syncs" }, h("h2", {}, "Last syncs"), charts(jobs), history(jobs.slice(0, 12))),
    h("p", { class: "muted small keys" }, [["j", "next mail"], ["k", "mail before"], ["/", "search"], ["Esc", "close"]].map(([key, does]) => h("span", {}, h("kbd", {}, key), does))));
}
