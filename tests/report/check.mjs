// The checks of the HTML report: what its page shows of each fixture, does in a live run, and never does.
//
// Called by `check` with a scratch folder and a folder for pictures.
import { createServer } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";
import { assemble, part } from "./assemble.mjs";
import { launch } from "./browser.mjs";
import { large } from "./large.mjs";

const [scratch, shots] = process.argv.slice(2);
const fixture = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), "utf8"));

let [passed, failed] = [0, 0];
function check(what, holds, seen = "") {
  if (holds) passed++;
  else failed++;
  console.log(holds ? `ok    ${what}` : `FAIL  ${what}${seen === "" ? "" : `: ${JSON.stringify(seen)}`}`);
}
const same = (what, seen, wanted) => check(what, JSON.stringify(seen) === JSON.stringify(wanted), seen);
const has = (what, text, ...parts) =>
  check(
    what,
    parts.every((one) => String(text).includes(one)),
    text,
  );

const asked = new Set();
let problems = [];
let browser;

// Opens a report; when it is closed, it must have thrown no error and asked for nothing but itself.
async function open(name, report, options, head) {
  const file = `${scratch}/${name.replace(/\W+/g, "-")}.html`;
  writeFileSync(file, assemble(report, head));
  return tab(name, `file://${file}`, options);
}
async function tab(name, url, options) {
  const page = await browser.open(url, options);
  const text = (selector) =>
    page.evaluate(`(document.querySelector(${JSON.stringify(selector)})?.innerText ?? "").replaceAll("\\u00a0", " ")`);
  const rows = (selector) =>
    page.evaluate(
      `[...document.querySelectorAll(${JSON.stringify(`${selector} tbody tr`)})].map((row) => [...row.children].map((cell) => cell.innerText.replaceAll("\\u00a0", " ").replace(/\\s*\\n\\s*/g, " | ")))`,
    );
  const shot = async (as, whole) => writeFileSync(`${shots}/${as}.png`, await page.shot(whole));
  const close = async () => {
    for (const one of page.seen.requests) asked.add(one);
    problems = problems.concat(page.seen.errors.map((error) => `${name}: ${error}`));
    await page.close();
  };
  return { ...page, text, rows, shot, close };
}
const visible = "[...document.querySelectorAll('section')].filter((one) => !one.hidden).map((one) => one.id)";
const overflow = "document.documentElement.scrollWidth - innerWidth";
// Whether a chart shows anything: some of its pixels are not empty.
const drawn =
  "[...document.querySelectorAll('.plot canvas')].map((one) => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some((value) => value > 0))";

// Texts whose colour is too close to what is behind them (WCAG AA: 4.5, of large text 3).
const faint = `(() => {
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || !node.getClientRects().length || /SCRIPT|STYLE/.test(node.tagName)) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(style.color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.add(node.className + " " + node.tagName + " " + ratio.toFixed(2));
  }
  return [...found];
})()`;

