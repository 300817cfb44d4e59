// Connecting a mailbox: Google's own page, or a refresh token for those who have one.

import { api, toast } from "./api.js";
import { h, icon } from "./dom.js";

/** Where Google's page is reached; `mailbox` is the one to connect again. */
export const consentPath = (mailbox) => mailbox?.reconnect ?? "/gmail/auth/url?redirect=true";

/** Opens the dialog; `after` is called with the mailbox when it is connected by token. */
export function openConnect(after) {
  const complaint = h("p", { class: "complaint", role: "alert", hidden: true });
  const token = h("input", { id: "refresh-token", type: "password", autocomplete: "off", spellcheck: "false", required: true, maxlength: "4096", placeholder: "1//0g…" });
  const submit = h("button", { class: "button", type: "submit" }, icon("plus"), "Connect");
  const cancel = h("button", { class: "button quiet", type: "button", on: { click: () => dialog.close() } }, "Cancel");
  const google = h("a", { class: "button primary wide", href: consentPath() }, icon("mail"), "Continue with Google");
  const form = h("form", { class: "by-token" },
    complaint,
    h("label", { for: "refresh-token" }, "Refresh token"), token,
    h("p", { class: "muted small" }, "Of this installation's OAuth client, with ", h("code", {}, "gmail.readonly"), ". With the local simulator: ", h("code", {}, "sim:"), " and the address of one of its mailboxes."),
    h("div", { class: "dialog-foot" }, submit));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    complaint.hidden = true;
    try {
      const body = JSON.stringify({ authType: "oauth", keys: { refreshToken: token.value.trim() } });
      const { mailbox, warnings } = await api("/api/integrations", { method: "POST", body, headers: { "content-type": "application/json" } });
      dialog.close();
      toast(warnings.length ? "warn" : "good", `${mailbox.email} is connected`, warnings[0] ?? "Its first sync has begun.");
      after(mailbox);
    } catch (error) {
      complaint.textContent = error.message;
      complaint.hidden = false;
      submit.disabled = false;
    }
  });
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "connect-title", on: { close: () => dialog.remove() } },
    h("h2", { id: "connect-title" }, "Connect a mailbox"),
    h("p", { class: "muted" }, "Google asks its owner for leave to read it, and nothing else. What is granted is kept encrypted, and the newest mails are here seconds later."),
    google,
    h("details", {}, h("summary", {}, "With a refresh token instead"), form),
    h("div", { class: "dialog-foot" }, cancel));
  document.body.append(dialog);
  dialog.showModal();
  google.focus();
}

/** A link to Google's page for a mailbox whose grant is gone; null for any other. */
export function reconnectLink(mailbox) {
  if (!mailbox.reconnect) return null;
  return h("a", { class: "button primary", href: consentPath(mailbox), "data-key": `reconnect-${mailbox.id ?? mailbox.mailbox}`, title: `Google asks ${mailbox.email} again` }, icon("sync"), "Connect again");
}

/** Says once that Google's page has led back here with a mailbox. */
export async function greetConnected() {
  const id = new URLSearchParams(location.search).get("connected");
  if (!id) return;
  history.replaceState(null, "", `/${location.hash}`);
  const mailbox = await api(`/api/integrations/${encodeURIComponent(id)}`).catch(() => null);
  if (mailbox) toast("good", `${mailbox.email} is connected`, "Its first sync has begun.");
}
