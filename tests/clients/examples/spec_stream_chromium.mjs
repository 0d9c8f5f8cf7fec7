// The specification's JavaScript in a page of the server's own, in Chromium; prints what it logs, run by run.
import fs from "node:fs";
import { chromium } from "playwright-core";

const [server, prompt, runs, executablePath] = process.argv.slice(2);
const quiet = ["background-networking", "component-update", "sync", "quic", "gpu"];
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--no-first-run", ...quiet.map((name) => `--disable-${name}`)],
});
try {
  const page = await browser.newPage();
  await page.goto(`${server}/docs`);
  const source = fs.readFileSync(new URL("spec_stream.js", import.meta.url), "utf8");
  // As an expression of the debugger's, which the page's own policy leaves alone.
  const logged = await page.evaluate(`(async () => {
    ${source}
    const logged = [];
    console.log = (token) => logged.at(-1).push(token);
    for (let run = 0; run < ${Number(runs)}; run++) {
      logged.push([]);
      await streamGenerate(${JSON.stringify(prompt)});
    }
    return logged;
  })()`);
  console.log(JSON.stringify(logged));
} finally {
  await browser.close();
}