function parts() {
  const script = part("page.js");
  check("the script can stand in a page", !/<\/script|<!--/i.test(script));
  check(
    "the script makes no markup from text",
    !/innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function/.test(script),
  );
  check("the style sheet loads nothing", !/url\(|@import/.test(part("page.css") + part("uplot.min.css")));
  check(
    "uPlot says its version and licence",
    part("uplot.min.js").includes("v1.6.32") && part("uplot.LICENSE").includes("MIT License"),
  );
  check("no placeholder is left in a page", !/\{\{\w+\}\}/.test(assemble(fixture("passed"))));
}

async function passedRun() {
  const page = await open("passed", fixture("passed"));
  same("passed: the verdict", await page.text("#verdict"), "Passed");
  same("passed: the title", await page.evaluate("document.title"), "Passed: load/sample");
  has(
    "passed: the header",
    await page.text("#top"),
    "load/sample",
    "K6",
    "All 4 runners ended",
    "60 s",
    "2.31 ms",
    "1.1.0",
  );
  has(
    "passed: the start, with UTC in its title",
    await page.evaluate("document.querySelector('.facts time').title"),
    "2026-11-25T09:30:00.000Z",
  );
  check(
    "passed: no warning of incompleteness",
    !(await page.evaluate("Boolean(document.querySelector('#incomplete'))")),
  );
  same(
    "passed: requests that carry neither a method nor a status",
    (await page.rows("#requests")).map((row) => row.slice(0, 3)),
    [
      ["http://shop.test/", "as expected", "6,715"],
      ["http://shop.test/login", "as expected", "4,476"],
    ],
  );
  same("passed: all sections in their order", await page.evaluate(visible), [
    "numbers",
    "thresholds",
    "charts",
    "runners",
    "checks",
    "groups",
    "scenarios",
    "requests",
    "metrics",
    "history",
  ]);
  has(
    "passed: the key numbers",
    await page.text("#numbers"),
    "11.2k",
    "187/s",
    "0.08 %",
    "87.7 ms",
    "10.9k",
    "200",
    "100 %",
    "11.2 MB",
  );
  const thresholds = await page.rows("#thresholds");
  same("passed: a threshold with value, bound, limit and margin", thresholds[0]?.slice(0, 6), [
    "passed",
    "http_req_duration",
    "p(95)<120",
    "87.7 ms | 86.1 ms – 89.4 ms",
    "120 ms",
    "26.9 % to spare",
  ]);
  same(
    "passed: a rate is a share, or one per second",
    thresholds.slice(1, 3).map((row) => row[3]),
    ["0.08 %", "187/s"],
  );
  same("passed: six charts, and all are drawn", await page.evaluate(drawn), [true, true, true, true, true, true]);
  has(
    "passed: a chart says what it shows",
    await page.evaluate("document.querySelector('#chart-latency .plot').ariaLabel ?? ''"),
    "Response time",
    "p95: lowest",
    "highest",
  );
  same(
    "passed: tables have captions and scopes",
    await page.evaluate(
      "[...document.querySelectorAll('table')].every((one) => one.caption?.textContent && [...one.querySelectorAll('th')].every((head) => head.scope))",
    ),
    true,
  );
  same("passed: contrast in light", await page.evaluate(faint), []);
  await page.evaluate("document.querySelector('details').open = true");
  has(
    "passed: all metrics",
    await page.text("#metrics"),
    "http_req_blocked",
    "2.6 µs",
    "187 kB/s",
    "cart_size",
    "3.42",
  );
  await page.shot("passed-light");
  await page.evaluate("document.querySelector('.theme').click()");
  same(
    "passed: the theme is switched",
    await page.evaluate("[document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]"),
    ["dark", "rgb(15, 18, 23)"],
  );
  await page.call("Page.reload");
  await page.until("document.readyState === 'complete' && document.querySelector('.theme')");
  same("passed: and remembered", await page.evaluate("document.documentElement.dataset.theme"), "dark");
  await page.evaluate("localStorage.clear()");
  await page.close();
}

async function failedRun() {
  const page = await open("failed", fixture("failed-incomplete"), { dark: true });
  same("failed: the verdict", await page.text("#verdict"), "Failed");
  has(
    "failed: the warning of incompleteness",
    await page.text("#incomplete"),
    "incomplete",
    "runner 3 died (OOMKilled): its last export came at 12.3 s",
    "runner 5 died",
  );
  const thresholds = await page.rows("#thresholds");
  same(
    "failed: failed thresholds first, then uncertain, unknown and passed ones",
    thresholds.map((row) => row[0]),
    ["failed | aborted the run", "failed", "passed | uncertain", "not evaluated", "passed", "passed", "passed"],
  );
  same(
    "failed: values and margins",
    thresholds.slice(0, 2).map((row) => row.slice(3, 6)),
    [
      ["1.21 %", "1 %", "21 % beyond"],
      ["238 ms | 234 ms – 242 ms", "200 ms", "19 % beyond"],
    ],
  );
  has(
    "failed: why a verdict is uncertain",
    thresholds[2]?.[6],
    "uncertain: the error bound [245 ms, 252 ms] straddles the limit",
  );
  same(
    "failed: runners that deviate or were lost",
    (await page.rows("#runners")).filter((row) => row[5] !== "as the others").map((row) => [row[0], row[1], row[5]]),
    [
      ["runner 3", "lost", "requests −84.1 %"],
      ["runner 5", "lost", "requests −31.1 %"],
      ["runner 9", "exit 99", "requests −37.7 % | p95 +155 %"],
    ],
  );
  same(
    "failed: failing checks first",
    (await page.rows("#checks")).map((row) => row[0]),
    ["status is 200", "order is accepted", "token is present", "receipt has a number"],
  );
  has("failed: what happened, and when", await page.text("#history"), "RunnerLost", "+12.8 s", "−9.87 s");
  same("failed: the system's dark theme", await page.evaluate("document.documentElement.dataset.theme"), "dark");
  same("failed: contrast in dark", await page.evaluate(faint), []);
  await page.shot("failed-dark");

  await page.evaluate("document.querySelectorAll('#runners .sort')[4].click()");
  same("failed: runners sorted by p95, the slowest first", (await page.rows("#runners"))[0][0], "runner 9");
  same(
    "failed: the sorted column says so",
    await page.evaluate("document.querySelectorAll('#runners thead th')[4].ariaSort"),
    "descending",
  );
  await page.evaluate("document.querySelector('tr[data-runner=\"9\"] .pin').click()");
  has("failed: a chosen runner is named in the charts", await page.text("#chart-runner-p95 .legend"), "runner 9");
  await page.evaluate(
    "document.querySelector('#chart-runner-p95').scrollIntoView({ block: 'center', behavior: 'instant' })",
  );
  const lines = fixture("failed-incomplete").perRunner.map((one) => one.p95OverTime);
  const height = lines[8][30] / (1.08 * Math.max(...lines.flat()));
  const [x, y] = await page.evaluate(
    `((box) => [box.left + box.width / 2, box.top + box.height * (1 - ${height})])(document.querySelector("#chart-runner-p95 .u-over").getBoundingClientRect())`,
  );
  await page.evaluate("document.querySelector('tr[data-runner=\"9\"] .pin').click()");
  await page.call("Input.dispatchMouseEvent", { type: "mouseMoved", x, y: y + 2 });
  check(
    "failed: a line under the cursor is that of a runner in the table",
    await page.until("document.querySelector('tr.lit')?.dataset.runner === '9'"),
  );
  has("failed: with its value", await page.text("#chart-runner-p95 .mark"), `runner 9: ${Math.round(lines[8][30])} ms`);
  await page.until("document.querySelector('#chart-latency .at').textContent");
  same(
    "failed: the cursor is one in all charts",
    await page.evaluate(
      "[...new Set([...document.querySelectorAll('.at')].map((one) => one.textContent.replaceAll('\\u00a0', ' ')))]",
    ),
    ["at 30 s"],
  );
  await page.shot("failed-dark-cursor", false);
  // Runner 9 has few requests: its line in the other chart is at the height of these.
  const box = await page.evaluate(
    "(({ left, top, width, height }) => ({ left, top, width, height }))(document.querySelector('#chart-runner-p95 .u-over').getBoundingClientRect())",
  );
  const lit = new Set();
  for (const second of [20, 25, 35, 45]) {
    for (let up = 0.2; up < 0.42; up += 0.006) {
      await page.call("Input.dispatchMouseEvent", {
        type: "mouseMoved",
        x: box.left + (box.width * second) / 60,
        y: box.top + box.height * (1 - up),
      });
      lit.add(await page.evaluate("document.querySelector('tr.lit')?.dataset.runner"));
    }
  }
  check("failed: only the chart under the cursor chooses the runner", lit.size > 3 && !lit.has("9"), [...lit]);
  await page.call("Input.dispatchMouseEvent", { type: "mouseMoved", x: 5, y: 5 });
  check("failed: and when the cursor leaves it, none is chosen", await page.until("!document.querySelector('tr.lit')"));
  await page.evaluate(
    "(() => { const field = document.querySelector('#filter'); field.value = 'POST 503'; field.dispatchEvent(new Event('input')); })()",
  );
  same(
    "failed: requests that fit a filter",
    (await page.rows("#requests")).map((row) => row.slice(0, 3)),
    [["http://shop.test/checkout", "POST", "503"]],
  );
  await page.close();

  const wide = await open("failed light", fixture("failed-incomplete"));
  await wide.shot("failed-light");
  await wide.close();
}

async function phone() {
  for (const name of ["passed", "failed-incomplete", "hostile"]) {
    const page = await open(`${name} on a phone`, fixture(name), { width: 360, height: 780, mobile: true });
    check(
      `phone: ${name} is no wider than the screen`,
      (await page.evaluate(overflow)) <= 0,
      await page.evaluate(overflow),
    );
    await page.shot(`${name}-phone`);
    await page.close();
  }
}

async function paper() {
  const page = await open("paper", fixture("failed-incomplete"), { dark: true });
  await page.evaluate(
    "addEventListener('beforeprint', () => { window.printed = [document.documentElement.dataset.theme, document.querySelectorAll('details:not([open])').length]; })",
  );
  const pdf = await page.pdf();
  writeFileSync(`${shots}/print.pdf`, pdf);
  check("paper: a PDF comes out", pdf.subarray(0, 5).toString() === "%PDF-" && pdf.length > 20000, pdf.length);
  same("paper: light, and all details open", await page.evaluate("window.printed"), ["light", 0]);
  same(
    "paper: afterwards all is as before",
    await page.evaluate(
      "[document.documentElement.dataset.theme, document.querySelectorAll('details:not([open])').length]",
    ),
    ["dark", 1],
  );
  await page.close();
}

async function hostile() {
  const report = fixture("hostile");
  const page = await open("hostile", report);
  same(
    "hostile: nothing in a name is executed",
    await page.evaluate(
      "[typeof window.stung, document.querySelectorAll('main img, header img, main script, header script').length]",
    ),
    ["undefined", 0],
  );
  const text = await page.evaluate("document.body.textContent");
  const missing = Array.from({ length: 22 }, (_, i) => i + 1).filter(
    (i) => ![4, 7, 18, 19].includes(i) && !text.includes(`onerror="window.stung=${i}"`),
  );
  same("hostile: names are shown as they are", missing, []);
  has(
    "hostile: placeholders in a name stay",
    await page.text("#message"),
    "</script><script>window.stung=4</script> {{script}} {{data}} $& $'",
  );
  check("hostile: no wider than the screen", (await page.evaluate(overflow)) <= 0, await page.evaluate(overflow));
  same(
    "hostile: charts without data are left out",
    await page.evaluate("[...document.querySelectorAll('.chart')].map((one) => one.id)"),
    ["chart-rate", "chart-latency", "chart-runner-rate"],
  );
  await page.shot("hostile-light");
  await page.close();

  const empty = await open("empty", { name: "load/empty", kind: "K6", live: false, result: null });
  same("empty: a page without data has no sections", await empty.evaluate(visible), []);
  same("empty: and no verdict", await empty.text("#verdict"), "No verdict");
  await empty.close();
}

// What stands in a page that was saved, or has only just begun.
async function early() {
  const report = fixture("live");
  const first = (lines) =>
    Object.fromEntries(
      Object.entries(lines).map(([key, value]) => [key, Array.isArray(value) ? value.slice(0, 1) : value]),
    );
  const page = await open("early", { ...report, time: first(report.time), perRunner: report.perRunner.map(first) });
  same("early: a first sample is drawn", [...new Set(await page.evaluate(drawn))], [true]);
  same(
    "early: a saved page of a live run says so, and asks for nothing",
    [await page.text("#link"), page.seen.requests.length],
    ["saved while the run went on", 1],
  );
  await page.close();
}

async function many() {
  const page = await open("large", large());
  const dots = "[...document.querySelectorAll('#chart-runner-rate, #chart-runner-p95')].length";
  same("large: charts by runner are there", await page.evaluate(dots), 2);
  has(
    "large: only those that deviate most are shown, and it says so",
    await page.text("#runners .says"),
    "3 deviate strongly",
    "the 20 of 150 runners",
  );
  same("large: all runners are in the table", (await page.rows("#runners")).length, 150);
  same(
    "large: those that deviate are marked",
    await page.evaluate("[...document.querySelectorAll('tr.odd')].map((row) => row.dataset.runner)"),
    ["7", "64", "131"],
  );
  same("large: the 50 most frequent requests", (await page.rows("#requests")).length, 50);
  const took = await page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd");
  check("large: shown within three seconds", took < 3000, took);
  await page.shot("large-light");
  await page.close();
  const hundred = await open("hundred", large({ runners: 100, seconds: 120, odd: [9] }));
  same(
    "large: a hundred runners are all shown",
    await hundred.evaluate(
      "[document.querySelectorAll('tr[data-runner]').length, document.querySelector('#runners .says').innerText.includes('The charts show')]",
    ),
    [100, false],
  );
  await hundred.close();
}

// A run that goes on: the stream breaks, is refused once, comes back, and ends.
async function live() {
  const report = fixture("live");
  const more = (changes, totals) => ({ ...report, ...changes, totals: { ...report.totals, ...totals } });
  const steps = [];
  let streams = 0;
  const server = createServer((request, response) => {
    if (request.url === "/") {
      response.setHeader("content-type", "text/html; charset=utf-8");
      response.end(assemble(report));
      return;
    }
    if (request.url !== "/stream") {
      response.writeHead(404).end();
      return;
    }
    streams++;
    if (streams === 2) {
      response.writeHead(503).end();
      return;
    }
    response.setHeader("content-type", "application/x-ndjson");
    response.flushHeaders();
    steps.push(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const page = await tab("live", `${origin}/`);
  const stream = async (count) => {
    for (let i = 0; i < 200 && steps.length < count; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    return steps[count - 1];
  };
  const send = (response, value) => response.write(`${JSON.stringify(value)}\n`);
  const requests = (text) =>
    page.until(`document.querySelector('#numbers .big').textContent === ${JSON.stringify(text)}`);

  same("live: the verdict is open", await page.text("#verdict"), "Running");
  const first = await stream(1);
  send(first, more({}, { requests: 4000 }));
  check("live: a whole report is shown", await requests("4k"));
  same("live: it says that it is live", await page.text("#link"), "live");
  // One character of more than one byte, and a line, come in pieces.
  const bytes = Buffer.from(`\n${JSON.stringify(more({ message: "3 runners, 4 µs" }, { requests: 5000 }))}\n`);
  const cut = bytes.indexOf("µ") + 1;
  first.write(bytes.subarray(0, cut));
  await new Promise((resolve) => setTimeout(resolve, 50));
  first.write(bytes.subarray(cut));
  check("live: a report that comes in pieces is shown", await requests("5k"));
  has("live: and no letter of it is broken", await page.text("#message"), "4 µs");
  await page.evaluate("document.querySelectorAll('#runners .sort')[2].click()");
  await page.evaluate("document.querySelector('tr[data-runner=\"2\"] .pin').focus()");
  send(first, {
    tick: {
      totals: { ...report.totals, requests: 6000 },
      time: { at: [20, 21], requests: [150, 151], p95: [80, 81] },
      perRunner: [{ runner: 2, requests: 9999, requestsOverTime: [50, 51] }],
    },
  });
  check("live: a tick is merged", await requests("6k"));
  same(
    "live: a tick prolongs the charts",
    await page.evaluate("document.querySelector('#chart-rate .plot').ariaLabel.includes('to 21 s')"),
    true,
  );
  same(
    "live: the table keeps its order and the focus",
    [(await page.rows("#runners"))[0].slice(0, 3), await page.evaluate("document.activeElement.dataset.key")],
    [["runner 2", "running", "9,999"], "pin-2"],
  );
  await page.shot("live-light");
  has("live: thresholds are as they are so far", await page.text("#thresholds .says"), "passed so far");
  first.destroy();
  check(
    "live: a broken stream is told",
    await page.until("document.querySelector('#link').textContent === 'connection lost, trying again'"),
  );
  const again = await stream(2);
  check("live: it comes back, after a refusal too", streams === 3, streams);
  send(again, more({}, { requests: 7000 }));
  check("live: and the numbers go on", await requests("7k"));
  same("live: and it is live again", await page.text("#link"), "live");
  send(
    again,
    more({ live: false, result: "Passed", message: "All thresholds were met.", durationMs: 21000 }, { requests: 8000 }),
  );
  check("live: the end is shown", await page.until("document.querySelector('#verdict').textContent === 'Passed'"));
  same("live: with its last numbers", [await page.text("#numbers .big"), await page.text("#link")], ["8k", ""]);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  check("live: then nothing more is asked for", streams === 3, streams);
  same(
    "live: only the page and its stream were asked for",
    [...new Set(page.seen.requests)],
    [`${origin}/`, `${origin}/stream`],
  );
  // What the browser notes of the refusal is what the test made.
  page.seen.errors = page.seen.errors.filter((error) => !/\/stream$/.test(error));
  await page.close();
  server.closeAllConnections();
  server.close();
}

// The policy is what forbids: a page that wants something of another server gets nothing to it, and does without.
async function foreign() {
  const hits = [];
  const server = createServer((request, response) => {
    hits.push(request.url);
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const other = `http://127.0.0.1:${server.address().port}`;
  const wish = `<script>addEventListener("load", () => { new Image().src = "${other}/image"; fetch("${other}/fetch", { mode: "no-cors" }).catch(() => {}); });</script>`;
  const file = `${scratch}/foreign.html`;
  const html = assemble(fixture("passed")).replace("</body>", () => `${wish}</body>`);
  for (const [what, page, wanted] of [
    ["the policy forbids to load anything", html, []],
    ["without the policy, it would be loaded", html.replace(/<meta http-equiv[^>]*>/, ""), ["/fetch", "/image"]],
  ]) {
    writeFileSync(file, page);
    const opened = await browser.open(`file://${file}`);
    await new Promise((resolve) => setTimeout(resolve, 400));
    same(what, hits.splice(0).sort(), wanted);
    await opened.close();
  }
  server.closeAllConnections();
  server.close();
}

try {
  parts();
  browser = await launch(`${scratch}/profile`);
  for (const run of [passedRun, failedRun, phone, paper, hostile, early, many, live, foreign]) {
    try {
      await run();
    } catch (error) {
      check(`${run.name} goes to its end`, false, error.message);
    }
  }
  same("no script error and no complaint of the browser", problems, []);
  same(
    "no request but for the pages themselves",
    [...asked].filter(
      (url) =>
        !url.startsWith(`file://${scratch}/`) && !url.startsWith("http://127.0.0.1:") && !url.startsWith("data:"),
    ),
    [],
  );
} catch (error) {
  check("the browser works", false, error.message);
} finally {
  await browser?.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
