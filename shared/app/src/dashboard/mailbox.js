// One mailbox: its mail on the left, one mail on the right.

import { ago, api, avatar, badge, bytes, condition, h, icon, number, person, progress, secondsSince, sync, when } from "./dom.js";

/** Labels that say nothing in a list. */
const QUIET = new Set(["INBOX", "UNREAD", "SENT", "CATEGORY_PERSONAL"]);
const label = (id) => id.replace(/^CATEGORY_/, "").toLowerCase().replace(/^./, (letter) => letter.toUpperCase());

export function openMailbox(mailboxId, emailId, frame) {
  const view = { mailboxId, closed: false, filters: { text: "", by: "subject", unread: false, label: "" }, items: [], next: null, selected: null, serial: 0 };
  const path = `/api/integrations/${mailboxId}`;
  const list = h("ul", { class: "mails", role: "listbox", "aria-label": "Mails" });
  const foot = h("div", { class: "mails-foot" });
  const reader = h("section", { class: "reader", "aria-label": "Mail", tabindex: "-1" });
  const head = h("div", { class: "mailbox-head" });
  const root = h("div", { class: "mailbox" }, head,
    h("div", { class: "panes" }, h("section", { class: "list", "aria-label": "Mail list" }, filters(view, () => reload()), list, foot), reader));

  async function refreshHead() {
    const mailbox = await api(path);
    if (view.closed) return null;
    if (!head.querySelector(".spinning")) renderHead(mailbox);
    document.title = `${mailbox.email} · Gmail Sync`;
    return mailbox;
  }

  function renderHead(mailbox) {
    const button = (text, full) => {
      const made = h("button", { class: full ? "button quiet" : "button primary", type: "button", title: full ? "List everything and compare" : "Fetch what changed" }, icon("sync"), text);
      made.addEventListener("click", async () => { await sync(mailbox, made, full); view.refresh(); });
      return made;
    };
    head.replaceChildren(
      h("a", { class: "button quiet round", href: "#/", "aria-label": "Back to all mailboxes" }, icon("back")),
      avatar(mailbox.email),
      h("div", { class: "mailbox-title" }, h("h1", {}, mailbox.email),
        h("p", { class: "muted small" }, `${number(mailbox.totals.messages)} messages · synced ${ago(secondsSince(mailbox.lastSyncAt))}${mailbox.debts ? ` · ${number(mailbox.debts)} debts` : ""}`)),
      badge(mailbox),
      mailbox.backfill ? progress(mailbox.backfill) : h("span", { class: "spacer" }),
      ...(mailbox.status === "active" ? [button("Full sync", true), button("Sync", false)] : []));
  }

  function query(cursor, limit) {
    const parameters = new URLSearchParams({ mailbox: mailboxId, limit: String(limit) });
    const { text, by, unread, label: wanted } = view.filters;
    if (text) parameters.set(by, text);
    if (unread) parameters.set("unread", "true");
    if (wanted) parameters.set("label", wanted);
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

  async function more() {
    const serial = view.serial;
    const page = await api(query(view.next, 50));
    if (view.closed || serial !== view.serial) return;
    view.items = [...view.items, ...page.items];
    view.next = page.nextCursor;
    renderList();
  }

  function renderList() {
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    list.replaceChildren(...view.items.map((mail) => row(mail, mail.id === view.selected)));
    if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    const filtered = view.filters.text || view.filters.unread || view.filters.label;
    if (view.next) {
      const button = h("button", { class: "button wide", type: "button" }, view.items.length ? "Load more" : "Keep looking");
      button.addEventListener("click", () => { button.disabled = true; more().catch(() => { button.disabled = false; }); });
      foot.replaceChildren(button);
    } else if (view.items.length === 0) {
      foot.replaceChildren(h("div", { class: "empty small-empty" }, h("span", { class: "empty-icon" }, icon("inbox")),
        h("p", { class: "muted" }, filtered ? "No mail fits these filters." : "No mail yet. It appears here as it is synced.")));
    } else {
      foot.replaceChildren(h("p", { class: "muted small end" }, "That is all."));
    }
  }

  function row(mail, selected) {
    const unread = mail.labelIds.includes("UNREAD");
    const who = mail.direction === "outbound" ? `To ${mail.to.map(person).join(", ") || "nobody"}` : person(mail.from);
    return h("li", { role: "presentation" },
      h("a", { class: `mail ${unread ? "unread" : ""}`, role: "option", "aria-selected": selected ? "true" : "false", "data-id": mail.id, href: `#/mailbox/${mailboxId}/${mail.id}` },
        avatar(mail.direction === "outbound" ? (mail.to[0]?.email ?? "?") : (mail.from?.email ?? "?")),
        h("span", { class: "mail-body" },
          h("span", { class: "mail-line" }, h("span", { class: "who" }, who), mail.hasAttachments ? icon("clip") : null, h("time", { datetime: mail.receivedAt ?? "" }, when(mail.receivedAt))),
          h("span", { class: "subject" }, mail.subject || "(no subject)"),
          h("span", { class: "snippet" }, mail.snippet),
          chips(mail.labelIds))));
  }

  // Arrows move through the list as in every mail program.
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!step) return;
    const options = [...list.querySelectorAll("a.mail")];
    const next = options[options.indexOf(document.activeElement) + step];
    if (next) { event.preventDefault(); next.focus(); location.hash = next.getAttribute("href"); }
  });

  view.select = async (id) => {
    view.selected = id;
    root.classList.toggle("reading", Boolean(id));
    for (const option of list.querySelectorAll("a.mail")) option.setAttribute("aria-selected", String(option.dataset.id === id));
    if (!id) return reader.replaceChildren(nothingOpen());
    reader.replaceChildren(h("div", { class: "loading", role: "status" }, h("span", { class: "spinner large" }), h("span", { class: "hidden" }, "Loading")));
    try {
      const mail = await api(`/api/emails/${encodeURIComponent(id)}`);
      if (!view.closed && view.selected === id) { reader.replaceChildren(whole(mail, mailboxId)); reader.scrollTop = 0; }
    } catch (error) {
      if (!view.closed && view.selected === id) reader.replaceChildren(frame.failure(error, () => view.select(id)));
    }
  };

  view.refresh = async () => {
    if (document.hidden && view.shown) return frame.schedule(false);
    try {
      const [mailbox] = await Promise.all([refreshHead(), reload()]);
      if (view.closed || !mailbox) return;
      if (!view.shown) { frame.content.replaceChildren(root); view.shown = true; view.select(emailId); }
      frame.schedule(["syncing", "backfill", "new"].includes(condition(mailbox)));
    } catch (error) {
      if (view.closed) return;
      if (!view.shown) frame.content.replaceChildren(frame.failure(error, view.refresh));
      frame.schedule(false);
    }
  };

  view.close = () => { view.closed = true; };
  view.refresh();
  return view;
}

