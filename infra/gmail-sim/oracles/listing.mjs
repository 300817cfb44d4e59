// Google's Node client, @googleapis/gmail, lists what the simulator holds: messages, threads, history, labels.
//
// usage: node listing.mjs URL FOLDER, where FOLDER is the one that install.sh filled.
//
// A token that google-auth-library fetched itself opens the mailbox, every page is followed to the last, messages are
// read in three formats, and everything is compared with the snapshot.

import { createRequire } from "node:module";
import path from "node:path";

const [url, folder] = process.argv.slice(2);
if (!folder) {
    console.error("usage: node listing.mjs URL FOLDER");
    process.exit(2);
}
const require = createRequire(path.resolve(folder, "package.json"));
const { gmail: gmailApi, auth } = require("@googleapis/gmail");

const MESSAGES = 57;
const ADDRESS = "listing@oracle.example";
// A listing that goes on for longer has no last page.
const PAGES_MAX = 500;

const rows = [];
const differences = [];

async function section(name, run) {
    let compared = 0;
    const before = differences.length;
    const equal = (actual, expected, what) => {
        compared += 1;
        const [is, should] = [actual, expected].map((value) => JSON.stringify(value));
        if (is !== should) {
            differences.push(`${name}: ${what}: is ${is?.slice(0, 300)}, expected ${should?.slice(0, 300)}`);
        }
    };
    try {
        await run(equal);
    } catch (failure) {
        differences.push(`${name}: ${failure.stack?.split("\n").slice(0, 2).join(" ").slice(0, 400)}`);
    }
    rows.push([name, compared, differences.length - before]);
}

async function control(method, where, body) {
    const answer = await fetch(`${url}/sim/${where}`, { method, body });
    if (!answer.ok) {
        throw new Error(`${method} /sim/${where}: ${answer.status} ${await answer.text()}`);
    }
    return answer.text();
}

async function snapshot() {
    const lines = (await control("GET", `mailboxes/${ADDRESS}/snapshot`)).split("\n").filter(Boolean);
    return new Map(lines.map((line) => JSON.parse(line)).map((entry) => [entry.id, entry]));
}

function mail(number) {
    const reply = number % 4 === 3 ? `In-Reply-To: <${number - 1}@node.example>\r\n` : "";
    const subject = reply ? `Re: topic ${number - 1}` : `topic ${number}`;
    return `From: bob@node.example\r\nTo: ${ADDRESS}\r\nSubject: ${subject}\r\n` +
        `Message-ID: <${number}@node.example>\r\n${reply}\r\nText ${number}.\r\n`;
}

// All pages of a list, as the tokens lead.
async function every(list, key, parameters) {
    const entries = [];
    let pageToken;
    for (let page = 0; page < PAGES_MAX; page += 1) {
        const { data } = await list({ userId: "me", ...parameters, pageToken });
        entries.push(...(data[key] ?? []));
        pageToken = data.nextPageToken;
        if (!pageToken) {
            return entries;
        }
    }
    throw new Error("there is no last page");
}

const sorted = (values) => [...values].sort();

await fetch(`${url}/sim/mailboxes/${ADDRESS}`, { method: "DELETE" });
await control("POST", `mailboxes/${ADDRESS}`);
await control("DELETE", "faults");
const ids = [];
for (let number = 0; number < MESSAGES; number += 1) {
    const labels = number % 2 ? "INBOX,UNREAD" : "INBOX";
    ids.push(JSON.parse(await control("POST", `mailboxes/${ADDRESS}/messages?labels=${labels}`, mail(number))).id);
}

const endpoints = { oauth2TokenUrl: `${url}/token` };
const client = new auth.OAuth2({ clientId: "client", clientSecret: "secret", endpoints });
client.setCredentials({ refresh_token: `sim:${ADDRESS}` });
const { users } = gmailApi({ version: "v1", auth: client, rootUrl: `${url}/` });

await section("profile", async (equal) => {
    const { data } = await users.getProfile({ userId: "me" });
    const truth = await snapshot();
    equal([data.emailAddress, data.messagesTotal], [ADDRESS, truth.size], "address and messagesTotal");
    equal(client.credentials.access_token?.startsWith("ya29."), true, "google-auth-library fetched a token");
});

