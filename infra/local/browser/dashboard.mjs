// Walks through the dashboard in a real browser, against a running system. Says every claim that holds, and
// ends with the first that does not. Run by infra/local/tests/it/browser.rs, which says what the variables are.
//
// It waits for what should be seen, never for time to pass.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { SIGNIN_LINK, SIMULATOR_URL, EMAIL, DRIVER, CHROMIUM = "/usr/bin/chromium" } = process.env;
const { chromium } = createRequire(`${DRIVER}/`)("playwright-core");
const origin = new URL(SIGNIN_LINK).origin;
/** The only place outside that a page may lead to: where Google asks for consent. */
const CONSENT_PAGE = `${SIMULATOR_URL}/o/oauth2/v2/auth?`;
const LOOK_MAX_MS = 20_000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** What no page may have: errors on the console, requests to elsewhere. */
const complaints = [];

function watch(page) {
  page.setDefaultTimeout(LOOK_MAX_MS);
  // What the consent page lacks, such as a picture for its tab, is not ours.
  const isOurs = (message) => !message.location().url.startsWith(SIMULATOR_URL);
  page.on("console", (message) => { if (isOurs(message) && ["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`));
  page.on("dialog", (dialog) => { complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    if (![`${origin}/`, CONSENT_PAGE].some((known) => request.url().startsWith(known)) && !/^(about|data|blob):/.test(request.url())) complaints.push(`request: ${request.url()}`);
  });
  return page;
}

async function claim(words, check) {
  await check();
  assert.deepEqual(complaints, [], `${words}: and nothing on the console, no request to elsewhere`);
  console.log(`ok  ${words}`);
}

async function simulator(method, path, body) {
  const answer = await fetch(`${SIMULATOR_URL}/sim/${path}`, { method, body });
  assert.ok(answer.ok, `the simulator answers ${answer.status} to ${path}`);
}
const deliver = (raw) => simulator("POST", `mailboxes/${EMAIL}/messages?labels=INBOX,UNREAD`, raw);
const mail = (subject, type, body) =>
  `From: Mallory <mallory@example.com>\r\nTo: ${EMAIL}\r\nSubject: ${subject}\r\nMIME-Version: 1.0\r\nContent-Type: ${type}; charset=utf-8\r\n\r\n${body}\r\n`;

/** Everything that mail has been seen to try, against a server that counts who comes. */
const hostile = (tracker) => `<html><head>
<meta http-equiv="refresh" content="0;url=${tracker}/refresh"><base href="${tracker}/base/">
<link rel="stylesheet" href="${tracker}/style.css"><style>@import url(${tracker}/import.css); body { background: url(${tracker}/css.gif) }</style>
<script>top.ran = 'script'; alert(1)</script><script src="${tracker}/script.js"></script></head>
<body onload="top.ran = 'onload'" background="${tracker}/body.gif"><p id="seen">What can be read of it</p>
<img src="${tracker}/pixel.gif" onerror="top.ran = 'onerror'" alt="a picture"><img srcset="${tracker}/set.gif 2x"><img src="x" onerror="top.ran = 'onerror'">
<div style="background-image:url(${tracker}/div.gif)">styled</div><table background="${tracker}/table.gif"><tr><td>cell</td></tr></table>
<svg onload="top.ran = 'svg'"><image href="${tracker}/svg.gif"/><script>top.ran = 'svg'</script></svg>
<iframe src="${tracker}/frame" srcdoc="<script>top.ran = 'frame'</script>"></iframe><object data="${tracker}/object"></object>
<video poster="${tracker}/poster.gif" src="${tracker}/video" autoplay></video>
<form action="${tracker}/form"><input name="password" autofocus onfocus="top.ran = 'focus'"><button>Send</button></form>
<a id="bad" href="javascript:top.ran = 'link'">a link</a><template><script>top.ran = 'template'</script></template></body></html>`;

async function trackerServer() {
  const visits = [];
  const server = createServer((request, response) => { visits.push(request.url); response.end(); });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { visits, url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

async function walk(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB" });
  const page = watch(await context.newPage());
  const rows = page.locator("a.mail");
  const card = page.locator("article.card", { hasText: EMAIL });

  await claim("the one-time link signs in", async () => {
    await page.goto(SIGNIN_LINK);
    assert.equal(page.url(), `${origin}/`);
    await page.getByRole("heading", { name: "Mailboxes" }).waitFor();
  });

  await claim("the link does not sign in twice", async () => {
    // Unwatched: a page that is answered with 401 is an error to the console, and here it is right.
    const stranger = await browser.newContext();
    const second = await stranger.newPage();
    const answer = await second.goto(SIGNIN_LINK);
    assert.equal(answer.status(), 401);
    await second.getByRole("alert").filter({ hasText: "has been used" }).waitFor();
    assert.deepEqual(await stranger.cookies(), []);
    assert.equal((await stranger.request.get(`${origin}/api/session`)).status(), 401);
    await stranger.close();
  });

  await claim("the overview shows the mailbox, and that it is healthy", async () => {
    await card.locator(".badge.good", { hasText: "Healthy" }).waitFor();
    await page.locator(".figure", { hasText: "healthy" }).filter({ hasText: "1 of 1" }).waitFor();
    await page.locator(".entry", { hasText: "first sync" }).first().waitFor();
  });

  await claim("a click on sync shows a spinner, then says what came, and the list has it", async () => {
    await card.getByRole("link", { name: EMAIL }).click();
    await rows.first().waitFor();
    await simulator("POST", "faults", JSON.stringify({ kind: "drop_push", mailbox: EMAIL }));
    await deliver(mail("Only a click brings this", "text/plain", "Hello\r\n> quoted\r\nSee https://example.com/page."));
    // The call is held until the spinner has been seen, however quick the sync is.
    let seen;
    const spinner = new Promise((resolve) => { seen = resolve; });
    await page.route("**/api/sync/*?wait=true", async (route) => { await spinner; await route.continue(); });
    assert.equal(await rows.filter({ hasText: "Only a click" }).count(), 0, "without a push nobody knows of it");
    await page.getByRole("button", { name: `Sync ${EMAIL}`, exact: true }).click();
    await page.locator(".button.spinning", { hasText: "Syncing" }).waitFor();
    seen();
    await page.locator(".toast.good", { hasText: "1 new" }).waitFor();
    await rows.filter({ hasText: "Only a click brings this" }).waitFor();
    assert.equal(await page.locator(".button.spinning").count(), 0);
    await page.unroute("**/api/sync/*?wait=true");
  });

  await claim("a mail is read with the keyboard alone", async () => {
    await rows.first().focus();
    await page.keyboard.press("Enter");
    await page.locator(".unfolded .text", { hasText: "Hello" }).waitFor();
    assert.equal(await page.locator(".text blockquote").textContent(), "quoted");
    const link = page.locator(".text a");
    assert.equal(await link.getAttribute("href"), "https://example.com/page", "the full stop is not part of it");
    assert.match(await link.getAttribute("rel"), /noopener/);
    await page.keyboard.press("ArrowDown");
    await page.locator('a.mail[aria-current="true"]').and(rows.nth(1)).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".state").waitFor();
  });

  await claim("a mail says why it is here", async () => {
    await rows.filter({ hasText: "Only a click brings this" }).click();
    await page.locator("details.headers summary").click();
    await page.getByRole("button", { name: "Why is it here?" }).click();
    await page.locator(".why", { hasText: "It is stored as of history" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".state").waitFor();
  });

  await claim("a paused mailbox is not synced, and is again once it is resumed", async () => {
    await page.getByRole("button", { name: `Pause ${EMAIL}` }).click();
    await page.locator(".mailbox-head .badge", { hasText: "Paused" }).waitFor();
    assert.equal(await page.getByRole("button", { name: `Sync ${EMAIL}`, exact: true }).count(), 0);
    await page.getByRole("button", { name: `Resume ${EMAIL}` }).click();
    await page.locator(".mailbox-head .badge.good", { hasText: "Healthy" }).waitFor();
    await page.getByRole("button", { name: `Sync ${EMAIL}`, exact: true }).waitFor();
  });

  await claim("what could not be fetched is a debt with its reason, and is gone once it is tried again", async () => {
    await simulator("POST", "faults", JSON.stringify({ kind: "not_visible", mailbox: EMAIL }));
    await deliver(mail("Invisible at first", "text/plain", "Here after all."));
    const debt = page.locator(".entry.debt", { hasText: "no such message" });
    await page.getByRole("button", { name: `Sync ${EMAIL}`, exact: true }).click();
    await debt.waitFor();
    await page.locator(".mailbox-head .badge.warn", { hasText: "Behind" }).waitFor();
    await simulator("DELETE", "faults");
    await debt.getByRole("button", { name: /^Try .* again$/ }).click();
    await rows.filter({ hasText: "Invisible at first" }).waitFor();
    await debt.waitFor({ state: "detached" });
    await page.locator(".mailbox-head .badge.good", { hasText: "Healthy" }).waitFor();
  });

  const tracker = await trackerServer();
  await claim("a hostile mail runs no script and loads nothing", async () => {
    await deliver(mail("A hostile letter <img src=x onerror=top.ran=1>", "text/html", hostile(tracker.url)));
    await page.getByRole("button", { name: `Sync ${EMAIL}`, exact: true }).click();
    await rows.filter({ hasText: "A hostile letter" }).click();
    const inside = page.frameLocator("iframe.html");
    await inside.getByText("What can be read of it").waitFor();
    await inside.getByText("a link").click();
    assert.equal(page.frames().length, 2, "the page, and the mail in its frame");
    const left = await page.frames()[1].evaluate(() => document.querySelectorAll("script, form, input, object, iframe, svg, video, link, base, meta[http-equiv=refresh], [onload], [onerror], a[href^=javascript]").length);
    assert.equal(left, 0, "the API has taken out all that acts");
    assert.equal(await page.evaluate(() => window.ran ?? "nothing"), "nothing");
    assert.doesNotMatch(await page.locator("iframe.html").getAttribute("sandbox"), /allow-scripts|allow-top|allow-forms/);
    assert.deepEqual(tracker.visits, []);
    assert.equal(page.url().startsWith(`${origin}/#/mailbox/`), true, "nothing led away");
  });

  await claim("were the API to let everything through, its frame would still run and load nothing", async () => {
    // Unwatched: the browser says on the console what it refuses, and here it has to.
    const bare = await context.newPage();
    const refused = [];
    bare.on("console", (message) => refused.push(message.text()));
    await bare.route(/\/api\/emails\/[^/?]+$/, async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: { ...(await answer.json()), html: hostile(tracker.url) } });
    });
    await bare.goto(page.url());
    const inside = bare.frameLocator("iframe.html");
    await inside.getByText("What can be read of it").waitFor();
    assert.ok(await inside.locator("img").count() > 0, "it did come through");
    await inside.locator("#bad").click();
    await inside.getByRole("button", { name: "Send" }).click();
    assert.equal(await bare.evaluate(() => window.ran ?? "nothing"), "nothing");
    assert.deepEqual(tracker.visits, []);
    assert.ok(refused.some((text) => text.includes("Content Security Policy")), "the policy has spoken");
    await bare.close();
  });
  tracker.close();

  await claim("a filter finds a mail, and says when nothing fits", async () => {
    await page.getByRole("searchbox", { name: "Search", exact: true }).fill("only a CLICK");
    await rows.filter({ hasText: "A hostile letter" }).waitFor({ state: "detached" });
    await rows.filter({ hasText: "Only a click brings this" }).waitFor();
    assert.equal(await rows.count(), 1);
    await page.getByRole("button", { name: "Spam" }).click();
    await page.getByText("Nothing fits").waitFor();
  });

  const cardOf = (email) => page.locator("article.card", { hasText: email });

  await claim("a second mailbox is connected on Google's page, and is healthy soon", async () => {
    await simulator("POST", "mailboxes/second@example.com", "{}");
    await page.getByRole("link", { name: "All mailboxes" }).click();
    await page.getByRole("button", { name: "Connect a mailbox" }).click();
    await page.getByRole("link", { name: "Continue with Google" }).click();
    await page.waitForURL((url) => url.href.startsWith(CONSENT_PAGE));
    await page.getByText("gmail.readonly").waitFor();
    await page.getByRole("button", { name: "Allow as second@example.com" }).click();
    await page.locator(".toast", { hasText: "second@example.com is connected" }).waitFor();
    assert.match(page.url(), /\/#\/mailbox\/mbx_\w+$/, "the browser is at the mailbox, and nothing else is in the address");
    await page.locator(".mailbox-head .badge.good", { hasText: "Healthy" }).waitFor();
    const again = await context.request.get(`${origin}/gmail/auth/callback?state=x&code=y`);
    assert.equal(again.status(), 400);
  });

  await claim("whoever says no on Google's page learns so and gets on", async () => {
    // Unwatched: a page that is answered with 403 is an error to the console, and here it is right.
    const bare = await context.newPage();
    await bare.goto(`${origin}/`);
    await bare.getByRole("button", { name: "Connect a mailbox" }).click();
    await bare.getByRole("link", { name: "Continue with Google" }).click();
    await bare.getByRole("link", { name: "Cancel" }).click();
    await bare.getByRole("alert").filter({ hasText: "not granted" }).waitFor();
    await bare.getByRole("link", { name: "Try again" }).click();
    await bare.waitForURL((url) => url.href.startsWith(CONSENT_PAGE));
    // The page is asked for again, and its state is spent.
    await bare.goBack();
    await bare.getByRole("alert").filter({ hasText: "each link works once" }).waitFor();
    await bare.getByRole("link", { name: "To the dashboard" }).click();
    await bare.getByRole("heading", { name: "Mailboxes" }).waitFor();
    await bare.close();
  });

  await claim("a mailbox whose grant was withdrawn says so, and is connected again by its own account only", async () => {
    await simulator("POST", "mailboxes/second@example.com/revoke", "{}");
    await page.getByRole("link", { name: "All mailboxes" }).click();
    await page.getByRole("button", { name: "Sync second@example.com", exact: true }).click();
    await cardOf("second@example.com").locator(".badge.bad", { hasText: "Needs sign-in" }).waitFor();
    await page.locator(".toast").first().waitFor();
    const link = cardOf("second@example.com").getByRole("link", { name: "Connect again" });
    const other = await context.newPage();
    await other.goto(`${origin}${await link.getAttribute("href")}`);
    // The page proposes the account; another one is taken all the same.
    await other.goto(`${other.url().replace(/login_hint=[^&]*/, `login_hint=${encodeURIComponent(EMAIL)}`)}&sim_approve=1`);
    await other.getByRole("alert").filter({ hasText: `This is the grant of ${EMAIL}` }).waitFor();
    await other.close();
    await link.click();
    await page.getByRole("button", { name: "Allow as second@example.com" }).click();
    await page.locator(".mailbox-head .badge.good", { hasText: "Healthy" }).waitFor();
  });

  await claim("a third mailbox is connected with a refresh token", async () => {
    await simulator("POST", "mailboxes/third@example.com", "{}");
    await page.getByRole("link", { name: "All mailboxes" }).click();
    await page.getByRole("button", { name: "Connect a mailbox" }).click();
    await page.getByText("With a refresh token instead").click();
    await page.getByLabel("Refresh token").fill("sim:third@example.com");
    await page.keyboard.press("Enter");
    await page.locator(".toast", { hasText: "third@example.com is connected" }).waitFor();
    await cardOf("third@example.com").locator(".badge.good", { hasText: "Healthy" }).waitFor();
    await card.getByRole("link", { name: EMAIL }).click();
    await rows.first().waitFor();
  });

  await claim("a narrow and a dark page fit their screen", async () => {
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 360, height: 740 });
    for (const hash of ["#/", page.url().replace(/^[^#]*/, "").split("/").slice(0, 3).join("/")]) {
      await page.goto(`${origin}/${hash}`);
      await page.locator(hash === "#/" ? "article.card" : "a.mail").first().waitFor();
      const [width, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      assert.ok(width <= shown, `${hash} is ${width} wide on a screen of ${shown}`);
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  await claim("signing out ends the session, also for who kept the cookie", async () => {
    const kept = (await context.cookies(origin)).filter((cookie) => cookie.name.includes("session"));
    assert.ok(kept.length > 0 && kept.every((cookie) => cookie.httpOnly && cookie.sameSite === "Strict"));
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(`${origin}/signin`);
    const header = kept.map((cookie) => `${cookie.name}=${cookie.value}`).join("; ");
    const answer = await fetch(`${origin}/api/session`, { headers: { cookie: header } });
    assert.equal(answer.status, 401);
    await page.getByLabel("API token").waitFor();
  });
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
try {
  await walk(browser);
} catch (error) {
  console.error(error.message, complaints);
  process.exitCode = 1;
} finally {
  await browser.close();
}
