// The specification's JavaScript in Node, where an address needs its server; prints what it logs, run by run.
import fs from "node:fs";
import vm from "node:vm";

const [server, prompt, runs] = process.argv.slice(2);
const logged = [];
const context = vm.createContext({
  TextDecoder,
  fetch: (path, options) => fetch(server + path, options),
  console: { log: (token) => logged.at(-1).push(token) },
});
vm.runInContext(fs.readFileSync(new URL("spec_stream.js", import.meta.url), "utf8"), context);
for (let run = 0; run < Number(runs); run++) {
  logged.push([]);
  await context.streamGenerate(prompt);
}
console.log(JSON.stringify(logged));
