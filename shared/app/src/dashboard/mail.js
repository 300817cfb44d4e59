// One conversation: the mails before and after as lines, the chosen one in full.
//
// Mail is hostile: its HTML is sanitised by the API, and shown in a frame that runs no script and loads nothing.

import { api } from "./api.js";
import { whyLine } from "./operations.js";
import { ago, avatar, bytes, chips, exactly, h, icon, person, plural, when } from "./dom.js";

/** The conversation around a mail; `threadId` saves a round trip when it is known. */
export async function conversation(mailboxId, id, threadId) {
  const whole = api(`/api/emails/${encodeURIComponent(id)}`);
  const thread = threadId ?? (await whole).threadId;
  // Without its neighbours a mail can still be read.
  const around = thread ? api(`/api/emails/thread/${encodeURIComponent(thread)}?mailbox=${mailboxId}&limit=100`).then((page) => page.items, () => []) : [];
  const mail = await whole;
  const others = (await around).filter((one) => one.id !== mail.id);
  const inOrder = [...others, mail].sort((a, b) => (a.receivedAt ?? "").localeCompare(b.receivedAt ?? ""));
  return h("article", { class: "conversation" },
    h("header", { class: "conversation-head" },
      h("h2", {}, mail.subject || "(no subject)"), h("span", { class: "chips" }, chips(mail.labelIds)),
      h("a", { class: "button quiet round", href: `#/mailbox/${mailboxId}`, "aria-label": "Close the mail", title: "Close (Esc)", "data-key": "close" }, icon("close"))),
    inOrder.length > 1 ? h("p", { class: "muted small" }, `${plural(inOrder.length, "mail")} in this conversation`) : null,
    inOrder.map((one) => (one.id === mail.id ? unfolded(mail) : folded(one, mailboxId))));
}

function folded(mail, mailboxId) {
  return h("a", { class: `folded ${mail.labelIds.includes("UNREAD") ? "unread" : ""}`, href: `#/mailbox/${mailboxId}/${mail.id}`, "data-key": mail.id },
    avatar(mail.from), h("span", { class: "who" }, person(mail.from)), h("span", { class: "snippet" }, mail.snippet), mail.hasAttachments ? icon("clip") : null, when(mail.receivedAt));
}

function unfolded(mail) {
  return h("section", { class: "unfolded", "aria-label": `Mail from ${person(mail.from)}` },
    h("div", { class: "from" }, avatar(mail.from),
      h("div", { class: "from-who" }, h("span", {}, h("strong", {}, person(mail.from)), mail.from?.name ? h("span", { class: "muted small" }, ` ${mail.from.email}`) : null),
        h("span", { class: "muted small" }, `to ${[...mail.to, ...mail.cc].map(person).join(", ") || "nobody"}`)),
      mail.receivedAt ? h("span", { class: "muted small right" }, h("span", {}, exactly(mail.receivedAt)), ago(mail.receivedAt)) : null),
    attachments(mail), body(mail), mail.truncated ? h("p", { class: "muted small" }, "This mail is long: only its beginning is shown. The raw mail has all of it.") : null, details(mail));
}

function details(mail) {
  const names = (people) => people.map((one) => (one.name ? `${one.name} <${one.email}>` : one.email)).join(", ");
  const fact = (name, value) => (value ? h("div", {}, h("dt", {}, name), h("dd", {}, value)) : null);
  return h("details", { class: "headers" }, h("summary", {}, "Details"),
    h("dl", {}, fact("To", names(mail.to)), fact("Cc", names(mail.cc)), fact("Bcc", names(mail.bcc)), fact("Size", bytes(mail.sizeEstimate)),
      fact("Labels", mail.labelIds.join(", ")), fact("Gmail id", mail.gmailId), fact("Thread id", mail.threadId), fact("History id", mail.historyId), fact("Message-ID", mail.rfc822MessageId)),
    whyLine(mail),
    mail.isDeleted || mail.content === "metadata" ? null : h("a", { class: "button", href: `/api/emails/${encodeURIComponent(mail.id)}/raw`, download: "" }, icon("download"), "Raw mail"));
}

function attachments(mail) {
  if (!mail.attachments.length) return null;
  return h("ul", { class: "attachments", "aria-label": "Attachments" }, mail.attachments.map((file) =>
    h("li", {}, h("a", { href: file.url, download: file.filename ?? "" }, icon("clip"), h("span", {}, file.filename ?? "attachment"), h("span", { class: "muted small" }, bytes(file.size))))));
}

function body(mail) {
  if (mail.html) return framed(mail.html);
  if (mail.text?.trim()) return text(mail.text);
  if (mail.content === "metadata" && !mail.isDeleted) return h("p", { class: "muted" }, "Only the headers of this mail are stored.");
  return h("p", { class: "muted" }, mail.isDeleted ? "This mail was deleted in Gmail." : "This mail has no text.");
}

function framed(html) {
  // Mail is written for white paper, so it gets some, in the dark as well.
  const page = `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">`
    + `<body style="margin:20px;background:#fff;color:#1c2030;font:15px/1.55 Inter,system-ui,sans-serif;overflow-wrap:break-word">${html}</body>`;
  // `allow-same-origin` lets this page measure the content; with no `allow-scripts` nothing in there can use it.
  const frame = h("iframe", { class: "html", title: "The mail's content", sandbox: "allow-same-origin allow-popups allow-popups-to-escape-sandbox", referrerpolicy: "no-referrer", srcdoc: page });
  frame.addEventListener("load", () => {
    const inside = frame.contentDocument.documentElement;
    const fit = () => { frame.style.height = `${Math.ceil(inside.getBoundingClientRect().height) + 2}px`; };
    new ResizeObserver(fit).observe(inside);
    fit();
  });
  return h("div", { class: "html-box" }, frame, h("p", { class: "muted small with-icon" }, icon("shield"), "Scripts and remote images are off."));
}

/** Plain text with its links, and what it quotes set back. */
function text(whole) {
  const blocks = [];
  for (const one of whole.replace(/\r\n?/g, "\n").trimEnd().split("\n")) {
    const quoted = one.startsWith(">");
    if (blocks.at(-1)?.quoted !== quoted) blocks.push({ quoted, lines: [] });
    blocks.at(-1).lines.push(quoted ? one.replace(/^>+ ?/, "") : one);
  }
  return h("div", { class: "text" }, blocks.map(({ quoted, lines }) => h(quoted ? "blockquote" : "p", {}, linked(lines.join("\n").replace(/^\n+|\n+$/g, "")))));
}

function linked(plain) {
  return plain.split(/(https?:\/\/[^\s<>"')\]]*[^\s<>"')\].,;:!?])/).map((part, index) =>
    (index % 2 ? h("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part) : part));
}
