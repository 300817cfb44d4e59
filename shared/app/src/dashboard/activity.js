// The last syncs: a list, and bars of how much and how long.

import { summary } from "./api.js";
import { ago, duration, exactly, h, icon, number, plural, svg } from "./dom.js";

const TRIGGERS = { push: "push", schedule: "schedule", manual: "by hand", connect: "connected", continuation: "continued" };
/** What a sync was for; one of changes is named by what started it. */
const KINDS = { initial: "first sync", full: "full sync", historical: "old mail", contact: "a contact's mail", probe: "probe", retry_debt: "debt tried again", accept_debt: "debt accepted" };
const LOOKS = { success: ["good", "check"], partial: ["warn", "alert"], failed: ["bad", "alert"], queued: ["busy", "clock"], running: ["busy", "sync"] };

function words(job) {
  if (job.status === "failed") return job.errors[0]?.error ?? "Failed";
  if (job.status === "queued") return "Waiting for a worker";
  return summary(job) || (job.status === "running" ? "Running" : "Nothing new");
}

function entry(job, email) {
  const [tone, name] = LOOKS[job.status] ?? LOOKS.failed;
  const facts = [KINDS[job.kind] ?? TRIGGERS[job.trigger] ?? job.trigger, job.durationMs === null ? null : duration(job.durationMs), email ? null : plural(job.quotaUnits, "unit")];
  return h("li", { class: "entry" },
    h("span", { class: `entry-icon ${tone} ${job.status === "running" ? "turning" : ""}`, title: job.status }, icon(job.trigger === "push" && job.status === "success" ? "bolt" : name)),
    h("div", { class: "entry-body" }, h("strong", {}, words(job)),
      h("span", { class: "muted small" }, email ? `${email} · ` : "", facts.filter(Boolean).join(" · "))),
    h("span", { class: "muted small nowrap" }, ago(job.finishedAt ?? job.createdAt)));
}

/** The jobs, newest first; `emails` names their mailboxes where there are several. */
export function history(jobs, emails = null) {
  if (jobs.length === 0) return h("p", { class: "muted panel-text" }, "No sync yet.");
  return h("ul", { class: "entries" }, jobs.map((job) => entry(job, emails?.get(job.mailbox))));
}

/** Bars from old to new. The chart is a picture of the list below it, so readers of the screen get the sum only. */
function bars(title, jobs, value, say) {
  const values = jobs.map(value).reverse();
  const most = Math.max(1, ...values);
  const [width, gap, height] = [10, 3, 44];
  const shapes = values.map((one, index) => {
    const tall = one === 0 ? 2 : Math.max(4, (one / most) * height);
    const job = jobs[jobs.length - 1 - index];
    return svg("rect", { x: index * (width + gap), y: height - tall, width, height: tall, rx: 2.5, class: one === 0 ? "none" : job.status },
      svg("title", {}, `${say(one)}, ${exactly(job.createdAt)}`));
  });
  const total = values.reduce((sum, one) => sum + one, 0);
  return h("figure", { class: "chart" }, h("figcaption", {}, h("span", { class: "muted small" }, title), h("strong", {}, say(title.startsWith("Duration") ? Math.round(total / values.length) : total))),
    svg("svg", { viewBox: `0 0 ${30 * (width + gap) - gap} ${height}`, preserveAspectRatio: "xMinYMax meet", role: "img", "aria-label": `${title}, the last ${values.length} syncs` }, shapes));
}

export function charts(jobs) {
  // The first sync would make all others look like nothing.
  const done = jobs.filter((job) => job.durationMs !== null && job.kind !== "initial").slice(0, 30);
  if (done.length < 2) return null;
  const moved = (job) => job.counts.inserted + job.counts.updated + job.counts.deleted;
  return h("div", { class: "charts" },
    bars("Messages", done, moved, number),
    bars("Duration, mean", done, (job) => job.durationMs, duration),
    bars("Quota units", done, (job) => job.quotaUnits, number));
}