await section("messages", async (equal) => {
    const truth = await snapshot();
    for (const maxResults of [1, 10, 500]) {
        const listed = await every((p) => users.messages.list(p), "messages", { maxResults });
        equal(listed.length, truth.size, `pages of ${maxResults}, each message once`);
        equal(sorted(listed.map((m) => m.id)), sorted(truth.keys()), `pages of ${maxResults}`);
        equal(listed.every((m) => m.threadId === truth.get(m.id)?.threadId), true, "thread ids");
    }
    const unread = await every((p) => users.messages.list(p), "messages", { labelIds: ["INBOX", "UNREAD"] });
    const expected = [...truth.values()].filter((entry) => entry.labelIds.includes("UNREAD"));
    equal(sorted(unread.map((m) => m.id)), sorted(expected.map((entry) => entry.id)), "two labels at once");
    const found = await every((p) => users.messages.list(p), "messages", { q: 'subject:"topic 8"' });
    equal(sorted(found.map((m) => m.id)), sorted([ids[8]]), "a search");
});

await section("threads and labels", async (equal) => {
    const truth = await snapshot();
    const threads = await every((p) => users.threads.list(p), "threads", { maxResults: 7 });
    const expected = new Set([...truth.values()].map((entry) => entry.threadId));
    equal(sorted(threads.map((thread) => thread.id)), sorted(expected), "threads in pages of seven");
    const { data } = await users.labels.list({ userId: "me" });
    equal(["INBOX", "UNREAD"].every((id) => data.labels.some((label) => label.id === id)), true, "labels");
});

await section("one message", async (equal) => {
    const entry = (await snapshot()).get(ids[5]);
    const get = async (format) => (await users.messages.get({ userId: "me", id: ids[5], format })).data;
    const [minimal, full, raw] = [await get("minimal"), await get("full"), await get("raw")];
    equal(sorted(minimal.labelIds), sorted(entry.labelIds), "labels");
    equal([minimal.historyId, minimal.sizeEstimate], [entry.historyId, entry.sizeEstimate], "historyId and size");
    equal(Buffer.from(raw.raw, "base64url").toString(), mail(5), "raw is what was delivered");
    equal(Buffer.from(full.payload.body.data, "base64url").toString(), "Text 5.\r\n", "the text");
    equal(full.payload.headers.find((header) => header.name === "Subject")?.value, "topic 5", "the subject");
    const missing = await users.messages.get({ userId: "me", id: "12" }).catch((error) => error);
    const read = [missing.status, missing.message, missing.response?.data.error.errors[0].reason];
    equal(read, [404, "Requested entity was not found.", "notFound"], "a missing message, as the client reads it");
});

await section("history", async (equal) => {
    const { data: before } = await users.getProfile({ userId: "me" });
    const requestBody = { addLabelIds: ["STARRED"] };
    await users.messages.modify({ userId: "me", id: ids[1], requestBody });
    await users.messages.trash({ userId: "me", id: ids[2] });
    await users.messages.delete({ userId: "me", id: ids[3] });
    const list = (p) => users.history.list({ startHistoryId: before.historyId, ...p });
    const records = await every(list, "history", { maxResults: 1 });
    const of = (key) => records.flatMap((record) => record[key] ?? []).map((change) => change.message.id);
    equal([of("labelsAdded"), of("messagesDeleted")], [[ids[1], ids[2]], [ids[3]]], "records one by one");
    const only = await every(list, "history", { historyTypes: ["messageDeleted"] });
    equal(only.map((record) => record.messagesDeleted.map((m) => m.message.id)), [[ids[3]]], "of one type");
    const { data: now } = await users.getProfile({ userId: "me" });
    const { data } = await users.history.list({ userId: "me", startHistoryId: now.historyId });
    equal(data, { historyId: now.historyId }, "nothing happened since");
});

console.log(`@googleapis/gmail ${require("@googleapis/gmail/package.json").version} on node ${process.version}`);
const width = Math.max(...rows.map(([name]) => name.length));
for (const [name, compared, differ] of rows) {
    const [count, wrong] = [String(compared).padStart(6), String(differ).padStart(3)];
    console.log(`  ${name.padEnd(width)}  ${count} compared  ${wrong} differ`);
}
for (const difference of differences.slice(0, 12)) {
    console.log(`DIFFERS ${difference}`);
}
process.exit(differences.length ? 1 : 0);
