// Two people on matrix-js-sdk, through the edge: js_client.mjs SERVER_NAME USER USER PASSWORD
// Prints one JSON object a line; the suite reads them. The certificate authority comes by NODE_EXTRA_CA_CERTS.
import crypto from "node:crypto";
import path from "node:path";
import { pathToFileURL } from "node:url";

const tell = (object) => process.stdout.write(JSON.stringify(object) + "\n");
const check = (name, ok, detail = "") => tell({ check: "js-sdk: " + name, ok: Boolean(ok), detail: String(detail) });
for (const level of ["log", "info", "debug", "warn", "error", "trace"]) console[level] = () => {};

const sdk = await import(pathToFileURL(path.join(process.env.PORCHD_REAL_JS, "node_modules/matrix-js-sdk/lib/index.js")).href);
const logger = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, getChild() { return logger; } };
const [serverName, first, second, password] = process.argv.slice(2);

const within = (milliseconds, promise, what) =>
  Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error(what + ": nothing in " + milliseconds + " ms")), milliseconds).unref())]);

async function login(baseUrl, user) {
  const answer = await sdk.createClient({ baseUrl, logger })
    .loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user }, password });
  return sdk.createClient({ baseUrl, accessToken: answer.access_token, userId: answer.user_id, deviceId: answer.device_id, logger });
}

async function started(client) {
  const ready = new Promise((done) => client.on("sync", (state) => state === "PREPARED" && done()));
  await client.startClient({ initialSyncLimit: 10, pollTimeout: 30000 });
  await within(30000, ready, "first sync");
}

const heard = (client, text) => new Promise((done) => {
  const look = (event) => event.getContent().body === text && done(Date.now());
  client.on("Room.timeline", look);
  client.on("Event.decrypted", look);
});

async function main() {
  const found = (await sdk.AutoDiscovery.findClientConfig(serverName))["m.homeserver"];
  check("discovery by well-known", found.state === "SUCCESS", `${found.state} ${found.base_url} ${found.error ?? ""}`);
  const a = await login(found.base_url, first);
  const b = await login(found.base_url, second);
  check("two logins", a.getAccessToken() && b.getAccessToken());
  await a.initRustCrypto({ useIndexedDB: false });
  await b.initRustCrypto({ useIndexedDB: false });
  await started(a);
  await started(b);
  check("sync is running", true);

  const { room_id: open } = await a.createRoom({ preset: "public_chat", room_alias_name: "js/1?q=1&x" });
  await b.joinRoom(`#js/1?q=1&x:${serverName}`);
  const ears = heard(b, "hello from js");
  const sent = Date.now();
  await a.sendTextMessage(open, "hello from js");
  check("a message by long poll", true, (await within(15000, ears, "message")) - sent + " ms");

  const typing = new Promise((done) => b.on("RoomMember.typing", (_, member) => member.typing && done()));
  await a.sendTyping(open, true, 8000);
  await within(15000, typing, "typing");
  check("typing", true);

  const bytes = crypto.randomBytes(10 << 20);
  const { content_uri: uri } = await a.uploadContent(new Blob([bytes]), { name: "x y/\u00e9.bin", type: "application/octet-stream" });
  const url = b.mxcUrlToHttp(uri, undefined, undefined, undefined, false, true, true);
  const got = Buffer.from(await (await fetch(url, { headers: { Authorization: "Bearer " + b.getAccessToken() } })).arrayBuffer());
  check("10 MiB up and down", got.equals(bytes), got.length + " bytes");

  const invited = new Promise((done) => b.on("RoomMember.membership", (event, member) =>
    member.userId === b.getUserId() && member.membership === "invite" && done(event.getRoomId())));
  const { room_id: secret } = await a.createRoom({
    preset: "private_chat", invite: [b.getUserId()],
    initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
  });
  await b.joinRoom(await within(15000, invited, "invitation"));
  const bothIn = () => a.getRoom(secret)?.getMember(b.getUserId())?.membership === "join";
  await within(15000, new Promise((done) => { const look = () => (bothIn() ? done() : a.once("sync", look)); look(); }), "membership");
  const decrypted = heard(b, "between us");
  await a.sendTextMessage(secret, "between us");
  await within(30000, decrypted, "encrypted message");
  check("an encrypted message: device keys, one-time keys, to-device, decryption", true);
  a.stopClient();
  b.stopClient();
}

try {
  await main();
  tell({ done: true });
  process.exit(0);
} catch (error) {
  check("no exception", false, error?.stack ?? error);
  process.exit(1);
}
