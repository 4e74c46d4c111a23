// Builds the page into dist/: static files that any web server can hand out. `npm ci && npm run build` in this folder; needs Rust with
// the target wasm32-unknown-unknown.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";

const web = dirname(fileURLToPath(import.meta.url));
const root = dirname(web);
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const run = (command, args) => execFileSync(command, args, { cwd: root, stdio: "inherit" });

run("cargo", ["build", "--locked", "--profile", "web", "-p", "convscope-web", "--target", "wasm32-unknown-unknown"]);
const engine = join(target, "wasm32-unknown-unknown", "web", "convscope_web.wasm");
const pkg = join(web, "pkg");
run("cargo", ["run", "--locked", "--quiet", "-p", "convscope-bindgen", "--", engine, pkg]);

const dist = join(web, "dist");
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
const wasm = join(dist, "engine.wasm");
const features = ["bulk-memory", "nontrapping-float-to-int", "sign-ext", "mutable-globals", "reference-types", "multivalue"];
const optimiser = join(web, "node_modules", "binaryen", "bin", "wasm-opt");
const enable = features.map((feature) => `--enable-${feature}`);
run("node", [optimiser, "-Oz", ...enable, "-o", wasm, join(pkg, "convscope_web_bg.wasm")]);
await build({
  entryPoints: [join(web, "src", "main.ts")],
  bundle: true,
  format: "esm",
  minify: true,
  target: "es2022",
  outfile: join(dist, "app.js"),
});
for (const file of ["index.html", "style.css", "icon.svg"]) {
  copyFileSync(join(web, file), join(dist, file));
}

let sum = 0;
for (const file of ["index.html", "style.css", "icon.svg", "app.js", "engine.wasm"]) {
  const path = join(dist, file);
  const compressed = brotliCompressSync(readFileSync(path)).length;
  sum += compressed;
  console.log(`${file.padEnd(12)} ${String(statSync(path).size).padStart(9)} bytes, ${String(compressed).padStart(8)} with brotli`);
}
console.log(`${"all".padEnd(28)} ${String(sum).padStart(8 + 7)} with brotli`);