function filters(view, apply) {
  let wait = null;
  const later = () => { clearTimeout(wait); wait = setTimeout(() => apply().catch(() => {}), 250); };
  const text = h("input", { type: "search", placeholder: "Search subject", "aria-label": "Search", maxlength: "100" });
  const by = h("select", { "aria-label": "Search in" }, h("option", { value: "subject" }, "Subject"), h("option", { value: "sender" }, "Sender"));
  const folder = h("select", { "aria-label": "Label" }, h("option", { value: "" }, "All mail"),
    ["INBOX", "SENT", "STARRED", "IMPORTANT", "SPAM", "TRASH"].map((id) => h("option", { value: id }, label(id))));
  const unread = h("input", { type: "checkbox", id: "unread" });
  text.addEventListener("input", () => { view.filters.text = text.value.trim(); later(); });
  by.addEventListener("change", () => { view.filters.by = by.value; text.placeholder = `Search ${by.value}`; later(); });
  folder.addEventListener("change", () => { view.filters.label = folder.value; later(); });
  unread.addEventListener("change", () => { view.filters.unread = unread.checked; later(); });
  return h("div", { class: "filters", role: "search" }, h("div", { class: "search" }, icon("search"), text, by), folder,
    h("label", { class: "toggle", for: "unread" }, unread, "Unread"));
}

