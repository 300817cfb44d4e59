// Connecting a mailbox: a dialog that gives a refresh token to the API.

import { api, toast } from "./api.js";
import { h, icon } from "./dom.js";

/** Opens the dialog; `after` is called with the mailbox when it is connected. */
export function openConnect(after) {
  const complaint = h("p", { class: "complaint", role: "alert", hidden: true });
  const token = h("input", { id: "refresh-token", type: "password", autocomplete: "off", spellcheck: "false", required: true, maxlength: "4096", placeholder: "1//0g…" });
  const submit = h("button", { class: "button primary", type: "submit" }, icon("plus"), "Connect");
  const cancel = h("button", { class: "button quiet", type: "button", on: { click: () => dialog.close() } }, "Cancel");
  const form = h("form", {},
    h("h2", { id: "connect-title" }, "Connect a mailbox"),
    h("p", { class: "muted" }, "Paste the refresh token of a Google grant with ", h("code", {}, "gmail.readonly"), ". The address comes from Gmail, the token is kept encrypted, and the newest mails are here seconds later."),
    complaint,
    h("label", { for: "refresh-token" }, "Refresh token"), token,
    h("p", { class: "muted small" }, "With the local simulator: ", h("code", {}, "sim:"), " and the address of one of its mailboxes."),
    h("div", { class: "dialog-foot" }, cancel, submit));
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
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "connect-title", on: { close: () => dialog.remove() } }, form);
  document.body.append(dialog);
  dialog.showModal();
  token.focus();
}
