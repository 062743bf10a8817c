// A page of web.a.test in headless Chromium talks to a.test and matrix.a.test: browser.mjs CHROMIUM PROFILE KEY_PIN up|down [TOKEN]
// Prints one JSON object a line; the suite reads them.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.PORCHD_REAL_JS, "package.json"));
const puppeteer = require("puppeteer-core");
const [chromium, profile, pin, home, token] = process.argv.slice(2);
const tell = (object) => process.stdout.write(JSON.stringify(object) + "\n");
const check = (name, ok, detail = "") => tell({ check: `chromium, home ${home}: ${name}`, ok: Boolean(ok), detail: String(detail) });
const BASE = "https://matrix.a.test";

// What a script of the page can see of an answer.
const look = (page, url, options = {}) => page.evaluate(async (url, options) => {
  try {
    const answer = await fetch(url, options);
    const text = await answer.text();
    return { status: answer.status, text: text.slice(0, 200), type: answer.headers.get("content-type") };
  } catch (error) {
    return { status: 0, text: String(error) };
  }
}, url, options);

// What it can see of the answer to so many MiB.
const send = (page, url, method, mebibytes) => page.evaluate(async (url, method, mebibytes, token) => {
  const headers = { Authorization: "Bearer " + token, "Content-Type": "application/octet-stream" };
  try {
    const answer = await fetch(url, { method, headers, body: new Blob([new Uint8Array(mebibytes << 20)]) });
    return { status: answer.status, text: await answer.text(), type: answer.headers.get("content-type") };
  } catch (error) {
    return { status: 0, text: String(error) };
  }
}, url, method, mebibytes, token);

const code = (answer) => { try { return JSON.parse(answer.text).errcode; } catch { return undefined; } };
const shown = (answer) => `${answer.status} ${answer.type} ${answer.text}`;
const AUTHORISED = { headers: { Authorization: "Bearer nobody", "Content-Type": "application/json" } };

async function always(page) {
  for (const kind of ["client", "server"]) {
    const answer = await look(page, `https://a.test/.well-known/matrix/${kind}`);
    check(`well-known ${kind}`, answer.status === 200 && answer.text.includes("matrix.a.test"), shown(answer));
  }
}

async function whileUp(page) {
  let answer = await look(page, `${BASE}/_matrix/client/versions`);
  check("versions", answer.status === 200 && answer.text.includes("versions"), shown(answer));
  answer = await look(page, `${BASE}/_matrix/client/v3/account/whoami`, AUTHORISED);
  check("401 after a preflight is readable", answer.status === 401 && code(answer) === "M_UNKNOWN_TOKEN", shown(answer));
  answer = await look(page, `${BASE}/_matrix/client/v3/profile/%40x%3Aa.test/displayname`, { ...AUTHORISED, method: "PUT", body: "{}" });
  check("PUT after a preflight, 401 is readable", answer.status === 401, shown(answer));
  answer = await look(page, `${BASE}/_matrix/client/v3/no/such/thing`);
  check("404 of Synapse is readable", answer.status === 404 && code(answer) === "M_UNRECOGNIZED", shown(answer));
  answer = await look(page, `${BASE}/_synapse/admin/v1/server_version`);
  check("404 of the edge is readable", answer.status === 404 && code(answer) === "M_UNRECOGNIZED", shown(answer));
  // Synapse of this suite takes 1 MiB. Above 12.5 MiB it answers nothing but cuts the connection; the edge's own
  // limit is 16 MiB where nothing is uploaded.
  answer = await send(page, `${BASE}/_matrix/media/v3/upload`, "POST", 4);
  check("413 of Synapse for an upload is readable", answer.status === 413 && code(answer) === "M_TOO_LARGE", shown(answer));
  answer = await send(page, `${BASE}/_matrix/media/v3/upload`, "POST", 20);
  check("502 of the edge for an upload that Synapse cuts off is readable", answer.status === 502 && code(answer), shown(answer));
  answer = await send(page, `${BASE}/_matrix/client/v3/rooms/%21x/send/m.room.message/1`, "PUT", 20);
  check("413 of the edge is readable", answer.status === 413 && code(answer) === "M_TOO_LARGE", shown(answer));
}

async function whileDown(page) {
  let answer = await look(page, `${BASE}/_matrix/client/versions`);
  check("versions that the edge has kept are readable", answer.status === 200 && answer.text.includes("versions"), shown(answer));
  answer = await look(page, `${BASE}/_matrix/client/v3/no/such/thing`);
  check("503 of the edge is readable", answer.status === 503 && code(answer), shown(answer));
  answer = await look(page, `${BASE}/_matrix/client/v3/account/whoami`, AUTHORISED);
  check("503 of the edge after a preflight is readable", answer.status === 503 && code(answer), shown(answer));
  answer = await look(page, `${BASE}/_matrix/client/v3/profile/%40x%3Aa.test/displayname`, { ...AUTHORISED, method: "PUT", body: "{}" });
  check("503 of the edge for a PUT is readable", answer.status === 503 && code(answer), shown(answer));
}

async function main(browser) {
  const page = await browser.newPage();
  const protocols = new Map();
  const wire = await page.createCDPSession();
  await wire.send("Network.enable");
  wire.on("Network.responseReceived", ({ response }) => protocols.set(response.protocol, (protocols.get(response.protocol) ?? 0) + 1));
  const answer = await page.goto("https://web.a.test/", { waitUntil: "load", timeout: 20000 });
  const kind = answer.headers()["content-type"] ?? "";
  check("the page is served by the edge", answer.status() === 200 && kind.startsWith("text/html"), `${answer.status()} ${kind}`);
  check("so is its script", await page.evaluate(() => window.loaded === true));
  await always(page);
  await (home === "up" ? whileUp : whileDown)(page);
  const answers = [...protocols].map(([name, count]) => `${name}: ${count}`).join(", ");
  check("every answer came over h2", protocols.size === 1 && protocols.get("h2") > 4, answers);
}

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  userDataDir: profile,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", `--ignore-certificate-errors-spki-list=${pin}`],
});
let exit = 0;
try {
  await main(browser);
  tell({ done: true });
} catch (error) {
  check("no exception", false, error?.stack ?? error);
  exit = 1;
} finally {
  await browser.close();
}
process.exit(exit);
