// Clients of automerge-repo, driven by lines of JSON on standard input: {"id", "do", …}.
// Each is answered by a line {"id", "value"} or {"id", "error"}.
import readline from "node:readline"
import { spans } from "@automerge/automerge"
import { Repo, mark, splice } from "@automerge/automerge-repo"
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket"

// A socket that breaks throws where nobody can catch it.
process.on("uncaughtException", e => console.error("uncaught:", e.code ?? e.message))
process.on("unhandledRejection", e => console.error("unhandled:", e?.message ?? e))

const retry = 200 // milliseconds before a client connects again

const clients = {}

function handle(client, url) {
  const h = clients[client].handles[url]
  if (!h) throw new Error(`${url} is not open`)
  return h
}

const actions = {
  connect({ client, url }) {
    const adapter = new WebSocketClientAdapter(url, retry)
    const repo = new Repo({ network: [adapter], peerId: client, enableRemoteHeadsGossiping: true })
    clients[client] = { repo, adapter, handles: {}, heard: [] }
  },
  disconnect({ client }) {
    clients[client].adapter.disconnect()
  },
  reconnect({ client }) {
    const { adapter, repo } = clients[client]
    adapter.connect(repo.peerId, { isEphemeral: true })
  },
  create({ client, value }) {
    const h = clients[client].repo.create(value)
    clients[client].handles[h.url] = h
    return h.url
  },
  async find({ client, url, timeout = 20000 }) {
    const h = await clients[client].repo.find(url, { signal: AbortSignal.timeout(timeout) })
    clients[client].handles[url] = h
    return h.doc()
  },
  value({ client, url }) {
    return handle(client, url).doc()
  },
  // type inserts at the end of a text, a change for each character.
  async type({ client, url, text }) {
    const h = handle(client, url)
    for (const c of text) {
      h.change(d => splice(d, ["text"], d.text.length, 0, c))
      await new Promise(done => setTimeout(done, 2))
    }
  },
  set({ client, url, key, value }) {
    handle(client, url).change(d => { d[key] = value })
  },
  mark({ client, url, start, end, name, value }) {
    handle(client, url).change(d => mark(d, ["text"], { start, end, expand: "both" }, name, value))
  },
  spans({ client, url }) {
    return spans(handle(client, url).doc(), ["text"])
  },
  listen({ client, url }) {
    handle(client, url).on("ephemeral-message", m => clients[client].heard.push(m.message))
  },
  say({ client, url, message }) {
    handle(client, url).broadcast(message)
  },
  heard({ client }) {
    return clients[client].heard
  },
  subscribe({ client, storage }) {
    clients[client].repo.subscribeToRemotes(storage)
  },
  // saved tells in which places a document is kept as it is here.
  saved({ client, url, storage }) {
    const h = handle(client, url)
    const heads = JSON.stringify(h.heads())
    return storage.map(s => JSON.stringify(h.getSyncInfo(s)?.lastHeads) === heads)
  },
}

readline
  .createInterface({ input: process.stdin })
  .on("line", async line => {
    const { id, do: action, ...args } = JSON.parse(line)
    try {
      console.log(JSON.stringify({ id, value: (await actions[action](args)) ?? null }))
    } catch (e) {
      console.log(JSON.stringify({ id, error: String(e?.stack ?? e) }))
    }
  })
  .on("close", () => process.exit(0))
console.log(JSON.stringify({ id: 0, value: "ready" }))
