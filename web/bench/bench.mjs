// Training steps a second of the page's engine and of its peers, in one browser on one adapter, taking turns.
//
//     npm ci && npm run build        in web/
//     npm ci && npm run bench        here; -- --size 28 --batch 32 --steps 30 --rounds 3

import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { launch, serve, web } from "../tests/browser.mjs";

const text = (fallback) => ({ type: "string", default: fallback });
const options = { size: text("28"), batch: text("32"), steps: text("30"), rounds: text("3"), only: text("") };
const { values } = parseArgs({ options });
const work = { size: +values.size, batch: +values.batch, steps: +values.steps, warmUp: 5, lr: 0.01 };

const here = join(web, "bench");
await build({
  entryPoints: [join(here, "page.mjs")],
  bundle: true,
  format: "esm",
  outfile: join(here, "built.js"),
  external: ["fs", "path", "util", "crypto", "worker_threads", "perf_hooks", "os"],
  logLevel: "error",
});
mkdirSync(join(here, "wasm"), { recursive: true });
const dist = join(here, "node_modules", "@tensorflow", "tfjs-backend-wasm", "dist");
for (const file of readdirSync(dist).filter((file) => file.endsWith(".wasm"))) {
  copyFileSync(join(dist, file), join(here, "wasm", file));
}

const OURS = "convscope, WebGPU";
const server = await serve();
const browser = await launch();
const open = async () => {
  const page = await browser.newPage();
  await page.goto(`${server.address}/bench/bench.html`);
  await page.waitForFunction(() => document.documentElement.dataset.ready);
  return page;
};
const first = await open();
const peers = await first.evaluate(() => window.peers);
await first.close();
const chosen = [OURS, ...peers.filter((name) => name.includes(values.only))];
const found = Object.fromEntries(chosen.map((name) => [name, []]));
for (let round = 0; round < +values.rounds; round++) {
  for (const name of chosen) {
    // Each in a page of its own.
    const page = await open();
    const measure = ([name, work, ours]) => (name === ours ? window.measureOurs(work) : window.measure(name, work));
    const result = await page.evaluate(measure, [name, work, OURS]).catch((error) => ({ error: error.message.split("\n")[0] }));
    found[name].push(result);
    await page.close();
  }
}
console.log(`batches of ${work.batch} images of 3 x ${work.size} x ${work.size}, ${browser.version()}`);
console.log(`${"".padEnd(26)}${"steps/s".padStart(9)}${"min .. max".padStart(18)}${"ours / theirs".padStart(15)}${"loss".padStart(9)}`);
const speeds = (name) => found[name].filter(({ ms }) => ms).map(({ ms }) => 1e3 / ms).sort((a, b) => a - b);
const median = (numbers) => numbers[Math.floor(numbers.length / 2)];
for (const name of chosen) {
  const all = speeds(name);
  if (all.length === 0) {
    console.log(`${name.padEnd(26)}  ${found[name][0].error}`);
    continue;
  }
  const range = `${all[0].toFixed(1)} .. ${all.at(-1).toFixed(1)}`;
  const ratio = (median(speeds(OURS)) / median(all)).toFixed(2);
  const loss = found[name].at(-1).loss.toFixed(3);
  console.log(`${name.padEnd(26)}${median(all).toFixed(1).padStart(9)}${range.padStart(18)}${ratio.padStart(15)}${loss.padStart(9)}`);
}
await browser.close();
server.close();
