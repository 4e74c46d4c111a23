// What the tests share: a browser with WebGPU on a software driver, and a server for the page.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const web = dirname(dirname(fileURLToPath(import.meta.url)));
export const root = dirname(web);

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** Hands out the files of web/; returns the address and how to close it. */
export async function serve() {
  const server = createServer((request, response) => {
    const path = join(web, normalize(decodeURIComponent(request.url.split("?")[0])));
    if (!existsSync(path) || !(extname(path) in TYPES)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(path)] }).end(readFileSync(path));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

const QUIET = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const SILENT = ["--disable-component-update", "--disable-sync"];
const SOFTWARE = ["--enable-unsafe-webgpu", "--use-angle=swiftshader", "--enable-features=Vulkan"];
const DRIVER = ["--use-vulkan=swiftshader", "--ignore-gpu-blocklist"];

/** Chromium, with WebGPU unless told otherwise. CHROMIUM names the program where it lies elsewhere. */
export function launch({ webgpu = true } = {}) {
  const args = ["--headless=new", ...QUIET, ...SILENT, ...(webgpu ? [...SOFTWARE, ...DRIVER] : ["--disable-gpu"])];
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
}

/** What the program itself makes of a little training: see examples/page.rs. */
export function native(architecture, subject) {
  const args = ["run", "--quiet", "--locked", "--example", "page", "--", JSON.stringify(architecture), subject];
  return JSON.parse(execFileSync("cargo", args, { cwd: root, maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] }));
}

/** What a file of weights says, and its tensors. */
export function read(file) {
  const bytes = Buffer.from(file);
  const end = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, end));
  return { header, about: JSON.parse(header.__metadata__.convscope), tensors: bytes.subarray(end) };
}

/** The same file, but saying that its images are prepared like this: with the SHA-256 of what it says now, and of its tensors. */
export function prepared(file, preparation) {
  const { header, about, tensors } = read(file);
  const { sha256: _, ...said } = { ...about, preparation };
  const text = JSON.stringify(said);
  const parts = [text];
  for (const key of Object.keys(header).filter((key) => key !== "__metadata__").sort()) {
    const { dtype, shape, data_offsets } = header[key];
    parts.push(key, `${dtype} [${shape.join(", ")}]`, tensors.subarray(...data_offsets));
  }
  const number = (value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  };
  const hash = createHash("sha256");
  for (const part of parts.map((part) => Buffer.from(part))) {
    hash.update(number(part.length)).update(part);
  }
  header.__metadata__.convscope = `${text.slice(0, -1)},"sha256":"${hash.digest("hex")}"}`;
  const bytes = Buffer.from(JSON.stringify(header));
  return Buffer.concat([number(bytes.length), bytes, tensors]);
}

/** Opens the page and waits for its kernels; collects in `seen` the errors of its console and where its requests go. */
export async function open(browser, server, seen, { query = "", state = "ready", ...options } = {}) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options });
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => seen.requests.add(new URL(request.url()).origin));
  await page.goto(`${server.address}/dist/index.html${query}`);
  await reached(page, state);
  return page;
}

export const reached = (page, state) =>
  page.waitForFunction((state) => document.documentElement.dataset.state === state, state, { timeout: 120000 });

/** The number that an element shows. */
export const number = async (page, selector) => Number((await page.textContent(selector)).replace(/[^0-9.]/g, ""));
