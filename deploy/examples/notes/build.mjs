// Builds dist/ from src/ and the packages of package-lock.json:
//   npm ci && npm run build
// The same input gives the same bytes.
import { build } from "esbuild"
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync, existsSync } from "node:fs"
import { gzipSync } from "node:zlib"
import path from "node:path"

rmSync("dist", { recursive: true, force: true })
mkdirSync("dist")
const result = await build({
  entryPoints: ["src/main.js"],
  outfile: "dist/main.js",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  metafile: true,
  legalComments: "none", // licenses.txt has them whole
  define: { global: "globalThis" },
})
for (const name of ["index.html", "style.css"]) cpSync(path.join("src", name), path.join("dist", name))
writeFileSync("dist/automerge.wasm.gz", gzipSync(readFileSync("node_modules/@automerge/automerge/dist/automerge.wasm"), { level: 9 }))

// The licences of everything that is in the bundle.
const packages = new Set()
for (const file of Object.keys(result.metafile.inputs)) {
  const m = file.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)
  if (m) packages.add(m[1])
}
let text = "The files main.js and automerge.wasm.gz contain the following packages.\n"
for (const name of [...packages].sort()) {
  const dir = path.join("node_modules", name)
  const { version, license } = JSON.parse(readFileSync(path.join(dir, "package.json"), "utf8"))
  text += `\n\n==== ${name} ${version}, ${license}\n`
  const file = readdirSync(dir).sort().find(f => /^licen[cs]e/i.test(f))
  if (file) text += "\n" + readFileSync(path.join(dir, file), "utf8").replaceAll("\r\n", "\n")
  else text += `\nThe package has no file with the licence; it names ${license}.\n`
}
writeFileSync("dist/licenses.txt", text)