function chips(labels) {
  const shown = labels.filter((id) => !QUIET.has(id)).slice(0, 4);
  return shown.length ? h("span", { class: "chips" }, shown.map((id) => h("span", { class: `chip ${id === "SPAM" || id === "TRASH" ? "warn" : ""}` }, label(id)))) : null;
}

function nothingOpen() {
  return h("div", { class: "empty" }, h("span", { class: "empty-icon" }, icon("mail")), h("p", { class: "muted" }, "Choose a mail to read it here."));
}

function whole(mail, mailboxId) {
  const names = (people) => people.map((one) => (one.name ? `${one.name} <${one.email}>` : one.email)).join(", ");
  const line = (name, value) => (value ? h("div", {}, h("dt", {}, name), h("dd", {}, value)) : null);
  const headers = h("details", { class: "headers" }, h("summary", {}, "Details"),
    h("dl", {}, line("To", names(mail.to)), line("Cc", names(mail.cc)), line("Bcc", names(mail.bcc)),
      line("Date", mail.receivedAt ? new Date(mail.receivedAt).toLocaleString() : ""), line("Size", bytes(mail.sizeEstimate)),
      line("Labels", mail.labelIds.join(", ")), line("Gmail id", mail.gmailId), line("Message-ID", mail.rfc822MessageId)),
    h("a", { class: "button quiet", href: `/api/emails/${encodeURIComponent(mail.id)}/raw`, download: "" }, "Download the raw mail"));
  return h("article", { class: "whole" },
    h("a", { class: "button quiet back", href: `#/mailbox/${mailboxId}` }, icon("back"), "Mails"),
    h("h2", {}, mail.subject || "(no subject)"),
    h("div", { class: "from" }, avatar(mail.from?.email ?? "?"),
      h("div", {}, h("strong", {}, person(mail.from)), mail.from?.name ? h("span", { class: "muted small" }, mail.from.email) : null),
      h("time", { class: "muted small", datetime: mail.receivedAt ?? "" }, mail.receivedAt ? new Date(mail.receivedAt).toLocaleString() : "")),
    chips(mail.labelIds), headers, attachments(mail), body(mail));
}

function attachments(mail) {
  if (!mail.attachments.length) return null;
  return h("ul", { class: "attachments", "aria-label": "Attachments" }, mail.attachments.map((file) =>
    h("li", {}, h("a", { href: file.url, download: file.filename ?? "" }, icon("clip"), h("span", {}, file.filename ?? "attachment"), h("span", { class: "muted small" }, bytes(file.size))))));
}

/** HTML goes into a frame of its own origin without scripts; text stays text. */
function body(mail) {
  if (mail.html) {
    // Mail is written for white paper, so it gets some, in the dark as well.
    const page = `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">`
      + `<body style="margin:16px;background:#fff;color:#1c2030;font:15px/1.55 system-ui,sans-serif;overflow-wrap:break-word">${mail.html}</body>`;
    const framed = h("iframe", { class: "html", title: "The mail's content", sandbox: "allow-popups allow-popups-to-escape-sandbox", referrerpolicy: "no-referrer" });
    framed.srcdoc = page;
    return h("div", { class: "html-box" }, h("p", { class: "muted small shielded" }, icon("shield"), "Remote images and scripts are off."), framed);
  }
  if (mail.text) return h("pre", { class: "text" }, mail.text);
  return h("p", { class: "muted" }, mail.isDeleted ? "This mail was deleted in Gmail." : "This mail has no text.");
}
