// Builds the page into dist/: static files that any web server can hand out. `npm ci && npm run build` in this folder; needs Rust with
// the target wasm32-unknown-unknown.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const web = dirname(fileURLToPath(import.meta.url));
const root = dirname(web);
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const run = (command, args) => execFileSync(command, args, { cwd: root, stdio: "inherit" });

run("cargo", ["build", "--locked", "--profile", "web", "-p", "convscope-web", "--target", "wasm32-unknown-unknown"]);
const engine = join(target, "wasm32-unknown-unknown", "web", "convscope_web.wasm");
const pkg = join(web, "pkg");
run("cargo", ["run", "--locked", "--profile", "tool", "-p", "convscope-bindgen", "--", engine, pkg]);

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

// What a visitor downloads: servers that can, hand out the compressed files.
const sums = [0, 0, 0];
const line = (name, sizes) => console.log(name.padEnd(12) + sizes.map((size) => String(size).padStart(10)).join(""));
line("bytes", ["plain", "gzip", "brotli"]);
for (const file of ["index.html", "style.css", "icon.svg", "app.js", "engine.wasm"]) {
  const plain = readFileSync(join(dist, file));
  const [gzip, brotli] = [gzipSync(plain, { level: 9 }), brotliCompressSync(plain)];
  writeFileSync(join(dist, `${file}.gz`), gzip);
  writeFileSync(join(dist, `${file}.br`), brotli);
  const sizes = [plain, gzip, brotli].map((bytes) => bytes.length);
  sizes.forEach((size, column) => (sums[column] += size));
  line(file, sizes);
}
line("all", sums);
