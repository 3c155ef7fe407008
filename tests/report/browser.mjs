// A headless Chromium, spoken to through its pipe (the DevTools protocol), with no package but Node.js.
import { spawn } from "node:child_process";

// Names resolve to nothing, so that no page and not the browser itself reaches anything but this machine.
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--remote-debugging-pipe",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-extensions",
  "--disable-sync",
  "--hide-scrollbars",
  "--force-color-profile=srgb",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

export async function launch(profile) {
  const child = spawn("chromium", [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  const [, , , input, output] = child.stdio;
  const waiting = new Map();
  const listeners = new Set();
  let last = 0;
  let rest = "";
  output.setEncoding("utf8");
  output.on("data", (chunk) => {
    const messages = (rest + chunk).split("\0");
    rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      if (!message.id) for (const listener of listeners) listener(message);
      else {
        const { resolve, reject } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) reject(new Error(message.error.message));
        else resolve(message.result);
      }
    }
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  input.on("error", () => {});
  const send = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      input.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
    });

  // A tab with a size and colours; it keeps what was asked for, what went wrong and what was said.
  async function open(url, { width = 1280, height = 900, dark = false, mobile = false } = {}) {
    const { targetId } = await send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
    const call = (method, params) => send(method, params, sessionId);
    const seen = { requests: [], errors: [] };
    const listener = ({ method, params, sessionId: from }) => {
      if (from !== sessionId) return;
      if (method === "Network.requestWillBeSent") seen.requests.push(params.request.url);
      if (method === "Runtime.exceptionThrown")
        seen.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
      if (method === "Log.entryAdded" && params.entry.level === "error")
        seen.errors.push(`${params.entry.text} ${params.entry.url ?? ""}`);
    };
    listeners.add(listener);
    await Promise.all(["Page", "Network", "Runtime", "Log"].map((domain) => call(`${domain}.enable`)));
    await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
    await call("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }],
    });
    await call("Page.navigate", { url });
    const evaluate = async (expression) => {
      const { result, exceptionDetails } = await call("Runtime.evaluate", {
        expression,
        awaitPromise: true,
        returnByValue: true,
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    };
    // Waits until the expression is true, for ten seconds at most.
    const until = async (expression) => {
      for (let i = 0; i < 200; i++) {
        if (await evaluate(expression)) return true;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return false;
    };
    await until("document.readyState === 'complete'");
    await evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))");
    const shot = async (whole = true) => {
      if (!whole) return Buffer.from((await call("Page.captureScreenshot", { format: "png" })).data, "base64");
      const tall = await evaluate("document.documentElement.scrollHeight");
      const clip = { x: 0, y: 0, width, height: Math.min(tall, 16000), scale: 1 };
      return Buffer.from(
        (await call("Page.captureScreenshot", { format: "png", captureBeyondViewport: true, clip })).data,
        "base64",
      );
    };
    const pdf = async () =>
      Buffer.from(
        (
          await call("Page.printToPDF", {
            printBackground: true,
            preferCSSPageSize: true,
            paperWidth: 8.27,
            paperHeight: 11.69,
          })
        ).data,
        "base64",
      );
    const close = async () => {
      listeners.delete(listener);
      await send("Target.closeTarget", { targetId });
    };
    return { call, evaluate, until, shot, pdf, close, seen };
  }

  async function close() {
    const late = setTimeout(() => child.kill("SIGKILL"), 5000);
    send("Browser.close").catch(() => {});
    await ended;
    clearTimeout(late);
  }
  return { open, close, pid: child.pid, ended };
}
