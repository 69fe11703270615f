// A note in two regions, side by side: two repositories of automerge-repo, as two
// people in two places would have them.
import * as Automerge from "@automerge/automerge/slim"
import { Repo, initializeWasm } from "@automerge/automerge-repo/slim"
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket"

const collection = "shared-notes"
const retry = 500 // milliseconds before a client connects again

// ?regions=us-east@127.0.0.1:8080,eu-west@127.0.0.1:8081 says where the sides are;
// without it, this region and the one on the next port.
function regions() {
  const given = new URLSearchParams(location.search).get("regions")
  if (given) return given.split(",").slice(0, 2).map(s => { const [name, host] = s.split("@"); return { name, host } })
  const next = `${location.hostname}:${Number(location.port) + 1}`
  return [{ name: "here", host: location.host }, { name: "next", host: next }]
}

async function loadAutomerge() {
  const packed = await fetch("automerge.wasm.gz")
  await initializeWasm(await new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer())
}

async function makeCollection() {
  const path = `/v1/collections/${collection}`
  if ((await fetch(path)).ok) return
  await fetch(path, { method: "PUT", headers: { "Content-Type": "application/json" }, body: '{"type":"automerge"}' })
}

// A side is one person's view of the note.
class Side {
  constructor(region, storage) {
    this.region = region
    this.storage = storage
    this.others = new Map()
    const protocol = location.protocol === "https:" ? "wss" : "ws"
    this.adapter = new WebSocketClientAdapter(`${protocol}://${region.host}/v1/collections/${collection}/sync`, retry)
    this.repo = new Repo({ network: [this.adapter], enableRemoteHeadsGossiping: true })
    this.repo.subscribeToRemotes(storage.map(s => s.id))
    const root = document.getElementById("side").content.firstElementChild.cloneNode(true)
    this.find = selector => root.querySelector(selector)
    this.find(".region").textContent = region.name
    document.getElementById("sides").append(root)
    const online = this.find(".online")
    const show = up => { online.textContent = up ? "connected" : "not connected"; online.classList.toggle("up", up) }
    show(false)
    this.adapter.on("peer-candidate", () => show(true))
    this.adapter.on("peer-disconnected", () => show(false))
  }

  open(handle) {
    this.handle = handle
    this.text = this.find("textarea")
    const form = this.find("form")
    for (const e of [this.text, form.elements.entry, form.querySelector("button")]) e.disabled = false
    this.text.addEventListener("input", () => {
      handle.change(d => Automerge.updateText(d, ["text"], this.text.value))
      this.sayWhere()
    })
    this.text.addEventListener("select", () => this.sayWhere())
    form.addEventListener("submit", e => {
      e.preventDefault()
      const text = form.elements.entry.value.trim()
      if (text) handle.change(d => { d.items.push({ text, done: false }) })
      form.reset()
    })
    handle.on("change", ({ patchInfo }) => this.render(patchInfo?.before))
    handle.on("remote-heads", () => this.renderSaved())
    handle.on("ephemeral-message", ({ message, senderId }) => {
      this.others.set(senderId, message)
      this.renderOthers()
    })
    this.render()
  }

  sayWhere() {
    const before = this.text.value.slice(0, this.text.selectionStart)
    this.handle.broadcast({ from: this.region.name, line: before.split("\n").length })
  }

  render(before) {
    const doc = this.handle.doc()
    if (this.text.value !== doc.text) {
      // The caret stays between the same two characters.
      const caret = [this.text.selectionStart, this.text.selectionEnd].map(at => this.moved(before, doc, at))
      this.text.value = doc.text
      if (document.activeElement === this.text) this.text.setSelectionRange(...caret)
    }
    this.find("ul").replaceChildren(...doc.items.map((item, i) => {
      const li = document.createElement("li")
      const label = document.createElement("label")
      const box = document.createElement("input")
      box.type = "checkbox"
      box.checked = item.done
      box.addEventListener("change", () => this.handle.change(d => { d.items[i].done = box.checked }))
      const text = document.createElement("span")
      text.textContent = item.text
      label.append(box, " ", text)
      li.append(label)
      li.classList.toggle("done", item.done)
      return li
    }))
    this.renderSaved()
  }

  moved(before, doc, at) {
    if (!before?.text || at >= before.text.length) return at === 0 ? 0 : doc.text.length
    try {
      return Automerge.getCursorPosition(doc, ["text"], Automerge.getCursor(before, ["text"], at))
    } catch {
      return Math.min(at, doc.text.length)
    }
  }

  renderOthers() {
    this.find(".others").textContent = [...this.others.values()].map(m => `${m.from} is on line ${m.line}`).join(", ")
  }

  renderSaved() {
    if (!this.storage.length) return
    const now = JSON.stringify(this.handle.heads())
    const holders = this.storage.filter(s => JSON.stringify(this.handle.getSyncInfo(s.id)?.lastHeads) === now)
    this.find(".saved").textContent = holders.length
      ? `Saved in ${holders.length} of ${this.storage.length} regions: ${holders.map(s => s.name).join(", ")}`
      : "Not saved anywhere yet"
  }
}

// links is the button that cuts a region off from all others.
function links(region, others) {
  const button = document.getElementById("link")
  const state = document.getElementById("state")
  const label = () => { button.textContent = cut ? "Mend the links" : `Cut ${region.name} off` }
  let cut = false
  label()
  button.disabled = false
  button.addEventListener("click", async () => {
    const body = JSON.stringify({ state: cut ? "up" : "cut" })
    const answers = await Promise.all(others.map(name => fetch(`/v1/faults/links/${encodeURIComponent(name)}`, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body,
    })))
    if (!answers.every(a => a.ok)) {
      state.textContent = `${region.name} does not cut links: start it with --fault-injection`
      return
    }
    cut = !cut
    label()
    state.textContent = cut ? `${region.name} is cut off from ${others.join(" and ")}. Go on typing, on both sides.` : ""
  })
}

async function start() {
  const [left, right] = regions()
  await loadAutomerge()
  await makeCollection()
  const cluster = await (await fetch("/v1/cluster")).json()
  left.name = cluster.region
  const storage = [cluster, ...cluster.regions].map(r => ({ id: r.storage_id, name: r.region }))
  const one = new Side(left, storage)
  const url = location.hash.slice(1)
  const handle = url ? await one.repo.find(url) : one.repo.create({ text: "", items: [] })
  one.open(handle)
  if (!url) history.replaceState(null, "", `#${handle.url}`)
  const rest = document.getElementById("rest")
  rest.href = `/v1/collections/${collection}/docs/${handle.documentId}`
  rest.hidden = false
  links(left, cluster.regions.map(r => r.region))
  const two = new Side(right, storage)
  for (;;) {
    try {
      two.open(await two.repo.find(handle.url))
      return
    } catch { // it is on its way
      await new Promise(done => setTimeout(done, retry))
    }
  }
}

start().catch(e => { document.getElementById("state").textContent = String(e) })
